//! RMSProp.

use burn::optim::{ModuleOptimizer, RmsPropConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Optimizer, penalty, require_positive, require_share};
use crate::Error;

/// Hinton 2012, with momentum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RmsProp {
    /// Decay of the squared gradient's mean: in [0, 1). Default 0.95.
    pub alpha: f32,
    /// Decay of the mean of updates: in [0, 1). Default 0.9.
    pub momentum: f32,
    /// What keeps the division finite: above 0. Default 1e-8.
    pub epsilon: f32,
    /// Whether the gradient's mean is subtracted from its square's (Graves 2013). Default false.
    pub centered: bool,
}

impl Default for RmsProp {
    fn default() -> Self {
        RmsProp {
            alpha: 0.95,
            momentum: 0.9,
            epsilon: 1e-8,
            centered: false,
        }
    }
}

impl Optimizer for RmsProp {
    fn validate(&self) -> Result<(), Error> {
        require_share("optimizer.alpha", self.alpha.into())?;
        require_share("optimizer.momentum", self.momentum.into())?;
        require_positive("optimizer.epsilon", self.epsilon)
    }

    fn init(&self, weight_decay: f64) -> ModuleOptimizer {
        RmsPropConfig::new()
            .with_alpha(self.alpha)
            .with_momentum(self.momentum)
            .with_epsilon(self.epsilon)
            .with_centered(self.centered)
            .with_weight_decay(penalty(weight_decay))
            .init()
    }
}
