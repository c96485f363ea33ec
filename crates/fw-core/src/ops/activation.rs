//! The nonlinearity of a recurrent state.

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

/// The nonlinearity f of a recurrent state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `max(x, 0)`
    #[default]
    Relu,
    /// `tanh(x)`
    Tanh,
}

impl Activation {
    /// Applies the nonlinearity to every element.
    pub fn apply<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        match self {
            Activation::Relu => activation::relu(input),
            Activation::Tanh => activation::tanh(input),
        }
    }
}
