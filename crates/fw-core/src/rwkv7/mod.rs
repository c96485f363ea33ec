//! RWKV-7: matrix memories with a decay for each channel and a transition of their own.

mod config;

use alloc::vec;
use alloc::vec::Vec;

use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::activation::sigmoid;
use burn::tensor::{DType, Device, Tensor};
#[cfg(not(feature = "std"))]
#[allow(
    unused_imports,
    reason = "shadowed by std's own methods where another crate brings std in"
)]
use num_traits::Float as _;

use crate::display::displayed;
use crate::error::expect_fits;
use crate::matrix_memory_trace::recalled;
use crate::ops::matrix_memory::{Rwkv7Sequences, rwkv7, rwkv7_of_spans};
use crate::ops::precision::{in_type, widened};
use crate::ops::shapes::fits;
use crate::ops::{Spans, project_linear, rows, takes_spans};
use crate::recurrent::{advance_by, check_input, forward_by, state_or_initial, step_by_kernel};
use crate::{ExecutionPath, HeadsLayerNorm, MatrixMemoryTrace, Recurrent, Rwkv7Trace, StateError};

pub use config::Rwkv7Config;

/// `e^-0.5`: the logarithm of a decay is at least minus this, so that a step leaves 0.545 of a channel or more.
const FASTEST_DECAY: f64 = 0.606_530_659_712_633_4;

/// Two linear maps, one after the other, with a function between them: a map of a lower rank.
#[derive(Module, Debug)]
pub struct LowRank {
    /// To the width between them, without a bias; 0 at the start.
    pub first: Linear,
    /// From there, orthogonal with a gain of 0.1 at the start.
    pub second: Linear,
}

impl LowRank {
    fn init([d_input, rank, d_output]: [usize; 3], device: &Device) -> Self {
        let map = |from, to, initializer| {
            let config = LinearConfig::new(from, to).with_bias(false);
            config.with_initializer(initializer).init(device)
        };
        // As if the map were turned: a wide one is not made smaller by its rows.
        let gain = 0.1 * (rank as f64 / d_output as f64).sqrt().max(1.0);
        LowRank {
            first: map(d_input, rank, Initializer::Zeros),
            second: map(rank, d_output, Initializer::Orthogonal { gain }),
        }
    }

    fn with_bias(self, bias: Param<Tensor<1>>) -> Self {
        LowRank {
            second: Linear {
                bias: Some(bias),
                ..self.second
            },
            ..self
        }
    }

    fn apply(&self, input: Tensor<3>, between: impl FnOnce(Tensor<3>) -> Tensor<3>) -> Tensor<3> {
        project_linear(&self.second, between(project_linear(&self.first, input)))
    }
}

/// Heads with a matrix memory each, of which every channel fades by itself, and which every step rewrites by two vectors of its own: what one
/// reads is written under the other, so that a memory can forget, replace and move what it holds, and follow a state.
///
/// ```text
/// x_i     = x_t + (x_{t-1} - x_t) μ_i                       for each i of r, w, k, v, a, g
/// r, k, v = x_r W_r, x_k W_k, x_v W_v
/// w       = -e^-0.5 σ(tanh(x_w A_w) B_w + b_w)              the logarithm of a decay
/// a       = σ(x_a A_a B_a + b_a)                            the rate at which a key is replaced
/// κ       = k ξ / |k ξ|                                     each head
/// k       = k (1 + (a - 1) α)
///
/// S       <- exp(w) S - (κ a) (Sᵀ κ)ᵀ + k vᵀ
/// o       = Sᵀ r
///
/// y = ((γ norm(o) + β + v Σ(r ρ k)) (σ(x_g A_g) B_g)) W_o   each head, then all of them
/// ```
///
/// where
/// - `μ_r` to `μ_g` are [`x_r`](Self::x_r) to [`x_g`](Self::x_g): how much of a step is the step before it, 1 for the first channel and towards 0 for the
///   last at the start; before the first step stands 0;
/// - `W_r`, `W_k` and `W_v` are [`r_proj`](Self::r_proj), [`k_proj`](Self::k_proj) and [`v_proj`](Self::v_proj), orthogonal at the start, that of the keys times 0.1; `W_o` is
///   [`o_proj`](Self::o_proj), uniform in ±1/√(width of what is read);
/// - `A`, `B` and `b` are the maps of [`w_lora`](Self::w_lora), [`a_lora`](Self::a_lora) and [`g_lora`](Self::g_lora), which has no b;
/// - `ξ`, `α` and `ρ` are [`k_k`](Self::k_k), [`k_a`](Self::k_a) and [`r_k`](Self::r_k): 0.76 to 0.66 over the channels, 1.02 and -0.04 at the start;
/// - `norm` takes away the mean of a head and divides by its standard deviation; `γ` and `β` are the weight and the bias of [`g_norm`](Self::g_norm), 1 and 0 at the start;
/// - `S` is `[K, V]`, one for each sample and head, 0 at the start. The operation itself is
///   [`ops::matrix_memory::rwkv7`](crate::ops::matrix_memory::rwkv7()).
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_output]`
///
/// # Differences from the paper
///
/// The layer is the time mixing of the first layer of a model, as flash-linear-attention (0.6.0) has it (`RWKV7Attention` with `layer_idx=0`), with its names and
/// their order, so that its weights fit, and with its start values for a model of one layer, but for `W_o`, which is 0 there: its nets have a path around each layer. The layers
/// above the first mix their values with those of the first there, which a layer by itself cannot know. The other half of a block, channel mixing, is not
/// here: put [`Blocks`](crate::Blocks) around it. Everything between the projections is computed in single precision where parameters are in half precision.
///
/// # Source
///
/// B. Peng et al., "RWKV-7 \"Goose\" with Expressive Dynamic State Evolution", arXiv:2503.14456, 2025.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{Recurrent, Rwkv7Config};
///
/// // Two heads of 16 numbers.
/// let layer = Rwkv7Config::new(8, 2, 16).init(&Device::flex());
/// let (output, state) = layer.forward(Tensor::ones([4, 10, 8], &Device::flex()), None);
/// assert_eq!(output.dims(), [4, 10, 8]);
/// assert_eq!(state.memory.dims(), [4, 2, 16, 16]);
/// // What the next step sees of the last one.
/// assert_eq!(state.previous.sum().into_scalar::<f32>(), 32.0);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Rwkv7 {
    /// μ_r, `[1, 1, d_input]`, as the others are.
    pub x_r: Param<Tensor<3>>,
    /// μ_w.
    pub x_w: Param<Tensor<3>>,
    /// μ_k.
    pub x_k: Param<Tensor<3>>,
    /// μ_v.
    pub x_v: Param<Tensor<3>>,
    /// μ_a.
    pub x_a: Param<Tensor<3>>,
    /// μ_g.
    pub x_g: Param<Tensor<3>>,
    /// ξ, `[n_heads d_key]`.
    pub k_k: Param<Tensor<1>>,
    /// α, `[n_heads d_key]`.
    pub k_a: Param<Tensor<1>>,
    /// ρ, `[n_heads, d_key]`.
    pub r_k: Param<Tensor<2>>,
    /// W_r, to `n_heads d_key`.
    pub r_proj: Linear,
    /// W_k, to `n_heads d_key`.
    pub k_proj: Linear,
    /// W_v, to `n_heads d_value`.
    pub v_proj: Linear,
    /// W_o, from `n_heads d_value`.
    pub o_proj: Linear,
    /// The maps of the decay.
    pub w_lora: LowRank,
    /// The maps of the rate.
    pub a_lora: LowRank,
    /// The maps of the output gate.
    pub g_lora: LowRank,
    /// γ and β.
    pub g_norm: HeadsLayerNorm,
    #[module(skip)]
    options: Options,
}

/// State of [`Rwkv7`].
#[derive(Clone, Debug)]
pub struct Rwkv7State {
    /// S, `[batch_size, n_heads, d_key, d_value]`.
    pub memory: Tensor<4>,
    /// The input of the step before, `[batch_size, d_input]`.
    pub previous: Tensor<2>,
}

crate::recurrent_state!(Rwkv7State { memory, previous });

/// What a layer is, beside its parameters.
#[derive(Clone, Copy, Debug)]
struct Options {
    n_heads: usize,
    d_key: usize,
    d_value: usize,
    epsilon: f64,
    path: ExecutionPath,
}

displayed!(Rwkv7: |layer|
    d_input = layer.d_input(),
    d_output = layer.d_output(),
    n_heads = layer.options.n_heads,
    d_key = layer.options.d_key,
    d_value = layer.options.d_value);

/// What comes to the heads' outputs beside what was read.
struct Beside {
    /// `v Σ(r ρ k)`, `[batch_size, seq_length, n_heads d_value]`.
    own: Tensor<3>,
    gate: Tensor<3>,
}

impl Rwkv7 {
    fn memory_shape(&self, batch_size: usize) -> [usize; 4] {
        let options = &self.options;
        [batch_size, options.n_heads, options.d_key, options.d_value]
    }

    /// From each step and the one before it, `[batch_size, seq_length, d_input]`, what the memory reads, and what is beside.
    fn parts(&self, steps: Tensor<3>, before: Tensor<3>) -> (Rwkv7Sequences, Beside) {
        let [batch_size, seq_length, _] = steps.dims();
        let Options {
            n_heads,
            d_key,
            d_value,
            ..
        } = self.options;
        let change = before - steps.clone();
        let mixed = |share: &Param<Tensor<3>>| steps.clone() + change.clone() * share.val();
        let heads =
            |rows: Tensor<3>, width: usize| rows.reshape([batch_size, seq_length, n_heads, width]);
        let receptance = widened(project_linear(&self.r_proj, mixed(&self.x_r)));
        let decay = widened(self.w_lora.apply(mixed(&self.x_w), Tensor::tanh));
        let key = widened(project_linear(&self.k_proj, mixed(&self.x_k)));
        let value = widened(project_linear(&self.v_proj, mixed(&self.x_v)));
        let rate = sigmoid(widened(self.a_lora.apply(mixed(&self.x_a), |rank| rank)));
        let gate = widened(self.g_lora.apply(mixed(&self.x_g), sigmoid));

        let removal = heads(key.clone() * widened(self.k_k.val()).unsqueeze(), d_key);
        let length = removal.clone().square().sum_dim(3);
        // Where all numbers are 0 the root has no slope.
        let removal = removal / length.clamp_min(1e-24).sqrt();
        let transition_write = removal.clone() * heads(rate.clone(), d_key);
        let key = key.clone() + key * (rate - 1.0) * widened(self.k_a.val()).unsqueeze();
        let (receptance, key, value) = (
            heads(receptance, d_key),
            heads(key, d_key),
            heads(value, d_value),
        );
        let bonus = widened(self.r_k.val()).reshape([1, 1, n_heads, d_key]);
        let share = (receptance.clone() * key.clone() * bonus).sum_dim(3);
        let own = value.clone() * share;
        let sequences = Rwkv7Sequences {
            receptance,
            log_decay: heads(sigmoid(decay) * -FASTEST_DECAY, d_key),
            key,
            value,
            transition_read: removal.neg(),
            transition_write,
        };
        let beside = Beside {
            own: own.reshape([batch_size, seq_length, n_heads * d_value]),
            gate,
        };
        (sequences, beside)
    }

    /// What the layer makes of what was read.
    fn outputs(&self, read: Tensor<4>, beside: Beside, dtype: DType) -> Tensor<3> {
        let epsilon = self.options.epsilon * self.options.d_key as f64;
        let normed = self.g_norm.apply(read, epsilon);
        let gated = (normed + beside.own) * beside.gate;
        project_linear(&self.o_proj, in_type(gated, dtype))
    }

    /// [`forward`](Recurrent::forward) that also tells what the memories hold after each step: for heat maps.
    ///
    /// It takes the steps one after another, and gives the same numbers.
    ///
    /// # Panics
    /// As [`forward`](Recurrent::forward).
    #[track_caller]
    pub fn forward_traced(&self, input: Tensor<3>, state: Option<Rwkv7State>) -> Rwkv7Trace {
        check_input(&input, self.d_input());
        let state = state_or_initial(self, &input, state);
        let ([batch_size, seq_length, _], n_heads) = (input.dims(), self.options.n_heads);
        if batch_size == 0 {
            return MatrixMemoryTrace::of_no_samples(self, &input, state, [n_heads, 1]);
        }
        let dtype = input.dtype();
        let (before, previous) = shifted(&input, state.previous);
        let (sequences, beside) = self.parts(input, before);
        let mut memory = widened(state.memory);
        let (mut reads, mut recall) = (Vec::new(), Vec::new());
        for t in 0..seq_length {
            let of_step = sequences.clone().map(|rows| rows.narrow(1, t, 1));
            let (read, next) = rwkv7(of_step, Some(memory), ExecutionPath::Composed);
            memory = next;
            reads.push(read);
            recall.push(recalled(
                &sequences.key,
                &sequences.value,
                t + 1,
                memory.clone(),
            ));
        }
        let mean = |channels: Tensor<4>| in_type(channels.mean_dim(3).squeeze_dim::<3>(3), dtype);
        // κ has length 1, so that what is removed of what it reads has the length of κ a.
        let removed = sequences
            .transition_write
            .clone()
            .square()
            .sum_dim(3)
            .sqrt();
        MatrixMemoryTrace {
            output: self.outputs(Tensor::cat(reads, 1), beside, dtype),
            state: Rwkv7State {
                memory: in_type(memory, dtype),
                previous,
            },
            recall: in_type(Tensor::cat(recall, 2), dtype),
            write_strength: mean(removed),
            decay: mean(sequences.log_decay.exp()),
        }
    }

    /// A sequence of samples, which must be there, from a state that fits.
    #[track_caller]
    fn run(
        &self,
        steps: Tensor<3>,
        state: Rwkv7State,
        path: ExecutionPath,
    ) -> (Tensor<3>, Rwkv7State) {
        let dtype = steps.dtype();
        let (before, previous) = shifted(&steps, state.previous);
        let (sequences, beside) = self.parts(steps, before);
        let (read, memory) = rwkv7(sequences, Some(widened(state.memory)), path);
        let state = Rwkv7State {
            memory: in_type(memory, dtype),
            previous,
        };
        (self.outputs(read, beside, dtype), state)
    }
}

/// The step before each, and the last one.
fn shifted(steps: &Tensor<3>, previous: Tensor<2>) -> (Tensor<3>, Tensor<2>) {
    let [_, seq_length, _] = steps.dims();
    let first = previous.unsqueeze_dim(1);
    let before = match seq_length {
        1 => first,
        _ => {
            let others = steps.clone().narrow(1, 0, seq_length - 1);
            Tensor::cat(vec![first, others], 1)
        }
    };
    let last = steps.clone().narrow(1, seq_length - 1, 1);
    (before, last.squeeze_dim(1))
}

impl Recurrent for Rwkv7 {
    type State = Rwkv7State;

    fn d_input(&self) -> usize {
        self.r_proj.weight.lazy_shape()[0]
    }

    fn d_output(&self) -> usize {
        self.o_proj.weight.lazy_shape()[1]
    }

    fn state_size(&self, _seq_length: usize) -> usize {
        self.memory_shape(1).iter().product::<usize>() + self.d_input()
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> Rwkv7State {
        let options = (device, self.o_proj.weight.val().dtype());
        Rwkv7State {
            memory: Tensor::zeros(self.memory_shape(batch_size), options),
            previous: Tensor::zeros([batch_size, self.d_input()], options),
        }
    }

    fn check_state(
        &self,
        state: &Rwkv7State,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        fits(
            "the memory",
            &state.memory,
            self.memory_shape(batch_size),
            dtype,
        )?;
        let previous = [batch_size, self.d_input()];
        fits("the step before", &state.previous, previous, dtype)
    }

    /// The input as it is: what the maps read of a step is of the step before as well.
    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        input
    }

    fn step(&self, input_t: Tensor<2>, state: Rwkv7State) -> (Tensor<2>, Rwkv7State) {
        step_by_kernel(self, input_t, state)
    }

    fn advance(&self, projected_t: Tensor<2>, state: Rwkv7State) -> (Tensor<2>, Rwkv7State) {
        advance_by(self, projected_t, state, |projected, state| {
            self.run(projected, state, ExecutionPath::Composed)
        })
    }

    /// The whole sequence: the memories as one operation where there is a kernel for the device, step by step elsewhere.
    fn forward_projected(
        &self,
        projected: Tensor<3>,
        state: Option<Rwkv7State>,
    ) -> (Tensor<3>, Rwkv7State) {
        let path = self.options.path;
        forward_by(self, projected, state, |projected, state| {
            self.run(projected, state, path)
        })
    }

    fn forward_spans(
        &self,
        input: &Tensor<2>,
        state: Option<Rwkv7State>,
        spans: &Spans,
    ) -> Option<(Tensor<2>, Rwkv7State)> {
        let is_composed = self.options.path == ExecutionPath::Composed;
        if is_composed || !takes_spans(&input.device(), input.dtype()) {
            return None;
        }
        let dtype = input.dtype();
        if let Some(state) = &state {
            expect_fits(self.check_state(state, spans.n_samples(), dtype));
        }
        let (memory, previous) = match state {
            Some(state) => (Some(widened(state.memory)), Some(state.previous)),
            None => (None, None),
        };
        // The row of the step before each, of the inputs with the states' behind them, or else one of zeros.
        let n_rows = spans.n_rows();
        let mut before: Vec<usize> = (0..n_rows).map(|row| row.saturating_sub(1)).collect();
        for sample in 0..spans.n_samples() {
            let of_state = if previous.is_some() { sample } else { 0 };
            before[spans.of(sample).first] = n_rows + of_state;
        }
        let options = (&input.device(), dtype);
        let starts = previous.unwrap_or_else(|| Tensor::zeros([1, self.d_input()], options));
        let before = rows(Tensor::cat(vec![input.clone(), starts], 0), &before);
        let (sequences, beside) =
            self.parts(input.clone().unsqueeze_dim(0), before.unsqueeze_dim(0));
        let (read, memory) = rwkv7_of_spans(sequences, spans, memory)?;
        let output = self.outputs(read, beside, dtype).squeeze_dim(0);
        let state = Rwkv7State {
            memory: in_type(memory, dtype),
            previous: rows(input.clone(), &spans.last_rows()),
        };
        Some((output, state))
    }
}
