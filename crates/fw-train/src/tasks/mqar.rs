//! Multi-query associative recall: look up the values of many keys.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::tasks::generated::{Generator, below, unit};
use crate::tasks::{Answer, AnswerFormat, Format, Input, InputFormat, Sample, Split, StepClass};

/// Multi-query associative recall (Arora et al. 2023: Zoology, section 4).
///
/// ```text
/// input   k5 v5 k6 v3 k0 v5 k6 k0 k5  .  .  .  .  .  .  .      3 pairs, 16 steps
/// target                    v3 v5 v5                           at each key that is asked for again, its value
/// ```
///
/// Half of the vocabulary are keys, the other half values. The pairs come first: keys drawn without replacement, values with. Behind
/// them each key is asked for once, at a place drawn without replacement, place g (from 0) with a weight of `(g + 1)^(power - 1)`: with a
/// small `power` most questions come soon after the pairs and a few late. What stands between the questions is a blank, or a random token of the
/// vocabulary with `distractors`. Guessing among the values errs on all but `2 / vocabulary` of the answers.
///
/// # Differences from the paper
///
/// Questions may stand at every step behind the pairs, not at every second; the tokens between are blanks unless asked for; the
/// vocabulary is smaller (8,192 there), so that a recurrent net learns it within minutes. Key k is asked at a place of its own, as there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MultiQueryRecall {
    /// Keys and values together, even: 4 to 65,536. Default 64.
    pub vocabulary: usize,
    /// Key-value pairs in a sequence: 1 to half the vocabulary. Default 8.
    pub pairs: usize,
    /// Steps of a sequence, the pairs included: at least 3 times the pairs, at most 100,000. Default 64.
    pub length: usize,
    /// The power of the law that questions follow, above 0, at most 10; 1 is an even spread. Default 0.1 (the paper: 0.01 to 0.1).
    pub power: f64,
    /// Whether random tokens stand between the questions, not blanks. Default false.
    pub distractors: bool,
}

impl Default for MultiQueryRecall {
    fn default() -> Self {
        MultiQueryRecall {
            vocabulary: 64,
            pairs: 8,
            length: 64,
            power: 0.1,
            distractors: false,
        }
    }
}

impl MultiQueryRecall {
    fn n_keys(&self) -> usize {
        self.vocabulary / 2
    }

    /// The token behind the keys and the values.
    fn blank(&self) -> u32 {
        self.vocabulary as u32
    }

    /// The places of the questions, counted from the first step behind the pairs: one for each pair, in the pairs' order.
    fn places(&self, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let n_places = self.length - 2 * self.pairs;
        let mut weights: Vec<f64> = (1..=n_places)
            .map(|place| (place as f64).powf(self.power - 1.0))
            .collect();
        let mut left: f64 = weights.iter().sum();
        let draw = |_| {
            let mut point = unit(rng) * left;
            let mut drawn = None;
            for (place, &weight) in weights
                .iter()
                .enumerate()
                .filter(|(_, weight)| **weight > 0.0)
            {
                // The last one there is, where rounding leaves the point behind all of them.
                drawn = Some(place);
                point -= weight;
                if point < 0.0 {
                    break;
                }
            }
            let place = drawn.expect("there are at least as many places as pairs");
            left -= weights[place];
            weights[place] = 0.0;
            place
        };
        (0..self.pairs).map(draw).collect()
    }
}

impl Generator for MultiQueryRecall {
    type Drawn = Sample;

    fn validate(&self) -> Result<(), Error> {
        let n = self.vocabulary;
        let even = (4..=65_536).contains(&n) && n.is_multiple_of(2);
        require(even, "task.vocabulary", n, "be even, from 4 to 65,536")?;
        let pairs = (1..=self.n_keys()).contains(&self.pairs);
        let rule = format!(
            "lie between 1 and {}, half of task.vocabulary",
            self.n_keys()
        );
        require(pairs, "task.pairs", self.pairs, &rule)?;
        let least = 3 * self.pairs;
        let length = (least..=100_000).contains(&self.length);
        let rule = format!("lie between {least}, 3 times task.pairs, and 100,000");
        require(length, "task.length", self.length, &rule)?;
        let power = self.power > 0.0 && self.power <= 10.0;
        let rule = "lie above 0, and be at most 10";
        require(power, "task.power", self.power, rule)
    }

    fn format(&self) -> Format {
        Format {
            input: InputFormat::Tokens {
                n_tokens: self.vocabulary + 1,
            },
            answer: AnswerFormat::Classes {
                n_classes: self.vocabulary - self.n_keys(),
            },
        }
    }

    fn longest(&self) -> usize {
        self.length
    }

    fn draw(&self, _split: Split, rng: &mut ChaCha8Rng) -> Sample {
        let n_keys = self.n_keys();
        let n_values = (self.vocabulary - n_keys) as u32;
        let mut keys: Vec<u32> = (0..n_keys as u32).collect();
        let mut tokens = Vec::with_capacity(self.length);
        let mut values = Vec::with_capacity(self.pairs);
        for pair in 0..self.pairs {
            let rest = (n_keys - pair) as u32;
            keys.swap(pair, pair + below(rng, rest) as usize);
            values.push(below(rng, n_values));
            tokens.extend([keys[pair], n_keys as u32 + values[pair]]);
        }
        let mut answers = vec![None; self.length];
        let n_pairs = self.pairs;
        let mut asked = vec![None; self.length - 2 * n_pairs];
        for (pair, place) in self.places(rng).into_iter().enumerate() {
            asked[place] = Some(keys[pair]);
            answers[2 * n_pairs + place] = Some(StepClass {
                class: values[pair],
                counts: true,
            });
        }
        for key in asked {
            tokens.push(match key {
                Some(key) => key,
                None if self.distractors => below(rng, self.vocabulary as u32),
                None => self.blank(),
            });
        }
        Sample {
            input: Input::Tokens(tokens),
            answer: Answer::Classes(answers),
        }
    }

    fn token_text(&self, token: u32) -> String {
        let n_keys = self.n_keys() as u32;
        match token {
            blank if blank == self.blank() => " .".to_owned(),
            value if value >= n_keys => format!(" {}", self.class_text(value - n_keys)),
            key => format!(" k{key}"),
        }
    }

    fn class_text(&self, class: u32) -> String {
        format!("v{class}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::generated::tests::task;
    use super::*;
    use crate::tasks::{Generated, Task};

    type Recall = Generated<MultiQueryRecall>;

    /// Tokens, and the class asked for at each step.
    fn drawn(task: &Recall, index: u64) -> (Vec<u32>, Vec<Option<u32>>) {
        match task.draw(Split::Train, index) {
            Sample {
                input: Input::Tokens(tokens),
                answer: Answer::Classes(classes),
            } => {
                let classes = classes.into_iter().map(|step| Some(step?.class));
                (tokens, classes.collect())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_key_is_asked_for_once_and_answered_with_its_value() {
        for distractors in [false, true] {
            let settings = format!("pairs = 20\nlength = 100\ndistractors = {distractors}");
            let task: Recall = task(&settings).expect("a task");
            for index in 0..100 {
                let (tokens, classes) = drawn(&task, index);
                assert_eq!((tokens.len(), classes.len()), (100, 100));
                let pairs: Vec<(u32, u32)> = tokens[..40]
                    .chunks(2)
                    .map(|pair| (pair[0], pair[1]))
                    .collect();
                assert!(classes[..40].iter().all(Option::is_none));
                let mut asked = Vec::new();
                for (token, class) in tokens.iter().zip(&classes).skip(40) {
                    match class {
                        Some(class) => {
                            let pair = pairs.iter().find(|(key, _)| key == token);
                            assert_eq!(pair.map(|(_, value)| value - 32), Some(*class));
                            asked.push(token);
                        }
                        None => assert!(distractors || *token == 64),
                    }
                }
                asked.sort();
                asked.dedup();
                assert_eq!(asked.len(), 20, "every key once");
            }
        }
    }

    #[test]
    fn samples_never_change_and_look_as_documented() {
        let task: Recall = task("vocabulary = 16\npairs = 3\nlength = 16").expect("a task");
        let (tokens, _) = drawn(&task, 0);
        let text: String = tokens.iter().map(|&token| task.token_text(token)).collect();
        assert_eq!(text, " k5 v5 k6 v3 k0 v5 k6 k0 k5 . . . . . . .");
    }

    /// The first place is drawn first with its share of the weight.
    #[test]
    fn questions_follow_the_power_law() {
        for power in [0.1, 1.0] {
            let settings = format!("pairs = 1\nlength = 34\npower = {power}");
            let task: Recall = task(&settings).expect("a task");
            let weight = |place: i32| f64::from(place).powf(power - 1.0);
            let total: f64 = (1..=32).map(weight).sum();
            let n = 4000;
            let mut counts = [0; 32];
            for index in 0..n {
                let (_, classes) = drawn(&task, index);
                let place = classes
                    .iter()
                    .position(Option::is_some)
                    .expect("a question");
                counts[place - 2] += 1;
            }
            for (place, count) in counts.into_iter().enumerate() {
                let p = weight(place as i32 + 1) / total;
                let expected = n as f64 * p;
                let deviation = (expected * (1.0 - p)).sqrt();
                let off = (f64::from(count) - expected).abs();
                assert!(off < 5.0 * deviation, "{count} at {place}, not {expected}");
            }
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        for (settings, message) in [
            ("vocabulary = 7", "task.vocabulary is 7; it must be even"),
            (
                "pairs = 33",
                "task.pairs is 33; it must lie between 1 and 32",
            ),
            ("length = 23", "task.length is 23; it must lie between 24"),
            ("power = 0.0", "task.power is 0; it must lie above 0"),
        ] {
            let error = task::<MultiQueryRecall>(settings).expect_err(settings);
            assert!(error.contains(message), "{settings}: {error}");
        }
    }
}
