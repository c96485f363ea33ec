//! Repeat copy: say a sequence again, as often as asked.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::generated::{
    Generator, MAX_NUMBERS, Range, padded, random_bits, validate_bits, vector, vectors_and_bits,
};
use crate::Error;
use crate::error::require;
use crate::tasks::{Format, Split, VectorSample};

/// Repeat copy (Graves et al. 2014, section 4.2): read random bits and a number, say them again as many times, then
/// say that it is the end.
///
/// ```text
/// step       1 2 3 4 5 6 7 8         length 2, 2 repeats, 2 bits
/// input  0   1 0 . . . . . .         the sequence
///        1   0 1 . . . . . .
///        2   . . 1 . . . . .         the end of it
///        3   . . n . . . . .         how often
/// target 0   . . . 1 0 1 0 0
///        1   . . . 0 1 0 1 0
///        2   . . . 0 0 0 0 1         the end
/// asked            x x x x x
/// ```
///
/// `bits + 2` numbers in, `bits + 1` out, `length (repeats + 1) + 2` steps. The number of repeats is given as `(repeats -
/// 5.5) / 2.87`, which has mean 0 and variance 1 over 1 to 10, whatever the range is set to: a test with more
/// repeats must mean the same by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RepeatCopy {
    /// Bits in a vector: 1 to 1,024. Default 8.
    pub bits: usize,
    /// Vectors in a sequence: a number from 1 on, or `[least, most]`. Default `[1, 10]`.
    pub length: Range,
    /// How often it is said, at most 10,000 times: a number from 1 on, or `[least, most]`. Default `[1, 10]`.
    pub repeats: Range,
}

impl Default for RepeatCopy {
    fn default() -> Self {
        RepeatCopy {
            bits: 8,
            length: Range::Between([1, 10]),
            repeats: Range::Between([1, 10]),
        }
    }
}

/// Mean and standard deviation of 1 to 10.
const MEAN_REPEATS: f64 = 5.5;
const DEVIATION: f64 = 2.872_281_323_269_014_3;

impl Generator for RepeatCopy {
    fn validate(&self) -> Result<(), Error> {
        validate_bits(self.bits)?;
        let most = MAX_NUMBERS / self.bits - 2;
        self.length.validate("task.length", 1, most)?;
        self.repeats.validate("task.repeats", 1, 10_000)?;
        let numbers = self.longest() * (self.bits + 2);
        let rule = "be lower with this task.length: a sequence has at most a million numbers";
        require(numbers <= 1_000_000, "task.repeats", self.repeats, rule)
    }

    type Drawn = VectorSample;

    fn format(&self) -> Format {
        vectors_and_bits(self.bits + 2, self.bits + 1)
    }

    fn longest(&self) -> usize {
        self.length.most() * (self.repeats.most() + 1) + 2
    }

    fn draw(&self, _split: Split, rng: &mut ChaCha8Rng) -> VectorSample {
        let (length, repeats) = (self.length.draw(rng), self.repeats.draw(rng));
        let (d_input, d_output) = (self.bits + 2, self.bits + 1);
        let sequence: Vec<_> = (0..length).map(|_| random_bits(rng, self.bits)).collect();
        let mut sample = VectorSample::new();
        for bits in &sequence {
            sample.read(padded(bits, d_input));
        }
        let number = (repeats as f64 - MEAN_REPEATS) / DEVIATION;
        let end = [(self.bits, 1.0), (self.bits + 1, number as f32)];
        sample.read(vector(d_input, &end));
        for _ in 0..repeats {
            for bits in &sequence {
                sample.answer(vector(d_input, &[]), padded(bits, d_output));
            }
        }
        sample.answer(vector(d_input, &[]), vector(d_output, &[(self.bits, 1.0)]));
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::super::generated::tests::{check_samples, samples, task};
    use super::*;

    #[test]
    fn the_answer_is_what_was_read_as_often_as_asked_and_the_end() {
        check_samples(&task::<RepeatCopy>("length = [3, 4]\nrepeats = [2, 3]").expect("a task"));
        let task = task::<RepeatCopy>("bits = 3").expect("a task");
        for sample in samples(&task, Split::Train) {
            let length = sample
                .inputs
                .iter()
                .position(|input| input[3] == 1.0)
                .expect("an end");
            let repeats = f64::from(sample.inputs[length][4]) * DEVIATION + MEAN_REPEATS;
            let repeats = repeats.round() as usize;
            assert_eq!(sample.seq_length(), length * (repeats + 1) + 2);
            let answers: Vec<_> = sample.targets.iter().flatten().collect();
            assert_eq!(answers.len(), length * repeats + 1);
            for (t, answer) in answers[..length * repeats].iter().enumerate() {
                assert_eq!(answer[..3], sample.inputs[t % length][..3]);
                assert_eq!(answer[3], 0.0);
            }
            assert_eq!(**answers.last().expect("answers"), [0.0, 0.0, 0.0, 1.0]);
        }
    }

    #[test]
    fn a_number_of_repeats_is_said_alike_whatever_the_range() {
        let said = |settings| {
            let task = task::<RepeatCopy>(settings).expect("a task");
            let sample = &samples(&task, Split::Train)[0];
            sample.inputs.iter().map(|input| input[9]).sum::<f32>()
        };
        assert_eq!(said("repeats = 7"), said("repeats = [7, 7]"));
        assert!((said("repeats = 20") - 14.5 / 2.872_281_3).abs() < 1e-6);
    }
}
