//! Memorisation: values of keys that stand in no sequence.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::tasks::generated::{
    Generator, below, distinct, tokens_and_classes, validate_length, validate_vocabulary,
};
use crate::tasks::{Answer, Format, Input, Sample, Split, StepClass};

/// Memorisation (Poli et al. 2024: MAD): say the value of a key that is the same in all sequences, and stands in none.
///
/// ```text
/// input   3 ? 0 ? 2 ? 3 ?         keys of 0 to 3; ? is the last token
/// target  . 6 . 4 . 7 . 6         what belongs to them, learned into the weights
/// ```
///
/// Keys are the lower half of the vocabulary without its last token, values the upper half; which value belongs to which key is drawn once, no value to two. A net needs no memory of
/// its past for it, only weights: what it measures is what a layer leaves of these. Guessing errs on all but `2 / vocabulary`.
///
/// MAD's baseline is the default with `training_samples = 256`; it varies the vocabulary (512 to 8,192).
///
/// # Differences from the public generator
///
/// There (athms/mad-lab at 0f49a45) which value belongs to which key is drawn with the seed 12345; here with `map_seed`, by another generator of random numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Memorization {
    /// Tokens: 4 to 65,536. Default 256.
    pub vocabulary: usize,
    /// Steps of a sequence: even, 2 to 100,000. Default 32.
    pub length: usize,
    /// What draws the values of the keys, any number. Default 12345.
    pub map_seed: u64,
}

impl Default for Memorization {
    fn default() -> Self {
        Memorization {
            vocabulary: 256,
            length: 32,
            map_seed: 12345,
        }
    }
}

impl Memorization {
    fn question(&self) -> u32 {
        self.vocabulary as u32 - 1
    }

    fn n_keys(&self) -> u32 {
        self.question() / 2
    }

    /// The value of each key.
    fn values(&self) -> Vec<u32> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.map_seed);
        let values = self.n_keys()..self.question();
        distinct(&mut rng, values, self.n_keys() as usize)
    }
}

impl Generator for Memorization {
    type Drawn = Sample;

    fn validate(&self) -> Result<(), Error> {
        validate_vocabulary(self.vocabulary, 4)?;
        validate_length(self.length, 2)
    }

    fn format(&self) -> Format {
        tokens_and_classes(self.vocabulary)
    }

    fn longest(&self) -> usize {
        self.length
    }

    fn draw(&self, _split: Split, rng: &mut ChaCha8Rng) -> Sample {
        let values = self.values();
        let (mut tokens, mut answers) = (Vec::new(), Vec::new());
        for _ in 0..self.length / 2 {
            let key = below(rng, self.n_keys());
            tokens.extend([key, self.question()]);
            let value = StepClass {
                class: values[key as usize],
                counts: true,
            };
            answers.extend([None, Some(value)]);
        }
        Sample {
            input: Input::Tokens(tokens),
            answer: Answer::Classes(answers),
        }
    }

    fn token_text(&self, token: u32) -> String {
        match token == self.question() {
            true => " ?".to_owned(),
            false => format!(" {token}"),
        }
    }

    fn class_text(&self, class: u32) -> String {
        format!(" {class}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::generated::tests::task;
    use super::*;

    #[test]
    fn a_key_has_one_value_of_its_own_in_every_split_and_with_every_seed() {
        let mut values: BTreeMap<u32, u32> = BTreeMap::new();
        for settings in ["vocabulary = 20", "vocabulary = 20\nseed = 3"] {
            let task = task::<Memorization>(settings).expect("a task");
            for split in [Split::Train, Split::Validation, Split::Test] {
                for index in 0..20 {
                    let sample = task.draw(split, index);
                    let (tokens, steps) = (sample.tokens(), sample.classes());
                    assert_eq!((tokens.len(), steps.len()), (32, 32));
                    for place in (0..32).step_by(2) {
                        let value = steps[place + 1].expect("it is asked").class;
                        assert_eq!((tokens[place + 1], steps[place]), (19, None));
                        assert!(tokens[place] < 9 && (9..19).contains(&value));
                        assert_eq!(*values.entry(tokens[place]).or_insert(value), value);
                    }
                }
            }
        }
        assert_eq!(values.len(), 9, "every key comes");
        let mut of_keys: Vec<u32> = values.into_values().collect();
        of_keys.sort_unstable();
        of_keys.dedup();
        assert_eq!(of_keys.len(), 9, "no value belongs to two");
        let other = task::<Memorization>("vocabulary = 20\nmap_seed = 1").expect("a task");
        let same = task::<Memorization>("vocabulary = 20").expect("a task");
        assert_ne!(other.generator.values(), same.generator.values());
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let error = task::<Memorization>("vocabulary = 3").expect_err("no key");
        assert_eq!(
            error,
            "task.vocabulary is 3; it must lie between 4 and 65,536"
        );
        let error = task::<Memorization>("length = 3").expect_err("half a pair");
        assert_eq!(
            error,
            "task.length is 3; it must be even, from 2 to 100,000"
        );
    }
}
