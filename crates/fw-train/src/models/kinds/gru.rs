//! Gated recurrent units.

use fw_core::{GruConfig, LayerConfig};

use super::{Given, Kind, Settings};
use crate::Error;
use crate::models::heat_map::Layer;

pub(super) struct Gru;

fn base(d_input: usize) -> GruConfig {
    GruConfig::new(d_input, 20)
}

impl Kind for Gru {
    fn name(&self) -> &'static str {
        "gru"
    }

    fn about(&self) -> &'static str {
        "gated recurrent unit; layer_norm = true normalises it"
    }

    fn settings(&self) -> Settings {
        Settings::of(&base(1))
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        Ok(LayerConfig::Gru(given.over(&base(given.d_input), &[])?))
    }
}

impl Layer for fw_core::Gru {}
