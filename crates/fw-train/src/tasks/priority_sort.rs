//! Priority sort: say vectors again in the order of their priorities.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::generated::{
    Generator, MAX_NUMBERS, Range, padded, random_bits, unit, validate_bits, vector,
    vectors_and_bits,
};
use crate::Error;
use crate::error::require;
use crate::tasks::{Format, Split, VectorSample};

/// Priority sort (Graves et al. 2014, section 4.5): read vectors of random bits, each with a priority; say those with the
/// highest priorities, the highest first.
///
/// ```text
/// step       1    2    3    4 5 6       3 vectors, the 2 highest, 2 bits
/// input  0   1    0    1    . . .       the vectors
///        1   0    0    1    . . .
///        2   0.1  0.9 -0.4  . . .       their priorities, from -1 to 1
///        3   .    .    .    1 . .       the end of them
/// target 0   .    .    .    . 0 1
///        1   .    .    .    . 0 0
/// asked                       x x
/// ```
///
/// `bits + 2` numbers in, `bits` out, `items + 1 + min(outputs, items)` steps. Guessing costs a bit for each bit asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PrioritySort {
    /// Bits in a vector: 1 to 1,024. Default 8.
    pub bits: usize,
    /// Vectors in a sequence: a number from 1 on, or `[least, most]`. Default 20.
    pub items: Range,
    /// How many of them are asked for, all where there are fewer: at least 1. Default 16.
    pub outputs: usize,
}

impl Default for PrioritySort {
    fn default() -> Self {
        PrioritySort {
            bits: 8,
            items: Range::Exactly(20),
            outputs: 16,
        }
    }
}

impl Generator for PrioritySort {
    fn validate(&self) -> Result<(), Error> {
        validate_bits(self.bits)?;
        let most = MAX_NUMBERS / (self.bits + 1) - 1;
        self.items.validate("task.items", 1, most)?;
        require(
            self.outputs >= 1,
            "task.outputs",
            self.outputs,
            "be at least 1",
        )
    }

    type Drawn = VectorSample;

    fn format(&self) -> Format {
        vectors_and_bits(self.bits + 2, self.bits)
    }

    fn longest(&self) -> usize {
        self.items.most() + 1 + self.outputs.min(self.items.most())
    }

    fn draw(&self, _split: Split, rng: &mut ChaCha8Rng) -> VectorSample {
        let n_items = self.items.draw(rng);
        // In the precision in which they are read: two that look alike come in the order in which they were read.
        let items = (0..n_items)
            .map(|_| ((2.0 * unit(rng) - 1.0) as f32, random_bits(rng, self.bits)))
            .collect();
        self.sample_of(items)
    }
}

impl PrioritySort {
    /// The sample of vectors with priorities, in the order in which they are read.
    fn sample_of(&self, mut items: Vec<(f32, Vec<f32>)>) -> VectorSample {
        let width = self.bits + 2;
        let mut sample = VectorSample::new();
        for (priority, bits) in &items {
            let mut input = padded(bits, width);
            input[self.bits] = *priority;
            sample.read(input);
        }
        sample.read(vector(width, &[(self.bits + 1, 1.0)]));
        items.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        for (_, bits) in items.into_iter().take(self.outputs) {
            sample.answer(vector(width, &[]), bits);
        }
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::super::generated::tests::{check_samples, samples, task};
    use super::*;

    #[test]
    fn the_answers_are_the_highest_in_order() {
        let task = task::<PrioritySort>("").expect("a task");
        check_samples(&task);
        for sample in samples(&task, Split::Train) {
            assert_eq!(sample.seq_length(), 37);
            let mut items: Vec<&Vec<f32>> = sample.inputs[..20].iter().collect();
            items.sort_by(|one, other| other[8].total_cmp(&one[8]));
            let answers: Vec<_> = sample.targets.iter().flatten().collect();
            assert_eq!(answers.len(), 16);
            for (answer, item) in answers.iter().zip(items) {
                assert_eq!(**answer, item[..8]);
            }
        }
        let error = super::super::generated::tests::task::<PrioritySort>("outputs = 0");
        let message = error.expect_err("none of 20");
        assert_eq!(message, "task.outputs is 0; it must be at least 1");
    }

    /// What cannot be told apart comes in the order in which it was read: the answer is a function of what is read.
    #[test]
    fn of_equal_priorities_the_first_comes_first() {
        let task = task::<PrioritySort>("bits = 1\noutputs = 3").expect("a task");
        let items = [(0.5, 1.0), (0.75, 0.0), (0.5, 0.0)];
        let items = items.map(|(priority, bit)| (priority, vec![bit]));
        let answers = |items: Vec<(f32, Vec<f32>)>| -> Vec<f32> {
            let sample = task.generator.sample_of(items);
            let asked = sample.targets.iter().flatten();
            asked.map(|bits| bits[0]).collect()
        };
        assert_eq!(answers(items.to_vec()), [0.0, 1.0, 0.0]);
        let swapped = [items[2].clone(), items[1].clone(), items[0].clone()];
        assert_eq!(answers(swapped.to_vec()), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn all_are_asked_for_where_there_are_fewer() {
        let task = task::<PrioritySort>("items = [2, 4]\noutputs = 3").expect("a task");
        for sample in samples(&task, Split::Train) {
            let answers = sample.targets.iter().flatten().count();
            let items = sample.seq_length() - 1 - answers;
            assert_eq!(answers, items.min(3));
        }
    }
}
