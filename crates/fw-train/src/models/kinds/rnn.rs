//! Elman networks.

use fw_core::{ElmanConfig, LayerConfig};

use super::{Given, Kind, Settings};
use crate::Error;
use crate::models::heat_map::Layer;

pub(super) struct Rnn;

fn base(d_input: usize) -> ElmanConfig {
    ElmanConfig::new(d_input, 20)
}

impl Kind for Rnn {
    fn name(&self) -> &'static str {
        "rnn"
    }

    fn about(&self) -> &'static str {
        "Elman network; layer_norm = true normalises it"
    }

    fn settings(&self) -> Settings {
        Settings::of(&base(1))
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        Ok(LayerConfig::Elman(given.over(&base(given.d_input), &[])?))
    }
}

impl Layer for fw_core::Elman {}
