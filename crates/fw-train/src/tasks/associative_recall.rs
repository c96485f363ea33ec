//! Associative recall: which item came after this one?

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::generated::{
    Generator, MAX_NUMBERS, Range, below, optimum_of_bits, padded, random_bits, validate_bits,
    vector, vectors_and_bits,
};
use crate::Error;
use crate::error::require;
use crate::tasks::{Format, Optimum, Split, VectorSample};

/// Associative recall (Graves et al. 2014, section 4.3): read a list of items, each some vectors of random bits, then one of
/// them again; say the item that came after it.
///
/// ```text
/// step       1 2 3 4 5 6 7 8        2 items of one vector, 3 bits
/// input  0   . 1 . 0 . 1 . .        the items, and the first of them again
///        1   . 0 . 1 . 0 . .
///        2   . 1 . 1 . 1 . .
///        3   1 . 1 . . . . .        an item begins
///        4   . . . . 1 . 1 .        what is asked begins, ends
/// target 0   . . . . . . . 0
///        1   . . . . . . . 1
///        2   . . . . . . . 1
/// asked                    x
/// ```
///
/// `bits + 2` numbers in, `bits` out, `items (item_length + 1) + 2 (item_length + 1)` steps. Guessing costs `bits item_length`
/// bits per sequence. A sequence asks for one item, so that the share of perfect sequences is that of perfect items.
///
/// Items are drawn with replacement, as in the paper: where the item that is asked for stood twice, each of the items that came after it
/// may be meant. With 18 bits in an item, as by default, that hardly happens; with few it is stated what the best net comes to, which says
/// of each bit how often it follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AssociativeRecall {
    /// Bits in a vector: 1 to 1,024. Default 6.
    pub bits: usize,
    /// Vectors in an item: 1 to 100. Default 3.
    pub item_length: usize,
    /// Items in a sequence, at least 2: a number from 1 on, or `[least, most]`. Default `[2, 6]`.
    pub items: Range,
    /// The same for the validation split, which chooses the best checkpoint. Default: as `items`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_items: Option<Range>,
}

impl Default for AssociativeRecall {
    fn default() -> Self {
        AssociativeRecall {
            bits: 6,
            item_length: 3,
            items: Range::Between([2, 6]),
            validation_items: None,
        }
    }
}

impl Generator for AssociativeRecall {
    fn validate(&self) -> Result<(), Error> {
        validate_bits(self.bits)?;
        let in_range = (1..=100).contains(&self.item_length);
        let rule = "lie between 1 and 100";
        require(in_range, "task.item_length", self.item_length, rule)?;
        let most = MAX_NUMBERS / (self.bits * self.item_length) - 2;
        self.items.validate("task.items", 2, most)?;
        let validation = self.validation_items.unwrap_or(self.items);
        validation.validate("task.validation_items", 2, most)
    }

    type Drawn = VectorSample;

    fn format(&self) -> Format {
        vectors_and_bits(self.bits + 2, self.bits)
    }

    fn longest(&self) -> usize {
        (self.items.most() + 2) * (self.item_length + 1)
    }

    fn draw(&self, split: Split, rng: &mut ChaCha8Rng) -> VectorSample {
        let items = match split {
            Split::Validation => self.validation_items.unwrap_or(self.items),
            Split::Train | Split::Test => self.items,
        };
        let n_items = items.draw(rng);
        let width = self.bits + 2;
        let begins = vector(width, &[(self.bits, 1.0)]);
        let asked = vector(width, &[(self.bits + 1, 1.0)]);
        let items: Vec<Vec<_>> = (0..n_items)
            .map(|_| {
                (0..self.item_length)
                    .map(|_| random_bits(rng, self.bits))
                    .collect()
            })
            .collect();
        let query = below(rng, n_items as u32 - 1) as usize;
        let mut sample = VectorSample::new();
        let read_item = |sample: &mut VectorSample, item: &[Vec<f32>]| {
            for bits in item {
                sample.read(padded(bits, width));
            }
        };
        for item in &items {
            sample.read(begins.clone());
            read_item(&mut sample, item);
        }
        sample.read(asked.clone());
        read_item(&mut sample, &items[query]);
        sample.read(asked);
        for bits in &items[query + 1] {
            sample.answer(vector(width, &[]), bits.clone());
        }
        sample
    }

    fn optimum(&self, sample: &VectorSample) -> Option<Optimum> {
        let step = self.item_length + 1;
        let n_items = sample.inputs.len() / step - 2;
        let item = |n: usize| {
            let vectors = &sample.inputs[n * step + 1..(n + 1) * step];
            vectors.iter().flat_map(|vector| &vector[..self.bits])
        };
        // The item that is asked for stands behind the list. The last of the list has none after it.
        let asked: Vec<f32> = item(n_items).copied().collect();
        let stood = (0..n_items - 1).filter(|&n| item(n).eq(&asked));
        let may_follow: Vec<Vec<f32>> = stood.map(|n| item(n + 1).copied().collect()).collect();
        let right = sample.targets.iter().flatten().flatten();
        let of_right_bits: Vec<f64> = right
            .enumerate()
            .map(|(bit, right)| {
                let same = may_follow.iter().filter(|item| item[bit] == *right);
                same.count() as f64 / may_follow.len() as f64
            })
            .collect();
        Some(optimum_of_bits(&of_right_bits))
    }
}

#[cfg(test)]
mod tests {
    use super::super::generated::tests::{check_samples, samples, task};
    use super::*;

    #[test]
    fn the_answer_is_the_item_after_the_one_that_is_asked() {
        let task = task::<AssociativeRecall>("").expect("a task");
        check_samples(&task);
        for sample in samples(&task, Split::Train) {
            let n_items = sample.inputs.iter().filter(|input| input[6] == 1.0).count();
            assert_eq!(sample.seq_length(), 4 * (n_items + 2));
            let item = |n: usize| &sample.inputs[4 * n + 1..4 * n + 4];
            assert_eq!(sample.inputs[4 * n_items][7], 1.0);
            assert_eq!(sample.inputs[4 * n_items + 4][7], 1.0);
            let asked = (0..n_items)
                .find(|&n| item(n) == item(n_items))
                .expect("was read");
            let answers: Vec<_> = sample.targets.iter().flatten().collect();
            assert_eq!(answers.len(), 3);
            for (answer, vector) in answers.iter().zip(item(asked + 1)) {
                assert_eq!(**answer, vector[..6]);
            }
        }
        assert!(super::super::generated::tests::task::<AssociativeRecall>("items = 1").is_err());
    }

    /// Items of one vector of two bits, by hand: a, b, a, c, then a is asked for: b or c follows.
    #[test]
    fn where_the_item_stood_twice_each_of_those_after_it_may_be_meant() {
        let task = task::<AssociativeRecall>("bits = 2\nitem_length = 1").expect("a task");
        let [a, b, c] = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]];
        let optimum = |items: &[[f32; 2]], target: [f32; 2]| {
            let mut sample = VectorSample::new();
            for bits in items {
                sample.read(vec![0.0, 0.0, 1.0, 0.0]);
                sample.read(padded(bits, 4));
            }
            sample.read(vec![0.0, 0.0, 0.0, 1.0]);
            sample.answer(vec![0.0; 4], target.to_vec());
            task.generator.optimum(&sample).expect("an optimum")
        };
        // The first bit is sure, the second is open.
        for target in [b, c] {
            let best = optimum(&[a, b, a, c, a], target);
            assert_eq!((best.loss, best.wrong, best.answers), (1.0, 0.5, 2.0));
        }
        let best = optimum(&[a, b, c, b], c);
        assert_eq!((best.loss, best.wrong), (0.0, 0.0));
        // Two of three times the same follows.
        let best = optimum(&[a, b, a, b, a, c, a], c);
        assert!((best.loss - 3_f64.log2()).abs() < 1e-12 && best.wrong == 1.0);
        // What is asked for also stands last, where nothing follows.
        assert_eq!(optimum(&[a, b, a, a], b).loss, 0.0);
    }
}
