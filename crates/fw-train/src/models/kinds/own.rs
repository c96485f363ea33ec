//! Layers of programs of one's own.

use fw_core::LayerConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Given, Kind, Settings};
use crate::Error;
use crate::error::require;

pub(super) struct Own;

/// A layer that a program of one's own has made: see [`Study`](crate::compare::Study).
#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct OwnSettings {
    /// What reports call it: not empty.
    name: String,
    /// The width that reports tell, any number. Default 0.
    d_hidden: usize,
}

impl Kind for Own {
    fn name(&self) -> &'static str {
        "own"
    }

    fn about(&self) -> &'static str {
        "a layer of a program of one's own, see examples/own-layer; only that program can train or run it"
    }

    fn settings(&self) -> Settings {
        Settings::of(&OwnSettings::default())
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        Err(Error::usage(format!(
            "model.kind is own: the layer {} exists in the program that trains it alone",
            self.title(given)
        )))
    }

    fn validate(&self, given: &Given) -> Result<(), Error> {
        let settings: OwnSettings = given.own()?;
        let is_named = !settings.name.is_empty();
        require(is_named, "model.name", "empty", "be a name")
    }

    fn title(&self, given: &Given) -> String {
        let settings: Result<OwnSettings, Error> = given.own();
        settings.map_or(String::new(), |settings| settings.name)
    }
}
