//! The mLSTM: matrix memories with exponential gates.

mod config;

use alloc::vec::Vec;

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::activation::{log_sigmoid, sigmoid};
use burn::tensor::{DType, Device, Tensor};

use crate::display::displayed;
use crate::error::expect_fits;
use crate::maps::{cut_widths, project_maps};
use crate::matrix_memory_trace::recalled;
use crate::ops::matrix_memory::{MLstmSequences, mlstm, mlstm_of_spans};
use crate::ops::precision::{in_type, widened};
use crate::ops::{Spans, project_linear, takes_spans};
use crate::recurrent::{advance_by, check_input, forward_by, state_or_initial, step_by_kernel};
use crate::{
    ExecutionPath, HeadsLayerNorm, MLstmState, MLstmTrace, MatrixMemoryTrace, Recurrent, StateError,
};

pub use config::MLstmConfig;

/// Heads with a matrix memory each, which gates with exponentials write and fade: a step that matters much can outweigh all that is there, and what is
/// read is a mean of what was written, by these weights.
///
/// ```text
/// q, k, v = x W_q, x W_k, x W_v                                     each head
/// i, f    = c tanh((x W_i + b_i) / c), c tanh((x W_f + b_f) / c)    a number for each head
///
/// m'  = max(log σ(f) + m, i)                                        a scale, so that no exponential overflows
/// C   <- exp(log σ(f) + m - m') C + exp(i - m') k vᵀ / √K
/// n   <- exp(log σ(f) + m - m') n + exp(i - m') k / √K
/// h   = Cᵀ q / (max(|nᵀ q|, exp(-m')) + 1e-6)
///
/// y = (w norm(h) σ(x W_o)) W                                        each head, then all of them
/// ```
///
/// where
/// - `W_q`, `W_k`, `W_v`, `W_o` and `W` are [`q`](Self::q), [`k`](Self::k), [`v`](Self::v), [`ogate_preact`](Self::ogate_preact) and
///   [`out_proj`](Self::out_proj), without biases, uniform in ±1/√(width of what is read) at the start;
/// - `W_i`, `b_i` and `W_f`, `b_f` are [`igate_preact`](Self::igate_preact) and [`fgate_preact`](Self::fgate_preact): the maps 0 at the start, `b_i` as
///   [configured](MLstmConfig::input_gate_bias), `b_f` from 3 for the first head to 6 for the last, so that, with the cap of 15, heads forget a half in 14 steps up to 207;
/// - `c` is the [cap of the gates](MLstmConfig::gate_cap); `norm` takes away the mean of a head and divides by its standard deviation, and `w` is the weight of
///   [`multihead_norm`](Self::multihead_norm), 1 at the start;
/// - `C` is `[K, V]` and `n` is `[K]`, one for each sample and head, 0 at the start, as is `m`. The operation itself is
///   [`ops::matrix_memory::mlstm`](crate::ops::matrix_memory::mlstm()).
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_output]`
///
/// # Differences from the paper
///
/// The layer is that of xLSTM 7B, as the package `xlstm` (2.0.6) has it (`xlstm_large.model.mLSTMLayer` with `weight_mode="single"`), with its names and their order,
/// so that its weights fit. The mLSTM of the first paper has a convolution before its queries and keys, and a projection to a greater width around itself;
/// there the division knows no ε, and the start values of the gates are those given here.
/// Everything between the projections is computed in single precision where parameters are in half precision.
///
/// # Source
///
/// M. Beck et al., "xLSTM: Extended Long Short-Term Memory", NeurIPS 2024, section 2.3; M. Beck et al., "xLSTM 7B", 2025.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{MLstmConfig, Recurrent};
///
/// // Two heads with keys of 16 and values of 32 numbers.
/// let layer = MLstmConfig::new(8, 2, 16).init(&Device::flex());
/// let (output, state) = layer.forward(Tensor::zeros([4, 10, 8], &Device::flex()), None);
/// assert_eq!(output.dims(), [4, 10, 8]);
/// let (memory, normalizer, _) = state.into_parts();
/// assert_eq!(memory.dims(), [4, 2, 16, 32]);
/// // Nothing was written: values and keys of zeros are zeros.
/// assert_eq!(normalizer.abs().max().into_scalar::<f32>(), 0.0);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct MLstm {
    /// W_q, to `n_heads d_key`.
    pub q: Linear,
    /// W_k, to `n_heads d_key`.
    pub k: Linear,
    /// W_v, to `n_heads d_value`.
    pub v: Linear,
    /// W_o, to `n_heads d_value`.
    pub ogate_preact: Linear,
    /// W_i and b_i, to `n_heads`.
    pub igate_preact: Linear,
    /// W_f and b_f, to `n_heads`.
    pub fgate_preact: Linear,
    /// w, of the norm of the heads' outputs.
    pub multihead_norm: HeadsLayerNorm,
    /// W, from `n_heads d_value`.
    pub out_proj: Linear,
    #[module(skip)]
    options: Options,
}

/// What a layer is, beside its parameters.
#[derive(Clone, Copy, Debug)]
struct Options {
    n_heads: usize,
    d_key: usize,
    d_value: usize,
    gate_cap: Option<f64>,
    epsilon: f64,
    path: ExecutionPath,
}

displayed!(MLstm: |layer|
    d_input = layer.d_input(),
    d_output = layer.d_output(),
    n_heads = layer.options.n_heads,
    d_key = layer.options.d_key,
    d_value = layer.options.d_value,
    gate_cap = layer.options.gate_cap.unwrap_or(f64::INFINITY));

impl MLstm {
    /// The maps that read the input, in the order in which their results lie side by side.
    fn maps(&self) -> [&Linear; 6] {
        [
            &self.q,
            &self.k,
            &self.v,
            &self.ogate_preact,
            &self.igate_preact,
            &self.fgate_preact,
        ]
    }

    /// What the memory reads, and the output gate before its sigmoid.
    #[track_caller]
    fn parts(&self, projected: Tensor<3>) -> (MLstmSequences, Tensor<3>) {
        let [batch_size, seq_length, _] = projected.dims();
        let Options {
            n_heads,
            d_key,
            d_value,
            gate_cap,
            ..
        } = self.options;
        let widths = self.maps().map(|map| map.weight.lazy_shape()[1]);
        let parts = cut_widths(projected, &widths);
        let [query, key, value, output_gate, input_gate, forget_gate]: [Tensor<3>; 6] =
            parts.try_into().expect("as many as there are maps");
        let heads = |rows: Tensor<3>, width| rows.reshape([batch_size, seq_length, n_heads, width]);
        let capped = |gate: Tensor<3>| match gate_cap {
            Some(cap) => (widened(gate) / cap).tanh() * cap,
            None => widened(gate),
        };
        let sequences = MLstmSequences {
            query: widened(heads(query, d_key)),
            key: widened(heads(key, d_key)),
            value: widened(heads(value, d_value)),
            input_gate: capped(input_gate),
            forget_gate: capped(forget_gate),
        };
        (sequences, output_gate)
    }

    /// What the layer makes of what was read.
    fn outputs(&self, read: Tensor<4>, output_gate: Tensor<3>) -> Tensor<3> {
        let dtype = output_gate.dtype();
        let normed = self.multihead_norm.apply(read, self.options.epsilon);
        let gated = normed * sigmoid(widened(output_gate));
        project_linear(&self.out_proj, in_type(gated, dtype))
    }

    /// A sequence of samples, which must be there, from a state that fits.
    #[track_caller]
    fn run(
        &self,
        projected: Tensor<3>,
        state: MLstmState,
        path: ExecutionPath,
    ) -> (Tensor<3>, MLstmState) {
        let dtype = projected.dtype();
        let (sequences, output_gate) = self.parts(projected);
        let (read, state) = mlstm(sequences, Some(state.widened()), path);
        (self.outputs(read, output_gate), state.in_type(dtype))
    }

    /// [`forward`](Recurrent::forward) that also tells what the memories hold after each step: for heat maps.
    ///
    /// It takes the steps one after another, and gives the same numbers.
    ///
    /// # Panics
    /// As [`forward`](Recurrent::forward).
    #[track_caller]
    pub fn forward_traced(&self, input: Tensor<3>, state: Option<MLstmState>) -> MLstmTrace {
        check_input(&input, self.d_input());
        let state = state_or_initial(self, &input, state);
        let ([batch_size, seq_length, _], n_heads) = (input.dims(), self.options.n_heads);
        if batch_size == 0 {
            return MatrixMemoryTrace::of_no_samples(self, &input, state, [n_heads, 1]);
        }
        let dtype = input.dtype();
        let (sequences, output_gate) = self.parts(self.project(input));
        let mut state = state.widened();
        let (mut reads, mut recall) = (Vec::new(), Vec::new());
        let (mut strengths, mut decays) = (Vec::new(), Vec::new());
        for t in 0..seq_length {
            let of_step = sequences.narrow(t, 1);
            let log_forget = log_sigmoid(of_step.forget_gate.clone()).squeeze_dim::<2>(1);
            let log_input = of_step.input_gate.clone().squeeze_dim::<2>(1);
            let before = state.log_scale.clone();
            let (read, next) = mlstm(of_step, Some(state), ExecutionPath::Composed);
            state = next;
            reads.push(read);
            strengths.push((log_input - state.log_scale.clone()).exp());
            decays.push((log_forget + before - state.log_scale.clone()).exp());
            let memory = state.memory.clone().narrow(3, 0, self.options.d_value);
            recall.push(recalled(&sequences.key, &sequences.value, t + 1, memory));
        }
        MatrixMemoryTrace {
            output: self.outputs(Tensor::cat(reads, 1), output_gate),
            state: state.in_type(dtype),
            recall: in_type(Tensor::cat(recall, 2), dtype),
            write_strength: in_type(Tensor::stack(strengths, 1), dtype),
            decay: in_type(Tensor::stack(decays, 1), dtype),
        }
    }

    fn state_sizes(&self, batch_size: usize) -> [usize; 4] {
        let options = &self.options;
        [batch_size, options.n_heads, options.d_key, options.d_value]
    }
}

impl Recurrent for MLstm {
    type State = MLstmState;

    fn d_input(&self) -> usize {
        self.q.weight.lazy_shape()[0]
    }

    fn d_output(&self) -> usize {
        self.out_proj.weight.lazy_shape()[1]
    }

    fn state_size(&self, _seq_length: usize) -> usize {
        let [_, n_heads, d_key, d_value] = self.state_sizes(1);
        n_heads * (d_key * (d_value + 1) + 1)
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> MLstmState {
        let dtype = self.out_proj.weight.val().dtype();
        MLstmState::zeros(self.state_sizes(batch_size), (device, dtype))
    }

    fn check_state(
        &self,
        state: &MLstmState,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        state.check(self.state_sizes(batch_size), dtype)
    }

    /// All maps of the input, side by side.
    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        project_maps(&self.maps(), input)
    }

    fn step(&self, input_t: Tensor<2>, state: MLstmState) -> (Tensor<2>, MLstmState) {
        step_by_kernel(self, input_t, state)
    }

    fn advance(&self, projected_t: Tensor<2>, state: MLstmState) -> (Tensor<2>, MLstmState) {
        advance_by(self, projected_t, state, |projected, state| {
            self.run(projected, state, ExecutionPath::Composed)
        })
    }

    /// The whole sequence: the memories as one operation where there is a kernel for the device, in chunks of tensor operations elsewhere.
    fn forward_projected(
        &self,
        projected: Tensor<3>,
        state: Option<MLstmState>,
    ) -> (Tensor<3>, MLstmState) {
        let path = self.options.path;
        forward_by(self, projected, state, |projected, state| {
            self.run(projected, state, path)
        })
    }

    fn forward_spans(
        &self,
        input: &Tensor<2>,
        state: Option<MLstmState>,
        spans: &Spans,
    ) -> Option<(Tensor<2>, MLstmState)> {
        let is_composed = self.options.path == ExecutionPath::Composed;
        if is_composed || !takes_spans(&input.device(), input.dtype()) {
            return None;
        }
        let dtype = input.dtype();
        if let Some(state) = &state {
            expect_fits(self.check_state(state, spans.n_samples(), dtype));
        }
        let projected = self.project(input.clone().unsqueeze_dim(0));
        let (sequences, output_gate) = self.parts(projected);
        let state = state.map(MLstmState::widened);
        let (read, state) = mlstm_of_spans(sequences, spans, state)?;
        let output = self.outputs(read, output_gate).squeeze_dim(0);
        Some((output, state.in_type(dtype)))
    }
}
