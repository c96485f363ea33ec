//! Our cells from those of `burn::nn`, and back.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use burn::module::Param;
use burn::nn::activation::Activation;
use burn::nn::{self, GateController, Linear, Sigmoid, Tanh};
use burn::tensor::Tensor;

use crate::error::require;
use crate::{ConfigError, Gru, Lstm};

/// The layer with the parameters of Burn's: the same function, with its step, and one operation a sequence where there is a kernel.
///
/// Burn's two biases, which are added to each other, become one.
///
/// # Errors
/// If Burn's layer does what this one does not: `reverse`, `clip`, `input_forget`, steps before samples (`batch_first` is false), or other
/// activations than the logistic function and tanh.
///
/// ```
/// use burn::nn;
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{Lstm, Recurrent};
///
/// let device = Device::flex();
/// let burns = nn::LstmConfig::new(3, 4, true).init(&device);
/// let input = Tensor::ones([2, 5, 3], &device);
/// let (expected, _) = burns.forward(input.clone(), None);
///
/// let lstm = Lstm::try_from(burns)?;
/// let (output, _) = lstm.forward(input, None);
/// assert!((output - expected).abs().max().into_scalar::<f32>() < 1e-6);
/// # Ok::<(), fw_core::ConfigError>(())
/// ```
impl TryFrom<nn::Lstm> for Lstm {
    type Error = ConfigError;

    fn try_from(burns: nn::Lstm) -> Result<Self, ConfigError> {
        let sample_first = "be true: a layer reads samples, then steps";
        require(
            burns.batch_first,
            "batch_first",
            burns.batch_first,
            sample_first,
        )?;
        let rule = "be false: a layer reads from the first step to the last";
        require(!burns.reverse, "reverse", burns.reverse, rule)?;
        without_clip(burns.clip)?;
        let rule = "be false: the layer has a forget gate of its own";
        let is_coupled = burns.input_forget || burns.forget_gate.is_none();
        require(!is_coupled, "input_forget", is_coupled, rule)?;
        is_sigmoid("gate_activation", &burns.gate_activation)?;
        is_tanh("cell_activation", &burns.cell_activation)?;
        is_tanh("hidden_activation", &burns.hidden_activation)?;
        let forget = burns.forget_gate.expect("not coupled");
        let gates = [burns.input_gate, forget, burns.cell_gate, burns.output_gate];
        let (mut input, hidden) = joined(&gates);
        input.bias = match (input.bias, hidden.bias) {
            (Some(input), Some(hidden)) => {
                Some(Param::from_tensor((input.val() + hidden.val()).detach()))
            }
            (input, hidden) => input.or(hidden),
        };
        Ok(Lstm {
            input,
            w_hidden: hidden.weight,
        })
    }
}

/// Burn's layer with these parameters; the second of its two biases, which are added to each other, is 0.
impl From<Lstm> for nn::Lstm {
    fn from(lstm: Lstm) -> Self {
        let bias = lstm.input.bias.as_ref();
        let hidden = Linear {
            bias: bias.map(|bias| Param::from_tensor(bias.val().zeros_like())),
            weight: lstm.w_hidden,
        };
        let d_hidden = hidden.weight.lazy_shape()[0];
        let [input_gate, forget, cell_gate, output_gate] = split(&lstm.input, &hidden);
        nn::Lstm {
            input_gate,
            forget_gate: Some(forget),
            output_gate,
            cell_gate,
            d_hidden,
            batch_first: true,
            reverse: false,
            clip: None,
            input_forget: false,
            gate_activation: Activation::Sigmoid(Sigmoid),
            cell_activation: Activation::Tanh(Tanh),
            hidden_activation: Activation::Tanh(Tanh),
        }
    }
}

/// The layer with the parameters of Burn's: the same function, with its step, and one operation a sequence where there is a kernel.
///
/// # Errors
/// If Burn's layer does what this one does not: a reset before the product (`reset_after` is false), `clip`, or other activations than
/// the logistic function and tanh.
impl TryFrom<nn::Gru> for Gru {
    type Error = ConfigError;

    fn try_from(burns: nn::Gru) -> Result<Self, ConfigError> {
        let rule = "be true: the reset gate acts after the product";
        require(burns.reset_after, "reset_after", burns.reset_after, rule)?;
        without_clip(burns.clip)?;
        is_sigmoid("gate_activation", &burns.gate_activation)?;
        is_tanh("hidden_activation", &burns.hidden_activation)?;
        let (input, hidden) = joined(&[burns.update_gate, burns.reset_gate, burns.new_gate]);
        Ok(Gru {
            input,
            hidden,
            norm: None,
        })
    }
}

/// Burn's layer with these parameters.
///
/// # Errors
/// If the layer is layer-normalised, which Burn's is not.
impl TryFrom<Gru> for nn::Gru {
    type Error = ConfigError;

    fn try_from(gru: Gru) -> Result<Self, ConfigError> {
        let has_norm = gru.norm.is_some();
        let rule = "be false: burn::nn::Gru has no layer normalisation";
        require(!has_norm, "layer_norm", has_norm, rule)?;
        let d_hidden = gru.hidden.weight.lazy_shape()[0];
        let [update_gate, reset_gate, new_gate] = split(&gru.input, &gru.hidden);
        Ok(nn::Gru {
            update_gate,
            reset_gate,
            new_gate,
            d_hidden,
            reset_after: true,
            gate_activation: Activation::Sigmoid(Sigmoid),
            hidden_activation: Activation::Tanh(Tanh),
            clip: None,
        })
    }
}

fn without_clip(clip: Option<f64>) -> Result<(), ConfigError> {
    let shown = format!("{clip:?}");
    require(
        clip.is_none(),
        "clip",
        shown,
        "be None: states are not clipped",
    )
}

fn is_sigmoid(field: &'static str, activation: &Activation) -> Result<(), ConfigError> {
    let holds = matches!(activation, Activation::Sigmoid(_));
    require(holds, field, name(activation), "be Sigmoid")
}

fn is_tanh(field: &'static str, activation: &Activation) -> Result<(), ConfigError> {
    let holds = matches!(activation, Activation::Tanh(_));
    require(holds, field, name(activation), "be Tanh")
}

/// The name of an activation's variant.
fn name(activation: &Activation) -> String {
    let shown = format!("{activation:?}");
    let is_name = |character: &char| character.is_alphanumeric();
    shown.chars().take_while(is_name).collect()
}

/// The maps of the gates side by side: that of the input, and that of the state.
fn joined(gates: &[GateController]) -> (Linear, Linear) {
    let join = |map: fn(&GateController) -> &Linear| {
        let weights = gates.iter().map(|gate| map(gate).weight.val()).collect();
        let biases: Option<Vec<Tensor<1>>> = gates
            .iter()
            .map(|gate| map(gate).bias.as_ref().map(|bias| bias.val()))
            .collect();
        Linear {
            weight: Param::from_tensor(Tensor::cat(weights, 1).detach()),
            bias: biases.map(|biases| Param::from_tensor(Tensor::cat(biases, 0).detach())),
        }
    };
    (
        join(|gate| &gate.input_transform),
        join(|gate| &gate.hidden_transform),
    )
}

/// The maps of N gates, of which each takes as many columns.
fn split<const N: usize>(input: &Linear, hidden: &Linear) -> [GateController; N] {
    core::array::from_fn(|gate| {
        let take = |map: &Linear| {
            let width = map.weight.lazy_shape()[1] / N;
            let weight = map.weight.val().narrow(1, gate * width, width);
            let bias = map.bias.as_ref();
            let bias = bias.map(|bias| bias.val().narrow(0, gate * width, width));
            Linear {
                weight: Param::from_tensor(weight.detach()),
                bias: bias.map(|bias| Param::from_tensor(bias.detach())),
            }
        };
        GateController {
            input_transform: take(input),
            hidden_transform: take(hidden),
        }
    })
}
