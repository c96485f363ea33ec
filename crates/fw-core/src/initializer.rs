//! Start values.

use alloc::vec::Vec;

use burn::module::{Param, ParamId};
use burn::nn::Initializer;
use burn::tensor::{Device, Shape, Tensor, TensorData};
#[cfg(not(feature = "std"))]
#[allow(
    unused_imports,
    reason = "shadowed by std's own methods where another crate brings std in"
)]
use num_traits::Float as _;
use serde::{Deserialize, Serialize};

use crate::ConfigError;
use crate::error::require_finite;

/// Start value of a recurrent weight `[d_hidden, n_gates · d_hidden]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum HiddenInitializer {
    /// The identity times a factor, in every gate's block: 1 for an IRNN (Le, Jaitly, Hinton 2015), 0.05
    /// for fast weights.
    ScaledIdentity(f64),
    /// A random (semi-)orthogonal matrix times a factor.
    Orthogonal(f64),
    /// Uniform in ±1/√d_hidden.
    Uniform,
}

impl HiddenInitializer {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        match *self {
            HiddenInitializer::ScaledIdentity(factor) | HiddenInitializer::Orthogonal(factor) => {
                require_finite("hidden_initializer", factor)
            }
            HiddenInitializer::Uniform => Ok(()),
        }
    }

    /// The parameter `[d_hidden, n_gates · d_hidden]`.
    pub(crate) fn init(
        &self,
        d_hidden: usize,
        n_gates: usize,
        device: &Device,
    ) -> Param<Tensor<2>> {
        let shape = [d_hidden, n_gates * d_hidden];
        match *self {
            HiddenInitializer::ScaledIdentity(factor) => Param::uninitialized(
                ParamId::new(),
                move |device, require_grad| {
                    Tensor::<2>::eye(d_hidden, device)
                        .mul_scalar(factor)
                        .repeat_dim(1, n_gates)
                        .set_require_grad(require_grad)
                },
                device.clone(),
                true,
                Shape::from(shape),
            ),
            HiddenInitializer::Orthogonal(gain) => {
                Initializer::Orthogonal { gain }.init(shape, device)
            }
            HiddenInitializer::Uniform => uniform(d_hidden).init(shape, device),
        }
    }
}

/// Uniform in ±1/√width: the usual start of gated cells.
pub(crate) fn uniform(width: usize) -> Initializer {
    let bound = 1.0 / (width as f64).sqrt();
    Initializer::Uniform {
        min: -bound,
        max: bound,
    }
}

/// A parameter of given numbers, by their place.
pub(crate) fn given<const D: usize>(
    shape: [usize; D],
    of: impl Fn(usize) -> f64 + Send + Sync + 'static,
    device: &Device,
) -> Param<Tensor<D>> {
    Param::uninitialized(
        ParamId::new(),
        move |device, require_grad| {
            let all: Vec<f64> = (0..shape.iter().product()).map(&of).collect();
            let tensor = Tensor::<D>::from_data(TensorData::new(all, shape), device);
            tensor.set_require_grad(require_grad)
        },
        device.clone(),
        true,
        Shape::from(shape),
    )
}
