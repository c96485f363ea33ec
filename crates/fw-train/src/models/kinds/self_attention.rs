//! A cell with attention to all its past states.

use burn::tensor::Tensor;
use fw_core::{AnyLayer, Combination, LayerConfig, SabConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::wrapped::{self, Cell};
use super::{Given, Kind, Settings};
use crate::Error;
use crate::models::heat_map::MapPairs;

pub(super) struct SelfAttention;

/// All memories, none of the truncation. What is recalled goes to the output alone, as it does where attention stands upon a recurrent net.
fn attending() -> SabConfig {
    SabConfig::new()
        .with_top_k(None)
        .with_truncation_length(None)
        .with_combination(Combination::OutputOnly)
}

/// What is said otherwise than in fw-core's configuration.
#[derive(Serialize, Deserialize, JsonSchema)]
struct OutputOnly {
    /// How what is recalled enters the state. Default `"output-only"`, as where attention stands upon a recurrent net.
    combination: Combination,
}

impl Kind for SelfAttention {
    fn name(&self) -> &'static str {
        "self-attention"
    }

    fn about(&self) -> &'static str {
        "a cell with attention to all its past states, trained by full backpropagation"
    }

    fn settings(&self) -> Settings {
        let settings = Settings::of(&attending()).without(&[
            "top_k",
            "truncation_length",
            "max_memories",
            "attention_interval",
            "replay",
            "sparsifier",
            "output",
        ]);
        let combination = attending().combination;
        settings
            .and(&OutputOnly { combination })
            .and(&Cell::DEFAULT)
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        wrapped::wrapped(given, given.over(&attending(), &[])?)
    }

    fn trace(&self, layer: &AnyLayer, input: &Tensor<3>) -> Option<MapPairs> {
        wrapped::trace(layer, input)
    }

    fn grows(&self, _given: &Given) -> bool {
        true
    }
}
