//! Long short-term memory, with a step.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::cell::{RecurrentCell, forward_bare, forward_spans_bare};
use crate::display::displayed;
use crate::error::{expect_valid, require_finite, require_size};
use crate::initializer::uniform;
use crate::ops::sab::{CellKind, FusedCell};
use crate::ops::{Spans, lstm_step, project_linear};
use crate::recurrent::{expect_state, step_by_kernel};
use crate::{ConfigError, LstmState, Recurrent, StateError};

/// Configuration of [`Lstm`].
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LstmConfig {
    /// Width of the input, at least 1.
    pub d_input: usize,
    /// Width of the hidden state, at least 1.
    pub d_hidden: usize,
    /// Start value of the forget gate's bias: any finite number. Default 1, so that a fresh net remembers
    /// (Gers, Schmidhuber, Cummins 2000).
    #[config(default = 1.0)]
    pub forget_bias: f64,
    /// Whether there are biases; without them `forget_bias` counts for nothing. Default true.
    #[config(default = true)]
    pub bias: bool,
    /// Start values of C and W. Default `None`: uniform in ±1/√d_hidden.
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub initializer: Option<Initializer>,
}

/// Long short-term memory.
///
/// ```text
/// i, f, g, o = x_t C + h_{t-1} W + b            four blocks of d_hidden
/// c_t = σ(f) c_{t-1} + σ(i) tanh(g)             c_0 = 0
/// h_t = σ(o) tanh(c_t)                          h_0 = 0
/// ```
///
/// where `C` and `b` are [`input`](Self::input) (`[d_input, 4 d_hidden]`) and `W` is
/// [`w_hidden`](Self::w_hidden). The same function as Burn's `nn::Lstm`, which has no step and takes eight
/// products a step where this takes one; `Lstm::try_from` makes this of that, `nn::Lstm::from` that of this.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_hidden]`, every `h_t`
///
/// # Source
///
/// S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 1997; forget gate: F.
/// Gers, J. Schmidhuber, F. Cummins, "Learning to Forget", 2000.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{LstmConfig, Recurrent};
///
/// let lstm = LstmConfig::new(8, 16).init(&Device::flex());
/// let (output, state) = lstm.forward(Tensor::ones([2, 5, 8], &Device::flex()), None);
/// let last: Vec<f32> = output.narrow(1, 4, 1).try_into_vec_as().unwrap();
/// assert_eq!(last, state.hidden.try_into_vec_as::<f32>().unwrap());
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Lstm {
    /// `x C + b`, gate blocks in the order i, f, g, o.
    pub input: Linear,
    /// W, `[d_hidden, 4 d_hidden]`, in the same order.
    pub w_hidden: Param<Tensor<2>>,
}

impl LstmConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// A size of 0, or a forget bias that is not finite.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_size("d_input", self.d_input)?;
        require_size("d_hidden", self.d_hidden)?;
        require_finite("forget_bias", self.forget_bias)
    }

    /// The layer, with fresh parameters on `device`: weights by the initializer, biases 0 but the forget gate's.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds an error; [`try_init`](Self::try_init) returns it instead.
    #[track_caller]
    pub fn init(&self, device: &Device) -> Lstm {
        expect_valid(self.try_init(device))
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn try_init(&self, device: &Device) -> Result<Lstm, ConfigError> {
        self.validate()?;
        let d_gates = 4 * self.d_hidden;
        let initializer = self.initializer.clone();
        let initializer = initializer.unwrap_or_else(|| uniform(self.d_hidden));
        let mut input = LinearConfig::new(self.d_input, d_gates)
            .with_initializer(initializer.clone())
            .init(device);
        input.bias = self.bias.then(|| {
            let mut bias = alloc::vec![0.0; d_gates];
            bias[self.d_hidden..2 * self.d_hidden].fill(self.forget_bias);
            Param::from_data(TensorData::new(bias, [d_gates]), device)
        });
        Ok(Lstm {
            input,
            w_hidden: initializer.init([self.d_hidden, d_gates], device),
        })
    }
}

displayed!(Lstm: |lstm|
    d_input = lstm.d_input(),
    d_hidden = lstm.d_output(),
    bias = lstm.input.bias.is_some());

impl Recurrent for Lstm {
    type State = LstmState;

    fn d_input(&self) -> usize {
        self.input.weight.lazy_shape()[0]
    }

    fn d_output(&self) -> usize {
        self.w_hidden.lazy_shape()[0]
    }

    fn state_size(&self, _seq_length: usize) -> usize {
        2 * self.d_output()
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> LstmState {
        let dtype = self.w_hidden.val().dtype();
        let zeros = Tensor::zeros([batch_size, self.d_output()], (device, dtype));
        LstmState {
            hidden: zeros.clone(),
            cell: zeros,
        }
    }

    fn check_state(
        &self,
        state: &LstmState,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        state.check([batch_size, self.d_output()], dtype)
    }

    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        project_linear(&self.input, input)
    }

    fn step(&self, input_t: Tensor<2>, state: LstmState) -> (Tensor<2>, LstmState) {
        step_by_kernel(self, input_t, state)
    }

    fn advance(&self, projected_t: Tensor<2>, state: LstmState) -> (Tensor<2>, LstmState) {
        expect_state(self, &state, &projected_t);
        let gates = projected_t + state.hidden.matmul(self.w_hidden.val());
        let state = lstm_step(gates, state.cell);
        (state.hidden.clone(), state)
    }

    /// The whole sequence: fused into one operation where there is a kernel for the device, step by step elsewhere.
    fn forward_projected(
        &self,
        projected: Tensor<3>,
        state: Option<LstmState>,
    ) -> (Tensor<3>, LstmState) {
        forward_bare(self, projected, state)
    }

    fn forward_spans(
        &self,
        input: &Tensor<2>,
        state: Option<LstmState>,
        spans: &Spans,
    ) -> Option<(Tensor<2>, LstmState)> {
        forward_spans_bare(self, input, state, spans)
    }
}

impl RecurrentCell for Lstm {
    fn with_hidden(state: LstmState, hidden: Tensor<2>) -> LstmState {
        LstmState { hidden, ..state }
    }

    fn fused(&self, state: &LstmState) -> Option<FusedCell> {
        Some(FusedCell {
            kind: CellKind::Lstm,
            w_hidden: self.w_hidden.val(),
            bias: None,
            hidden: state.hidden.clone(),
            cell: Some(state.cell.clone()),
        })
    }

    fn after_fused(state: LstmState, hidden: Tensor<2>, cell: Option<Tensor<2>>) -> LstmState {
        LstmState {
            hidden,
            cell: cell.unwrap_or(state.cell),
        }
    }
}

crate::recurrent_state!(LstmState { hidden, cell });
