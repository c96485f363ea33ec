//! In-context recall: say the value that a key had before, with or without noise between the pairs.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::tasks::generated::{
    Generator, below, next_tokens, tokens_and_classes, unit, validate_length, validate_vocabulary,
};
use crate::tasks::{Format, Sample, Split};

/// In-context recall and noisy recall (Poli et al. 2024: MAD).
///
/// ```text
/// input   2 6 1 5 0 4 0 4 0 4 0        keys 0 to 3, values 4 to 7, 12 tokens, the last of which is only answered
/// target  . . . . . . 4 . 4 . 4        the value, at each key that was there before
/// ```
///
/// Keys are the lower half of the vocabulary without its noise, values the upper half, noise what is behind them. A sequence is pairs of a key,
/// drawn with replacement, and its value, which is drawn (with replacement too, so that keys may share one) where the key comes first and is the same from then on; with a probability of `noise` two tokens of
/// noise stand in the place of a pair. The last pair is one of a key that was there. In training every next token is asked for, the keys and the noise that nobody can know among
/// them; what counts as an error, and what is asked for in the other splits, are the values of keys that were there before. Guessing among the values errs on all but `2 / (vocabulary -
/// noise_vocabulary)`.
///
/// MAD's baselines are the defaults, and for noisy recall `vocabulary = 32`, `noise_vocabulary = 16`, `noise = 0.2`; the easiest setting varies one of the settings at a time:
/// vocabulary 32, 64, 128 (with noise 48, 80, 144), length 256, 512, 1,024, `training_samples` from 12,800 down to 800, noise 0.4, 0.6, 0.8.
///
/// # Differences from the public generator
///
/// There (athms/mad-lab at 0f49a45) one place is kept free of noise that may be the one behind the end, so that a sequence of noise alone is possible; here a pair is always there. What is judged is
/// the share of wrong answers, there the mean over classes of the share that is right, batch by batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InContextRecall {
    /// Tokens: 4 to 65,536. Default 16.
    pub vocabulary: usize,
    /// Tokens of a sequence, the last of which is only answered: even, 4 to 100,000. Default 128.
    pub length: usize,
    /// Tokens of the vocabulary that are noise: 0 to `vocabulary` - 4; what is left is even. Default 0.
    pub noise_vocabulary: usize,
    /// The probability that noise stands in the place of a pair: 0 to 1. Default 0.
    pub noise: f64,
}

impl Default for InContextRecall {
    fn default() -> Self {
        InContextRecall {
            vocabulary: 16,
            length: 128,
            noise_vocabulary: 0,
            noise: 0.0,
        }
    }
}

impl Generator for InContextRecall {
    type Drawn = Sample;

    fn validate(&self) -> Result<(), Error> {
        validate_vocabulary(self.vocabulary, 4)?;
        validate_length(self.length, 4)?;
        let n_noise = self.noise_vocabulary;
        let left = self.vocabulary.saturating_sub(n_noise);
        let rule = "leave an even number of tokens, 4 or more, to keys and values";
        let leaves = left >= 4 && left.is_multiple_of(2);
        require(leaves, "task.noise_vocabulary", n_noise, rule)?;
        let is_share = (0.0..=1.0).contains(&self.noise);
        require(is_share, "task.noise", self.noise, "lie in [0, 1]")?;
        let rule = "be 0 where task.noise_vocabulary is 0";
        require(
            self.noise == 0.0 || n_noise > 0,
            "task.noise",
            self.noise,
            rule,
        )
    }

    fn format(&self) -> Format {
        tokens_and_classes(self.vocabulary)
    }

    fn longest(&self) -> usize {
        self.length - 1
    }

    fn draw(&self, split: Split, rng: &mut ChaCha8Rng) -> Sample {
        let n_noise = self.noise_vocabulary as u32;
        let first_noise = self.vocabulary as u32 - n_noise;
        let n_keys = first_noise / 2;
        let n_places = self.length / 2 - 1;
        let always_a_pair = below(rng, n_places as u32) as usize;
        let mut values = vec![None; n_keys as usize];
        let mut shown = Vec::new();
        let mut tokens = Vec::with_capacity(self.length);
        let mut is_asked = vec![false; self.length];
        for place in 0..n_places {
            if place != always_a_pair && self.noise > 0.0 && unit(rng) < self.noise {
                tokens.extend([0, 1].map(|_| first_noise + below(rng, n_noise)));
                continue;
            }
            let key = below(rng, n_keys);
            let known = values[key as usize];
            let value = known.unwrap_or_else(|| n_keys + below(rng, n_keys));
            if known.is_none() {
                values[key as usize] = Some(value);
                shown.push((key, value));
            }
            is_asked[tokens.len() + 1] = known.is_some();
            tokens.extend([key, value]);
        }
        let (key, value) = shown[below(rng, shown.len() as u32) as usize];
        is_asked[tokens.len() + 1] = true;
        tokens.extend([key, value]);
        next_tokens(split, &tokens, |place| is_asked[place])
    }

    fn token_text(&self, token: u32) -> String {
        format!(" {token}")
    }

    fn class_text(&self, class: u32) -> String {
        format!(" {class}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::generated::tests::task;
    use super::*;

    #[test]
    fn what_is_asked_is_the_value_that_the_key_had_before() {
        let task = task::<InContextRecall>(
            "length = 40\nvocabulary = 12\nnoise_vocabulary = 4\nnoise = 0.3",
        )
        .expect("a task");
        for index in 0..200 {
            let sample = task.draw(Split::Test, index);
            let (tokens, steps) = (sample.tokens(), sample.classes());
            assert_eq!((tokens.len(), steps.len()), (39, 39));
            let mut known = [None; 4];
            for (place, step) in steps.iter().enumerate() {
                let next = tokens
                    .get(place + 1)
                    .copied()
                    .or(step.map(|step| step.class));
                let is_key = place.is_multiple_of(2) && tokens[place] < 4;
                let expected = is_key.then(|| known[tokens[place] as usize]).flatten();
                assert_eq!(step.map(|step| step.class), expected);
                if is_key {
                    known[tokens[place] as usize] = next;
                    assert!((4..8).contains(&next.expect("a value")));
                } else if place.is_multiple_of(2) {
                    assert!(tokens[place] >= 8 && next.is_some_and(|next| next >= 8));
                }
            }
            assert!(steps[38].is_some(), "the last key was there");
        }
        let sample = task.draw(Split::Train, 0);
        let all = sample.classes().iter().flatten();
        let (n, n_counted) = all.fold((0, 0), |(n, counted), step| {
            (n + 1, counted + usize::from(step.counts))
        });
        assert!(n == 39 && n_counted > 5 && n_counted < 20, "{n_counted}");
    }

    /// As many answers as the public generator asks for on average.
    #[test]
    fn the_number_of_answers_is_that_of_the_public_generator() {
        for (settings, expected) in [
            ("", 56.0),
            ("vocabulary = 32\nnoise_vocabulary = 16\nnoise = 0.2", 43.6),
        ] {
            let task = task::<InContextRecall>(settings).expect("a task");
            let n = |index| {
                task.draw(Split::Test, index)
                    .classes()
                    .iter()
                    .flatten()
                    .count()
            };
            let mean = (0..2000).map(n).sum::<usize>() as f64 / 2000.0;
            assert!((mean - expected).abs() < 0.3, "{settings}: {mean}");
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        for (settings, message) in [
            (
                "vocabulary = 3",
                "task.vocabulary is 3; it must lie between 4 and 65,536",
            ),
            (
                "length = 7",
                "task.length is 7; it must be even, from 4 to 100,000",
            ),
            (
                "noise_vocabulary = 13",
                "task.noise_vocabulary is 13; it must leave an even number of tokens",
            ),
            (
                "noise = 0.5",
                "task.noise is 0.5; it must be 0 where task.noise_vocabulary is 0",
            ),
            (
                "noise_vocabulary = 4\nnoise = 1.5",
                "task.noise is 1.5; it must lie in [0, 1]",
            ),
        ] {
            let error = task::<InContextRecall>(settings).expect_err(settings);
            assert!(error.starts_with(message), "{settings}: {error}");
        }
    }
}
