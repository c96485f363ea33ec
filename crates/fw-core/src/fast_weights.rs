//! The fast weights layer.

use alloc::vec::Vec;

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{DType, Device, Tensor};

use crate::cell::RecurrentCell;
use crate::display::displayed;
use crate::error::{expect_fits, expect_valid, require, require_finite, require_size};
use crate::ops::{Sequence, Spans, fast_weights as ops};
#[cfg(feature = "flex")]
use crate::recurrent::is_stepped_by_kernel;
use crate::recurrent::{check_input, empty_output, expect_state, step_composed};
use crate::{
    Activation, ConfigError, ExecutionPath, HiddenInitializer, Recurrent, RecurrentState,
    StateData, StateError, StateMapper,
};

pub use ops::{FastMemory, MemoryForm, State as FastWeightsState, WrittenState};

/// Configuration of [`FastWeights`].
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{FastWeightsConfig, Recurrent};
///
/// let layer = FastWeightsConfig::new(8, 16).with_inner_steps(2).init(&Device::flex());
/// let (output, _state) = layer.forward(Tensor::zeros([4, 10, 8], &Device::flex()), None);
/// assert_eq!(output.dims(), [4, 10, 16]);
/// ```
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FastWeightsConfig {
    /// Width of the input, at least 1.
    pub d_input: usize,
    /// Width of the hidden state, at least 1.
    pub d_hidden: usize,
    /// λ, what a step leaves of the fast weights: in `[0, 1]`. Default 0.95, as in the paper.
    #[config(default = 0.95)]
    pub decay: f64,
    /// η, how strongly a step is written: any finite number. Default 0.5, as in the paper.
    #[config(default = 0.5)]
    pub fast_learning_rate: f64,
    /// S, how often a step reads the fast weights, at most 65,536. Default 1: more costs more and rarely helps.
    #[config(default = 1)]
    pub inner_steps: usize,
    /// Whether states are layer-normalised. Default true: without it, η and λ have to be tuned so that
    /// the memory does not explode.
    #[config(default = true)]
    pub layer_norm: bool,
    /// Whether the preliminary state is normalised too. Default false: it slows learning down.
    /// Needs `layer_norm`.
    #[config(default = false)]
    pub normalize_preliminary: bool,
    /// What keeps the normalisation's division finite: above 0. Default 1e-5.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// When the memory is written. Default [`WrittenState::Final`], the paper.
    #[config(default = "WrittenState::Final")]
    pub write: WrittenState,
    /// f. Default relu, as in the paper.
    #[config(default = "Activation::Relu")]
    pub activation: Activation,
    /// Start value of C: uniform with standard deviation `input_gain / √d_input`, so that inputs of unit variance
    /// give pre-activations of variance `input_gain²`. Any finite number. Default 1.
    #[config(default = 1.0)]
    pub input_gain: f64,
    /// Start value of the layer normalisation's gain: any finite number. Default 0.5: what is read from the memory
    /// grows with its square, and at 1 it drowns the input until much has been learned.
    #[config(default = 0.5)]
    pub norm_gain: f64,
    /// Start value of W. Default 0.05 times the identity, as in the paper.
    #[config(default = "HiddenInitializer::ScaledIdentity(0.05)")]
    pub hidden_initializer: HiddenInitializer,
    /// How the memory is kept. Default [`MemoryForm::Auto`].
    #[config(default = "MemoryForm::Auto")]
    pub form: MemoryForm,
    /// How a sequence is computed. Default [`ExecutionPath::Auto`]: fused where there is a kernel.
    #[config(default = "ExecutionPath::Auto")]
    pub path: ExecutionPath,
}

/// A recurrent layer with fast weights: beside its slow weights it carries, for each sample, an
/// associative memory that every step writes and reads (Ba et al. 2016).
///
/// ```text
/// z_t = x_t C + h_{t-1} W + b
/// s_0 = f(z_t)
/// s_i = f(LN(z_t + A_{t-1} s_{i-1}))            i = 1..S
/// h_t = s_S
/// A_t = λ A_{t-1} + η h_t h_tᵀ                  A_0 = 0, h_0 = 0
/// ```
///
/// where `C` and `b` are [`input`](Self::input), `W` is [`w_hidden`](Self::w_hidden), `LN` is
/// [`norm`](Self::norm), and λ, η, S and f are fields of the [configuration](FastWeightsConfig).
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_hidden]`, every `h_t`
///
/// # Differences from the paper
///
/// - The fast weights of step t hold the writes up to step t - 1; the paper's text leaves this open
///   (see [`crate::ops::fast_weights`]). [`WrittenState::Preliminary`] is the other common reading.
/// - The preliminary state is not normalised unless
///   [`normalize_preliminary`](FastWeightsConfig::normalize_preliminary) asks for it.
/// - The normalisation's gain starts at 0.5 ([`norm_gain`](FastWeightsConfig::norm_gain)); the paper does not
///   say where its own starts.
///
/// # Source
///
/// J. Ba, G. Hinton, V. Mnih, J. Leibo, C. Ionescu, "Using Fast Weights to Attend to the Recent
/// Past", NIPS 2016, sections 3 and 4.
///
/// # Example
///
/// One unit without normalisation, W = 0 and C = 1, fed 1 and 1: the first step writes A = 0.5, the second reads it,
/// `h_2 = z + A s_0 = 1 + 0.5`.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{FastWeightsConfig, HiddenInitializer, Recurrent};
///
/// let device = Device::flex();
/// let config = FastWeightsConfig::new(1, 1)
///     .with_layer_norm(false)
///     .with_hidden_initializer(HiddenInitializer::ScaledIdentity(0.0));
/// let mut layer = config.init(&device);
/// layer.input.weight = layer.input.weight.map(|weight| weight.ones_like());
/// let (output, _) = layer.forward(Tensor::ones([1, 2, 1], &device), None);
/// assert_eq!(output.try_into_vec_as::<f32>().unwrap(), [1.0, 1.5]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct FastWeights {
    /// `x C + b`.
    pub input: Linear,
    /// W, `[d_hidden, d_hidden]`.
    pub w_hidden: Param<Tensor<2>>,
    /// LN, if states are normalised: its gain and bias, with the epsilon of the configuration.
    pub norm: Option<LayerNorm>,
    epsilon: f64,
    #[module(skip)]
    options: ops::Options,
    #[module(skip)]
    form: MemoryForm,
    #[module(skip)]
    path: ExecutionPath,
}

impl FastWeightsConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// A size of 0, a decay outside `[0, 1]`, a rate, a gain or a scale of W that is not finite, more than 65,536 inner steps,
    /// an epsilon that is not above 0, or `normalize_preliminary` without `layer_norm`.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_size("d_input", self.d_input)?;
        require_size("d_hidden", self.d_hidden)?;
        let in_range = (0.0..=1.0).contains(&self.decay);
        require(in_range, "decay", self.decay, "lie in [0, 1]")?;
        require_finite("fast_learning_rate", self.fast_learning_rate)?;
        let is_countable = self.inner_steps <= ops::MOST_INNER_STEPS;
        require(
            is_countable,
            "inner_steps",
            self.inner_steps,
            "be at most 65536",
        )?;
        require(
            self.layer_norm || !self.normalize_preliminary,
            "normalize_preliminary",
            self.normalize_preliminary,
            "be false when layer_norm is false",
        )?;
        require_finite("input_gain", self.input_gain)?;
        require_finite("norm_gain", self.norm_gain)?;
        let positive = self.epsilon.is_finite() && self.epsilon > 0.0;
        require(positive, "epsilon", self.epsilon, "be a number above 0")?;
        self.hidden_initializer.validate()
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds an error; [`try_init`](Self::try_init) returns it instead.
    #[track_caller]
    pub fn init(&self, device: &Device) -> FastWeights {
        expect_valid(self.try_init(device))
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn try_init(&self, device: &Device) -> Result<FastWeights, ConfigError> {
        self.validate()?;
        let mut input = LinearConfig::new(self.d_input, self.d_hidden)
            .with_initializer(Initializer::KaimingUniform {
                gain: self.input_gain,
                fan_out_only: false,
            })
            .init(device);
        input.bias = Some(Initializer::Zeros.init([self.d_hidden], device));
        Ok(FastWeights {
            input,
            w_hidden: self.hidden_initializer.init(self.d_hidden, 1, device),
            norm: self.layer_norm.then(|| self.init_norm(device)),
            epsilon: self.epsilon,
            options: ops::Options {
                decay: self.decay,
                fast_learning_rate: self.fast_learning_rate,
                inner_steps: self.inner_steps,
                write: self.write,
                activation: self.activation,
                normalize_preliminary: self.normalize_preliminary,
            },
            form: self.form,
            path: self.path,
        })
    }

    fn init_norm(&self, device: &Device) -> LayerNorm {
        let mut norm = LayerNormConfig::new(self.d_hidden)
            .with_epsilon(self.epsilon)
            .init(device);
        let value = self.norm_gain;
        norm.gamma = Initializer::Constant { value }.init([self.d_hidden], device);
        norm
    }
}

/// What [`FastWeights::forward_traced`] yields.
#[derive(Clone, Debug)]
pub struct FastWeightsTrace {
    /// Every `h_t`, `[batch_size, seq_length, d_hidden]`.
    pub output: Tensor<3>,
    /// The state after the last step.
    pub state: FastWeightsState,
    /// The attention that each step paid to each earlier write, `[batch_size, seq_length, writes]`: the
    /// coefficient `η λ^{t-1-τ} (h_τ · s)` of the last inner step, 0 where step t could not see write
    /// τ. `writes` is `seq_length`, plus the history of the state that was given.
    pub attention: Tensor<3>,
}

impl FastWeights {
    /// [`forward`](Recurrent::forward) that also tells what each step attended to: for heat maps.
    ///
    /// It runs in the attention form, whatever form the layer has, and gives the same numbers.
    ///
    /// # Panics
    /// As [`forward`](Recurrent::forward).
    #[track_caller]
    pub fn forward_traced(
        &self,
        input: Tensor<3>,
        state: Option<FastWeightsState>,
    ) -> FastWeightsTrace {
        check_input(&input, self.d_input());
        let [batch_size, seq_length, _] = input.dims();
        let state = state.unwrap_or_else(|| self.start(batch_size, &input.device()));
        expect_state(self, &state, &input);
        if batch_size == 0 {
            let writes = state.memory.written() + seq_length;
            let output = empty_output(self, &input);
            let attention =
                Tensor::zeros([0, seq_length, writes], (&output.device(), output.dtype()));
            return FastWeightsTrace {
                output,
                state,
                attention,
            };
        }
        let (output, state, attention) =
            ops::fast_weights_traced(input, state, &self.weights(), &self.options);
        FastWeightsTrace {
            output,
            state,
            attention,
        }
    }

    /// The fast memory of a state as the matrix A, `[batch_size, d_hidden, d_hidden]`.
    pub fn memory_matrix(&self, state: &FastWeightsState) -> Tensor<3> {
        state
            .memory
            .clone()
            .into_matrix(&state.hidden, &self.options)
    }

    /// The state before the first step, with a memory that has no form yet.
    fn start(&self, batch_size: usize, device: &Device) -> FastWeightsState {
        let dtype = self.w_hidden.val().dtype();
        FastWeightsState {
            hidden: Tensor::zeros([batch_size, self.d_output()], (device, dtype)),
            memory: FastMemory::empty(),
        }
    }

    fn weights(&self) -> ops::Weights {
        ops::Weights {
            input: self.input.weight.val(),
            hidden: self.w_hidden.val(),
            bias: self
                .input
                .bias
                .as_ref()
                .expect("the input's linear map has a bias")
                .val(),
            norm: self.norm.as_ref().map(|norm| ops::Norm {
                gain: norm.gamma.val(),
                bias: norm
                    .beta
                    .as_ref()
                    .expect("the layer normalisation has a bias")
                    .val(),
                epsilon: self.epsilon,
            }),
        }
    }
}

displayed!(FastWeights: |layer|
    d_input = layer.d_input(),
    d_hidden = layer.d_output(),
    decay = layer.options.decay,
    fast_learning_rate = layer.options.fast_learning_rate,
    inner_steps = layer.options.inner_steps,
    layer_norm = layer.norm.is_some());

impl Recurrent for FastWeights {
    type State = FastWeightsState;

    fn d_input(&self) -> usize {
        self.input.weight.lazy_shape()[0]
    }

    fn d_output(&self) -> usize {
        self.input.weight.lazy_shape()[1]
    }

    /// The hidden state, and the memory in the form that a run of `seq_length` steps uses.
    fn state_size(&self, seq_length: usize) -> usize {
        let d_hidden = self.d_output();
        match self.form.resolve(0, seq_length, d_hidden) {
            MemoryForm::Matrix => d_hidden + d_hidden * d_hidden,
            _ => d_hidden + d_hidden * seq_length,
        }
    }

    /// h = 0 and A = 0. The memory is a matrix unless the form is [`MemoryForm::Attention`], since how many
    /// steps will follow is not known.
    fn initial_state(&self, batch_size: usize, device: &Device) -> FastWeightsState {
        let mut state = self.start(batch_size, device);
        if self.form != MemoryForm::Attention {
            state.memory = FastMemory::Matrix(self.memory_matrix(&state));
        }
        state
    }

    fn check_state(
        &self,
        state: &FastWeightsState,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        state.check([batch_size, self.d_output()], dtype)
    }

    /// With the memory as a matrix.
    fn uniform(&self, state: FastWeightsState) -> FastWeightsState {
        FastWeightsState {
            memory: FastMemory::Matrix(self.memory_matrix(&state)),
            hidden: state.hidden,
        }
    }

    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        self.weights().project(input)
    }

    /// One step, in the form that the state's memory has.
    fn step(&self, input_t: Tensor<2>, state: FastWeightsState) -> (Tensor<2>, FastWeightsState) {
        #[cfg(feature = "flex")]
        {
            let input = input_t.clone().unsqueeze_dim(1);
            if self.is_step_alone(&input) {
                check_input(&input, self.d_input());
                expect_state(self, &state, &input);
                let (output, state) = self.step_alone(Sequence::Raw(input), state);
                return (output.squeeze_dim(1), state);
            }
        }
        step_composed(self, input_t, state)
    }

    fn advance(
        &self,
        projected_t: Tensor<2>,
        state: FastWeightsState,
    ) -> (Tensor<2>, FastWeightsState) {
        expect_state(self, &state, &projected_t);
        ops::step(projected_t, state, &self.weights(), &self.options).output_and_state()
    }

    /// The whole sequence: fused into one operation where there is a kernel for the device, step by step elsewhere.
    /// The memory of the state that comes back has the form that is cheapest for this length, or that was
    /// configured.
    fn forward(
        &self,
        input: Tensor<3>,
        state: Option<FastWeightsState>,
    ) -> (Tensor<3>, FastWeightsState) {
        check_input(&input, self.d_input());
        self.sequence(Sequence::Raw(input), state)
    }

    fn forward_projected(
        &self,
        projected: Tensor<3>,
        state: Option<FastWeightsState>,
    ) -> (Tensor<3>, FastWeightsState) {
        self.sequence(Sequence::Projected(projected), state)
    }

    fn forward_spans(
        &self,
        input: &Tensor<2>,
        state: Option<FastWeightsState>,
        spans: &Spans,
    ) -> Option<(Tensor<2>, FastWeightsState)> {
        if self.path == ExecutionPath::Composed {
            return None;
        }
        let n_samples = spans.n_samples();
        let state = state.unwrap_or_else(|| self.start(n_samples, &input.device()));
        expect_fits(self.check_state(&state, n_samples, input.dtype()));
        ops::of_spans(input, spans, &state, &self.weights(), &self.options)
    }
}

impl FastWeights {
    /// Whether a sequence is a step alone by the kernel, whose memory is a matrix.
    #[cfg(feature = "flex")]
    fn is_step_alone(&self, sequence: &Tensor<3>) -> bool {
        let [batch_size, seq_length, _] = sequence.dims();
        let is_asked = self.path != ExecutionPath::Composed && self.form != MemoryForm::Attention;
        is_asked && batch_size > 0 && seq_length == 1 && is_stepped_by_kernel(sequence)
    }

    /// That step. The state must fit.
    #[cfg(feature = "flex")]
    #[track_caller]
    fn step_alone(
        &self,
        input: Sequence,
        state: FastWeightsState,
    ) -> (Tensor<3>, FastWeightsState) {
        let weights = self.weights();
        let projected = input.projected(|input| weights.project(input));
        let (output, state) =
            ops::step_alone(projected.squeeze_dim(1), state, &weights, &self.options);
        (output.unsqueeze_dim(1), state)
    }

    #[track_caller]
    fn sequence(
        &self,
        input: Sequence,
        state: Option<FastWeightsState>,
    ) -> (Tensor<3>, FastWeightsState) {
        let (device, [batch_size, seq_length, _]) =
            (input.tensor().device(), input.tensor().dims());
        let state = state.unwrap_or_else(|| self.start(batch_size, &device));
        expect_state(self, &state, input.tensor());
        if batch_size == 0 {
            let output = empty_output(self, input.tensor());
            return (output, state.in_form(self.form, seq_length, &self.options));
        }
        #[cfg(feature = "flex")]
        if self.is_step_alone(input.tensor()) {
            let written = state.memory.written();
            let form = self.form.resolve(written, seq_length, self.d_output());
            if form == MemoryForm::Matrix || matches!(state.memory, FastMemory::Matrix(_)) {
                return self.step_alone(input, state);
            }
        }
        let weights = self.weights();
        ops::sequence(input, state, &weights, &self.options, self.form, self.path)
    }
}

/// The fast memory keeps what the cell itself wrote: ĥ, not what h became.
impl RecurrentCell for FastWeights {
    fn with_hidden(state: FastWeightsState, hidden: Tensor<2>) -> FastWeightsState {
        FastWeightsState { hidden, ..state }
    }
}

crate::recurrent_state!(FastWeightsState { hidden, memory });

impl RecurrentState for FastMemory {
    fn detach(self) -> Self {
        match self {
            FastMemory::Matrix(matrix) => FastMemory::Matrix(matrix.detach()),
            FastMemory::History { start, writes } => FastMemory::History {
                start: start.detach(),
                writes: writes.detach(),
            },
        }
    }

    fn to_device(self, device: &Device) -> Self {
        match self {
            FastMemory::Matrix(matrix) => FastMemory::Matrix(matrix.to_device(device)),
            FastMemory::History { start, writes } => FastMemory::History {
                start: RecurrentState::to_device(start, device),
                writes: RecurrentState::to_device(writes, device),
            },
        }
    }

    fn check_batch(&self, batch_size: usize, dtype: DType) -> Result<(), StateError> {
        match self {
            FastMemory::Matrix(matrix) => matrix.check_batch(batch_size, dtype),
            FastMemory::History { start, writes } => {
                start.check_batch(batch_size, dtype)?;
                writes.check_batch(batch_size, dtype)
            }
        }
    }

    fn batch_size(&self) -> Option<usize> {
        match self {
            FastMemory::Matrix(matrix) => matrix.batch_size(),
            FastMemory::History { start, writes } => start.batch_size().or(writes.batch_size()),
        }
    }

    fn select_samples(self, samples: &[usize]) -> Self {
        match self {
            FastMemory::Matrix(matrix) => FastMemory::Matrix(matrix.select_samples(samples)),
            FastMemory::History { start, writes } => FastMemory::History {
                start: start.select_samples(samples),
                writes: writes.select_samples(samples),
            },
        }
    }

    /// Matrices, or histories of as many writes.
    fn cat_samples(states: Vec<Self>) -> Result<Self, StateError> {
        let n_states = states.len();
        let (mut matrices, mut starts, mut writes) = (Vec::new(), Vec::new(), Vec::new());
        for state in states {
            match state {
                FastMemory::Matrix(matrix) => matrices.push(matrix),
                FastMemory::History {
                    start,
                    writes: written,
                } => {
                    starts.push(start);
                    writes.push(written);
                }
            }
        }
        match matrices.len() {
            0 => Ok(FastMemory::History {
                start: RecurrentState::cat_samples(starts)?,
                writes: RecurrentState::cat_samples(writes)?,
            }),
            n if n == n_states => RecurrentState::cat_samples(matrices).map(FastMemory::Matrix),
            n => Err(StateError::new(alloc::format!(
                "the memory is a matrix in {n} of {n_states} states and a history in the others; it must be the same in all \
                 (`Recurrent::uniform` makes matrices of them)"
            ))),
        }
    }

    fn map_tensors<M: StateMapper>(self, mapper: &mut M) -> Self {
        match self {
            FastMemory::Matrix(matrix) => FastMemory::Matrix(mapper.map(matrix)),
            FastMemory::History { start, writes } => FastMemory::History {
                start: start.map_tensors(mapper),
                writes: writes.map_tensors(mapper),
            },
        }
    }

    /// A matrix alone, or what a history begins with and its writes.
    fn to_data(&self) -> StateData {
        StateData::List(match self {
            FastMemory::Matrix(matrix) => alloc::vec![RecurrentState::to_data(matrix)],
            FastMemory::History { start, writes } => alloc::vec![start.to_data(), writes.to_data()],
        })
    }

    fn from_data(data: StateData, device: &Device) -> Result<Self, StateError> {
        if let StateData::List(parts) = &data
            && parts.len() == 1
        {
            let [matrix] = data.into_parts()?;
            return Ok(FastMemory::Matrix(RecurrentState::from_data(
                matrix, device,
            )?));
        }
        let [start, writes] = data.into_parts()?;
        Ok(FastMemory::History {
            start: RecurrentState::from_data(start, device)?,
            writes: RecurrentState::from_data(writes, device)?,
        })
    }
}
