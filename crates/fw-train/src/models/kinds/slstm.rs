//! The sLSTM.

use fw_core::{LayerConfig, SLstmConfig};

use super::{Given, Kind, Settings};
use crate::Error;

pub(super) struct SLstm;

fn base(d_input: usize) -> SLstmConfig {
    SLstmConfig::new(d_input, 20)
}

impl Kind for SLstm {
    fn name(&self) -> &'static str {
        "slstm"
    }

    fn about(&self) -> &'static str {
        "an LSTM with exponential gates, whose output is a weighted mean of what was written (Beck et al. 2024)"
    }

    fn settings(&self) -> Settings {
        Settings::of(&base(1))
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        Ok(LayerConfig::SLstm(given.over(&base(given.d_input), &[])?))
    }
}
