//! What the kinds of layers that wrap a cell have in common.

use burn::tensor::Tensor;
use fw_core::{
    AnyLayer, CellConfig, ElmanConfig, ExecutionPath, FastWeightsConfig, GruConfig, LayerConfig,
    LstmConfig, RecurrentCell, SabConfig,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Given, trace_as};
use crate::Error;
use crate::error::require;
use crate::models::heat_map::{HeatMap, Layer, MapPairs};

/// The cell that a layer wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum CellKind {
    /// [`LstmConfig`] with its defaults.
    Lstm,
    /// [`GruConfig`] with its defaults.
    Gru,
    /// [`ElmanConfig`] with its defaults.
    Rnn,
    /// [`FastWeightsConfig`] with its defaults.
    FastWeights,
}

/// What is wrapped.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(super) struct Cell {
    /// The cell that is wrapped, with its defaults. Default `"lstm"`.
    cell: CellKind,
    /// Width of the cell's hidden state, at least 1. Default 64.
    d_hidden: usize,
}

impl Cell {
    pub const DEFAULT: Cell = Cell {
        cell: CellKind::Lstm,
        d_hidden: 64,
    };

    fn config(&self, d_input: usize) -> CellConfig {
        let d_hidden = self.d_hidden;
        match self.cell {
            CellKind::Lstm => CellConfig::Lstm(LstmConfig::new(d_input, d_hidden)),
            CellKind::Gru => CellConfig::Gru(GruConfig::new(d_input, d_hidden)),
            CellKind::Rnn => CellConfig::Elman(ElmanConfig::new(d_input, d_hidden)),
            CellKind::FastWeights => {
                CellConfig::FastWeights(FastWeightsConfig::new(d_input, d_hidden))
            }
        }
    }
}

/// A cell and what wraps it.
pub(super) fn wrapped(given: &Given, sab: SabConfig) -> Result<LayerConfig, Error> {
    let cell: Cell = given.own()?;
    require(
        cell.cell != CellKind::FastWeights || sab.path != ExecutionPath::Fused,
        "model.path",
        "fused",
        "be auto or composed where the cell is fast-weights",
    )?;
    Ok(LayerConfig::Sab {
        sab,
        cell: cell.config(given.d_input),
    })
}

/// What each step of one sample did, whatever the cell is.
pub(super) fn trace(layer: &AnyLayer, input: &Tensor<3>) -> Option<MapPairs> {
    trace_as::<fw_core::Sab<fw_core::Lstm>>(layer, input)
        .or_else(|| trace_as::<fw_core::Sab<fw_core::Gru>>(layer, input))
        .or_else(|| trace_as::<fw_core::Sab<fw_core::Elman>>(layer, input))
        .or_else(|| trace_as::<fw_core::Sab<fw_core::FastWeights>>(layer, input))
}

impl<C: RecurrentCell<State: 'static> + 'static> Layer for fw_core::Sab<C> {
    fn trace(&self, input: Tensor<3>, state: Option<Self::State>) -> (MapPairs, Self::State) {
        let trace = self.forward_traced(input, state);
        let seq_length = trace.output.dims()[1];
        let mut attention = vec![vec![0.0; seq_length]; seq_length];
        for (step, weights) in trace.attention_map(0).into_iter().enumerate() {
            let stored = trace.stored_at.iter().zip(weights);
            for (stored_at, weight) in stored.filter_map(|(at, weight)| Some(((*at)?, weight))) {
                attention[stored_at][step] = weight;
            }
        }
        let replay = trace.replay_map(0);
        let reached = |origin: usize| {
            let from_steps = replay
                .iter()
                .map(|reached| f32::from(u8::from(reached[origin])));
            from_steps.collect()
        };
        let attention = HeatMap {
            title: "recalled step, by the step that recalls it".to_owned(),
            rows: "step",
            values: attention,
        };
        let replay = HeatMap {
            title: "replay: steps that learn from a step's output".to_owned(),
            rows: "step",
            values: (0..seq_length).map(reached).collect(),
        };
        (vec![[Some(attention), Some(replay)]], trace.state)
    }
}
