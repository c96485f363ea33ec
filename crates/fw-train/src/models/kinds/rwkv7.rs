//! RWKV-7.

use burn::tensor::Tensor;
use fw_core::{AnyLayer, LayerConfig, Rwkv7Config};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::heads::{Heads, check_heads};
use super::{Given, Kind, Settings, require_width, trace_as};
use crate::Error;
use crate::models::heat_map::{Layer, MapPairs, of_memories};

pub(super) struct Rwkv7;

fn base(d_input: usize) -> Rwkv7Config {
    Rwkv7Config::new(d_input, 1, DEFAULT.d_hidden)
}

/// What is said otherwise than in fw-core's configuration.
#[derive(Serialize, Deserialize, JsonSchema)]
struct OwnSettings {
    /// Width of what the layer yields, at least 1. Default 20.
    d_hidden: usize,
    /// K, the width of a receptance and of a key in each head, at least 1. Where it is not set: `d_hidden` / `n_heads`.
    d_key: Option<usize>,
}

const DEFAULT: OwnSettings = OwnSettings {
    d_hidden: 20,
    d_key: None,
};

impl Kind for Rwkv7 {
    fn name(&self) -> &'static str {
        "rwkv7"
    }

    fn about(&self) -> &'static str {
        "heads with a matrix memory each, which every step fades, rewrites and moves (Peng et al. 2025)"
    }

    fn settings(&self) -> Settings {
        Settings::of(&base(1)).without(&["d_output"]).and(&DEFAULT)
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        let own: OwnSettings = given.own()?;
        let mut config: Rwkv7Config = given.over(&base(given.d_input), &["d_key"])?;
        config.d_key = check_heads(Heads {
            d_hidden: own.d_hidden,
            n_heads: config.n_heads,
            d_key: own.d_key,
            d_value: config.d_value,
        })?;
        let ranks = [
            ("model.decay_rank", config.decay_rank),
            ("model.rate_rank", config.rate_rank),
            ("model.gate_rank", config.gate_rank),
        ];
        for (field, rank) in ranks {
            require_width(field, rank.unwrap_or(1))?;
        }
        config.d_output = Some(own.d_hidden);
        Ok(LayerConfig::Rwkv7(config))
    }

    fn trace(&self, layer: &AnyLayer, input: &Tensor<3>) -> Option<MapPairs> {
        trace_as::<fw_core::Rwkv7>(layer, input)
    }
}

impl Layer for fw_core::Rwkv7 {
    /// What each head's memory holds of each write, two heads side by side; then how much each step removes, and what it leaves.
    fn trace(&self, input: Tensor<3>, state: Option<Self::State>) -> (MapPairs, Self::State) {
        let trace = self.forward_traced(input, state);
        (
            of_memories(&trace, Some("share that is replaced"), true),
            trace.state,
        )
    }
}
