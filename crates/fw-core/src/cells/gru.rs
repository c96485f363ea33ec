//! The gated recurrent unit, plain or layer-normalised.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{DType, Device, Tensor, activation::sigmoid};

use crate::cell::{RecurrentCell, forward_bare, forward_spans_bare};
use crate::display::displayed;
use crate::error::{expect_valid, require_size};
use crate::initializer::uniform;
use crate::ops::sab::{CellKind, FusedCell};
use crate::ops::shapes::fits;
use crate::ops::{Spans, project_linear};
use crate::recurrent::{expect_state, step_by_kernel};
use crate::{ConfigError, Recurrent, StateError};

/// Configuration of [`Gru`].
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GruConfig {
    /// Width of the input, at least 1.
    pub d_input: usize,
    /// Width of the hidden state, at least 1.
    pub d_hidden: usize,
    /// Whether what enters the gates is layer-normalised. Default false.
    #[config(default = false)]
    pub layer_norm: bool,
    /// Whether there are biases. Default true.
    #[config(default = true)]
    pub bias: bool,
    /// Start values of weights and biases. Default `None`: uniform in ±1/√d_hidden.
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub initializer: Option<Initializer>,
}

/// The gated recurrent unit.
///
/// ```text
/// u, r, n = x_t C + b                           three blocks of d_hidden, from the input
/// u', r', n' = h_{t-1} W + b'                   and from the state
/// [u r], [u' r'], n, n' <- LN of each           by its own gain and bias, if so configured
/// ũ = σ(u + u')     r̃ = σ(r + r')     ñ = tanh(n + r̃ n')
/// h_t = (1 - ũ) ñ + ũ h_{t-1}                   h_0 = 0
/// ```
///
/// where `C` and `b` are [`input`](Self::input), `W` and `b'` are [`hidden`](Self::hidden). Without layer
/// normalisation it is the same function as Burn's `nn::Gru` (reset after the product) and PyTorch's; `try_from` makes one of the other.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_hidden]`, every `h_t`
/// - state: `[batch_size, d_hidden]`, the last `h_t`
///
/// # Differences from the paper
///
/// The reset gate acts after the product with W, as in Burn and PyTorch; in the paper it acts on `h_{t-1}` before. The
/// layer-norm paper writes the update gate the other way round: there 1 takes the new state.
///
/// # Source
///
/// K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
/// Translation", 2014; layer normalisation: J. Ba, J. Kiros, G. Hinton, "Layer Normalization", 2016,
/// supplement.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{GruConfig, Recurrent};
///
/// let gru = GruConfig::new(8, 16).with_layer_norm(true).init(&Device::flex());
/// let (output, _) = gru.forward(Tensor::ones([2, 5, 8], &Device::flex()), None);
/// // A state is a convex mix of values in (-1, 1).
/// assert!(output.abs().max().into_scalar::<f32>() < 1.0);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Gru {
    /// `x C + b`, blocks in the order update, reset, new.
    pub input: Linear,
    /// `h W + b'`, in the same order.
    pub hidden: Linear,
    /// The layer normalisations, if there are any.
    pub norm: Option<GruNorm>,
}

/// The layer normalisations of a [`Gru`].
#[derive(Module, Debug)]
pub struct GruNorm {
    /// Of `[u r]`, 2 d_hidden wide.
    pub input_gates: LayerNorm,
    /// Of `[u' r']`, 2 d_hidden wide.
    pub hidden_gates: LayerNorm,
    /// Of `n`.
    pub input_new: LayerNorm,
    /// Of `n'`.
    pub hidden_new: LayerNorm,
}

impl GruConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// A size of 0.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_size("d_input", self.d_input)?;
        require_size("d_hidden", self.d_hidden)
    }

    /// The layer, with fresh parameters on `device`: weights and biases by the initializer.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds an error; [`try_init`](Self::try_init) returns it instead.
    #[track_caller]
    pub fn init(&self, device: &Device) -> Gru {
        expect_valid(self.try_init(device))
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn try_init(&self, device: &Device) -> Result<Gru, ConfigError> {
        self.validate()?;
        let linear = |d_input| {
            let initializer = self.initializer.clone();
            LinearConfig::new(d_input, 3 * self.d_hidden)
                .with_bias(self.bias)
                .with_initializer(initializer.unwrap_or_else(|| uniform(self.d_hidden)))
                .init(device)
        };
        let norm = |width| LayerNormConfig::new(width).init(device);
        Ok(Gru {
            input: linear(self.d_input),
            hidden: linear(self.d_hidden),
            norm: self.layer_norm.then(|| GruNorm {
                input_gates: norm(2 * self.d_hidden),
                hidden_gates: norm(2 * self.d_hidden),
                input_new: norm(self.d_hidden),
                hidden_new: norm(self.d_hidden),
            }),
        })
    }
}

displayed!(Gru: |gru|
    d_input = gru.d_input(),
    d_hidden = gru.d_output(),
    bias = gru.input.bias.is_some(),
    layer_norm = gru.norm.is_some());

impl Recurrent for Gru {
    type State = Tensor<2>;

    fn d_input(&self) -> usize {
        self.input.weight.lazy_shape()[0]
    }

    fn d_output(&self) -> usize {
        self.hidden.weight.lazy_shape()[0]
    }

    fn state_size(&self, _seq_length: usize) -> usize {
        self.d_output()
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> Tensor<2> {
        let dtype = self.hidden.weight.val().dtype();
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
        let projected = project_linear(&self.input, input);
        match &self.norm {
            Some(norm) => normalize(projected, &norm.input_gates, &norm.input_new),
            None => projected,
        }
    }

    fn step(&self, input_t: Tensor<2>, state: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        step_by_kernel(self, input_t, state)
    }

    fn advance(&self, projected_t: Tensor<2>, hidden: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let width = self.d_output();
        expect_state(self, &hidden, &projected_t);
        let from_hidden = self.hidden.forward(hidden.clone());
        let from_hidden = match &self.norm {
            Some(norm) => normalize(from_hidden, &norm.hidden_gates, &norm.hidden_new),
            None => from_hidden,
        };
        let gates = sigmoid(
            projected_t.clone().narrow(1, 0, 2 * width)
                + from_hidden.clone().narrow(1, 0, 2 * width),
        );
        let update = gates.clone().narrow(1, 0, width);
        let reset = gates.narrow(1, width, width);
        let new = (projected_t.narrow(1, 2 * width, width)
            + reset * from_hidden.narrow(1, 2 * width, width))
        .tanh();
        // (1 - u) n + u h, with one product less.
        let hidden = new.clone() + update * (hidden - new);
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

/// Normalises the first two thirds of the last axis together and the last third alone.
fn normalize<const D: usize>(blocks: Tensor<D>, gates: &LayerNorm, new: &LayerNorm) -> Tensor<D> {
    let width = blocks.dims()[D - 1] / 3;
    let normalized_gates = gates.forward(blocks.clone().narrow(D - 1, 0, 2 * width));
    let normalized_new = new.forward(blocks.narrow(D - 1, 2 * width, width));
    Tensor::cat(alloc::vec![normalized_gates, normalized_new], D - 1)
}

impl RecurrentCell for Gru {
    fn with_hidden(_state: Tensor<2>, hidden: Tensor<2>) -> Tensor<2> {
        hidden
    }

    fn fused(&self, state: &Tensor<2>) -> Option<FusedCell> {
        let weight = self.hidden.weight.val();
        // The kernel has a bias always.
        let zeros = || Tensor::zeros([weight.dims()[1]], (&weight.device(), weight.dtype()));
        let bias = self.hidden.bias.as_ref();
        self.norm.is_none().then(|| FusedCell {
            kind: CellKind::Gru,
            bias: Some(bias.map_or_else(zeros, |bias| bias.val())),
            w_hidden: weight.clone(),
            hidden: state.clone(),
            cell: None,
        })
    }
}
