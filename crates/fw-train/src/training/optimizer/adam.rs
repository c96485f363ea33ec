//! Adam, and Adam with decoupled weight decay.

use burn::optim::{AdamConfig, AdamWConfig, ModuleOptimizer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Optimizer, penalty, require_positive, require_share};
use crate::Error;

/// Kingma, Ba 2015.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Adam {
    /// Decay of the gradient's mean: in [0, 1). Default 0.9.
    pub beta_1: f32,
    /// Decay of the squared gradient's mean: in [0, 1). Default 0.999.
    pub beta_2: f32,
    /// What keeps the division finite: above 0. Default 1e-8, as in the paper.
    pub epsilon: f32,
}

impl Default for Adam {
    fn default() -> Self {
        Adam {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
        }
    }
}

impl Optimizer for Adam {
    fn validate(&self) -> Result<(), Error> {
        require_share("optimizer.beta_1", self.beta_1.into())?;
        require_share("optimizer.beta_2", self.beta_2.into())?;
        require_positive("optimizer.epsilon", self.epsilon)
    }

    fn init(&self, weight_decay: f64) -> ModuleOptimizer {
        AdamConfig::new()
            .with_beta_1(self.beta_1)
            .with_beta_2(self.beta_2)
            .with_epsilon(self.epsilon)
            .with_weight_decay(penalty(weight_decay))
            .init()
    }
}

/// Loshchilov, Hutter 2019: Adam whose weight decay does not pass through its moments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AdamW(pub Adam);

impl Optimizer for AdamW {
    fn validate(&self) -> Result<(), Error> {
        self.0.validate()
    }

    fn init(&self, weight_decay: f64) -> ModuleOptimizer {
        AdamWConfig::new()
            .with_beta_1(self.0.beta_1)
            .with_beta_2(self.0.beta_2)
            .with_epsilon(self.0.epsilon)
            .with_weight_decay(weight_decay as f32)
            .init()
    }
}
