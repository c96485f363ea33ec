//! Copy: say a sequence again.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::generated::{
    Generator, MAX_NUMBERS, Range, padded, random_bits, validate_bits, vector, vectors_and_bits,
};
use crate::Error;
use crate::tasks::{Format, Split, VectorSample};

/// Copy (Graves et al. 2014, section 4.1): read random bits, then say them again.
///
/// ```text
/// step       1 2 3 4 5 6 7           length 3, 2 bits
/// input  0   1 0 1 . . . .           the sequence
///        1   0 0 1 . . . .
///        2   . . . 1 . . .           the end of it
/// target 0   . . . . 1 0 1
///        1   . . . . 0 0 1
/// asked              x x x
/// ```
///
/// `bits + 1` numbers in, `bits` out, `2 length + 1` steps. Guessing costs `bits length` bits per sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Copy {
    /// Bits in a vector: 1 to 1,024. Default 8.
    pub bits: usize,
    /// Vectors in a sequence: a number from 1 on, or `[least, most]`. Default `[1, 20]`.
    pub length: Range,
    /// The same for the validation split, which chooses the best checkpoint. Default: as `length`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_length: Option<Range>,
}

impl Default for Copy {
    fn default() -> Self {
        Copy {
            bits: 8,
            length: Range::Between([1, 20]),
            validation_length: None,
        }
    }
}

impl Generator for Copy {
    fn validate(&self) -> Result<(), Error> {
        validate_bits(self.bits)?;
        let most = MAX_NUMBERS / self.bits - 1;
        self.length.validate("task.length", 1, most)?;
        let validation = self.validation_length.unwrap_or(self.length);
        validation.validate("task.validation_length", 1, most)
    }

    type Drawn = VectorSample;

    fn format(&self) -> Format {
        vectors_and_bits(self.bits + 1, self.bits)
    }

    fn longest(&self) -> usize {
        2 * self.length.most() + 1
    }

    fn draw(&self, split: Split, rng: &mut ChaCha8Rng) -> VectorSample {
        let length = match split {
            Split::Validation => self.validation_length.unwrap_or(self.length),
            Split::Train | Split::Test => self.length,
        };
        let length = length.draw(rng);
        let width = self.bits + 1;
        let sequence: Vec<_> = (0..length).map(|_| random_bits(rng, self.bits)).collect();
        let mut sample = VectorSample::new();
        for bits in &sequence {
            sample.read(padded(bits, width));
        }
        sample.read(vector(width, &[(self.bits, 1.0)]));
        for bits in sequence {
            sample.answer(vector(width, &[]), bits);
        }
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::super::generated::tests::{check_samples, drawn, samples, task};
    use super::*;

    #[test]
    fn the_answer_is_what_was_read() {
        check_samples(&task::<Copy>("length = [3, 9]").expect("a task"));
        let task =
            task::<Copy>("bits = 3\nlength = [1, 5]\nvalidation_length = 8").expect("a task");
        for sample in samples(&task, Split::Train) {
            let length = sample.seq_length() / 2;
            assert_eq!(sample.inputs[length], [0.0, 0.0, 0.0, 1.0]);
            for t in 0..length {
                assert_eq!(sample.targets[t], None);
                assert_eq!(
                    sample.targets[length + 1 + t].as_deref(),
                    Some(&sample.inputs[t][..3])
                );
                assert_eq!(sample.inputs[length + 1 + t], [0.0; 4]);
            }
        }
        assert!(
            samples(&task, Split::Validation)
                .iter()
                .all(|sample| sample.seq_length() == 17)
        );
    }

    #[test]
    fn samples_never_change() {
        let task = task::<Copy>("bits = 2\nlength = 3").expect("a task");
        let first = &samples(&task, Split::Test)[0];
        assert_eq!(
            drawn(first),
            [
                ". 1 1 . . . .",
                ". 1 1 . . . .",
                ". . . 1 . . .",
                ". . . . 0 1 1",
                ". . . . 0 1 1"
            ]
        );
    }
}
