//! What tasks of drawn samples have in common: endless training data, the size of the other splits, lengths.

use std::fmt::{Display, Formatter};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::settings::{Field, Section, fields};
use crate::tasks::{
    Answer, AnswerFormat, Format, Input, InputFormat, Optimum, Sample, Split, StepClass, Task,
    validate_samples,
};

/// A task whose samples are drawn by a generator.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Generated<G> {
    /// Draws the samples; its fields are the task's settings.
    #[serde(flatten)]
    pub generator: G,
    /// The data seed and the sizes of the splits.
    #[serde(flatten)]
    pub splits: Splits,
}

/// The data seed and the sizes of the splits that are not endless.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Splits {
    /// Sequences in the training split, which are gone through again and again: 1 to 2^32. Where it is not set: training draws fresh ones for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training_samples: Option<u64>,
    /// Sequences in the validation split: 1 to 2^32. Default 200.
    pub validation_samples: u64,
    /// Sequences in the test split: 1 to 2^32. Default 1,000.
    pub test_samples: u64,
    /// The data seed, any number. Default 0.
    pub seed: u64,
}

impl Default for Splits {
    fn default() -> Self {
        Splits {
            training_samples: None,
            validation_samples: 200,
            test_samples: 1_000,
            seed: 0,
        }
    }
}

/// Draws samples.
pub trait Generator: Send + Sync {
    /// Checks every field.
    fn validate(&self) -> Result<(), Error>;

    /// What it draws.
    type Drawn: Into<Sample>;

    /// What samples are made of.
    fn format(&self) -> Format;

    /// Steps of the longest sequence that training draws.
    fn longest(&self) -> usize;

    /// See [`Task::source_length`].
    fn source_length(&self) -> Option<usize> {
        None
    }

    /// A sample of a split.
    fn draw(&self, split: Split, rng: &mut ChaCha8Rng) -> Self::Drawn;

    /// The generator of sample `index` of a split, where that is another: of a mixture of sizes. All have the same format.
    fn at(&self, _split: Split, _index: u64) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// See [`Task::optimum`]. A task of which equal inputs can have unequal answers must know it.
    fn optimum(&self, _sample: &Self::Drawn) -> Option<Optimum> {
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

/// Vectors in, bits out.
pub(super) fn vectors_and_bits(d_input: usize, d_output: usize) -> Format {
    Format {
        input: InputFormat::Vectors { d_input },
        answer: AnswerFormat::Bits { d_output },
    }
}

/// Words of the random stream set aside for each sample.
const WORDS_PER_SAMPLE: u128 = 1 << 20;

/// Numbers that a sample may draw: a word each.
pub(super) const MAX_NUMBERS: usize = WORDS_PER_SAMPLE as usize / 2;

impl<G: Generator> Generated<G> {
    pub(super) fn from_section(mut section: Section) -> Result<Self, Error>
    where
        G: serde::de::DeserializeOwned + JsonSchema,
    {
        let splits: Splits = section.take_fields::<Splits>().parse()?;
        validate_samples(&[
            (
                "task.training_samples",
                splits.training_samples.unwrap_or(1),
            ),
            ("task.validation_samples", splits.validation_samples),
            ("task.test_samples", splits.test_samples),
        ])?;
        let generator: G = section.parse()?;
        generator.validate()?;
        Ok(Generated { generator, splits })
    }

    pub(super) fn fields() -> Vec<Field>
    where
        G: Default + Serialize + JsonSchema,
    {
        let splits = fields(&Splits::default());
        fields(&G::default()).into_iter().chain(splits).collect()
    }

    /// Sample `index` of a split.
    pub fn draw(&self, split: Split, index: u64) -> G::Drawn {
        let mut rng = random_numbers(self.splits.seed, split, index);
        match self.generator.at(split, index) {
            Some(generator) => generator.draw(split, &mut rng),
            None => self.generator.draw(split, &mut rng),
        }
    }
}

/// The random numbers of sample `index` of a split: no two samples, splits or seeds share any.
pub(super) fn random_numbers(seed: u64, split: Split, index: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(split.stream());
    rng.set_word_pos(u128::from(index) * WORDS_PER_SAMPLE);
    rng
}

impl<G: Generator> Task for Generated<G> {
    fn format(&self) -> Format {
        self.generator.format()
    }

    fn seq_length(&self) -> usize {
        self.generator.longest()
    }

    fn n_samples(&self, split: Split) -> Option<u64> {
        match split {
            Split::Train => self.splits.training_samples,
            Split::Validation => Some(self.splits.validation_samples),
            Split::Test => Some(self.splits.test_samples),
        }
    }

    fn source_length(&self) -> Option<usize> {
        self.generator.source_length()
    }

    fn sample(&self, split: Split, index: u64) -> Sample {
        self.draw(split, index).into()
    }

    fn optimum(&self, split: Split, index: u64) -> Option<Optimum> {
        self.generator.optimum(&self.draw(split, index))
    }

    fn seed(&self) -> u64 {
        self.splits.seed
    }

    fn token_text(&self, token: u32) -> String {
        self.generator.token_text(token)
    }

    fn class_text(&self, class: u32) -> String {
        self.generator.class_text(class)
    }
}

/// How long, or how many: exactly `n`, or drawn evenly from `[least, most]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("x-values" = "a whole number, or [least, most]"))]
pub enum Range {
    /// Always this.
    Exactly(usize),
    /// From the first to the second.
    Between([usize; 2]),
}

impl Range {
    /// The least and the most.
    pub fn bounds(self) -> [usize; 2] {
        match self {
            Range::Exactly(n) => [n, n],
            Range::Between(bounds) => bounds,
        }
    }

    /// The most.
    pub fn most(self) -> usize {
        self.bounds()[1]
    }

    pub(super) fn validate(self, field: &str, least: usize, most: usize) -> Result<(), Error> {
        let [first, last] = self.bounds();
        let rule = format!("be a number, or [least, most], from {least} to {most}");
        let holds = least <= first && first <= last && last <= most;
        require(holds, field, self, &rule)
    }

    pub(super) fn draw(self, rng: &mut ChaCha8Rng) -> usize {
        let [least, most] = self.bounds();
        least + below(rng, (most - least + 1) as u32) as usize
    }
}

impl Display for Range {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Range::Exactly(n) => write!(formatter, "{n}"),
            Range::Between([least, most]) => write!(formatter, "[{least}, {most}]"),
        }
    }
}

/// A uniform number below `bound`. Written out, so that samples stay the same whatever version of a random
/// number library is in use.
pub(crate) fn below(rng: &mut impl Rng, bound: u32) -> u32 {
    // Multiply and shift; the bias is below bound / 2^32.
    ((u64::from(rng.next_u32()) * u64::from(bound)) >> 32) as u32
}

/// A uniform number in [0, 1).
pub(super) fn unit(rng: &mut ChaCha8Rng) -> f64 {
    f64::from(rng.next_u32()) / 4_294_967_296.0
}

/// So many of some tokens, none of them twice.
pub(super) fn distinct(rng: &mut impl Rng, tokens: std::ops::Range<u32>, n: usize) -> Vec<u32> {
    let mut all: Vec<u32> = tokens.collect();
    for place in 0..n {
        let rest = (all.len() - place) as u32;
        all.swap(place, place + below(rng, rest) as usize);
    }
    all.truncate(n);
    all
}

/// A sequence each of whose tokens is to be said before it is read: in training all of them, else those at the places that are asked for, which alone
/// count.
pub(super) fn next_tokens(
    split: Split,
    tokens: &[u32],
    is_asked: impl Fn(usize) -> bool,
) -> Sample {
    let read = tokens[..tokens.len() - 1].to_vec();
    let answers = tokens.iter().enumerate().skip(1).map(|(place, &class)| {
        let counts = is_asked(place);
        (counts || split == Split::Train).then_some(StepClass { class, counts })
    });
    Sample {
        answer: Answer::Classes(answers.collect()),
        input: Input::Tokens(read),
    }
}

/// Tokens in, and one of them out at some of the steps.
pub(super) fn tokens_and_classes(n: usize) -> Format {
    Format {
        input: InputFormat::Tokens { n_tokens: n },
        answer: AnswerFormat::Classes { n_classes: n },
    }
}

/// How many tokens a task may have.
pub(super) fn validate_vocabulary(n: usize, least: usize) -> Result<(), Error> {
    let in_range = (least..=65_536).contains(&n);
    let rule = format!("lie between {least} and 65,536");
    require(in_range, "task.vocabulary", n, &rule)
}

/// The tokens of a sequence of pairs.
pub(super) fn validate_length(length: usize, least: usize) -> Result<(), Error> {
    let holds = (least..=100_000).contains(&length) && length.is_multiple_of(2);
    let rule = format!("be even, from {least} to 100,000");
    require(holds, "task.length", length, &rule)
}

/// `n` bits, each 0 or 1 alike.
pub(super) fn random_bits(rng: &mut ChaCha8Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| below(rng, 2) as f32).collect()
}

/// A vector of `width` zeros but for the given places.
pub(super) fn vector(width: usize, places: &[(usize, f32)]) -> Vec<f32> {
    let mut vector = vec![0.0; width];
    for &(place, value) in places {
        vector[place] = value;
    }
    vector
}

/// A vector of `width` that begins with `bits`; the rest is zeros.
pub(super) fn padded(bits: &[f32], width: usize) -> Vec<f32> {
    let mut vector = bits.to_vec();
    vector.resize(width, 0.0);
    vector
}

/// What the best predictor comes to, from the probability that it gives to each bit that is right.
pub(super) fn optimum_of_bits(of_right_bits: &[f64]) -> Optimum {
    let wrong = of_right_bits.iter().map(|&probability| match probability {
        0.5 => 0.5,
        probability => f64::from(u8::from(probability < 0.5)),
    });
    let losses = of_right_bits.iter().map(|probability| -probability.log2());
    Optimum {
        wrong: wrong.sum(),
        answers: of_right_bits.len() as f64,
        // Not -0.
        loss: losses.sum::<f64>() + 0.0,
    }
}

/// Bits that a task may have in a vector.
pub(super) fn validate_bits(bits: usize) -> Result<(), Error> {
    let in_range = (1..=1024).contains(&bits);
    require(in_range, "task.bits", bits, "lie between 1 and 1024")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tasks::VectorSample;

    pub fn task<G: Generator + serde::de::DeserializeOwned + JsonSchema>(
        settings: &str,
    ) -> Result<Generated<G>, String> {
        let mut document = format!("[task]\n{settings}").parse().expect("valid TOML");
        let section = Section::take(&mut document, "task").expect("a section");
        Generated::from_section(section).map_err(|error| error.to_string())
    }

    /// The first samples of a split.
    pub fn samples<G: Generator>(task: &Generated<G>, split: Split) -> Vec<G::Drawn> {
        (0..50).map(|index| task.draw(split, index)).collect()
    }

    /// Widths are those that are stated, no sequence is longer than stated and one is as long, bits are 0 or 1, and no two
    /// samples, splits or seeds are alike.
    pub fn check_samples<G: Generator<Drawn = VectorSample> + Clone>(task: &Generated<G>) {
        let InputFormat::Vectors { d_input } = task.generator.format().input else {
            panic!("a task of vectors");
        };
        let d_output = task.generator.format().d_output();
        let mut all = Vec::new();
        let mut longest = 0;
        for split in [Split::Train, Split::Validation, Split::Test] {
            for sample in samples(task, split) {
                assert_eq!(sample.inputs.len(), sample.targets.len());
                assert!(sample.inputs.iter().all(|input| input.len() == d_input));
                for target in sample.targets.iter().flatten() {
                    assert_eq!(target.len(), d_output);
                    assert!(target.iter().all(|&bit| bit == 0.0 || bit == 1.0));
                }
                longest = longest.max(sample.inputs.len());
                all.push(sample);
            }
        }
        let mut other = task.clone();
        other.splits.seed += 1;
        all.extend(samples(&other, Split::Train));
        assert_eq!(longest, task.seq_length());
        let distinct = all
            .iter()
            .enumerate()
            .filter(|(index, sample)| !all[..*index].contains(sample));
        let repeats = all.len() - distinct.count();
        assert!(repeats <= 2, "{repeats} repeats");
    }

    /// A sample as its documentation draws it: a line for each number of the input, then of the target.
    pub fn drawn(sample: &VectorSample) -> Vec<String> {
        let number = |value: f32| match value {
            0.0 => ".".to_owned(),
            value => value.to_string(),
        };
        let inputs = (0..sample.inputs[0].len()).map(|row| {
            let numbers = sample.inputs.iter().map(|input| number(input[row]));
            numbers.collect::<Vec<_>>().join(" ")
        });
        let width = sample.targets.iter().flatten().next().map_or(0, Vec::len);
        let targets = (0..width).map(|row| {
            let bits = sample.targets.iter().map(|target| match target {
                Some(target) => target[row].to_string(),
                None => ".".to_owned(),
            });
            bits.collect::<Vec<_>>().join(" ")
        });
        inputs.chain(targets).collect()
    }

    #[test]
    fn a_range_is_a_number_or_the_least_and_the_most() {
        #[derive(Deserialize)]
        struct Settings {
            length: Range,
        }
        let read = |text: &str| toml::from_str::<Settings>(text).map(|settings| settings.length);
        assert_eq!(read("length = 7"), Ok(Range::Exactly(7)));
        assert_eq!(read("length = [2, 9]"), Ok(Range::Between([2, 9])));
        assert!(read("length = [2]").is_err());
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let drawn: Vec<usize> = (0..200)
            .map(|_| Range::Between([2, 5]).draw(&mut rng))
            .collect();
        assert_eq!(drawn.iter().min(), Some(&2));
        assert_eq!(drawn.iter().max(), Some(&5));
        let error = Range::Between([5, 2]).validate("task.length", 1, 9);
        let message = error.expect_err("upside down").to_string();
        assert_eq!(
            message,
            "task.length is [5, 2]; it must be a number, or [least, most], from 1 to 9"
        );
    }
}
