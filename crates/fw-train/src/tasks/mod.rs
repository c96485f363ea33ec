//! Tasks: where samples come from and how they are shown.

mod adding;
mod associative_recall;
mod associative_retrieval;
mod cifar10;
mod copy;
mod copy_memory;
mod generated;
mod images;
mod mnist;
mod mqar;
mod n_grams;
mod priority_sort;
mod repeat_copy;
mod sample;
mod text;
mod transduction;

use burn::tensor::Device;
use serde::Serialize;

use crate::Error;
use crate::error::require;
use crate::settings::{Section, unknown_kind};

pub use adding::Adding;
pub use associative_recall::AssociativeRecall;
pub use associative_retrieval::AssociativeRetrieval;
pub use cifar10::SequentialCifar10;
pub use copy::Copy;
pub use copy_memory::CopyMemory;
pub use generated::{Generated, Generator, Range, Splits};
pub use images::Images;
pub use mnist::PixelMnist;
pub use mqar::MultiQueryRecall;
pub use n_grams::NGrams;
pub use priority_sort::PrioritySort;
pub use repeat_copy::RepeatCopy;
pub use sample::{
    Answer, AnswerFormat, Batch, Format, Input, InputFormat, Inputs, NUMBER_TOLERANCE, Sample,
    StepClass, Targets, VectorSample,
};
pub use text::CharacterLanguage;
pub use transduction::{Transduction, Transform};

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

/// Sizes of splits, by their fields: each at least 1.
fn validate_samples(sizes: &[(&str, u64)]) -> Result<(), Error> {
    sizes.iter().try_for_each(|&(field, n)| {
        let in_range = (1..=MAX_SAMPLES).contains(&n);
        require(in_range, field, n, "lie between 1 and 2^32")
    })
}

/// A source of samples, each a function of the data seed, the split and an index alone: nothing is stored,
/// any sample can be shown, and a run can be resumed at any step.
pub trait Task: Send + Sync {
    /// What samples are made of.
    fn format(&self) -> Format;

    /// The number of tokens or steps in the longest sequence that training sees.
    fn seq_length(&self) -> usize;

    /// The number of samples in a split; `None` is endless.
    fn n_samples(&self, split: Split) -> Option<u64>;

    /// Sample `index` of a split.
    fn sample(&self, split: Split, index: u64) -> Sample;

    /// The steps of the source in every sample, where a task turns a source into a target that is said after it.
    fn source_length(&self) -> Option<usize> {
        None
    }

    /// The data seed.
    fn seed(&self) -> u64;

    /// The loss of the best predictor there is on sample `index` of a split, in the unit of the task's loss, where one is
    /// known that is not 0.
    fn optimal_loss(&self, _split: Split, _index: u64) -> Option<f64> {
        None
    }

    /// A token as text.
    fn token_text(&self, token: u32) -> String {
        token.to_string()
    }

    /// A class as text.
    fn class_text(&self, class: u32) -> String {
        class.to_string()
    }
}

impl dyn Task + '_ {
    /// Tokens as text.
    pub fn input_text(&self, tokens: &[u32]) -> String {
        tokens.iter().map(|&token| self.token_text(token)).collect()
    }

    /// `number` indices of a split from `first` on.
    pub(crate) fn range(
        &self,
        split: Split,
        first: u64,
        number: u64,
    ) -> Result<std::ops::Range<u64>, Error> {
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
        let samples: Vec<Sample> = indices
            .into_iter()
            .map(|index| self.sample(split, index))
            .collect();
        Batch::new(self.format(), &samples, device)
    }
}

/// Declares the tasks: their kinds on the command line and a line about each.
macro_rules! tasks {
    ($($variant:ident($task:ty), $kind:literal, $about:literal;)*) => {
        /// The task of an experiment, by kind.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(tag = "kind")]
        pub enum TaskConfig {
            $(#[doc = $about] #[serde(rename = $kind)] $variant($task),)*
        }

        impl TaskConfig {
            /// Each kind's name and a line about it.
            pub const KINDS: &[(&str, &str)] = &[$(($kind, $about),)*];

            pub(crate) fn from_section(mut section: Section) -> Result<Self, Error> {
                let kind = section.take_kind()?;
                match kind.as_str() {
                    $($kind => Ok(TaskConfig::$variant(<$task>::from_section(section)?)),)*
                    _ => Err(unknown_kind("task", &kind, Self::KINDS)),
                }
            }

            /// The task itself.
            pub fn task(&self) -> &dyn Task {
                match self {
                    $(TaskConfig::$variant(task) => task,)*
                }
            }

            /// The kind's name and a line about it.
            pub fn kind_and_about(&self) -> (&'static str, &'static str) {
                match self {
                    $(TaskConfig::$variant(_) => ($kind, $about),)*
                }
            }

            /// The kind's name.
            pub fn kind(&self) -> &'static str {
                self.kind_and_about().0
            }
        }
    };
}

tasks! {
    AssociativeRetrieval(AssociativeRetrieval), "associative-retrieval",
        "key-value pairs, then a key: answer with its value (Ba et al. 2016)";
    Copy(Generated<Copy>), "copy",
        "random bits: say them again (Graves et al. 2014)";
    RepeatCopy(Generated<RepeatCopy>), "repeat-copy",
        "random bits and a number: say them as often, then the end (Graves et al. 2014)";
    AssociativeRecall(Generated<AssociativeRecall>), "associative-recall",
        "a list of items, then one of them: say the next (Graves et al. 2014)";
    NGrams(Generated<NGrams>), "n-grams",
        "bits of a random n-gram source: predict the next (Graves et al. 2014)";
    PrioritySort(Generated<PrioritySort>), "priority-sort",
        "vectors with priorities: say the highest in order (Graves et al. 2014)";
    CopyMemory(Generated<CopyMemory>), "copy-memory",
        "ten symbols, many blanks: say the symbols again (Hochreiter, Schmidhuber 1997)";
    MultiQueryRecall(Generated<MultiQueryRecall>), "mqar",
        "key-value pairs, then every key again: answer each with its value (Arora et al. 2023)";
    Adding(Generated<Adding>), "adding",
        "numbers, two of them marked: say their sum (Hochreiter, Schmidhuber 1997)";
    PixelMnist(PixelMnist), "pixel-mnist",
        "a handwritten digit pixel by pixel, permuted or not: say which (Le et al. 2015)";
    SequentialCifar10(SequentialCifar10), "sequential-cifar10",
        "a small photograph pixel by pixel: say what it shows";
    CharacterLanguage(CharacterLanguage), "characters",
        "a text: predict the next character";
    Transduction(Transduction), "transduction",
        "a line of text: say it backwards, or with the vowels that were left out";
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// The task that a section describes.
    pub fn task_from(settings: &str) -> Result<TaskConfig, String> {
        let mut document = format!("[task]\n{settings}").parse().expect("valid TOML");
        let section = Section::take(&mut document, "task").expect("a section");
        TaskConfig::from_section(section).map_err(|error| {
            let source = std::error::Error::source(&error);
            let cause = source.map_or(String::new(), |cause| format!(": {cause}"));
            format!("{error}{cause}")
        })
    }

    /// The data that comes with the project.
    pub fn repository_data() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data")
    }
}
