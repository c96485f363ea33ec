//! The mLSTM.

use burn::tensor::Tensor;
use fw_core::{AnyLayer, LayerConfig, MLstmConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::heads::{Heads, check_heads};
use super::{Given, Kind, Settings, trace_as};
use crate::Error;
use crate::models::heat_map::{Layer, MapPairs, of_memories};

pub(super) struct MLstm;

fn base(d_input: usize) -> MLstmConfig {
    MLstmConfig::new(d_input, 1, DEFAULT.d_hidden)
}

/// What is said otherwise than in fw-core's configuration.
#[derive(Serialize, Deserialize, JsonSchema)]
struct OwnSettings {
    /// Width of what the layer yields, at least 1. Default 20.
    d_hidden: usize,
    /// K, the width of a query and of a key in each head, at least 1. Where it is not set: `d_hidden` / `n_heads`.
    d_key: Option<usize>,
    /// c, which the gates stay below before their exponential and their sigmoid: above 0, or 0, which leaves them as they are. Default 15.
    gate_cap: f64,
}

const DEFAULT: OwnSettings = OwnSettings {
    d_hidden: 20,
    d_key: None,
    gate_cap: 15.0,
};

impl Kind for MLstm {
    fn name(&self) -> &'static str {
        "mlstm"
    }

    fn about(&self) -> &'static str {
        "heads with a matrix memory each, written through exponential gates (Beck et al. 2024)"
    }

    fn settings(&self) -> Settings {
        Settings::of(&base(1)).without(&["d_output"]).and(&DEFAULT)
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        let own: OwnSettings = given.own()?;
        let mut config: MLstmConfig = given.over(&base(given.d_input), &["d_key", "gate_cap"])?;
        config.d_key = check_heads(Heads {
            d_hidden: own.d_hidden,
            n_heads: config.n_heads,
            d_key: own.d_key,
            d_value: config.d_value,
        })?;
        config.gate_cap = (own.gate_cap != 0.0).then_some(own.gate_cap);
        config.d_output = Some(own.d_hidden);
        Ok(LayerConfig::MLstm(config))
    }

    fn trace(&self, layer: &AnyLayer, input: &Tensor<3>) -> Option<MapPairs> {
        trace_as::<fw_core::MLstm>(layer, input)
    }
}

impl Layer for fw_core::MLstm {
    /// What each head's memory holds of each write, two heads side by side; then how strong the writes are and what is left before them.
    fn trace(&self, input: Tensor<3>, state: Option<Self::State>) -> (MapPairs, Self::State) {
        let trace = self.forward_traced(input, state);
        (
            of_memories(&trace, Some("write strength"), true),
            trace.state,
        )
    }
}
