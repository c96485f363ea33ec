//! The Neural Turing Machine as a layer.

mod controller;
mod head;
mod start;

use alloc::string::String;
use alloc::vec::Vec;

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::activation::softmax;
use burn::tensor::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::display::displayed;
use crate::error::{expect_fits, expect_valid, require, require_size};
#[cfg(feature = "flex")]
use crate::ops::operation::is_available;
use crate::ops::{Sequence, Spans, ntm, scan};
use crate::recurrent::{check_input, empty_output, expect_state, state_or_initial, step_by_kernel};
use crate::{Activation, ConfigError, ExecutionPath, LstmConfig, Recurrent, StateError};

pub use controller::{FeedForwardController, LstmController, NtmController};
pub use head::{NtmHeadConfig, ReadHead, WriteHead};
pub use ntm::State as NtmState;
use start::for_each_sample;
pub use start::{InitialMemory, InitialValue, InitialWeights};

/// Configuration of [`Ntm`].
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NtmConfig {
    /// Width of the input, at least 1.
    pub d_input: usize,
    /// Width of each layer of the controller, at least 1. 100 in the paper's copy task.
    pub d_controller: usize,
    /// What the controller is. Default [`ControllerKind::Lstm`].
    #[config(default = "ControllerKind::Lstm")]
    pub controller: ControllerKind,
    /// Layers of the controller, at least 1. Default 1.
    #[config(default = 1)]
    pub n_layers: usize,
    /// The nonlinearity of a feed-forward controller; an LSTM has its own. Default tanh.
    #[config(default = "Activation::Tanh")]
    pub activation: Activation,
    /// Start value of the forget gate's bias of an LSTM controller: any finite number. Default 1.
    #[config(default = 1.0)]
    pub forget_bias: f64,
    /// N, the words of the memory, at least 1. Default 128, as in the paper.
    #[config(default = 128)]
    pub memory_size: usize,
    /// M, the width of a word, at least 1. Default 20, as in the paper.
    #[config(default = 20)]
    pub word_size: usize,
    /// Heads that read, at least 1. Default 1.
    #[config(default = 1)]
    pub n_read_heads: usize,
    /// Heads that write, at least 1. Default 1.
    #[config(default = 1)]
    pub n_write_heads: usize,
    /// Shifts that a head chooses from, odd and at most `memory_size`: 3 (default) is one row forward, none, one
    /// row back.
    #[config(default = 3)]
    pub shift_width: usize,
    /// The memory before the first step. Default [`InitialMemory::Random`].
    #[config(default = "InitialMemory::Random")]
    pub initial_memory: InitialMemory,
    /// The weightings before the first step. Default [`InitialWeights::OneHot`]: the copy task was solved after 16,000
    /// sequences where [`InitialWeights::Zero`] had hardly begun (one seed each, November 2026).
    #[config(default = "InitialWeights::OneHot")]
    pub initial_weights: InitialWeights,
    /// What was read before the first step. Default [`InitialValue::Learned`].
    #[config(default = "InitialValue::Learned")]
    pub initial_reads: InitialValue,
    /// The state of an LSTM controller before the first step. Default [`InitialValue::Learned`].
    #[config(default = "InitialValue::Learned")]
    pub initial_controller: InitialValue,
    /// How a whole sequence is computed. Default [`ExecutionPath::Auto`].
    #[config(default = "ExecutionPath::Auto")]
    pub path: ExecutionPath,
}

/// The kind of controller of an [`Ntm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ControllerKind {
    /// Layers of long short-term memory.
    Lstm,
    /// Dense layers, each followed by a nonlinearity: all that is remembered is in the memory.
    FeedForward,
}

/// The Neural Turing Machine (Graves, Wayne, Danihelka 2014): a controller with heads that read and write a
/// memory, by content and by place.
///
/// ```text
/// h_t = controller([x_t ; r_{t-1}])
/// w_t = addressing(h_t; M_{t-1}, w_{t-1})             each head, see ops::ntm
/// r_t = Σ_i w_t(i) M_{t-1}(i)                         read heads, before this step's write
/// M_t = M_{t-1} (1 - w_t e_t) + w_t a_t               write heads: erase, then add
/// y_t = [h_t ; r_t]
/// ```
///
/// where the controller is [`controller`](Self::controller), and the addressing's parameters, e and a are linear in its
/// output through [`read_head`](Self::read_head) and [`write_head`](Self::write_head). A linear map of `y_t` is the
/// machine's output in the paper; it is left to the model around.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_controller + n_read_heads word_size]`, every `[h_t ; r_t]`
///
/// # Differences from the paper
///
/// The paper leaves open when a step's read happens and what everything starts from. Here reads come
/// before the write, the memory starts from fixed random numbers ([`InitialMemory`]), and every head from the
/// first row ([`InitialWeights`]). See also [`crate::ops::ntm`].
///
/// # Source
///
/// A. Graves, G. Wayne, I. Danihelka, "Neural Turing Machines", arXiv:1410.5401, 2014.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{NtmConfig, Recurrent};
///
/// let device = Device::flex();
/// let ntm = NtmConfig::new(9, 100).init(&device);
/// let trace = ntm.forward_traced(Tensor::zeros([2, 5, 9], &device), None);
/// assert_eq!(trace.output.dims(), [2, 5, 100 + 20]);
///
/// // A weighting over the 128 words for each sample, step and head; each sums to 1.
/// assert_eq!(trace.write_weights.dims(), [2, 5, 1, 128]);
/// let sums: Vec<f32> = trace.write_weights.sum_dim(3).try_into_vec_as().unwrap();
/// assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5));
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Ntm {
    /// The controller's layers, from the input on. The first reads `[x_t ; r_{t-1}]`.
    pub controller: NtmController,
    /// The read heads.
    pub read_head: ReadHead,
    /// The write heads.
    pub write_head: WriteHead,
    /// M before the first step, `[memory_size, word_size]`.
    pub initial_memory: Param<Tensor<2>>,
    /// w before the first step, or, if they are learned, the numbers whose softmax it is, `[n_heads, memory_size]`,
    /// read heads first.
    pub initial_weights: Param<Tensor<2>>,
    /// r before the first step, `[n_read_heads, word_size]`.
    pub initial_reads: Param<Tensor<2>>,
    d_input: usize,
    pub(crate) shift_width: usize,
    pub(crate) learns_weights: bool,
    #[module(skip)]
    path: ExecutionPath,
}

/// What [`Ntm::forward_traced`] yields: what each step did.
#[derive(Clone, Debug)]
pub struct NtmTrace {
    /// Every `[h_t ; r_t]`, `[batch_size, seq_length, d_controller + n_read_heads word_size]`.
    pub output: Tensor<3>,
    /// The state after the last step.
    pub state: NtmState,
    /// Where each read head read, `[batch_size, seq_length, n_read_heads, memory_size]`.
    pub read_weights: Tensor<4>,
    /// Where each write head wrote, `[batch_size, seq_length, n_write_heads, memory_size]`.
    pub write_weights: Tensor<4>,
    /// What was read, `[batch_size, seq_length, n_read_heads, word_size]`.
    pub reads: Tensor<4>,
    /// The erase vectors, `[batch_size, seq_length, n_write_heads, word_size]`.
    pub erases: Tensor<4>,
    /// The add vectors, `[batch_size, seq_length, n_write_heads, word_size]`.
    pub adds: Tensor<4>,
}

/// The most of anything in a machine: sums and products of sizes stay far from what a number can hold.
const MOST: usize = 1 << 20;

impl NtmConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// A size of 0 or above 2^20, a shift width that is even or above the memory's size, a number that is not finite, or a
    /// constant memory with first weightings of zero: then all rows of the memory stay equal for ever, what is read does not
    /// depend on where, and the addressing has a gradient of exactly zero.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (field, size) in [
            ("d_input", self.d_input),
            ("d_controller", self.d_controller),
            ("n_layers", self.n_layers),
            ("memory_size", self.memory_size),
            ("word_size", self.word_size),
            ("n_read_heads", self.n_read_heads),
            ("n_write_heads", self.n_write_heads),
        ] {
            require_size(field, size)?;
            require(size <= MOST, field, size, "be at most 1048576")?;
        }
        self.heads(1).validate()?;
        require(
            self.shift_width <= self.memory_size,
            "shift_width",
            self.shift_width,
            "be at most memory_size",
        )?;
        self.lstm(0).validate()?;
        self.initial_memory.validate()?;
        let same_rows = matches!(self.initial_memory, InitialMemory::Constant(_));
        require(
            !(same_rows && self.initial_weights == InitialWeights::Zero),
            "initial_weights",
            "zero",
            "be one-hot or learned when initial_memory is constant: equal rows that are nowhere told apart stay \
             equal, and the addressing's gradient is exactly zero",
        )
    }

    /// The machine, with fresh parameters on `device`.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds an error; [`try_init`](Self::try_init) returns it instead.
    #[track_caller]
    pub fn init(&self, device: &Device) -> Ntm {
        expect_valid(self.try_init(device))
    }

    /// The machine, with fresh parameters on `device`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn try_init(&self, device: &Device) -> Result<Ntm, ConfigError> {
        self.validate()?;
        let n_heads = self.n_read_heads + self.n_write_heads;
        let controller = match self.controller {
            ControllerKind::Lstm => NtmController::Lstm(LstmController::init(self, device)?),
            ControllerKind::FeedForward => {
                NtmController::FeedForward(FeedForwardController::init(self, device))
            }
        };
        Ok(Ntm {
            controller,
            read_head: self.heads(self.n_read_heads).try_init_read(device)?,
            write_head: self.heads(self.n_write_heads).try_init_write(device)?,
            initial_memory: self
                .initial_memory
                .init([self.memory_size, self.word_size], device),
            initial_weights: self
                .initial_weights
                .init([n_heads, self.memory_size], device),
            initial_reads: self
                .initial_reads
                .init([self.n_read_heads, self.word_size], device),
            d_input: self.d_input,
            shift_width: self.shift_width,
            path: self.path,
            learns_weights: self.initial_weights == InitialWeights::Learned,
        })
    }

    /// Width of what a layer of the controller reads.
    fn d_below(&self, layer: usize) -> usize {
        match layer {
            0 => self.d_input + self.n_read_heads * self.word_size,
            _ => self.d_controller,
        }
    }

    /// A layer of the controller.
    fn lstm(&self, layer: usize) -> LstmConfig {
        LstmConfig::new(self.d_below(layer), self.d_controller).with_forget_bias(self.forget_bias)
    }

    fn heads(&self, n_heads: usize) -> NtmHeadConfig {
        NtmHeadConfig::new(self.d_controller, self.word_size)
            .with_n_heads(n_heads)
            .with_shift_width(self.shift_width)
    }
}

impl Ntm {
    /// [`forward`](Recurrent::forward) that also tells what each step read, wrote, and where: for heat maps.
    ///
    /// # Panics
    /// As [`forward`](Recurrent::forward).
    #[track_caller]
    pub fn forward_traced(&self, input: Tensor<3>, state: Option<NtmState>) -> NtmTrace {
        check_input(&input, self.d_input);
        let state = state_or_initial(self, &input, state);
        if input.dims()[0] == 0 {
            return self.trace_of_no_samples(&input, state);
        }
        let weights = self.weights();
        let (n_read, n_write) = (self.n_read_heads(), self.n_write_heads());
        let mut steps = Vec::new();
        let (output, state) = scan(self.project(input), state, |projected_t, state| {
            let step = ntm::step(projected_t, state, &weights);
            steps.push(Traced {
                weights: step.state.weights.clone(),
                reads: step.state.reads.clone(),
                writing: step.writing,
            });
            (step.output, step.state)
        });
        let stacked = |part: &dyn Fn(&Traced) -> Tensor<3>| {
            Tensor::stack(steps.iter().map(part).collect(), 1)
        };
        NtmTrace {
            output,
            state,
            read_weights: stacked(&|step| step.weights.clone().narrow(1, 0, n_read)),
            write_weights: stacked(&|step| step.weights.clone().narrow(1, n_read, n_write)),
            reads: stacked(&|step| step.reads.clone()),
            erases: stacked(&|step| step.writing.erase.clone()),
            adds: stacked(&|step| step.writing.add.clone()),
        }
    }

    fn trace_of_no_samples(&self, input: &Tensor<3>, state: NtmState) -> NtmTrace {
        let [_, seq_length, _] = input.dims();
        let [memory_size, word_size] = self.initial_memory.lazy_shape().dims();
        let nothing = |n_heads: usize, width: usize| {
            let options = (&input.device(), input.dtype());
            Tensor::zeros([0, seq_length, n_heads, width], options)
        };
        let (n_read, n_write) = (self.n_read_heads(), self.n_write_heads());
        NtmTrace {
            output: empty_output(self, input),
            state,
            read_weights: nothing(n_read, memory_size),
            write_weights: nothing(n_write, memory_size),
            reads: nothing(n_read, word_size),
            erases: nothing(n_write, word_size),
            adds: nothing(n_write, word_size),
        }
    }

    /// The machine's first state: each start value repeated for every sample.
    fn start(&self, batch_size: usize) -> NtmState {
        let weights = match self.learns_weights {
            true => softmax(self.initial_weights.val(), 1),
            false => self.initial_weights.val(),
        };
        NtmState {
            controller: self.controller.initial_state(batch_size),
            memory: for_each_sample(self.initial_memory.val(), batch_size),
            reads: for_each_sample(self.initial_reads.val(), batch_size),
            weights: for_each_sample(weights, batch_size),
        }
    }

    fn slow_weights(&self) -> ntm::SlowWeights {
        let head = |linear: &Linear| {
            let bias = linear.bias.as_ref().expect("heads have a bias");
            (linear.weight.val(), bias.val())
        };
        let (layers, activation) = self.controller.weights();
        ntm::SlowWeights {
            layers,
            activation,
            read_head: head(&self.read_head.linear),
            write_head: head(&self.write_head.linear),
        }
    }

    /// The weights, laid out for steps.
    fn weights(&self) -> ntm::Weights {
        let d_reads = self.initial_reads.lazy_shape().num_elements();
        ntm::Weights::lay_out(self.slow_weights(), d_reads, self.n_write_heads())
    }

    fn n_heads(&self) -> usize {
        self.initial_weights.lazy_shape()[0]
    }

    pub(crate) fn n_read_heads(&self) -> usize {
        self.initial_reads.lazy_shape()[0]
    }

    pub(crate) fn n_write_heads(&self) -> usize {
        self.n_heads() - self.n_read_heads()
    }
}

/// What a trace keeps of a step.
struct Traced {
    weights: Tensor<3>,
    reads: Tensor<3>,
    writing: ntm::Writing,
}

displayed!(Ntm: |ntm|
    d_input = ntm.d_input,
    d_controller = ntm.read_head.linear.weight.lazy_shape()[0],
    controller = String::from(match ntm.controller {
        NtmController::Lstm(_) => "Lstm",
        NtmController::FeedForward(_) => "FeedForward",
    }),
    memory_size = ntm.initial_memory.lazy_shape()[0],
    word_size = ntm.initial_memory.lazy_shape()[1],
    n_read_heads = ntm.n_read_heads(),
    n_write_heads = ntm.n_write_heads(),
    shift_width = ntm.shift_width);

impl Recurrent for Ntm {
    type State = NtmState;

    fn d_input(&self) -> usize {
        self.d_input
    }

    fn d_output(&self) -> usize {
        self.read_head.linear.weight.lazy_shape()[0]
            + self.initial_reads.lazy_shape().num_elements()
    }

    /// The controller's states, the memory, the weightings and what was read.
    fn state_size(&self, _seq_length: usize) -> usize {
        let starts = [
            &self.initial_memory,
            &self.initial_weights,
            &self.initial_reads,
        ];
        let starts = starts.map(|start| start.lazy_shape().num_elements());
        self.controller.state_size() + starts.iter().sum::<usize>()
    }

    /// On the device of the parameters, whatever `device` is: the start values are some of them.
    fn initial_state(&self, batch_size: usize, _device: &Device) -> NtmState {
        self.start(batch_size)
    }

    fn check_state(
        &self,
        state: &NtmState,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        let [memory_size, word_size] = self.initial_memory.lazy_shape().dims();
        let sizes = ntm::StateSizes {
            batch_size,
            d_hidden: self.read_head.linear.weight.lazy_shape()[0],
            n_states: self.controller.n_states(),
            memory_size,
            word_size,
            n_read: self.n_read_heads(),
            n_write: self.n_write_heads(),
        };
        state.check(sizes, dtype)
    }

    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        self.controller.project(input)
    }

    fn step(&self, input_t: Tensor<2>, state: NtmState) -> (Tensor<2>, NtmState) {
        step_by_kernel(self, input_t, state)
    }

    fn advance(&self, projected_t: Tensor<2>, state: NtmState) -> (Tensor<2>, NtmState) {
        expect_state(self, &state, &projected_t);
        let step = ntm::step(projected_t, state, &self.weights());
        (step.output, step.state)
    }

    /// The whole sequence: fused into one operation where there is a kernel for the device, step by step elsewhere.
    fn forward(&self, input: Tensor<3>, state: Option<NtmState>) -> (Tensor<3>, NtmState) {
        check_input(&input, self.d_input);
        self.sequence(Sequence::Raw(input), state)
    }

    fn forward_projected(
        &self,
        projected: Tensor<3>,
        state: Option<NtmState>,
    ) -> (Tensor<3>, NtmState) {
        self.sequence(Sequence::Projected(projected), state)
    }

    fn forward_spans(
        &self,
        input: &Tensor<2>,
        state: Option<NtmState>,
        spans: &Spans,
    ) -> Option<(Tensor<2>, NtmState)> {
        if self.path == ExecutionPath::Composed {
            return None;
        }
        let n_samples = spans.n_samples();
        let state = state.unwrap_or_else(|| self.start(n_samples));
        expect_fits(self.check_state(&state, n_samples, input.dtype()));
        let input = input.clone().unsqueeze_dim(0);
        check_input(&input, self.d_input);
        let (output, state) = self.by_kernel(&Sequence::Raw(input), spans, &state)?;
        Some((output.squeeze_dim(0), state))
    }
}

impl Ntm {
    #[track_caller]
    fn sequence(&self, input: Sequence, state: Option<NtmState>) -> (Tensor<3>, NtmState) {
        let state = state_or_initial(self, input.tensor(), state);
        let [batch_size, seq_length, _] = input.tensor().dims();
        if batch_size == 0 {
            return (empty_output(self, input.tensor()), state);
        }
        let spans = Spans::of_batch(batch_size, seq_length);
        let (device, dtype) = (input.tensor().device(), input.tensor().dtype());
        self.path.choose(
            "a Neural Turing Machine",
            (&device, dtype),
            (input, state),
            |(input, state)| self.by_kernel(input, &spans, state),
            |(input, state)| {
                let projected = input.projected(|input| self.project(input));
                // Laid out once, not for every step.
                let weights = self.weights();
                scan(projected, state, |projected_t, state| {
                    let step = ntm::step(projected_t, state, &weights);
                    (step.output, step.state)
                })
            },
        )
    }

    /// The sequence by a kernel of this device, if it has one for the type and the sizes.
    #[allow(
        unused_variables,
        reason = "without a backend that has kernels there is none"
    )]
    #[track_caller]
    fn by_kernel(
        &self,
        input: &Sequence,
        spans: &Spans,
        state: &NtmState,
    ) -> Option<(Tensor<3>, NtmState)> {
        #[cfg(feature = "flex")]
        if is_available(&input.tensor().device(), input.tensor().dtype()) {
            let weights = self.slow_weights();
            return Some(ntm::fused::sequence(input, spans, state, &weights));
        }
        #[cfg(feature = "cube")]
        if let Some(result) =
            ntm::cube::sequence(input, spans, state, self.slow_weights(), |input| {
                self.project(input)
            })
        {
            return Some(result);
        }
        None
    }
}

crate::recurrent_state!(NtmState {
    controller,
    memory,
    reads,
    weights
});
