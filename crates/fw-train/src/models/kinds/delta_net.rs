//! DeltaNet and what became of it.

use burn::tensor::Tensor;
use fw_core::{AnyLayer, DeltaNetConfig, LayerConfig, Stack};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::heads::{Heads, check_heads};
use super::{Depth, Given, Kind, Settings, require_width, trace_as};
use crate::Error;
use crate::models::heat_map::{Layer, MapPairs, of_memories};

pub(super) struct DeltaNet;

fn base() -> DeltaNetConfig {
    DeltaNetConfig::new(1, 1, 20)
}

/// What is said otherwise than in fw-core's configuration.
#[derive(Serialize, Deserialize, JsonSchema)]
struct OwnSettings {
    /// Width of what a layer yields, at least 1. Default 20.
    d_hidden: usize,
    /// K, the width of a query and of a key in each head, at least 1. Where it is not set: `d_hidden` / `n_heads`.
    d_key: Option<usize>,
    /// Steps that the short convolution of queries, keys and values sees, its own among them; 0 leaves it out. Default 4; without one a memory
    /// is much harder to use, since no key can be made of the step before its value.
    convolution: usize,
}

impl Default for OwnSettings {
    fn default() -> Self {
        OwnSettings {
            d_hidden: base().d_key,
            d_key: None,
            convolution: base().convolution.unwrap_or(0),
        }
    }
}

impl Kind for DeltaNet {
    fn name(&self) -> &'static str {
        "delta-net"
    }

    fn about(&self) -> &'static str {
        "heads of fast weights without a hidden state: DeltaNet, Gated DeltaNet, Kimi delta attention, DeltaProduct (Yang et al. 2024 and after)"
    }

    fn settings(&self) -> Settings {
        let settings = Settings::of(&base()).without(&["d_output"]);
        settings.and(&OwnSettings::default()).and(&Depth::DEFAULT)
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        Ok(LayerConfig::DeltaNet(layers(given)?))
    }

    fn trace(&self, layer: &AnyLayer, input: &Tensor<3>) -> Option<MapPairs> {
        trace_as::<Stack<fw_core::DeltaNet>>(layer, input)
    }
}

/// Layers with the settings that are given.
fn layers(given: &Given) -> Result<Vec<DeltaNetConfig>, Error> {
    let config = given.over(&base(), &["d_key", "convolution"])?;
    stacked(config, given.own()?, given.own()?, given.d_input)
}

/// Layers of some sizes, with all else as it is by default.
pub(super) fn layers_of(
    d_input: usize,
    d_hidden: usize,
    n_heads: usize,
    n_layers: usize,
) -> Result<Vec<DeltaNetConfig>, Error> {
    let own = OwnSettings {
        d_hidden,
        ..OwnSettings::default()
    };
    stacked(
        DeltaNetConfig::new(1, n_heads, 1),
        own,
        Depth { n_layers },
        d_input,
    )
}

fn stacked(
    mut config: DeltaNetConfig,
    own: OwnSettings,
    depth: Depth,
    d_input: usize,
) -> Result<Vec<DeltaNetConfig>, Error> {
    let n_heads = config.n_heads;
    config.d_key = check_heads(Heads {
        d_hidden: own.d_hidden,
        n_heads,
        d_key: own.d_key,
        d_value: config.d_value,
    })?;
    config.d_output = Some(own.d_hidden);
    config.convolution = (own.convolution > 0).then_some(own.convolution);
    // A product of sizes stays far from what a number can hold.
    let rows = n_heads.saturating_mul(config.writes_per_step);
    let width = |size: usize| rows.saturating_mul(size);
    require_width(
        "model.n_heads x model.writes_per_step x model.d_key",
        width(config.d_key),
    )?;
    require_width(
        "model.n_heads x model.writes_per_step x model.d_value",
        width(config.d_value.unwrap_or(config.d_key)),
    )?;
    require_width("model.convolution", own.convolution)?;
    require_width("model.gate_rank", config.gate_rank.unwrap_or(1))?;
    let inputs = depth.inputs(d_input, own.d_hidden)?;
    let layers = inputs.map(|d_input| DeltaNetConfig {
        d_input,
        ..config.clone()
    });
    Ok(layers.collect())
}

impl Layer for fw_core::DeltaNet {
    /// What each head's memory holds of each write, two heads side by side; then how strong the writes are and what is left before them, where these are
    /// learned.
    fn trace(&self, input: Tensor<3>, state: Option<Self::State>) -> (MapPairs, Self::State) {
        let trace = self.forward_traced(input, state);
        let strength = self.b_proj.is_some().then_some("write strength");
        let pairs = of_memories(&trace, strength, self.a_log.is_some());
        (pairs, trace.state)
    }
}
