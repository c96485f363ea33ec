//! The matrix memory of RWKV-7: a decay for each channel, and a transition of rank one with two vectors of its own.

use alloc::vec;
use alloc::vec::Vec;

use burn::tensor::Tensor;

use super::Sizes;
use super::shapes::{expect_rows, expect_sizes};
#[cfg(feature = "flex")]
use super::{Given, LogDecay, Rule, alone, fused, is_available};
use crate::ops::precision::{in_type, widened};
use crate::ops::shapes::check;
use crate::ops::{ExecutionPath, Spans, cut};

/// What an [`rwkv7`] reads at every step.
#[derive(Clone, Debug)]
pub struct Rwkv7Sequences {
    /// r, the receptance, which reads: `[batch_size, seq_length, n_heads, d_key]`.
    pub receptance: Tensor<4>,
    /// w, the logarithm of the decay of each key channel, at most 0: `[batch_size, seq_length, n_heads, d_key]`.
    pub log_decay: Tensor<4>,
    /// k: `[batch_size, seq_length, n_heads, d_key]`.
    pub key: Tensor<4>,
    /// v: `[batch_size, seq_length, n_heads, d_value]`.
    pub value: Tensor<4>,
    /// a, with which the memory is read before it changes: `[batch_size, seq_length, n_heads, d_key]`.
    pub transition_read: Tensor<4>,
    /// b, under which that is written: `[batch_size, seq_length, n_heads, d_key]`.
    pub transition_write: Tensor<4>,
}

impl Rwkv7Sequences {
    /// Each tensor by itself.
    pub(crate) fn map(self, mut change: impl FnMut(Tensor<4>) -> Tensor<4>) -> Self {
        Rwkv7Sequences {
            receptance: change(self.receptance),
            log_decay: change(self.log_decay),
            key: change(self.key),
            value: change(self.value),
            transition_read: change(self.transition_read),
            transition_write: change(self.transition_write),
        }
    }

    /// Each step by itself, as rows `[batch_size, n_heads, 1, width]`.
    fn steps(self) -> Vec<Rwkv7Sequences> {
        let [_, seq_length, _, _] = self.receptance.dims();
        let each = |sequence: Tensor<4>| {
            let steps = cut(sequence, 1, &vec![1; seq_length]).into_iter();
            steps.map(|step| {
                let [batch_size, _, n_heads, width] = step.dims();
                step.reshape([batch_size, n_heads, 1, width])
            })
        };
        let (mut receptance, mut log_decay) = (each(self.receptance), each(self.log_decay));
        let (mut key, mut value) = (each(self.key), each(self.value));
        let (mut transition_read, mut transition_write) =
            (each(self.transition_read), each(self.transition_write));
        let there = "each has as many steps";
        let step = |_| Rwkv7Sequences {
            receptance: receptance.next().expect(there),
            log_decay: log_decay.next().expect(there),
            key: key.next().expect(there),
            value: value.next().expect(there),
            transition_read: transition_read.next().expect(there),
            transition_write: transition_write.next().expect(there),
        };
        (0..seq_length).map(step).collect()
    }

    /// The sizes of sequences.
    ///
    /// # Panics
    /// Unless every tensor has the shape and the type that it must have.
    #[track_caller]
    fn check(&self, spans: &Spans, state: Option<&Tensor<4>>) -> Sizes {
        let [batch_size, seq_length, n_heads, d_key] = self.receptance.dims();
        let [_, _, _, d_value] = self.value.dims();
        let values = [batch_size, seq_length, n_heads, d_value];
        expect_sizes([batch_size, seq_length, n_heads, d_key, d_value]);
        let (keys, dtype) = (self.receptance.dims(), self.receptance.dtype());
        check("the log decay", &self.log_decay, keys, dtype);
        check("the keys", &self.key, keys, dtype);
        check("the values", &self.value, values, dtype);
        check(
            "the vectors that a transition reads with",
            &self.transition_read,
            keys,
            dtype,
        );
        check(
            "the vectors that a transition writes under",
            &self.transition_write,
            keys,
            dtype,
        );
        expect_rows("the receptances", batch_size * seq_length, spans);
        let sizes = Sizes {
            n_samples: spans.n_samples(),
            n_heads,
            d_key,
            d_value,
            // What a reads, and the value.
            writes: 2,
            read_scale: 1.0,
        };
        if let Some(state) = state {
            check("the memory", state, sizes.state(), dtype);
        }
        sizes
    }

    #[cfg(feature = "flex")]
    fn given(self) -> Given {
        Given {
            query: self.receptance,
            key: self.key,
            value: self.value,
            strength: None,
            log_decay: LogDecay::Channel(self.log_decay),
            transition: Some([self.transition_read, self.transition_write]),
            start_scale: None,
        }
    }
}

/// The matrix memories of RWKV-7 (Peng et al. 2025, "RWKV-7 \"Goose\" with Expressive Dynamic State Evolution") over a whole sequence, from a state
/// `[batch_size, n_heads, d_key, d_value]` or else from zeros. What comes back are the outputs `[batch_size, seq_length, n_heads, d_value]` and the last
/// state.
///
/// ```text
/// S   <- exp(w_t) S + b_t (Sᵀ a_t)ᵀ + k_t v_tᵀ            both with the S before this step
/// o_t = Sᵀ r_t                                            with the S after it
/// ```
///
/// where each number of `w_t` belongs to a key channel, a row of S. With `a = -k`, `b = β k` and `β v` in place of v it is the
/// [delta rule](super::WriteRule::Delta), but that what is to be replaced is read before the step fades; with an a and a b of their own a memory can be
/// moved about, too.
///
/// Numbers in half precision are computed with in single precision, and the outputs and the state come back in half precision. On a CPU without
/// autodiff one step alone writes the memory where it lies, if no one else has it: hand the state over rather than a clone of it.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::ExecutionPath;
/// use fw_core::ops::matrix_memory::{Rwkv7Sequences, rwkv7};
///
/// let device = Device::flex();
/// // One sample, two steps, one head of two channels: 3 is stored in channel 0, then moved to channel 1.
/// let steps = |numbers: [[f32; 2]; 2]| Tensor::<4>::from_data([numbers.map(|step| [step])], &device);
/// let sequences = Rwkv7Sequences {
///     receptance: steps([[1.0, 0.0], [0.0, 1.0]]),
///     log_decay: steps([[0.0, 0.0], [-100.0, 0.0]]), // channel 0 fades
///     key: steps([[1.0, 0.0], [0.0, 0.0]]),
///     value: Tensor::from_data([[[[3.0]], [[0.0]]]], &device),
///     transition_read: steps([[0.0, 0.0], [1.0, 0.0]]),
///     transition_write: steps([[0.0, 0.0], [0.0, 1.0]]),
/// };
/// let (output, _) = rwkv7(sequences, None, ExecutionPath::Auto);
/// assert_eq!(output.try_into_vec_as::<f32>().unwrap(), [3.0, 3.0]);
/// ```
///
/// # Panics
/// If there are no samples, no steps, or a size is 0; a shape or a type does not fit; or `path` is [`ExecutionPath::Fused`] where there is no kernel.
#[track_caller]
pub fn rwkv7(
    sequences: Rwkv7Sequences,
    state: Option<Tensor<4>>,
    path: ExecutionPath,
) -> (Tensor<4>, Tensor<4>) {
    let [batch_size, seq_length, _, _] = sequences.receptance.dims();
    let spans = Spans::of_batch(batch_size, seq_length);
    let sizes = sequences.check(&spans, state.as_ref());
    let (device, dtype) = (sequences.receptance.device(), sequences.receptance.dtype());
    let operands = (sequences.map(widened), state.map(widened));
    #[cfg(feature = "flex")]
    if seq_length == 1
        && path != ExecutionPath::Composed
        && !device.is_autodiff()
        && is_available(&device, operands.0.receptance.dtype())
    {
        let (given, state) = (operands.0.given(), operands.1);
        let (output, state) = alone::step_alone(&given, state, sizes, Rule::Transition);
        return (in_type(output, dtype), in_type(state, dtype));
    }
    let (output, state) = path.choose(
        "RWKV-7",
        (&device, dtype),
        operands,
        |(sequences, state)| by_kernel(sequences, &spans, state.as_ref(), sizes),
        |(sequences, state)| composed_sequence(sequences, state, sizes),
    );
    (in_type(output, dtype), in_type(state, dtype))
}

/// [`rwkv7`] over spans of `[1, n_rows, ..]`, from a state for each; nothing, where there is no kernel for them. The last states are in the order of
/// their ends.
#[track_caller]
pub(crate) fn rwkv7_of_spans(
    sequences: Rwkv7Sequences,
    spans: &Spans,
    state: Option<Tensor<4>>,
) -> Option<(Tensor<4>, Tensor<4>)> {
    let sizes = sequences.check(spans, state.as_ref());
    let dtype = sequences.receptance.dtype();
    let (sequences, state) = (sequences.map(widened), state.map(widened));
    let (output, state) = by_kernel(&sequences, spans, state.as_ref(), sizes)?;
    Some((in_type(output, dtype), in_type(state, dtype)))
}

/// The sequences by a kernel of this device, if it has one for the type.
#[allow(
    unused_variables,
    reason = "without a backend that has kernels there is none"
)]
#[track_caller]
fn by_kernel(
    sequences: &Rwkv7Sequences,
    spans: &Spans,
    state: Option<&Tensor<4>>,
    sizes: Sizes,
) -> Option<(Tensor<4>, Tensor<4>)> {
    #[cfg(feature = "flex")]
    if is_available(&sequences.receptance.device(), sequences.receptance.dtype()) {
        let given = sequences.clone().given();
        return fused::matrix_memory(&given, spans, state, sizes, Rule::Transition);
    }
    None
}

/// The kernel, with given instructions and chunks of a given length.
#[cfg(all(test, feature = "flex"))]
pub(super) fn by_kernel_in(
    sequences: &Rwkv7Sequences,
    spans: &Spans,
    state: Option<&Tensor<4>>,
    how: (crate::ops::cpu::Arch, usize),
) -> (Tensor<4>, Tensor<4>) {
    let sizes = sequences.check(spans, state);
    let given = sequences.clone().given();
    fused::run(&given, spans, state, sizes, Rule::Transition, how)
}

/// The equations in tensor operations, which run on every backend, step by step.
fn composed_sequence(
    sequences: Rwkv7Sequences,
    state: Option<Tensor<4>>,
    sizes: Sizes,
) -> (Tensor<4>, Tensor<4>) {
    let options = (&sequences.receptance.device(), sequences.receptance.dtype());
    let mut state = state.unwrap_or_else(|| Tensor::zeros(sizes.state(), options));
    let [n_samples, n_heads, d_key, d_value] = sizes.state();
    let mut outputs = Vec::new();
    for step in sequences.steps() {
        let column = |row: Tensor<4>| row.reshape([n_samples, n_heads, d_key, 1]);
        let read = step.transition_read.matmul(state.clone());
        state = state * column(step.log_decay.exp())
            + column(step.transition_write).matmul(read)
            + column(step.key).matmul(step.value);
        let output = step.receptance.matmul(state.clone());
        outputs.push(output.reshape([n_samples, 1, n_heads, d_value]));
    }
    (Tensor::cat(outputs, 1), state)
}
