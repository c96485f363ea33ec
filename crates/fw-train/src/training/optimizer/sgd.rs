//! Stochastic gradient descent.

use burn::optim::momentum::MomentumConfig;
use burn::optim::{ModuleOptimizer, SgdConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Optimizer, penalty, require_share};
use crate::Error;
use crate::error::require;

/// Stochastic gradient descent, with momentum if it is above 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sgd {
    /// Decay of the mean of updates: in [0, 1); 0 is plain gradient descent. Default 0.9.
    pub momentum: f64,
    /// Whether the momentum is Nesterov's, which must be above 0 then. Default false.
    pub nesterov: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Sgd {
            momentum: 0.9,
            nesterov: false,
        }
    }
}

impl Optimizer for Sgd {
    fn validate(&self) -> Result<(), Error> {
        require_share("optimizer.momentum", self.momentum)?;
        let has_momentum = self.momentum > 0.0;
        let rule = "be false when optimizer.momentum is 0";
        require(
            has_momentum || !self.nesterov,
            "optimizer.nesterov",
            true,
            rule,
        )
    }

    fn init(&self, weight_decay: f64) -> ModuleOptimizer {
        let momentum = MomentumConfig::new()
            .with_momentum(self.momentum)
            .with_dampening(0.0)
            .with_nesterov(self.nesterov);
        SgdConfig::new()
            .with_momentum((self.momentum > 0.0).then_some(momentum))
            .with_weight_decay(penalty(weight_decay))
            .init()
    }
}
