//! A short convolution with a gate.

use fw_core::{GatedConvolutionConfig, LayerConfig};

use super::{Given, Kind, Settings};
use crate::Error;

pub(super) struct GatedConvolution;

fn base(d_input: usize) -> GatedConvolutionConfig {
    GatedConvolutionConfig::new(d_input)
}

impl Kind for GatedConvolution {
    fn name(&self) -> &'static str {
        "gated-convolution"
    }

    fn about(&self) -> &'static str {
        "a short convolution with a gate, without a memory: what a memory has to be better than (Arora et al. 2023)"
    }

    fn settings(&self) -> Settings {
        Settings::of(&base(1))
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        let config = given.over(&base(given.d_input), &[])?;
        Ok(LayerConfig::GatedConvolution(config))
    }
}
