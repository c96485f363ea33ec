//! A cell trained by truncated backpropagation through time.

use fw_core::{LayerConfig, SabConfig, SabOutput};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::wrapped::{Cell, wrapped};
use super::{Given, Kind, Settings};
use crate::Error;

pub(super) struct Tbptt;

/// No memory, only the truncation.
fn truncated() -> SabConfig {
    SabConfig::new()
        .with_top_k(Some(0))
        .with_output(SabOutput::Hidden)
}

/// What is said otherwise than in fw-core's configuration.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Truncation {
    /// k_trunc, the most steps that a gradient goes back, at least 1. Default 10.
    truncation_length: usize,
}

impl Kind for Tbptt {
    fn name(&self) -> &'static str {
        "tbptt"
    }

    fn about(&self) -> &'static str {
        "a cell trained by truncated backpropagation through time"
    }

    fn settings(&self) -> Settings {
        let sab = truncated();
        let truncation = Truncation {
            truncation_length: sab.truncation_length.unwrap_or(usize::MAX),
        };
        let hidden = [
            "top_k",
            "attention_interval",
            "replay",
            "max_memories",
            "d_attention",
            "score",
            "sparsifier",
            "combination",
            "output",
        ];
        let settings = Settings::of(&sab).without(&hidden);
        settings.and(&truncation).and(&Cell::DEFAULT)
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        wrapped(given, given.over(&truncated(), &[])?)
    }
}
