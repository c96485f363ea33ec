//! Controllers: what decides where the heads look.

use alloc::vec::Vec;

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use super::NtmConfig;
use crate::initializer::uniform;
use crate::ops::{ntm, project};
use crate::{Activation, ConfigError, Lstm, LstmState};

/// The controller of an [`Ntm`](super::Ntm): reads `[x_t ; r_{t-1}]`, yields `h_t`.
#[derive(Module, Debug)]
pub enum NtmController {
    /// Layers of long short-term memory.
    Lstm(LstmController),
    /// Dense layers.
    FeedForward(FeedForwardController),
}

/// Layers of long short-term memory, each upon the one before.
#[derive(Module, Debug)]
pub struct LstmController {
    /// From the input on.
    pub layers: Vec<Lstm>,
    /// h of each layer before the first step, `[n_layers, d_controller]`.
    pub initial_hidden: Param<Tensor<2>>,
    /// c of each layer before the first step, `[n_layers, d_controller]`.
    pub initial_cell: Param<Tensor<2>>,
}

/// Dense layers, each followed by a nonlinearity.
#[derive(Module, Debug)]
pub struct FeedForwardController {
    /// From the input on.
    pub layers: Vec<Linear>,
    #[module(skip)]
    activation: Activation,
}

impl LstmController {
    pub(super) fn init(config: &NtmConfig, device: &Device) -> Result<Self, ConfigError> {
        let layers = (0..config.n_layers).map(|layer| config.lstm(layer).try_init(device));
        let shape = [config.n_layers, config.d_controller];
        Ok(LstmController {
            layers: layers.collect::<Result<_, _>>()?,
            initial_hidden: config.initial_controller.init(shape, device),
            initial_cell: config.initial_controller.init(shape, device),
        })
    }
}

impl FeedForwardController {
    pub(super) fn init(config: &NtmConfig, device: &Device) -> Self {
        let layers = (0..config.n_layers).map(|layer| {
            let width = config.d_below(layer);
            LinearConfig::new(width, config.d_controller)
                .with_initializer(uniform(width))
                .init(device)
        });
        FeedForwardController {
            layers: layers.collect(),
            activation: config.activation,
        }
    }
}

impl NtmController {
    /// Numbers that it carries for each sample.
    pub(super) fn state_size(&self) -> usize {
        match self {
            NtmController::Lstm(lstm) => 2 * lstm.initial_hidden.lazy_shape().num_elements(),
            NtmController::FeedForward(_) => 0,
        }
    }

    /// Layers that carry a state.
    pub(super) fn n_states(&self) -> usize {
        match self {
            NtmController::Lstm(lstm) => lstm.layers.len(),
            NtmController::FeedForward(_) => 0,
        }
    }

    /// The states of its layers before the first step.
    pub(super) fn initial_state(&self, batch_size: usize) -> Vec<LstmState> {
        let NtmController::Lstm(lstm) = self else {
            return Vec::new();
        };
        let of_layer = |start: &Param<Tensor<2>>, layer| {
            let [n_layers, width] = start.dims();
            // Burn cannot expand to nothing.
            if batch_size == 0 {
                let start = start.val();
                return Tensor::zeros([0, width], (&start.device(), start.dtype()));
            }
            let row = match n_layers {
                1 => start.val(),
                _ => start.val().narrow(0, layer, 1),
            };
            row.expand([batch_size, width])
        };
        (0..lstm.layers.len())
            .map(|layer| LstmState {
                hidden: of_layer(&lstm.initial_hidden, layer),
                cell: of_layer(&lstm.initial_cell, layer),
            })
            .collect()
    }

    /// The share of the input in the first layer's product, for every step, with that layer's bias:
    /// `[batch_size, seq_length, width of that product]`.
    pub(super) fn project(&self, input: Tensor<3>) -> Tensor<3> {
        let [.., d_input] = input.dims();
        let first = match self {
            NtmController::Lstm(lstm) => &lstm.layers[0].input,
            NtmController::FeedForward(dense) => &dense.layers[0],
        };
        let weight = first.weight.val().narrow(0, 0, d_input);
        project(input, weight, first.bias.as_ref().map(|bias| bias.val()))
    }

    /// The weights of its layers, and the nonlinearity if it is feed-forward.
    pub(super) fn weights(&self) -> (Vec<ntm::LayerWeights>, Option<Activation>) {
        let layer = |linear: &Linear, recurrent: Option<Tensor<2>>| ntm::LayerWeights {
            weight: linear.weight.val(),
            recurrent,
            bias: linear.bias.as_ref().expect("layers have a bias").val(),
        };
        match self {
            NtmController::Lstm(lstm) => {
                let layers = lstm.layers.iter();
                let layers = layers.map(|lstm| layer(&lstm.input, Some(lstm.w_hidden.val())));
                (layers.collect(), None)
            }
            NtmController::FeedForward(dense) => {
                let layers = dense.layers.iter().map(|linear| layer(linear, None));
                (layers.collect(), Some(dense.activation))
            }
        }
    }
}
