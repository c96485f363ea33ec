//! Neural Turing Machines with a feed-forward controller: what their heads did, `ntm_lstm.rs` tells of both.

use fw_core::{ControllerKind, LayerConfig, NtmConfig};

use super::{Given, Kind, Settings};
use crate::Error;

pub(super) struct NtmFf;

fn base(d_input: usize) -> NtmConfig {
    NtmConfig::new(d_input, 100).with_controller(ControllerKind::FeedForward)
}

impl Kind for NtmFf {
    fn name(&self) -> &'static str {
        "ntm-ff"
    }

    fn about(&self) -> &'static str {
        "Neural Turing Machine with a feed-forward controller (Graves et al. 2014)"
    }

    fn settings(&self) -> Settings {
        let settings = Settings::of(&base(1));
        settings.without(&["controller", "forget_bias", "initial_controller"])
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        Ok(LayerConfig::Ntm(given.over(&base(given.d_input), &[])?))
    }
}
