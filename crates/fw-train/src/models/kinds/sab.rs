//! Sparse Attentive Backtracking.

use burn::tensor::Tensor;
use fw_core::{AnyLayer, LayerConfig, SabConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::wrapped::{self, Cell};
use super::{Given, Kind, Settings};
use crate::Error;
use crate::models::heat_map::MapPairs;

pub(super) struct Sab;

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
        wrapped::wrapped(given, sab)
    }

    fn trace(&self, layer: &AnyLayer, input: &Tensor<3>) -> Option<MapPairs> {
        wrapped::trace(layer, input)
    }

    fn grows(&self, given: &Given) -> bool {
        let limits = given.own::<Limits>();
        limits.is_ok_and(|limits| limits.max_memories == Limit::Unlimited)
    }
}
