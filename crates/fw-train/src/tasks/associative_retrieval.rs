//! Associative retrieval: look up the value of a key that was shown before.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::settings::{Field, Section, fields};
use crate::tasks::generated::below;
use crate::tasks::{
    Answer, AnswerFormat, Format, Input, InputFormat, Sample, Split, Task, validate_samples,
};

/// Associative retrieval (Ba et al. 2016, section 4.1).
///
/// ```text
/// input   g1o2k3p7??o        pairs of a key (a letter) and a value (a digit), `??`, and one of the keys
/// target  2                  that key's value
/// ```
///
/// Keys are drawn without replacement from a-z, values with replacement from 0-9. The model reads
/// `2 pairs + 3` tokens and answers after the last one, with one of ten classes; guessing errs 90 % of the time,
/// and one who remembers which values occurred, but not where, errs about `1 - 1/pairs` of the time.
///
/// # Differences from the paper
///
/// The paper does not say over which symbols the answer is a softmax; here it is the ten digits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AssociativeRetrieval {
    /// Key-value pairs in a sequence: 1 to 26. Default 4, as in the paper (public code often has 3).
    pub pairs: usize,
    /// Sequences in the training split: 1 to 2^32. Default 100,000, as in the paper.
    pub train_samples: u64,
    /// Sequences in the validation split: 1 to 2^32. Default 10,000.
    pub validation_samples: u64,
    /// Sequences in the test split: 1 to 2^32. Default 20,000.
    pub test_samples: u64,
    /// Whether training draws fresh sequences for ever instead of going over `train_samples` again and
    /// again. Default false.
    pub fresh: bool,
    /// The data seed, any number. Default 0.
    pub seed: u64,
}

impl Default for AssociativeRetrieval {
    fn default() -> Self {
        AssociativeRetrieval {
            pairs: 4,
            train_samples: 100_000,
            validation_samples: 10_000,
            test_samples: 20_000,
            fresh: false,
            seed: 0,
        }
    }
}

const N_LETTERS: u32 = 26;
const N_DIGITS: u32 = 10;
const QUESTION_MARK: u32 = N_LETTERS + N_DIGITS;

/// Words of the random stream set aside for each sample: far more than the 26 keys, 26 values and one question
/// can take.
const WORDS_PER_SAMPLE: u128 = 1024;

impl AssociativeRetrieval {
    pub(super) fn fields() -> Vec<Field> {
        fields(&Self::default())
    }

    pub(super) fn from_section(section: Section) -> Result<Self, Error> {
        let task: AssociativeRetrieval = section.parse()?;
        task.validate()?;
        Ok(task)
    }

    fn validate(&self) -> Result<(), Error> {
        let pairs = (1..=N_LETTERS as usize).contains(&self.pairs);
        let rule = "lie between 1 and 26, the number of keys (a-z)";
        require(pairs, "task.pairs", self.pairs, rule)?;
        validate_samples(&[
            ("task.train_samples", self.train_samples),
            ("task.validation_samples", self.validation_samples),
            ("task.test_samples", self.test_samples),
        ])
    }
}

impl Task for AssociativeRetrieval {
    fn format(&self) -> Format {
        Format {
            input: InputFormat::Tokens {
                n_tokens: QUESTION_MARK as usize + 1,
            },
            answer: AnswerFormat::Class {
                n_classes: N_DIGITS as usize,
            },
        }
    }

    fn seq_length(&self) -> usize {
        2 * self.pairs + 3
    }

    fn n_samples(&self, split: Split) -> Option<u64> {
        match split {
            Split::Train if self.fresh => None,
            Split::Train => Some(self.train_samples),
            Split::Validation => Some(self.validation_samples),
            Split::Test => Some(self.test_samples),
        }
    }

    fn sample(&self, split: Split, index: u64) -> Sample {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(split.stream());
        rng.set_word_pos(u128::from(index) * WORDS_PER_SAMPLE);

        let mut letters: Vec<u32> = (0..N_LETTERS).collect();
        let mut values = Vec::with_capacity(self.pairs);
        let mut tokens = Vec::with_capacity(self.seq_length());
        for pair in 0..self.pairs {
            let rest = N_LETTERS - pair as u32;
            letters.swap(pair, pair + below(&mut rng, rest) as usize);
            values.push(below(&mut rng, N_DIGITS));
            tokens.extend([letters[pair], N_LETTERS + values[pair]]);
        }
        let asked = below(&mut rng, self.pairs as u32) as usize;
        tokens.extend([QUESTION_MARK, QUESTION_MARK, letters[asked]]);
        Sample {
            input: Input::Tokens(tokens),
            answer: Answer::Class(values[asked]),
        }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn token_text(&self, token: u32) -> String {
        let character = match token {
            letter @ 0..N_LETTERS => char::from(b'a' + letter as u8),
            QUESTION_MARK => '?',
            digit => char::from(b'0' + (digit - N_LETTERS) as u8),
        };
        character.to_string()
    }

    fn class_text(&self, class: u32) -> String {
        class.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Tokens and class of a sample.
    fn sample(task: &AssociativeRetrieval, split: Split, index: u64) -> (Vec<u32>, u32) {
        match task.sample(split, index) {
            Sample {
                input: Input::Tokens(tokens),
                answer: Answer::Class(class),
            } => (tokens, class),
            other => panic!("{other:?}"),
        }
    }

    fn text(task: &AssociativeRetrieval, split: Split, index: u64) -> String {
        let (tokens, class) = sample(task, split, index);
        let task: &dyn Task = task;
        let answer = task.class_text(class);
        format!("{} -> {answer}", task.input_text(&tokens))
    }

    #[test]
    fn the_answer_is_the_value_that_followed_the_asked_key() {
        let task = AssociativeRetrieval {
            pairs: 26,
            ..Default::default()
        };
        for index in 0..200 {
            let (tokens, class) = sample(&task, Split::Train, index);
            let (pairs, question) = tokens.split_at(52);
            assert_eq!(question[..2], [QUESTION_MARK; 2]);
            let pairs: Vec<[u32; 2]> = pairs.chunks(2).map(|p| [p[0], p[1]]).collect();
            let keys: HashSet<u32> = pairs.iter().map(|pair| pair[0]).collect();
            assert_eq!(keys.len(), 26, "keys are drawn without replacement");
            let answer = pairs.iter().find(|pair| pair[0] == question[2]);
            assert_eq!(answer.map(|pair| pair[1] - N_LETTERS), Some(class));
        }
    }

    #[test]
    fn samples_never_change() {
        let task = AssociativeRetrieval::default();
        let first =
            [Split::Train, Split::Validation, Split::Test].map(|split| text(&task, split, 0));
        assert_eq!(
            first,
            ["r7t4o6p0??r -> 7", "u7l7y5e9??l -> 7", "c3d9w6t0??d -> 9"]
        );
        assert_eq!(text(&task, Split::Train, 99_999), "q0a3v7l1??v -> 7");
    }

    #[test]
    fn every_key_value_and_position_is_equally_likely() {
        let task = AssociativeRetrieval::default();
        let n = 20_000;
        let mut counts = [[0_u32; 26]; 3];
        for index in 0..n {
            let (tokens, class) = sample(&task, Split::Train, index);
            let asked = *tokens.last().expect("a question");
            let position = tokens.iter().position(|&token| token == asked);
            counts[0][asked as usize] += 1;
            counts[1][class as usize] += 1;
            counts[2][position.expect("the asked key was shown") / 2] += 1;
        }
        for (counts, kinds) in counts.iter().zip([26, 10, 4]) {
            let p = 1.0 / f64::from(kinds);
            let deviation = (n as f64 * p * (1.0 - p)).sqrt();
            for &count in &counts[..kinds as usize] {
                let error = (f64::from(count) - n as f64 * p).abs();
                assert!(error < 5.0 * deviation, "{count} of {n} for 1 in {kinds}");
            }
        }
    }

    #[test]
    fn splits_and_seeds_do_not_overlap() {
        let task = AssociativeRetrieval::default();
        let other = AssociativeRetrieval {
            seed: 1,
            ..task.clone()
        };
        let mut seen = HashSet::new();
        let mut repeats = 0;
        for index in 0..2_000 {
            for split in [Split::Train, Split::Validation, Split::Test] {
                repeats += usize::from(!seen.insert(sample(&task, split, index).0));
                repeats += usize::from(!seen.insert(sample(&other, split, index).0));
            }
        }
        // 358,800 * 10^4 * 4 equally likely sequences: a repeat among 12,000 is a 0.5 % chance.
        assert!(repeats <= 1, "{repeats} repeats");
    }
}
