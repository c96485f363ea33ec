//! Long short-term memory.

use fw_core::{LayerConfig, LstmConfig};

use super::{Depth, Given, Kind, Settings};
use crate::Error;
use crate::models::heat_map::Layer;

pub(super) struct Lstm;

fn base(d_input: usize) -> LstmConfig {
    LstmConfig::new(d_input, 20)
}

impl Kind for Lstm {
    fn name(&self) -> &'static str {
        "lstm"
    }

    fn about(&self) -> &'static str {
        "long short-term memory, n_layers of it upon each other"
    }

    fn settings(&self) -> Settings {
        Settings::of(&base(1)).and(&Depth::DEFAULT)
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        let config = given.over(&base(1), &[])?;
        let inputs = given
            .own::<Depth>()?
            .inputs(given.d_input, config.d_hidden)?;
        let layers = inputs.map(|d_input| LstmConfig {
            d_input,
            ..config.clone()
        });
        Ok(LayerConfig::Lstm(layers.collect()))
    }
}

impl Layer for fw_core::Lstm {}
