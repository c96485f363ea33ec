//! Elman networks that begin with the identity.

use fw_core::{ElmanConfig, LayerConfig};

use super::{Given, Kind, Settings};
use crate::Error;

pub(super) struct Irnn;

fn base(d_input: usize) -> ElmanConfig {
    ElmanConfig::irnn(d_input, 20)
}

impl Kind for Irnn {
    fn name(&self) -> &'static str {
        "irnn"
    }

    fn about(&self) -> &'static str {
        "Elman network with relu and an identity start (Le et al. 2015)"
    }

    fn settings(&self) -> Settings {
        Settings::of(&base(1)).without(&["activation", "layer_norm", "hidden_initializer"])
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        Ok(LayerConfig::Elman(given.over(&base(given.d_input), &[])?))
    }
}
