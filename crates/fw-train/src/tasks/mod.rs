//! Tasks: where samples come from and how they are shown.

mod associative_retrieval;

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::Serialize;

use crate::Error;
use crate::settings::{Section, unknown_kind};

pub use associative_retrieval::AssociativeRetrieval;

/// Which part of a task's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// What the model learns from.
    Train,
    /// What is looked at while it learns: chooses the best checkpoint.
    Validation,
    /// What is looked at once, at the end.
    Test,
}

impl Split {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }

    /// The random stream of this split's samples: no two splits share one.
    pub(crate) fn stream(self) -> u64 {
        match self {
            Split::Train => 0,
            Split::Validation => 1,
            Split::Test => 2,
        }
    }
}

/// The most samples in a split, endless ones included: an index takes 32 bits.
pub const MAX_SAMPLES: u64 = 1 << 32;

/// One sample: a sequence of tokens and the class to answer with after the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Token ids, each below [`Task::n_tokens`].
    pub tokens: Vec<u32>,
    /// Class id, below [`Task::n_classes`].
    pub class: u32,
}

/// A source of samples, each a function of the data seed, the split and an index alone: nothing is stored,
/// any sample can be shown, and a run can be resumed at any step.
pub trait Task: Send + Sync {
    /// The number of different tokens.
    fn n_tokens(&self) -> usize;

    /// The number of classes to choose from.
    fn n_classes(&self) -> usize;

    /// The number of tokens in a sequence.
    fn seq_length(&self) -> usize;

    /// The number of samples in a split; `None` is endless.
    fn n_samples(&self, split: Split) -> Option<u64>;

    /// Sample `index` of a split.
    fn sample(&self, split: Split, index: u64) -> Sample;

    /// The data seed.
    fn seed(&self) -> u64;

    /// A token as text.
    fn token_text(&self, token: u32) -> String;

    /// A class as text.
    fn class_text(&self, class: u32) -> String;
}

impl dyn Task + '_ {
    /// A sample's tokens as text.
    pub fn input_text(&self, sample: &Sample) -> String {
        let tokens = sample.tokens.iter();
        tokens.map(|&token| self.token_text(token)).collect()
    }

    /// `number` indices of a split from `first` on.
    pub(crate) fn range(&self, split: Split, first: u64, number: u64) -> Result<Range<u64>, Error> {
        let n_samples = self.n_samples(split).unwrap_or(MAX_SAMPLES);
        match first.checked_add(number) {
            Some(end) if end <= n_samples => Ok(first..end),
            _ => Err(Error::usage(format!(
                "{number} samples from {first} on were asked for; the {} split has {n_samples}",
                split.name()
            ))),
        }
    }

    /// The samples of the given indices as tensors.
    pub fn batch(
        &self,
        split: Split,
        indices: impl IntoIterator<Item = u64>,
        device: &Device,
    ) -> Batch {
        let mut tokens = Vec::new();
        let mut classes = Vec::new();
        for index in indices {
            let sample = self.sample(split, index);
            tokens.extend(sample.tokens.iter().map(|&token| token as i32));
            classes.push(sample.class as i32);
        }
        let size = classes.len();
        Batch {
            tokens: Tensor::from_data(TensorData::new(tokens, [size, self.seq_length()]), device),
            classes: Tensor::from_data(TensorData::new(classes, [size]), device),
        }
    }
}

/// Samples as tensors.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[batch_size, seq_length]`
    pub tokens: Tensor<2, Int>,
    /// `[batch_size]`
    pub classes: Tensor<1, Int>,
}

/// The task of an experiment, by kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TaskConfig {
    /// Look up the value of a key that was shown before.
    AssociativeRetrieval(AssociativeRetrieval),
}

impl TaskConfig {
    /// Each kind's name and a line about it.
    pub const KINDS: &[(&str, &str)] = &[(
        "associative-retrieval",
        "key-value pairs, then a key: answer with its value (Ba et al. 2016)",
    )];

    pub(crate) fn from_section(mut section: Section) -> Result<Self, Error> {
        let kind = section.take_kind()?;
        match kind.as_str() {
            "associative-retrieval" => {
                let task: AssociativeRetrieval = section.parse()?;
                task.validate()?;
                Ok(TaskConfig::AssociativeRetrieval(task))
            }
            _ => Err(unknown_kind("task", &kind, Self::KINDS)),
        }
    }

    /// The task itself.
    pub fn task(&self) -> &dyn Task {
        match self {
            TaskConfig::AssociativeRetrieval(task) => task,
        }
    }

    /// The kind's name.
    pub fn kind(&self) -> &'static str {
        match self {
            TaskConfig::AssociativeRetrieval(_) => "associative-retrieval",
        }
    }
}
