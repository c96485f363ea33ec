//! What tasks of drawn vectors have in common: endless training data, the size of the other splits, lengths.

use std::fmt::{Display, Formatter};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::settings::Section;
use crate::tasks::{Format, MAX_SAMPLES, Sample, Split, Task, VectorSample};

/// A task whose samples are drawn by a generator. Training draws fresh ones for ever.
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Splits {
    /// Sequences in the validation split. Default 200.
    pub validation_samples: u64,
    /// Sequences in the test split. Default 1,000.
    pub test_samples: u64,
    /// The data seed. Default 0.
    pub seed: u64,
}

impl Default for Splits {
    fn default() -> Self {
        Splits {
            validation_samples: 200,
            test_samples: 1_000,
            seed: 0,
        }
    }
}

impl Splits {
    const FIELDS: &[&str] = &["validation_samples", "test_samples", "seed"];
}

/// Draws samples.
pub trait Generator: Send + Sync {
    /// Checks every field.
    fn validate(&self) -> Result<(), Error>;

    /// Widths of an input vector and of an answer.
    fn widths(&self) -> (usize, usize);

    /// Steps of the longest sequence that training draws.
    fn longest(&self) -> usize;

    /// A sample of a split.
    fn draw(&self, split: Split, rng: &mut ChaCha8Rng) -> VectorSample;

    /// The loss of the best predictor there is, in bits, where one is known that is not 0.
    fn optimal_loss(&self, _sample: &VectorSample) -> Option<f64> {
        None
    }
}

/// Words of the random stream set aside for each sample.
const WORDS_PER_SAMPLE: u128 = 1 << 20;

/// Numbers that a sample may draw: a word each.
pub(super) const MAX_NUMBERS: usize = WORDS_PER_SAMPLE as usize / 2;

impl<G: Generator> Generated<G> {
    pub(super) fn from_section(mut section: Section) -> Result<Self, Error>
    where
        G: serde::de::DeserializeOwned,
    {
        let splits: Splits = section.take_keys(Splits::FIELDS).parse()?;
        for (field, n) in [
            ("task.validation_samples", splits.validation_samples),
            ("task.test_samples", splits.test_samples),
        ] {
            let in_range = (1..=MAX_SAMPLES).contains(&n);
            require(in_range, field, n, "lie between 1 and 2^32")?;
        }
        let generator: G = section.parse()?;
        generator.validate()?;
        Ok(Generated { generator, splits })
    }
}

impl<G: Generator> Task for Generated<G> {
    fn format(&self) -> Format {
        let (d_input, d_output) = self.generator.widths();
        Format::Vectors { d_input, d_output }
    }

    fn seq_length(&self) -> usize {
        self.generator.longest()
    }

    fn n_samples(&self, split: Split) -> Option<u64> {
        match split {
            Split::Train => None,
            Split::Validation => Some(self.splits.validation_samples),
            Split::Test => Some(self.splits.test_samples),
        }
    }

    fn sample(&self, split: Split, index: u64) -> Sample {
        let mut rng = ChaCha8Rng::seed_from_u64(self.splits.seed);
        rng.set_stream(split.stream());
        rng.set_word_pos(u128::from(index) * WORDS_PER_SAMPLE);
        Sample::Vectors(self.generator.draw(split, &mut rng))
    }

    fn optimal_loss(&self, sample: &Sample) -> Option<f64> {
        self.generator.optimal_loss(sample.vectors())
    }

    fn seed(&self) -> u64 {
        self.splits.seed
    }
}

/// How long, or how many: exactly `n`, or drawn evenly from `[least, most]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
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
pub(super) fn below(rng: &mut impl Rng, bound: u32) -> u32 {
    // Multiply and shift; the bias is below bound / 2^32.
    ((u64::from(rng.next_u32()) * u64::from(bound)) >> 32) as u32
}

/// A uniform number in [0, 1).
pub(super) fn unit(rng: &mut ChaCha8Rng) -> f64 {
    f64::from(rng.next_u32()) / 4_294_967_296.0
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

/// Bits that a task may have in a vector.
pub(super) fn validate_bits(bits: usize) -> Result<(), Error> {
    let in_range = (1..=1024).contains(&bits);
    require(in_range, "task.bits", bits, "lie between 1 and 1024")
}
