//! What a DeltaNet can be.

use burn::tensor::Tensor;
use burn::tensor::activation::{relu, sigmoid, silu};
use serde::{Deserialize, Serialize};

/// What a step leaves of the memory of a [`DeltaNet`](super::DeltaNet) before it writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DecayKind {
    /// All of it.
    #[default]
    None,
    /// A share of each head, which depends on the input (Gated DeltaNet).
    Head,
    /// A share of each key channel, which depends on the input (Kimi delta attention).
    Channel,
}

/// The range of the write strength β of a [`DeltaNet`](super::DeltaNet). With keys of length 1 a write multiplies what the memory holds under its key by
/// `1 - β`, the eigenvalue of the delta rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Eigenvalues {
    /// β in (0, 1): eigenvalues from 0 to 1, so that a write replaces a part.
    #[default]
    Positive,
    /// β in (0, 2): eigenvalues from -1 to 1, so that a write can also turn a sign, which tasks such as parity need (Grazzi et al. 2024).
    Signed,
}

impl Eigenvalues {
    /// The largest β.
    pub(super) fn largest(self) -> f64 {
        match self {
            Eigenvalues::Positive => 1.0,
            Eigenvalues::Signed => 2.0,
        }
    }
}

/// Where the write strength β of a [`DeltaNet`](super::DeltaNet) comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum WriteStrength {
    /// It is a function of the input, a sigmoid.
    #[default]
    Learned,
    /// It is always the largest that [`Eigenvalues`] allows.
    One,
}

/// φ, what queries and keys go through before they are normalised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum FeatureMap {
    /// `x σ(x)`
    #[default]
    Silu,
    /// `max(x, 0)`
    Relu,
    /// `x + 1` from 0 on, `exp(x)` below: always above 0.
    Elu,
    /// `x`
    Identity,
}

impl FeatureMap {
    pub(super) fn apply<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        match self {
            FeatureMap::Silu => silu(input),
            FeatureMap::Relu => relu(input),
            // exp(min(x, 0)) is 1 where x is not below 0.
            FeatureMap::Elu => relu(input.clone()) + input.clamp_max(0.0).exp(),
            FeatureMap::Identity => input,
        }
    }
}

/// How the queries and keys of a head are normalised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum KeyNorm {
    /// `x / √(Σ x² + 10⁻⁶)`: their length is 1.
    #[default]
    L2,
    /// `x / max(Σ |x|, 10⁻⁶)`: with a feature map that is never below 0, they sum to 1.
    Sum,
    /// Not at all. The delta rule diverges where `β |k|²` is above 2.
    None,
}

/// What is added to a sum of squares, or the least that a sum is divided by.
const EPSILON: f64 = 1e-6;

impl KeyNorm {
    /// Along the last dimension.
    pub(super) fn apply(self, input: Tensor<4>) -> Tensor<4> {
        match self {
            KeyNorm::L2 => {
                let squares = (input.clone() * input.clone()).sum_dim(3);
                input / (squares + EPSILON).sqrt()
            }
            KeyNorm::Sum => {
                let sum = input.clone().abs().sum_dim(3);
                input / sum.clamp_min(EPSILON)
            }
            KeyNorm::None => input,
        }
    }
}

/// What the outputs of a [`DeltaNet`](super::DeltaNet)'s heads are multiplied with: a function of the input, after the norm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OutputGate {
    /// Nothing.
    #[default]
    None,
    /// `x σ(x)`
    Silu,
    /// `σ(x)`
    Sigmoid,
}

impl OutputGate {
    pub(super) fn apply<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        match self {
            OutputGate::None => input,
            OutputGate::Silu => silu(input),
            OutputGate::Sigmoid => sigmoid(input),
        }
    }
}
