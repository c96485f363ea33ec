//! Neural Turing Machines with an LSTM as their controller.

use burn::tensor::Tensor;
use fw_core::{AnyLayer, ControllerKind, LayerConfig, Ntm, NtmConfig};

use super::{Given, Kind, Settings, trace_as};
use crate::Error;
use crate::models::heat_map::{Layer, MapPairs, of_heads, pairs};

pub(super) struct NtmLstm;

fn base(d_input: usize) -> NtmConfig {
    NtmConfig::new(d_input, 100).with_controller(ControllerKind::Lstm)
}

impl Kind for NtmLstm {
    fn name(&self) -> &'static str {
        "ntm-lstm"
    }

    fn about(&self) -> &'static str {
        "Neural Turing Machine with an LSTM as its controller (Graves et al. 2014)"
    }

    fn settings(&self) -> Settings {
        let settings = Settings::of(&base(1));
        settings.without(&["controller", "activation"])
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        Ok(LayerConfig::Ntm(given.over(&base(given.d_input), &[])?))
    }

    fn trace(&self, layer: &AnyLayer, input: &Tensor<3>) -> Option<MapPairs> {
        trace_as::<Ntm>(layer, input)
    }
}

impl Layer for Ntm {
    fn trace(&self, input: Tensor<3>, state: Option<Self::State>) -> (MapPairs, Self::State) {
        let trace = self.forward_traced(input, state);
        let [adds, writes, reads, looks] = [
            ("adds", "number", trace.adds),
            ("write weightings", "location", trace.write_weights),
            ("reads", "number", trace.reads),
            ("read weightings", "location", trace.read_weights),
        ]
        .map(|(title, rows, steps)| of_heads(title, rows, steps));
        let mut maps = pairs(adds, reads);
        maps.extend(pairs(writes, looks));
        (maps, trace.state)
    }
}
