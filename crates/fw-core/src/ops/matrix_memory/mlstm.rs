//! The matrix memory of an mLSTM: a sum with exponential gates and a normaliser.

mod composed;

use alloc::vec;

use burn::tensor::{DType, Device, Tensor};

use super::Sizes;
use super::shapes::{expect_rows, expect_sizes};
#[cfg(feature = "flex")]
use super::{Given, LogDecay, Rule, fused, is_available};
use crate::StateError;
use crate::error::expect_fits;
use crate::ops::precision::{in_type, widened};
use crate::ops::shapes::{check, fits};
use crate::ops::{ExecutionPath, Spans};

/// ε, what is added to what the normaliser says.
pub(super) const NORMALIZER_EPSILON: f64 = 1e-6;

/// The most that `-m` counts in `exp(-m)`: beyond it outputs are 0 but for 1e-37 of what is read, and in single precision the exponential would be infinite.
pub(super) const MOST_NEGATIVE_SCALE: f64 = 85.0;

/// What an [`mlstm`] reads at every step.
#[derive(Clone, Debug)]
pub struct MLstmSequences {
    /// q, `[batch_size, seq_length, n_heads, d_key]`.
    pub query: Tensor<4>,
    /// k, `[batch_size, seq_length, n_heads, d_key]`.
    pub key: Tensor<4>,
    /// v, `[batch_size, seq_length, n_heads, d_value]`.
    pub value: Tensor<4>,
    /// i, before its exponential, `[batch_size, seq_length, n_heads]`.
    pub input_gate: Tensor<3>,
    /// f, before its sigmoid, `[batch_size, seq_length, n_heads]`.
    pub forget_gate: Tensor<3>,
}

impl MLstmSequences {
    fn widened(self) -> Self {
        MLstmSequences {
            query: widened(self.query),
            key: widened(self.key),
            value: widened(self.value),
            input_gate: widened(self.input_gate),
            forget_gate: widened(self.forget_gate),
        }
    }

    /// So many steps, from one on.
    pub(crate) fn narrow(&self, first: usize, n: usize) -> Self {
        MLstmSequences {
            query: self.query.clone().narrow(1, first, n),
            key: self.key.clone().narrow(1, first, n),
            value: self.value.clone().narrow(1, first, n),
            input_gate: self.input_gate.clone().narrow(1, first, n),
            forget_gate: self.forget_gate.clone().narrow(1, first, n),
        }
    }

    /// The sizes of sequences.
    ///
    /// # Panics
    /// Unless every tensor has the shape and the type that it must have.
    #[track_caller]
    fn check(&self, spans: &Spans) -> Sizes {
        let [batch_size, seq_length, n_heads, d_key] = self.query.dims();
        let [_, _, _, d_value] = self.value.dims();
        let dims = [batch_size, seq_length, n_heads];
        expect_sizes([batch_size, seq_length, n_heads, d_key, d_value]);
        let dtype = self.query.dtype();
        check("the keys", &self.key, self.query.dims(), dtype);
        let values = [batch_size, seq_length, n_heads, d_value];
        check("the values", &self.value, values, dtype);
        check("the input gates", &self.input_gate, dims, dtype);
        check("the forget gates", &self.forget_gate, dims, dtype);
        expect_rows("the queries", batch_size * seq_length, spans);
        Sizes {
            n_samples: spans.n_samples(),
            n_heads,
            d_key,
            d_value,
            writes: 1,
            read_scale: 1.0,
        }
    }
}

/// What an [`mlstm`] carries from step to step.
#[derive(Clone, Debug)]
pub struct MLstmState {
    /// C, and n as a column behind it, `[batch_size, n_heads, d_key, d_value + 1]`, both times `exp(-m)`.
    pub memory: Tensor<4>,
    /// m, `[batch_size, n_heads]`.
    pub log_scale: Tensor<2>,
}

crate::recurrent_state!(MLstmState { memory, log_scale });

impl MLstmState {
    /// Of C `[batch_size, n_heads, d_key, d_value]`, n `[batch_size, n_heads, d_key]` and m `[batch_size, n_heads]`, as they lie elsewhere.
    pub fn new(memory: Tensor<4>, normalizer: Tensor<3>, log_scale: Tensor<2>) -> Self {
        MLstmState {
            memory: Tensor::cat(vec![memory, normalizer.unsqueeze_dim(3)], 3),
            log_scale,
        }
    }

    /// C, n and m, in the shapes of [`new`](Self::new).
    pub fn into_parts(self) -> (Tensor<4>, Tensor<3>, Tensor<2>) {
        let [_, _, _, columns] = self.memory.dims();
        (
            self.memory.clone().narrow(3, 0, columns - 1),
            self.memory.narrow(3, columns - 1, 1).squeeze_dim(3),
            self.log_scale,
        )
    }

    /// An error unless it has the shapes for so many samples, heads, and numbers in a key and a value, and this type.
    pub(crate) fn check(
        &self,
        [batch_size, n_heads, d_key, d_value]: [usize; 4],
        dtype: DType,
    ) -> Result<(), StateError> {
        let memory = [batch_size, n_heads, d_key, d_value + 1];
        fits("the memory", &self.memory, memory, dtype)?;
        fits(
            "the log scale",
            &self.log_scale,
            [batch_size, n_heads],
            dtype,
        )
    }

    /// Zeros, for so many samples, heads, and numbers in a key and a value.
    pub(crate) fn zeros(
        [batch_size, n_heads, d_key, d_value]: [usize; 4],
        options: (&Device, DType),
    ) -> Self {
        MLstmState {
            memory: Tensor::zeros([batch_size, n_heads, d_key, d_value + 1], options),
            log_scale: Tensor::zeros([batch_size, n_heads], options),
        }
    }

    pub(crate) fn widened(self) -> Self {
        MLstmState {
            memory: widened(self.memory),
            log_scale: widened(self.log_scale),
        }
    }

    pub(crate) fn in_type(self, dtype: DType) -> Self {
        MLstmState {
            memory: in_type(self.memory, dtype),
            log_scale: in_type(self.log_scale, dtype),
        }
    }
}

/// The matrix memories of an mLSTM (Beck et al. 2024, "xLSTM: Extended Long Short-Term Memory") over a whole sequence, from a state or else from zeros. What
/// comes back are the outputs h, `[batch_size, seq_length, n_heads, d_value]`, and the last state.
///
/// ```text
/// m_t = max(log σ(f_t) + m_{t-1}, i_t)                       a scale, so that no exponential overflows
/// a   = exp(log σ(f_t) + m_{t-1} - m_t)     b = exp(i_t - m_t)
/// C   <- a C + b k_t v_tᵀ / √K
/// n   <- a n + b k_t / √K                                    the normaliser
/// h_t = Cᵀ q_t / (max(|nᵀ q_t|, exp(-m_t)) + 1e-6)
/// ```
///
/// It is a [sum](super::WriteRule::Sum) with a decay for each head, where the normaliser is one more column of the values, which holds 1. The gradient flows through m as it stands,
/// the maximum included.
///
/// Numbers in half precision are computed with in single precision, and the outputs and the state come back in half precision.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::ExecutionPath;
/// use fw_core::ops::matrix_memory::{MLstmSequences, mlstm};
///
/// let device = Device::flex();
/// // One sample, two steps, one head: 3 is stored under the key 1, then 5, with half the weight of what is there.
/// let ones = Tensor::<4>::ones([1, 2, 1, 1], &device);
/// let sequences = MLstmSequences {
///     query: ones.clone(),
///     key: ones,
///     value: Tensor::from_data([[[[3.0]], [[5.0]]]], &device),
///     input_gate: Tensor::from_data([[[0.0], [-0.693147]]], &device), // exp(i): 1, 1/2
///     forget_gate: Tensor::full([1, 2, 1], 30.0, &device),            // σ(f) = 1: nothing fades
/// };
/// let (output, _) = mlstm(sequences, None, ExecutionPath::Auto);
/// let read: Vec<f32> = output.try_into_vec_as().unwrap();
/// assert!((read[0] - 3.0).abs() < 1e-4 && (read[1] - 5.5 / 1.5).abs() < 1e-4); // a mean, by weights
/// ```
///
/// # Panics
/// If there are no samples, no steps, or a size is 0; a shape or a type does not fit; or `path` is [`ExecutionPath::Fused`] where there is no kernel.
#[track_caller]
pub fn mlstm(
    sequences: MLstmSequences,
    state: Option<MLstmState>,
    path: ExecutionPath,
) -> (Tensor<4>, MLstmState) {
    let [batch_size, seq_length, _, _] = sequences.query.dims();
    let spans = Spans::of_batch(batch_size, seq_length);
    let sizes = sequences.check(&spans);
    let (device, dtype) = (sequences.query.device(), sequences.query.dtype());
    if let Some(state) = &state {
        expect_fits(state.check(sizes.state(), dtype));
    }
    let operands = (sequences.widened(), state.map(MLstmState::widened));
    #[cfg(feature = "flex")]
    if seq_length == 1
        && path != ExecutionPath::Composed
        && !device.is_autodiff()
        && is_available(&device, operands.0.query.dtype())
    {
        let (output, state) = composed::step_alone(operands.0, operands.1, sizes);
        return (in_type(output, dtype), state.in_type(dtype));
    }
    let (output, state) = path.choose(
        "mLSTMs",
        (&device, dtype),
        operands,
        |(sequences, state)| by_kernel(sequences, &spans, state.as_ref(), sizes),
        |(sequences, state)| composed::sequence(sequences, state, sizes),
    );
    (in_type(output, dtype), state.in_type(dtype))
}

/// [`mlstm`] over spans of `[1, n_rows, ..]`, from a state for each; nothing, where there is no kernel for them. The last states are in the order of
/// their ends.
#[track_caller]
pub(crate) fn mlstm_of_spans(
    sequences: MLstmSequences,
    spans: &Spans,
    state: Option<MLstmState>,
) -> Option<(Tensor<4>, MLstmState)> {
    let sizes = sequences.check(spans);
    let dtype = sequences.query.dtype();
    if let Some(state) = &state {
        expect_fits(state.check(sizes.state(), dtype));
    }
    let state = state.map(MLstmState::widened);
    let (output, state) = by_kernel(&sequences.widened(), spans, state.as_ref(), sizes)?;
    Some((in_type(output, dtype), state.in_type(dtype)))
}

/// The sequences by a kernel of this device, if it has one for the type.
#[allow(
    unused_variables,
    reason = "without a backend that has kernels there is none"
)]
#[track_caller]
fn by_kernel(
    sequences: &MLstmSequences,
    spans: &Spans,
    state: Option<&MLstmState>,
    sizes: Sizes,
) -> Option<(Tensor<4>, MLstmState)> {
    #[cfg(feature = "flex")]
    if is_available(&sequences.query.device(), sequences.query.dtype()) {
        let (given, memory) = given(sequences, state);
        let (output, last) = fused::matrix_memory(&given, spans, memory, sizes, Rule::Gated)?;
        return Some((output, unpacked(last, sizes)));
    }
    None
}

/// What the kernel reads.
#[cfg(feature = "flex")]
fn given<'a>(
    sequences: &MLstmSequences,
    state: Option<&'a MLstmState>,
) -> (Given, Option<&'a Tensor<4>>) {
    let given = Given {
        query: sequences.query.clone(),
        key: sequences.key.clone(),
        value: sequences.value.clone(),
        strength: Some(sequences.input_gate.clone()),
        log_decay: LogDecay::Head(sequences.forget_gate.clone()),
        transition: None,
        start_scale: state.map(|state| state.log_scale.clone()),
    };
    (given, state.map(|state| &state.memory))
}

/// The last states, of what the kernel lays down of each: the memory, then m.
#[cfg(feature = "flex")]
fn unpacked(last: Tensor<4>, sizes: Sizes) -> MLstmState {
    let [n_ends, n_heads, numbers, _] = last.dims();
    let memory = last.clone().narrow(2, 0, numbers - 1);
    MLstmState {
        memory: memory.reshape([n_ends, n_heads, sizes.d_key, sizes.d_value + 1]),
        log_scale: last.narrow(2, numbers - 1, 1).reshape([n_ends, n_heads]),
    }
}

/// The kernel, with given instructions and chunks of a given length.
#[cfg(all(test, feature = "flex"))]
pub(super) fn by_kernel_in(
    sequences: &MLstmSequences,
    spans: &Spans,
    state: Option<&MLstmState>,
    how: (crate::ops::cpu::Arch, usize),
) -> (Tensor<4>, MLstmState) {
    let sizes = sequences.check(spans);
    let (given, memory) = given(sequences, state);
    let (output, last) = fused::run(&given, spans, memory, sizes, Rule::Gated, how);
    (output, unpacked(last, sizes))
}
