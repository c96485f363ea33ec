//! Layers that wrap a cell with Sparse Attentive Backtracking, and their settings.

use burn::tensor::Device;
use fw_core::{
    CellConfig, Combination, ElmanConfig, ExecutionPath, FastWeightsConfig, GruConfig, LstmConfig,
    SabConfig, SabOutput, Score, Sparsifier,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;
use crate::error::require;
use crate::models::layers::{WithLayer, settings};

/// A number, or `"unlimited"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many at most.
    At(usize),
    /// All there are.
    Unlimited,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellKind {
    /// [`LstmConfig`] with its defaults.
    Lstm,
    /// [`GruConfig`] with its defaults.
    Gru,
    /// [`ElmanConfig`] with its defaults.
    Rnn,
    /// [`FastWeightsConfig`] with its defaults.
    FastWeights,
}

settings! {
    /// See [`SabConfig`]; `cell` is what it wraps.
    SabSettings {
        cell: CellKind = CellKind::Lstm,
        d_hidden: usize = 64,
        top_k: Limit = Limit::At(10),
        attention_interval: usize = 1,
        truncation_length: Limit = Limit::At(10),
        replay: bool = true,
        max_memories: Limit = Limit::Unlimited,
        d_attention: Option<usize> = None,
        score: Score = Score::Mlp,
        sparsifier: Sparsifier = Sparsifier::Softmax,
        combination: Combination = Combination::Average,
        output: SabOutput = SabOutput::HiddenAndSummary,
        path: ExecutionPath = ExecutionPath::Auto,
    }
}

settings! {
    /// See [`SabConfig`]: all memories, none of its truncation. What is recalled goes to the output alone, as it does where
    /// attention stands upon a recurrent net.
    SelfAttentionSettings {
        cell: CellKind = CellKind::Lstm,
        d_hidden: usize = 64,
        d_attention: Option<usize> = None,
        score: Score = Score::Mlp,
        combination: Combination = Combination::OutputOnly,
        path: ExecutionPath = ExecutionPath::Auto,
    }
}

settings! {
    /// See [`SabConfig`]: no memory, only its truncation.
    TbpttSettings {
        cell: CellKind = CellKind::Lstm,
        d_hidden: usize = 64,
        truncation_length: usize = 10,
        path: ExecutionPath = ExecutionPath::Auto,
    }
}

/// A cell and what wraps it.
pub(super) struct Wrapped {
    cell: CellKind,
    d_hidden: usize,
    config: SabConfig,
}

impl SabSettings {
    pub(super) fn wrapped(&self) -> Wrapped {
        Wrapped {
            cell: self.cell,
            d_hidden: self.d_hidden,
            config: SabConfig::new()
                .with_top_k(self.top_k.number())
                .with_attention_interval(self.attention_interval)
                .with_truncation_length(self.truncation_length.number())
                .with_replay(self.replay)
                .with_max_memories(self.max_memories.number())
                .with_d_attention(self.d_attention)
                .with_score(self.score)
                .with_sparsifier(self.sparsifier)
                .with_combination(self.combination)
                .with_output(self.output)
                .with_path(self.path),
        }
    }
}

impl SelfAttentionSettings {
    pub(super) fn wrapped(&self) -> Wrapped {
        Wrapped {
            cell: self.cell,
            d_hidden: self.d_hidden,
            config: SabConfig::new()
                .with_top_k(None)
                .with_truncation_length(None)
                .with_d_attention(self.d_attention)
                .with_score(self.score)
                .with_combination(self.combination)
                .with_path(self.path),
        }
    }
}

impl TbpttSettings {
    pub(super) fn wrapped(&self) -> Wrapped {
        Wrapped {
            cell: self.cell,
            d_hidden: self.d_hidden,
            config: SabConfig::new()
                .with_top_k(Some(0))
                .with_truncation_length(Some(self.truncation_length))
                .with_output(SabOutput::Hidden)
                .with_path(self.path),
        }
    }
}

impl Wrapped {
    pub(super) fn with_layer<A: WithLayer>(
        &self,
        d_input: usize,
        device: &Device,
        action: A,
    ) -> Result<A::Output, Error> {
        let (d_hidden, config) = (self.d_hidden, &self.config);
        match self.cell {
            CellKind::Lstm => {
                let cell = LstmConfig::new(d_input, d_hidden).try_init(device)?;
                action.run(config.try_init(cell, device)?)
            }
            CellKind::Gru => {
                let cell = GruConfig::new(d_input, d_hidden).try_init(device)?;
                action.run(config.try_init(cell, device)?)
            }
            CellKind::Rnn => {
                let cell = ElmanConfig::new(d_input, d_hidden).try_init(device)?;
                action.run(config.try_init(cell, device)?)
            }
            CellKind::FastWeights => {
                let cell = FastWeightsConfig::new(d_input, d_hidden).try_init(device)?;
                action.run(config.try_init(cell, device)?)
            }
        }
    }

    pub(super) fn in_file(&self, d_input: usize) -> fw_core::LayerConfig {
        let d_hidden = self.d_hidden;
        fw_core::LayerConfig::Sab {
            sab: self.config.clone(),
            cell: match self.cell {
                CellKind::Lstm => CellConfig::Lstm(LstmConfig::new(d_input, d_hidden)),
                CellKind::Gru => CellConfig::Gru(GruConfig::new(d_input, d_hidden)),
                CellKind::Rnn => CellConfig::Elman(ElmanConfig::new(d_input, d_hidden)),
                CellKind::FastWeights => {
                    CellConfig::FastWeights(FastWeightsConfig::new(d_input, d_hidden))
                }
            },
        }
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        require(
            self.cell != CellKind::FastWeights || self.config.path != ExecutionPath::Fused,
            "model.path",
            "fused",
            "be auto or composed where the cell is fast-weights",
        )?;
        LstmConfig::new(1, self.d_hidden).validate()?;
        Ok(self.config.validate()?)
    }
}
