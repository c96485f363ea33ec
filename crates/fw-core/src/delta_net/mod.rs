//! Matrix memories as a layer: DeltaNet, Gated DeltaNet, Kimi delta attention and DeltaProduct.

mod config;
mod convolution;
mod gate;
mod options;
mod pass;
mod spans;
mod state;
mod trace;

use alloc::vec;
use alloc::vec::Vec;

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{DType, Device, Tensor};

use crate::display::displayed;
use crate::maps::project_maps;
use crate::ops::Spans;
use crate::recurrent::{advance_by, forward_by, step_by_kernel};
use crate::{ExecutionPath, Recurrent, StateError, WriteRule};

pub use config::DeltaNetConfig;
pub use convolution::ShortConvolution;
pub(crate) use convolution::convolve;
pub(crate) use gate::linear;
pub use gate::{GateProjection, HeadNorm};
pub use options::{DecayKind, Eigenvalues, FeatureMap, KeyNorm, OutputGate, WriteStrength};
pub use state::DeltaNetState;

/// Heads with a matrix memory each, which every step writes by the delta rule and reads: DeltaNet and what it became. They are fast weights without a
/// hidden state: what is written depends on the input alone, so that whole chunks of steps are computed at once.
///
/// ```text
/// q, k, v = φ(conv(x W_q)), φ(conv(x W_k)), SiLU(conv(x W_v))       conv: the last few steps, channel by channel
/// q, k    = q / |q|, k / |k|                                        each head
/// β = σ(x W_b)                                                      2 σ(x W_b), if eigenvalues are signed
/// g = -exp(A) softplus(x W_a + b_a)                                 0, if nothing fades
///
/// S <- exp(g) S
/// S <- S + β k (v - Sᵀ k)ᵀ                                          n writes of the step, one after another
/// o = Sᵀ q / √K
///
/// y = (w o / √(mean(o²) + ε) gate(x W_g)) W_o                       each head, then all of them
/// ```
///
/// where
/// - `W_q`, `W_k`, `W_v`, `W_b`, `W_a`, `W_g` and `W_o` are [`q_proj`](Self::q_proj) to [`o_proj`](Self::o_proj), without biases (with a
///   [rank](DeltaNetConfig::gate_rank), the second map of `W_g` has one), uniform in ±1/√(width of what is read) at the start;
/// - `conv` is [`q_conv1d`](Self::q_conv1d) and its like; φ is the [feature map](DeltaNetConfig::feature_map), `|.|` the [norm](KeyNorm);
/// - `A` and `b_a` are [`a_log`](Self::a_log) and [`dt_bias`](Self::dt_bias): at the start exp(A) is uniform up to 16, and softplus(b_a) lies from
///   0.001 to 0.1, so that a head holds what it has for a few steps or for thousands;
/// - `w` is the weight of [`o_norm`](Self::o_norm), and gate the [output gate](DeltaNetConfig::output_gate);
/// - `S` is `[K, V]`, one for each sample and head, 0 at the start. The operation itself is [`crate::ops::matrix_memory`].
///
/// | configuration | decay | values | writes a step | β | output gate |
/// |---|---|---|---|---|---|
/// | [`new`](DeltaNetConfig::new): DeltaNet | none | as wide as keys | 1 | (0, 1) | none |
/// | [`gated`](DeltaNetConfig::gated): Gated DeltaNet | a head | twice as wide | 1 | (0, 1) | SiLU |
/// | [`kimi`](DeltaNetConfig::kimi): Kimi delta attention | a channel | as wide as keys | 1 | (0, 1) | sigmoid, of low rank |
/// | [`product`](DeltaNetConfig::product): Gated DeltaProduct | a head | twice as wide | 2 | (0, 2) | SiLU |
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_output]`
///
/// # Differences from the papers
///
/// The layers are those of flash-linear-attention, with its names of parameters and their order, so that its weights fit (a linear map's weight is
/// `[d_output, d_input]` there). What it has beside that is not here: more heads for values than for keys, biases of the convolutions, and a lower bound of
/// Kimi's decay. What can be mixed is not limited to what has a name: each option goes with each other.
///
/// Queries and keys are normalised, and everything between the projections is computed, in single precision where parameters are in half precision.
///
/// # Source
///
/// I. Schlag, K. Irie, J. Schmidhuber, "Linear Transformers Are Secretly Fast Weight Programmers", ICML 2021; S. Yang, B. Wang, Y. Zhang, Y. Shen,
/// Y. Kim, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length", NeurIPS 2024; S. Yang, J. Kautz, A. Hatamizadeh, "Gated Delta
/// Networks", ICLR 2025; R. Grazzi et al., "Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues", ICLR 2025; J. Siems et al.,
/// "DeltaProduct", 2025; Kimi team, "Kimi Linear", arXiv:2510.26692, 2025.
///
/// # Example
///
/// One head of one number, where all maps are 1 and each write is whole: 2 is stored and read, then -1 replaces it.
///
/// ```
/// use burn::nn::Initializer;
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{DeltaNetConfig, FeatureMap, Recurrent, WriteStrength};
///
/// let device = Device::flex();
/// let config = DeltaNetConfig::new(1, 1, 1)
///     .with_convolution(None)
///     .with_feature_map(FeatureMap::Identity)
///     .with_write_strength(WriteStrength::One)
///     .with_output_norm(false)
///     .with_initializer(Some(Initializer::Ones));
/// let (_, state) = config.init(&device).forward(Tensor::from_data([[[2.0], [-1.0]]], &device), None);
/// // SiLU(-1), under the key -1.
/// let memory: Vec<f32> = state.memory.try_into_vec_as().unwrap();
/// assert!((memory[0] - 0.268941).abs() < 1e-5);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct DeltaNet {
    /// W_q, to `n_heads d_key`.
    pub q_proj: Linear,
    /// W_k, to `n n_heads d_key`: the heads of the step's first write, then those of the next.
    pub k_proj: Linear,
    /// W_v, to `n n_heads d_value`, in the same order.
    pub v_proj: Linear,
    /// W_b, to `n n_heads`, in the same order, if β is learned.
    pub b_proj: Option<Linear>,
    /// W_a of a decay for each head, to `n_heads`.
    pub a_proj: Option<Linear>,
    /// W_a of a decay for each channel, to `n_heads d_key`.
    pub f_proj: Option<GateProjection>,
    /// A, `[n_heads]`, if something fades.
    pub a_log: Option<Param<Tensor<1>>>,
    /// b_a, `[n_heads]`, or `[n_heads d_key]` of a decay for each channel.
    pub dt_bias: Option<Param<Tensor<1>>>,
    /// The convolution of queries.
    pub q_conv1d: Option<ShortConvolution>,
    /// The convolution of keys.
    pub k_conv1d: Option<ShortConvolution>,
    /// The convolution of values.
    pub v_conv1d: Option<ShortConvolution>,
    /// W_g, to `n_heads d_value`, if there is an output gate.
    pub g_proj: Option<GateProjection>,
    /// The norm of the heads' outputs.
    pub o_norm: Option<HeadNorm>,
    /// W_o, from `n_heads d_value`.
    pub o_proj: Linear,
    #[module(skip)]
    options: Options,
}

/// What a layer is, beside its parameters.
#[derive(Clone, Copy, Debug)]
struct Options {
    n_heads: usize,
    d_key: usize,
    d_value: usize,
    rule: WriteRule,
    decay: DecayKind,
    writes: usize,
    eigenvalues: Eigenvalues,
    convolution: Option<usize>,
    feature_map: FeatureMap,
    key_norm: KeyNorm,
    output_gate: OutputGate,
    epsilon: f64,
    path: ExecutionPath,
}

impl Options {
    /// Widths of what the convolution goes over: queries, keys and values.
    fn mixed(&self) -> [usize; 3] {
        let (d_keys, d_values) = (self.n_heads * self.d_key, self.n_heads * self.d_value);
        [d_keys, self.writes * d_keys, self.writes * d_values]
    }

    /// Steps that the convolution sees before a step.
    fn n_before(&self) -> usize {
        self.convolution.map_or(0, |size| size - 1)
    }
}

displayed!(DeltaNet: |layer|
    d_input = layer.d_input(),
    d_output = layer.d_output(),
    n_heads = layer.options.n_heads,
    d_key = layer.options.d_key,
    d_value = layer.options.d_value,
    rule = alloc::format!("{:?}", layer.options.rule),
    decay = alloc::format!("{:?}", layer.options.decay),
    writes_per_step = layer.options.writes,
    eigenvalues = alloc::format!("{:?}", layer.options.eigenvalues),
    convolution = layer.options.convolution.unwrap_or(0),
    output_gate = alloc::format!("{:?}", layer.options.output_gate));

impl DeltaNet {
    /// Writes of a step.
    pub fn writes_per_step(&self) -> usize {
        self.options.writes
    }

    /// The maps that read the input, in the order in which their results lie side by side.
    fn maps(&self) -> Vec<&Linear> {
        let mut maps = vec![&self.q_proj, &self.k_proj, &self.v_proj];
        maps.extend(&self.b_proj);
        maps.extend(&self.a_proj);
        maps.extend(self.f_proj.as_ref().map(GateProjection::first));
        maps.extend(self.g_proj.as_ref().map(GateProjection::first));
        maps
    }

    /// The shapes of a state.
    fn state_shapes(&self, batch_size: usize) -> ([usize; 4], Option<[usize; 3]>) {
        let options = &self.options;
        let (n_before, width) = (options.n_before(), options.mixed().iter().sum());
        (
            [batch_size, options.n_heads, options.d_key, options.d_value],
            (n_before > 0).then_some([batch_size, n_before, width]),
        )
    }
}

impl Recurrent for DeltaNet {
    type State = DeltaNetState;

    fn d_input(&self) -> usize {
        self.q_proj.weight.lazy_shape()[0]
    }

    fn d_output(&self) -> usize {
        self.o_proj.weight.lazy_shape()[1]
    }

    /// The memories, and what the convolution still sees.
    fn state_size(&self, _seq_length: usize) -> usize {
        let (memory, recent) = self.state_shapes(1);
        let recent = recent.map_or(0, |shape| shape.iter().product());
        memory.iter().product::<usize>() + recent
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> DeltaNetState {
        let options = (device, self.o_proj.weight.val().dtype());
        let (memory, recent) = self.state_shapes(batch_size);
        DeltaNetState {
            memory: Tensor::zeros(memory, options),
            recent: recent.map(|shape| Tensor::zeros(shape, options)),
        }
    }

    fn check_state(
        &self,
        state: &DeltaNetState,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        let (memory, recent) = self.state_shapes(batch_size);
        state.check(memory, recent, dtype)
    }

    /// All maps of the input, side by side.
    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        project_maps(&self.maps(), input)
    }

    fn step(&self, input_t: Tensor<2>, state: DeltaNetState) -> (Tensor<2>, DeltaNetState) {
        step_by_kernel(self, input_t, state)
    }

    fn advance(&self, projected_t: Tensor<2>, state: DeltaNetState) -> (Tensor<2>, DeltaNetState) {
        advance_by(self, projected_t, state, |projected, state| {
            self.run(projected, state, ExecutionPath::Composed)
        })
    }

    /// The whole sequence: the memories as one operation where there is a kernel for the device, in chunks of tensor operations elsewhere.
    fn forward_projected(
        &self,
        projected: Tensor<3>,
        state: Option<DeltaNetState>,
    ) -> (Tensor<3>, DeltaNetState) {
        let path = self.options.path;
        forward_by(self, projected, state, |projected, state| {
            self.run(projected, state, path)
        })
    }

    fn forward_spans(
        &self,
        input: &Tensor<2>,
        state: Option<DeltaNetState>,
        spans: &Spans,
    ) -> Option<(Tensor<2>, DeltaNetState)> {
        self.spans_by_kernel(input, state, spans)
    }
}
