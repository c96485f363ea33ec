//! The sLSTM: an LSTM with exponential gates, whose heads mix their units from step to step.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{DType, Device, Tensor};
#[cfg(not(feature = "std"))]
#[allow(
    unused_imports,
    reason = "shadowed by std's own methods where another crate brings std in"
)]
use num_traits::Float as _;

use crate::cell::{RecurrentCell, forward_bare, forward_spans_bare};
use crate::display::displayed;
use crate::error::{expect_valid, require, require_size};
use crate::initializer::{given, uniform};
use crate::ops::sab::{CellKind, FusedCell};
use crate::ops::{Spans, project_linear, slstm_step};
use crate::recurrent::{expect_state, step_by_kernel};
use crate::{ConfigError, Recurrent, SLstmState, StateError};

/// Configuration of [`SLstm`].
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SLstmConfig {
    /// Width of the input, at least 1.
    pub d_input: usize,
    /// Width of the hidden state, at least 1.
    pub d_hidden: usize,
    /// H, the heads, at least 1: the units of one see each other's last step, and none of the others'. It divides `d_hidden`. Default 1: all see all.
    #[config(default = 1)]
    pub n_heads: usize,
}

impl SLstmConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// A size of 0, or heads that do not divide the units.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_size("d_input", self.d_input)?;
        require_size("d_hidden", self.d_hidden)?;
        require_size("n_heads", self.n_heads)?;
        let divides = self.d_hidden.is_multiple_of(self.n_heads);
        require(divides, "n_heads", self.n_heads, "divide d_hidden")
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds an error; [`try_init`](Self::try_init) returns it instead.
    #[track_caller]
    pub fn init(&self, device: &Device) -> SLstm {
        expect_valid(self.try_init(device))
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn try_init(&self, device: &Device) -> Result<SLstm, ConfigError> {
        self.validate()?;
        let (d_hidden, n_heads) = (self.d_hidden, self.n_heads);
        let d_head = d_hidden / n_heads;
        let bias = move |index: usize| match index / d_hidden {
            1 => {
                let unit = (index % d_head) as f64 / (d_head.max(2) - 1) as f64;
                5.0 - 12.0 * unit.powf(0.3)
            }
            _ => 0.0,
        };
        let input = LinearConfig::new(self.d_input, 4 * d_hidden)
            .with_initializer(uniform(d_hidden))
            .init(device);
        Ok(SLstm {
            input: Linear {
                bias: Some(given([4 * d_hidden], bias, device)),
                ..input
            },
            w_hidden: uniform(d_hidden).init([n_heads, d_head, 4 * d_head], device),
        })
    }
}

/// An LSTM whose gates are exponentials, and whose output is a mean of all that was written, by weights: a step that matters much can outweigh
/// all that is there. Its state depends on itself through W, which is what follows a state that the input alone does not tell.
///
/// ```text
/// i, f, z, o = x_t C + h_{t-1} W + b                       four blocks of d_hidden
/// m_t = max(log σ(f) + m_{t-1}, i)                         a scale, so that no exponential overflows
/// i'  = exp(i - m_t)     f' = exp(log σ(f) + m_{t-1} - m_t)
/// c_t = f' c_{t-1} + i' tanh(z)                            c_0 = 0
/// n_t = f' n_{t-1} + i'                                    n_0 = 0
/// h_t = σ(o) c_t / n_t                                     h_0 = 0
/// ```
///
/// where `C` and `b` are [`input`](Self::input) (`[d_input, 4 d_hidden]`) and `W` is [`w_hidden`](Self::w_hidden): a matrix for each head, which maps the units of the
/// head to the gates of the same units. At the start C and W are uniform in ±1/√d_hidden, and b is 0 but for f, where it falls from 5 for the first unit of a head to -7 for the
/// last, with the power 0.3. Where nothing was written yet, `n_{t-1} = 0`, m_t is i.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_hidden]`, every `h_t`
///
/// # Differences from the paper
///
/// It is the cell alone: the convolution before i and f, the norm of the heads behind it and the block around it are not here
/// ([`Blocks`](crate::Blocks) has norms and a perceptron). C is dense, where the package `xlstm` (2.0.6) has a matrix for each head; there W begins
/// at 0, and the map that is called `fgate` makes i, the one called `igate` f (findings/xlstm-gates-by-other-names.sh). There the first m is i only where nothing at all was written, in any sample; here each unit has its own.
///
/// # Source
///
/// M. Beck et al., "xLSTM: Extended Long Short-Term Memory", NeurIPS 2024, section 2.2 and appendix A.2.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{Recurrent, SLstmConfig};
///
/// let layer = SLstmConfig::new(8, 16).with_n_heads(4).init(&Device::flex());
/// let (output, state) = layer.forward(Tensor::ones([2, 5, 8], &Device::flex()), None);
/// assert_eq!(layer.w_hidden.dims(), [4, 4, 16]);
/// // A mean of numbers below 1, times a gate.
/// assert!(output.abs().max().into_scalar::<f32>() < 1.0);
/// assert_eq!(state.carried.dims(), [2, 48]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct SLstm {
    /// `x C + b`, gate blocks in the order i, f, z, o.
    pub input: Linear,
    /// W, `[n_heads, d_head, 4 d_head]`, in the same order.
    pub w_hidden: Param<Tensor<3>>,
}

displayed!(SLstm: |slstm|
    d_input = slstm.d_input(),
    d_hidden = slstm.d_output(),
    n_heads = slstm.w_hidden.lazy_shape()[0]);

impl SLstm {
    /// W of all units, `[d_hidden, 4 d_hidden]`: zeros between the heads.
    fn dense(&self) -> Tensor<2> {
        let weight = self.w_hidden.val();
        let [n_heads, d_head, _] = weight.dims();
        let d_hidden = n_heads * d_head;
        if n_heads == 1 {
            return weight.reshape([d_hidden, 4 * d_hidden]);
        }
        let own = Tensor::<2>::eye(n_heads, &weight.device()).cast(weight.dtype());
        let own = own.reshape([n_heads, 1, 1, n_heads, 1]);
        let blocks: Tensor<5> = weight.reshape([n_heads, d_head, 4, 1, d_head]) * own;
        blocks.reshape([d_hidden, 4 * d_hidden])
    }
}

impl Recurrent for SLstm {
    type State = SLstmState;

    fn d_input(&self) -> usize {
        self.input.weight.lazy_shape()[0]
    }

    fn d_output(&self) -> usize {
        let shape = self.w_hidden.lazy_shape();
        shape[0] * shape[1]
    }

    fn state_size(&self, _seq_length: usize) -> usize {
        4 * self.d_output()
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> SLstmState {
        let options = (device, self.w_hidden.val().dtype());
        let d_hidden = self.d_output();
        SLstmState {
            hidden: Tensor::zeros([batch_size, d_hidden], options),
            carried: Tensor::zeros([batch_size, 3 * d_hidden], options),
        }
    }

    fn check_state(
        &self,
        state: &SLstmState,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        state.check([batch_size, self.d_output()], dtype)
    }

    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        project_linear(&self.input, input)
    }

    fn step(&self, input_t: Tensor<2>, state: SLstmState) -> (Tensor<2>, SLstmState) {
        step_by_kernel(self, input_t, state)
    }

    fn advance(&self, projected_t: Tensor<2>, state: SLstmState) -> (Tensor<2>, SLstmState) {
        expect_state(self, &state, &projected_t);
        let gates = projected_t + state.hidden.matmul(self.dense());
        let state = slstm_step(gates, state.carried);
        (state.hidden.clone(), state)
    }

    /// The whole sequence: fused into one operation where there is a kernel for the device, step by step elsewhere.
    fn forward_projected(
        &self,
        projected: Tensor<3>,
        state: Option<SLstmState>,
    ) -> (Tensor<3>, SLstmState) {
        forward_bare(self, projected, state)
    }

    fn forward_spans(
        &self,
        input: &Tensor<2>,
        state: Option<SLstmState>,
        spans: &Spans,
    ) -> Option<(Tensor<2>, SLstmState)> {
        forward_spans_bare(self, input, state, spans)
    }
}

impl RecurrentCell for SLstm {
    fn with_hidden(state: SLstmState, hidden: Tensor<2>) -> SLstmState {
        SLstmState { hidden, ..state }
    }

    fn fused(&self, state: &SLstmState) -> Option<FusedCell> {
        Some(FusedCell {
            kind: CellKind::SLstm,
            w_hidden: self.dense(),
            bias: None,
            hidden: state.hidden.clone(),
            cell: Some(state.carried.clone()),
        })
    }

    fn after_fused(state: SLstmState, hidden: Tensor<2>, cell: Option<Tensor<2>>) -> SLstmState {
        SLstmState {
            hidden,
            carried: cell.unwrap_or(state.carried),
        }
    }
}

crate::recurrent_state!(SLstmState { hidden, carried });
