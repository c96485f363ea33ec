//! Layers that wrap a cell: Sparse Attentive Backtracking, and what it is compared with.

use burn::tensor::Tensor;
use fw_core::{
    AnyLayer, CellConfig, Combination, ElmanConfig, ExecutionPath, FastWeightsConfig, GruConfig,
    LayerConfig, LstmConfig, RecurrentCell, SabConfig, SabOutput,
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Given, Kind, Settings, trace_as};
use crate::Error;
use crate::error::require;
use crate::models::heat_map::{HeatMap, Layer, MapPairs};

pub(super) struct Sab;
pub(super) struct SelfAttention;
pub(super) struct Tbptt;

/// A number, or `"unlimited"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "usize", extend("x-values" = "a number, or \"unlimited\""))]
enum Limit {
    /// So many at most.
    At(usize),
    /// All there are.
    Unlimited,
}

impl From<Option<usize>> for Limit {
    fn from(number: Option<usize>) -> Self {
        number.map_or(Limit::Unlimited, Limit::At)
    }
}

impl Limit {
    fn number(self) -> Option<usize> {
        match self {
            Limit::At(n) => Some(n),
            Limit::Unlimited => None,
        }
    }
}

const UNLIMITED: &str = "unlimited";

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Limit::At(n) => n.serialize(serializer),
            Limit::Unlimited => UNLIMITED.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a number, or \"unlimited\"")]
        enum Written {
            Number(usize),
            Word(Word),
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Word {
            Unlimited,
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Number(n) => Limit::At(n),
            Written::Word(Word::Unlimited) => Limit::Unlimited,
        })
    }
}

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
struct Cell {
    /// The cell that is wrapped, with its defaults. Default `"lstm"`.
    cell: CellKind,
    /// Width of the cell's hidden state, at least 1. Default 64.
    d_hidden: usize,
}

impl Cell {
    const DEFAULT: Cell = Cell {
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
fn wrapped(given: &Given, sab: SabConfig) -> Result<LayerConfig, Error> {
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
fn trace(layer: &AnyLayer, input: &Tensor<3>) -> Option<MapPairs> {
    trace_as::<fw_core::Sab<fw_core::Lstm>>(layer, input)
        .or_else(|| trace_as::<fw_core::Sab<fw_core::Gru>>(layer, input))
        .or_else(|| trace_as::<fw_core::Sab<fw_core::Elman>>(layer, input))
        .or_else(|| trace_as::<fw_core::Sab<fw_core::FastWeights>>(layer, input))
}

/// What is said otherwise than in fw-core's configuration: all there is has a name.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Limits {
    /// k_top, how many memories a step recalls: 0 or more, or `"unlimited"`. Default 10.
    top_k: Limit,
    /// k_trunc, the most steps that a gradient goes back along the cell: at least 1, or `"unlimited"`. Default 10.
    truncation_length: Limit,
    /// The most memories that are kept, at least 1: the oldest are dropped. Default `"unlimited"`.
    max_memories: Limit,
}

const LIMITS: [&str; 3] = ["top_k", "truncation_length", "max_memories"];

impl Default for Limits {
    fn default() -> Self {
        let sab = SabConfig::new();
        Limits {
            top_k: sab.top_k.into(),
            truncation_length: sab.truncation_length.into(),
            max_memories: sab.max_memories.into(),
        }
    }
}

impl Kind for Sab {
    fn name(&self) -> &'static str {
        "sab"
    }

    fn about(&self) -> &'static str {
        "Sparse Attentive Backtracking over a cell: lstm, gru, rnn or fast-weights (Ke et al. 2018)"
    }

    fn settings(&self) -> Settings {
        let settings = Settings::of(&SabConfig::new());
        settings.and(&Limits::default()).and(&Cell::DEFAULT)
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        let limits: Limits = given.own()?;
        let mut sab = given.over(&SabConfig::new(), &LIMITS)?;
        sab.top_k = limits.top_k.number();
        sab.truncation_length = limits.truncation_length.number();
        sab.max_memories = limits.max_memories.number();
        wrapped(given, sab)
    }

    fn trace(&self, layer: &AnyLayer, input: &Tensor<3>) -> Option<MapPairs> {
        trace(layer, input)
    }

    fn grows(&self, given: &Given) -> bool {
        let limits = given.own::<Limits>();
        limits.is_ok_and(|limits| limits.max_memories == Limit::Unlimited)
    }
}

/// All memories, none of the truncation. What is recalled goes to the output alone, as it does where attention stands upon a recurrent net.
fn attending() -> SabConfig {
    SabConfig::new()
        .with_top_k(None)
        .with_truncation_length(None)
        .with_combination(Combination::OutputOnly)
}

/// What is said otherwise than in fw-core's configuration.
#[derive(Serialize, Deserialize, JsonSchema)]
struct OutputOnly {
    /// How what is recalled enters the state. Default `"output-only"`, as where attention stands upon a recurrent net.
    combination: Combination,
}

impl Kind for SelfAttention {
    fn name(&self) -> &'static str {
        "self-attention"
    }

    fn about(&self) -> &'static str {
        "a cell with attention to all its past states, trained by full backpropagation"
    }

    fn settings(&self) -> Settings {
        let hidden = ["attention_interval", "replay", "sparsifier", "output"];
        let settings = Settings::of(&attending());
        let settings = settings.without(&LIMITS).without(&hidden);
        let combination = attending().combination;
        settings
            .and(&OutputOnly { combination })
            .and(&Cell::DEFAULT)
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        wrapped(given, given.over(&attending(), &[])?)
    }

    fn trace(&self, layer: &AnyLayer, input: &Tensor<3>) -> Option<MapPairs> {
        trace(layer, input)
    }

    fn grows(&self, _given: &Given) -> bool {
        true
    }
}

/// No memory, only the truncation.
fn truncated() -> SabConfig {
    SabConfig::new()
        .with_top_k(Some(0))
        .with_output(SabOutput::Hidden)
}

/// What is said otherwise than in fw-core's configuration.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Truncation {
    /// k_trunc, the most steps that a gradient goes back, at least 1. Default 10.
    truncation_length: usize,
}

impl Kind for Tbptt {
    fn name(&self) -> &'static str {
        "tbptt"
    }

    fn about(&self) -> &'static str {
        "a cell trained by truncated backpropagation through time"
    }

    fn settings(&self) -> Settings {
        let sab = truncated();
        let truncation = Truncation {
            truncation_length: sab.truncation_length.unwrap_or(usize::MAX),
        };
        let hidden = [
            "top_k",
            "attention_interval",
            "replay",
            "max_memories",
            "d_attention",
            "score",
            "sparsifier",
            "combination",
            "output",
        ];
        let settings = Settings::of(&sab).without(&hidden);
        settings.and(&truncation).and(&Cell::DEFAULT)
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        wrapped(given, given.over(&truncated(), &[])?)
    }
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
