//! What a machine begins with.

use burn::module::Param;
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::ConfigError;
use crate::error::require_finite;

/// The memory before the first step, the same for every sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum InitialMemory {
    /// Uniform in ±1/√(memory_size + word_size), drawn once and not learned.
    Random,
    /// Uniform at first, then learned.
    Learned,
    /// Every number the same (1e-6 is usual): then rows differ only by what is written, and a first weighting has to
    /// tell them apart.
    Constant(f64),
}

/// Each head's weighting before the first step, the same for every sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum InitialWeights {
    /// Nowhere: the first weighting is what content and shift say.
    Zero,
    /// On the first row.
    OneHot,
    /// A softmax of numbers that are learned, from ±1 at first.
    Learned,
}

/// Another start value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum InitialValue {
    /// Zeros.
    Zero,
    /// Zeros at first, then learned.
    Learned,
}

impl InitialMemory {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        match *self {
            InitialMemory::Constant(value) => require_finite("initial_memory", value),
            InitialMemory::Random | InitialMemory::Learned => Ok(()),
        }
    }

    pub(super) fn init(&self, shape: [usize; 2], device: &Device) -> Param<Tensor<2>> {
        let bound = 1.0 / ((shape[0] + shape[1]) as f64).sqrt();
        let uniform = Initializer::Uniform {
            min: -bound,
            max: bound,
        };
        match *self {
            InitialMemory::Random => fixed(uniform.init(shape, device)),
            InitialMemory::Learned => uniform.init(shape, device),
            InitialMemory::Constant(value) => {
                fixed(Initializer::Constant { value }.init(shape, device))
            }
        }
    }
}

impl InitialWeights {
    /// The weightings, or the numbers whose softmax they are.
    pub(super) fn init(&self, shape: [usize; 2], device: &Device) -> Param<Tensor<2>> {
        match self {
            InitialWeights::Zero => fixed(Initializer::Zeros.init(shape, device)),
            InitialWeights::OneHot => {
                let mut values = alloc::vec![0.0; shape[0] * shape[1]];
                values
                    .chunks_exact_mut(shape[1])
                    .for_each(|row| row[0] = 1.0);
                fixed(Param::from_data(TensorData::new(values, shape), device))
            }
            InitialWeights::Learned => Initializer::Uniform {
                min: -1.0,
                max: 1.0,
            }
            .init(shape, device),
        }
    }
}

impl InitialValue {
    pub(super) fn init(&self, shape: [usize; 2], device: &Device) -> Param<Tensor<2>> {
        let zeros = Initializer::Zeros.init(shape, device);
        match self {
            InitialValue::Zero => fixed(zeros),
            InitialValue::Learned => zeros,
        }
    }
}

/// A parameter that is saved but not learned.
fn fixed(param: Param<Tensor<2>>) -> Param<Tensor<2>> {
    param.set_require_grad(false)
}

/// A start value for every sample: `[rows, width]` to `[batch_size, rows, width]`.
pub(super) fn for_each_sample(start: Tensor<2>, batch_size: usize) -> Tensor<3> {
    let [rows, width] = start.dims();
    // Burn cannot expand to nothing.
    if batch_size == 0 {
        return Tensor::zeros([0, rows, width], (&start.device(), start.dtype()));
    }
    let one: Tensor<3> = start.unsqueeze_dim(0);
    one.expand([batch_size, rows, width])
}
