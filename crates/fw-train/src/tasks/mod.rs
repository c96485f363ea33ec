//! Tasks: where samples come from and how they are shown.

mod adding;
mod associative_recall;
mod associative_retrieval;
mod cifar10;
mod compression;
mod copy;
mod copy_memory;
mod data;
mod formal_language;
mod fuzzy_recall;
mod generated;
mod images;
mod in_context_recall;
mod memorization;
mod mnist;
mod mqar;
mod n_grams;
mod priority_sort;
mod repeat_copy;
mod sample;
mod selective_copying;
mod text;
mod transduction;
mod word_problem;

use burn::tensor::Device;
use serde::Serialize;

use crate::Error;
use crate::error::require;
use crate::settings::{Field, Section, names_of, unknown_kind};

pub use adding::Adding;
pub use associative_recall::AssociativeRecall;
pub use associative_retrieval::AssociativeRetrieval;
pub use cifar10::SequentialCifar10;
pub use compression::Compression;
pub use copy::Copy;
pub use copy_memory::CopyMemory;
pub use data::DataFile;
pub(crate) use data::hex;
pub use formal_language::{FormalLanguage, Language};
pub use fuzzy_recall::FuzzyRecall;
pub use fw_core::Inputs;
pub(crate) use generated::below;
pub use generated::{Generated, Generator, Range, Splits};
pub use in_context_recall::InContextRecall;
pub use memorization::Memorization;
pub use mnist::PixelMnist;
pub use mqar::{MultiQueryRecall, RecallVariant};
pub use n_grams::NGrams;
pub use priority_sort::PrioritySort;
pub use repeat_copy::RepeatCopy;
pub use sample::{
    Answer, AnswerFormat, Batch, Format, Input, InputFormat, NUMBER_TOLERANCE, Sample, StepClass,
    Targets, VectorSample,
};
pub use selective_copying::SelectiveCopying;
pub use text::{CharacterLanguage, Symbols};
pub use transduction::{Transduction, Transform};
pub use word_problem::{Group, WordProblem};

/// Which part of a task's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
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

    /// Reads the files that the samples come from, unless they are read already; a task without files has nothing to do. Settings, sizes
    /// and the [format](Self::format) are known without it; samples and their number only after it.
    ///
    /// # Errors
    /// If a file cannot be read, or is not what it should be.
    fn open(&self) -> Result<(), Error> {
        Ok(())
    }

    /// The files that the samples come from, once they are read.
    fn files(&self) -> Vec<DataFile> {
        Vec::new()
    }

    /// What has to be said of these files, once they are read: such as that some are missing, and what is done without them.
    fn note(&self) -> Option<&str> {
        None
    }

    /// The number of samples in a split; `None` is endless.
    ///
    /// # Panics
    /// If the task has files and was not [opened](Self::open).
    fn n_samples(&self, split: Split) -> Option<u64>;

    /// Sample `index` of a split.
    ///
    /// # Panics
    /// If the task has files and was not [opened](Self::open), or there is no such sample.
    fn sample(&self, split: Split, index: u64) -> Sample;

    /// The steps of the source in every sample, where a task turns a source into a target that is said after it.
    fn source_length(&self) -> Option<usize> {
        None
    }

    /// The data seed.
    fn seed(&self) -> u64;

    /// What the best predictor there is comes to on sample `index` of a split, where one is known that is not always right.
    fn optimum(&self, _split: Split, _index: u64) -> Option<Optimum> {
        None
    }

    /// The steps of a split's text, where a split is one text whose windows follow one another.
    ///
    /// # Panics
    /// If the task has files and was not [opened](Self::open).
    fn text_length(&self, _split: Split) -> Option<usize> {
        None
    }

    /// The window of such a text that begins at step `first`, `length` steps long or up to its end.
    fn text_window(&self, _split: Split, _first: usize, _length: usize) -> Option<Sample> {
        None
    }

    /// A text as tokens, where tokens are the symbols of a text; or its first character that is none of them.
    fn tokens_of(&self, _text: &[u8]) -> Option<Result<Vec<u32>, char>> {
        None
    }

    /// A token as the bytes that it stands for in a text.
    fn token_bytes(&self, token: u32) -> Vec<u8> {
        self.token_text(token).into_bytes()
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

/// What the best predictor there is comes to on a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimum {
    /// Its loss, in the unit of the task's loss.
    pub loss: f64,
    /// How many of its answers, or bits, are wrong on average.
    pub wrong: f64,
    /// Of how many.
    pub answers: f64,
}

impl Optimum {
    /// Of no samples.
    pub(crate) const NONE: Optimum = Optimum {
        loss: 0.0,
        wrong: 0.0,
        answers: 0.0,
    };
}

impl std::ops::Add for Optimum {
    type Output = Optimum;

    fn add(self, other: Optimum) -> Optimum {
        Optimum {
            loss: self.loss + other.loss,
            wrong: self.wrong + other.wrong,
            answers: self.answers + other.answers,
        }
    }
}

impl dyn Task + '_ {
    /// Tokens as text.
    pub fn input_text(&self, tokens: &[u32]) -> String {
        tokens.iter().map(|&token| self.token_text(token)).collect()
    }

    /// `number` indices of a split from `first` on.
    ///
    /// # Errors
    /// If the split has fewer samples.
    pub fn range(
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
                    _ => Err(unknown_kind("task", &kind, &names_of(Self::KINDS))),
                }
            }

            /// The settings of a kind, each with its default.
            pub fn fields(kind: &str) -> Option<Vec<Field>> {
                match kind {
                    $($kind => Some(<$task>::fields()),)*
                    _ => None,
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

            /// The characters that tokens stand for, in their order, where the task's settings say them.
            pub fn alphabet(&self) -> Option<&str> {
                match self {
                    TaskConfig::CharacterLanguage(text) => text.alphabet.as_deref(),
                    _ => None,
                }
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
    WordProblem(Generated<WordProblem>), "word-problem",
        "elements of a group: say the product of all so far, parity among them (Merrill et al. 2024)";
    FormalLanguage(Generated<FormalLanguage>), "formal-language",
        "a string: answer with its parity, the string backwards, the sum of two numbers, .. (Deletang et al. 2023)";
    InContextRecall(Generated<InContextRecall>), "in-context-recall",
        "keys with their values, and noise between them: say the value at each key that was there (Poli et al. 2024)";
    FuzzyRecall(Generated<FuzzyRecall>), "fuzzy-recall",
        "keys and values of several tokens: say the value of a key that was there (Poli et al. 2024)";
    SelectiveCopying(Generated<SelectiveCopying>), "selective-copying",
        "tokens among blanks: say the tokens again (Poli et al. 2024)";
    Compression(Generated<Compression>), "compression",
        "random tokens: say them all again from what is left after the last (Poli et al. 2024)";
    Memorization(Generated<Memorization>), "memorization",
        "keys: say the value that each has in all sequences, and that stands in none (Poli et al. 2024)";
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
pub(crate) mod tests {
    use std::collections::HashMap;
    use std::path::{Path, PathBuf};

    use super::*;

    /// The task that a section describes, opened.
    pub fn task_from(settings: &str) -> Result<TaskConfig, String> {
        let mut document = format!("[task]\n{settings}").parse().expect("valid TOML");
        let section = Section::take(&mut document, "task").expect("a section");
        let config = TaskConfig::from_section(section);
        let opened = config.and_then(|config| {
            config.task().open()?;
            Ok(config)
        });
        opened.map_err(|error| error.in_full())
    }

    /// Each task of drawn samples, so small that inputs come again. Adding and priority sort draw real numbers, which hardly do: their own
    /// tests make the answer from what is read.
    const SMALL: [&str; 21] = [
        "kind = 'associative-retrieval'\npairs = 1",
        "kind = 'copy'\nbits = 1\nlength = [1, 2]",
        "kind = 'repeat-copy'\nbits = 1\nlength = [1, 2]\nrepeats = [1, 2]",
        "kind = 'associative-recall'\nbits = 1\nitem_length = 1\nitems = [2, 3]",
        "kind = 'associative-recall'\nbits = 2\nitem_length = 1\nitems = 4",
        "kind = 'associative-recall'\nbits = 1\nitem_length = 2\nitems = 3",
        "kind = 'n-grams'\norder = 2\nlength = 3",
        "kind = 'copy-memory'\nsteps = 1\nsymbols = 1",
        "kind = 'mqar'\nvocabulary = 4\npairs = 1\nlength = 4",
        "kind = 'mqar'\nvocabulary = 4\npairs = 2\nlength = 6\ndistractors = true",
        "kind = 'mqar'\nvariant = 'zoology'\nvocabulary = 6\npairs = 1\nlength = 4",
        "kind = 'word-problem'\ngroup = 'z2'\nlength = [1, 3]",
        "kind = 'word-problem'\nlength = [1, 2]",
        "kind = 'formal-language'\nlength = [1, 2]",
        "kind = 'formal-language'\nlanguage = 'stack-manipulation'\nlength = [1, 2]",
        "kind = 'formal-language'\nlanguage = 'binary-addition'\nlength = 4",
        "kind = 'in-context-recall'\nvocabulary = 4\nlength = 4",
        "kind = 'in-context-recall'\nvocabulary = 6\nlength = 4\nnoise_vocabulary = 2\nnoise = 0.5",
        "kind = 'selective-copying'\nvocabulary = 4\nlength = 4\ntokens = 1",
        "kind = 'memorization'\nvocabulary = 6\nlength = 2",
        "kind = 'compression'\nvocabulary = 3\nlength = 3",
    ];

    /// What is read up to a step, and what is answered there, of all samples that are drawn.
    type Answers = HashMap<Vec<u32>, HashMap<Vec<u32>, f64>>;

    fn answers(task: &dyn Task, n: u64) -> Answers {
        let mut all = Answers::new();
        let mut seen = |read: &[Vec<u32>], answer: Vec<u32>| {
            *all.entry(read.concat())
                .or_default()
                .entry(answer)
                .or_default() += 1.0;
        };
        for sample in (0..n).map(|index| task.sample(Split::Test, index)) {
            let bits = |vector: &Vec<f32>| vector.iter().map(|number| number.to_bits()).collect();
            let read: Vec<Vec<u32>> = match &sample.input {
                Input::Tokens(tokens) => tokens.iter().map(|&token| vec![token]).collect(),
                Input::Vectors(vectors) => vectors.iter().map(bits).collect(),
            };
            match &sample.answer {
                Answer::Class(class) => seen(&read, vec![*class]),
                Answer::Number(number) => seen(&read, vec![number.to_bits()]),
                Answer::Classes(steps) => {
                    for (t, step) in steps.iter().enumerate() {
                        step.iter()
                            .for_each(|step| seen(&read[..=t], vec![step.class]));
                    }
                }
                Answer::Bits(steps) => {
                    for (t, step) in steps.iter().enumerate() {
                        step.iter().for_each(|step| seen(&read[..=t], bits(step)));
                    }
                }
            }
        }
        all
    }

    /// No net can be right where equal inputs have unequal answers: then it is said how right one can be.
    #[test]
    fn equal_inputs_have_equal_answers_or_the_task_says_what_the_best_net_comes_to() {
        for settings in SMALL {
            let config = task_from(settings).expect("a task");
            let (task, n) = (config.task(), 4000);
            let all = answers(task, n);
            let times = all.values().map(|answers| answers.values().sum::<f64>());
            let most = times.fold(0.0, f64::max);
            assert!(most > 20.0, "{settings}: an input comes again {most} times");
            let is_open = all.values().any(|answers| answers.len() > 1);
            let is_stated = (0..n).any(|index| {
                let optimum = task.optimum(Split::Test, index);
                optimum.is_some_and(|optimum| optimum.loss > 0.0)
            });
            assert_eq!(is_open, is_stated, "{settings}");
            let is_known_to_be_open =
                settings.contains("associative-recall") || settings.contains("grams");
            assert_eq!(is_open, is_known_to_be_open, "{settings}");
        }
    }

    /// The best net that answers bit by bit, counted from what is drawn.
    #[test]
    fn the_best_that_is_stated_is_the_best_there_is() {
        for settings in SMALL
            .iter()
            .filter(|settings| settings.contains("associative-recall"))
        {
            let config = task_from(settings).expect("a task");
            // Of few samples of an input more would seem to be known than is.
            let (task, n) = (config.task(), 100_000);
            let stated = (0..n).map(|index| task.optimum(Split::Test, index).expect("an optimum"));
            let stated = stated.fold(Optimum::NONE, |sum, of_sample| sum + of_sample);
            let (mut loss, mut wrong, mut asked) = (0.0, 0.0, 0.0);
            for answers in answers(task, n).values() {
                let total: f64 = answers.values().sum();
                let width = answers.keys().next().map_or(0, Vec::len);
                for bit in 0..width {
                    let ones = answers.iter().filter(|(answer, _)| answer[bit] != 0);
                    let ones: f64 = ones.map(|(_, count)| count).sum();
                    for count in [ones, total - ones]
                        .into_iter()
                        .filter(|count| *count > 0.0)
                    {
                        loss -= count * (count / total).log2();
                    }
                    wrong += ones.min(total - ones);
                    asked += total;
                }
            }
            let n = n as f64;
            assert!(loss > 0.05 * n, "{settings}: {loss}");
            assert!(
                (stated.loss - loss).abs() < 0.02 * loss,
                "{settings}: {stated:?}, {loss}"
            );
            let share = wrong / asked;
            let error = stated.wrong / stated.answers;
            assert!(
                (error - share).abs() < 0.05 * share,
                "{settings}: {error}, {share}"
            );
        }
    }

    /// The data that comes with the project.
    pub fn repository_data() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data")
    }
}
