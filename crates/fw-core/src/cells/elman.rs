//! The Elman network: plain, as an IRNN, or layer-normalised.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{DType, Device, Tensor};

use crate::cell::{RecurrentCell, forward_bare, forward_spans_bare};
use crate::display::displayed;
use crate::error::{expect_valid, require_size};
use crate::ops::sab::{CellKind, FusedCell};
use crate::ops::shapes::fits;
use crate::ops::{Spans, project_linear};
use crate::recurrent::{expect_state, step_by_kernel};
use crate::{Activation, ConfigError, HiddenInitializer, Recurrent, StateError};

/// Configuration of [`Elman`].
///
/// ```
/// use fw_core::{Activation, ElmanConfig};
///
/// let plain = ElmanConfig::new(8, 16);
/// let irnn = ElmanConfig::irnn(8, 16);
/// let normalized = ElmanConfig::new(8, 16).with_layer_norm(true).with_activation(Activation::Relu);
/// # assert!(plain.validate().and(irnn.validate()).and(normalized.validate()).is_ok());
/// ```
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ElmanConfig {
    /// Width of the input, at least 1.
    pub d_input: usize,
    /// Width of the hidden state, at least 1.
    pub d_hidden: usize,
    /// f. Default tanh.
    #[config(default = "Activation::Tanh")]
    pub activation: Activation,
    /// Whether states are layer-normalised. Default false.
    #[config(default = false)]
    pub layer_norm: bool,
    /// Start value of W. Default uniform in ±1/√d_hidden.
    #[config(default = "HiddenInitializer::Uniform")]
    pub hidden_initializer: HiddenInitializer,
}

/// The Elman network, the simplest recurrent layer.
///
/// ```text
/// h_t = f(LN(x_t C + h_{t-1} W + b))            h_0 = 0
/// ```
///
/// where `C` and `b` are [`input`](Self::input), `W` is [`w_hidden`](Self::w_hidden), `LN` is
/// [`norm`](Self::norm) if there is one, and f is the configured activation.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_hidden]`, every `h_t`
/// - state: `[batch_size, d_hidden]`, the last `h_t`
///
/// # Source
///
/// J. Elman, "Finding Structure in Time", Cognitive Science 1990; with relu and an identity start
/// ([`ElmanConfig::irnn`]): Q. Le, N. Jaitly, G. Hinton, "A Simple Way to Initialize Recurrent Networks
/// of Rectified Linear Units", 2015.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{ElmanConfig, Recurrent};
///
/// let device = Device::flex();
/// // An IRNN without input keeps its state.
/// let irnn = ElmanConfig::irnn(1, 2).init(&device);
/// let weight = irnn.w_hidden.val().try_into_vec_as::<f32>().unwrap();
/// assert_eq!(weight, [1.0, 0.0, 0.0, 1.0]);
/// # let _ = irnn.step(Tensor::zeros([1, 1], &device), irnn.initial_state(1, &device));
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Elman {
    /// `x C + b`.
    pub input: Linear,
    /// W, `[d_hidden, d_hidden]`.
    pub w_hidden: Param<Tensor<2>>,
    /// LN, if states are normalised.
    pub norm: Option<LayerNorm>,
    #[module(skip)]
    pub(crate) activation: Activation,
}

impl ElmanConfig {
    /// The IRNN: relu, and the identity as the start of W.
    pub fn irnn(d_input: usize, d_hidden: usize) -> Self {
        ElmanConfig::new(d_input, d_hidden)
            .with_activation(Activation::Relu)
            .with_hidden_initializer(HiddenInitializer::ScaledIdentity(1.0))
    }

    /// Checks every field.
    ///
    /// # Errors
    /// A size of 0, or an initializer with a factor that is not finite.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_size("d_input", self.d_input)?;
        require_size("d_hidden", self.d_hidden)?;
        self.hidden_initializer.validate()
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds an error; [`try_init`](Self::try_init) returns it instead.
    #[track_caller]
    pub fn init(&self, device: &Device) -> Elman {
        expect_valid(self.try_init(device))
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn try_init(&self, device: &Device) -> Result<Elman, ConfigError> {
        self.validate()?;
        Ok(Elman {
            input: LinearConfig::new(self.d_input, self.d_hidden).init(device),
            w_hidden: self.hidden_initializer.init(self.d_hidden, 1, device),
            norm: self
                .layer_norm
                .then(|| LayerNormConfig::new(self.d_hidden).init(device)),
            activation: self.activation,
        })
    }
}

displayed!(Elman: |elman|
    d_input = elman.d_input(),
    d_hidden = elman.d_output(),
    activation = alloc::format!("{:?}", elman.activation),
    layer_norm = elman.norm.is_some());

impl Recurrent for Elman {
    type State = Tensor<2>;

    fn d_input(&self) -> usize {
        self.input.weight.lazy_shape()[0]
    }

    fn d_output(&self) -> usize {
        self.input.weight.lazy_shape()[1]
    }

    fn state_size(&self, _seq_length: usize) -> usize {
        self.d_output()
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> Tensor<2> {
        let dtype = self.w_hidden.val().dtype();
        Tensor::zeros([batch_size, self.d_output()], (device, dtype))
    }

    fn check_state(
        &self,
        state: &Tensor<2>,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        fits(
            "the hidden state",
            state,
            [batch_size, self.d_output()],
            dtype,
        )
    }

    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        project_linear(&self.input, input)
    }

    fn step(&self, input_t: Tensor<2>, state: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        step_by_kernel(self, input_t, state)
    }

    fn advance(&self, projected_t: Tensor<2>, hidden: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        expect_state(self, &hidden, &projected_t);
        let pre_activation = projected_t + hidden.matmul(self.w_hidden.val());
        let hidden = self.activation.apply(match &self.norm {
            Some(norm) => norm.forward(pre_activation),
            None => pre_activation,
        });
        (hidden.clone(), hidden)
    }

    /// The whole sequence: fused into one operation where there is a kernel for the device and no normalisation, step by step elsewhere.
    fn forward_projected(
        &self,
        projected: Tensor<3>,
        state: Option<Tensor<2>>,
    ) -> (Tensor<3>, Tensor<2>) {
        forward_bare(self, projected, state)
    }

    fn forward_spans(
        &self,
        input: &Tensor<2>,
        state: Option<Tensor<2>>,
        spans: &Spans,
    ) -> Option<(Tensor<2>, Tensor<2>)> {
        forward_spans_bare(self, input, state, spans)
    }
}

impl RecurrentCell for Elman {
    fn with_hidden(_state: Tensor<2>, hidden: Tensor<2>) -> Tensor<2> {
        hidden
    }

    fn fused(&self, state: &Tensor<2>) -> Option<FusedCell> {
        self.norm.is_none().then(|| FusedCell {
            kind: CellKind::Elman(self.activation),
            w_hidden: self.w_hidden.val(),
            bias: None,
            hidden: state.clone(),
            cell: None,
        })
    }
}
