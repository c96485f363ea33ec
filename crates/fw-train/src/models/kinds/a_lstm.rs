//! Associative LSTMs.

use fw_core::{AssociativeLstmConfig, LayerConfig};

use super::{Given, Kind, Settings};
use crate::Error;
use crate::models::heat_map::Layer;

pub(super) struct ALstm;

fn base(d_input: usize) -> AssociativeLstmConfig {
    AssociativeLstmConfig::new(d_input, 20)
}

impl Kind for ALstm {
    fn name(&self) -> &'static str {
        "a-lstm"
    }

    fn about(&self) -> &'static str {
        "Associative LSTM: LSTM gates over a holographic memory (Danihelka et al. 2016)"
    }

    fn settings(&self) -> Settings {
        Settings::of(&base(1))
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        let config = given.over(&base(given.d_input), &[])?;
        Ok(LayerConfig::AssociativeLstm(config))
    }
}

impl Layer for fw_core::AssociativeLstm {}
