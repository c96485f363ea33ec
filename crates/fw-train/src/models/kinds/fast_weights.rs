//! Fast weights.

use burn::tensor::Tensor;
use fw_core::{AnyLayer, FastWeightsConfig, LayerConfig, MemoryForm};

use super::{Given, Kind, Settings, trace_as};
use crate::Error;
use crate::models::heat_map::{HeatMap, Layer, MapPairs};

pub(super) struct FastWeights;

fn base(d_input: usize) -> FastWeightsConfig {
    FastWeightsConfig::new(d_input, 20)
}

impl Kind for FastWeights {
    fn name(&self) -> &'static str {
        "fast-weights"
    }

    fn about(&self) -> &'static str {
        "recurrent net with fast weights (Ba et al. 2016)"
    }

    fn settings(&self) -> Settings {
        Settings::of(&base(1))
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        let config = given.over(&base(given.d_input), &[])?;
        Ok(LayerConfig::FastWeights(config))
    }

    fn trace(&self, layer: &AnyLayer, input: &Tensor<3>) -> Option<MapPairs> {
        trace_as::<fw_core::FastWeights>(layer, input)
    }

    fn grows(&self, given: &Given) -> bool {
        let config = given.over(&base(1), &[]);
        config.is_ok_and(|config| config.form == MemoryForm::Attention)
    }
}

impl Layer for fw_core::FastWeights {
    fn trace(&self, input: Tensor<3>, state: Option<Self::State>) -> (MapPairs, Self::State) {
        let trace = self.forward_traced(input, state);
        let map = HeatMap::new(
            "attention to earlier steps",
            "step",
            trace.attention.squeeze_dim(0),
        );
        (vec![[Some(map), None]], trace.state)
    }
}
