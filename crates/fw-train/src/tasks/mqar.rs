//! Multi-query associative recall: look up the values of many keys.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::tasks::generated::{Generator, below, distinct, unit};
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
/// # As Zoology draws it
///
/// With `variant = "zoology"` samples are drawn as the paper's public generator does (HazyResearch/zoology at d88d6f5, `data/multiquery_ar.py`):
///
/// ```text
/// input    9 18  3 11  3 19  7  3 17  3  1  6 16 19  9 16      2 pairs, 16 steps, vocabulary of 20
/// target               11                            18        key 3 comes back at two places more, where nobody asks
/// ```
///
/// Tokens are numbers: 0 is the blank, keys are 1 to `vocabulary / 2 - 1`, values the upper half. Values are drawn without replacement as well; questions stand at
/// even places alone, the g-th of which has the weight above; what is answered is one of all tokens. With `distractors`, what stands between is any token, 0, keys
/// and values of the same sequence among them. The paper has a vocabulary of 8,192, `power = 0.01` and distractors, trains on
/// `mixture = [[64, 4, 391], [128, 8, 79], [256, 16, 79], [256, 32, 79], [256, 64, 79]]`, and tests on 64 steps with 4, 8 and 16 pairs, 128 with 32, 256 with 64, 512 with 128 and 1,024 with 256.
///
/// What is otherwise: one seeded stream draws everything (there, the fillers depend on what has run before), and training samples are drawn afresh instead of being read again in every
/// epoch.
///
/// # Differences of the small variant from the paper
///
/// Questions may stand at every step behind the pairs, not at every second; the tokens between are blanks unless asked for; values may come twice; the
/// vocabulary is smaller, so that a recurrent net learns it within minutes. Key k is asked at a place of its own, as there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MultiQueryRecall {
    /// Which generator. Default `"small"`.
    pub variant: RecallVariant,
    /// Keys and values together, even: 4 to 65,536. Default 64.
    pub vocabulary: usize,
    /// Key-value pairs in a sequence: 1 to half the vocabulary, of Zoology's one less. Default 8.
    pub pairs: usize,
    /// Steps of a sequence, the pairs included: at least 3 times the pairs, at most 100,000; of Zoology's even, and at least 4 times the pairs. Default 64.
    pub length: usize,
    /// Of Zoology's: sizes that samples have instead of `length` and `pairs`, `[length, pairs, batches]` each, at least 1. In training so many times 256 samples in a row have one
    /// size, then come those of the next, again and again; in the other splits all sizes come alike often. Where it is not set: one size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixture: Option<Vec<[usize; 3]>>,
    /// The power of the law that questions follow, above 0, at most 10; 1 is an even spread. Default 0.1 (the paper: 0.01 to 0.1).
    pub power: f64,
    /// Whether random tokens stand between the questions, not blanks. Default false.
    pub distractors: bool,
}

/// How multi-query recall is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RecallVariant {
    /// This project's own, which recurrent nets learn within minutes.
    Small,
    /// As the public generator of the paper draws it.
    Zoology,
}

impl Default for MultiQueryRecall {
    fn default() -> Self {
        MultiQueryRecall {
            variant: RecallVariant::Small,
            vocabulary: 64,
            pairs: 8,
            length: 64,
            mixture: None,
            power: 0.1,
            distractors: false,
        }
    }
}

/// Samples of one size in a row, in training on a mixture: a batch of the paper.
const IN_A_ROW: u64 = 256;

impl MultiQueryRecall {
    fn is_zoology(&self) -> bool {
        self.variant == RecallVariant::Zoology
    }

    /// The tokens that are keys; of Zoology's without 0, which is the blank.
    fn keys(&self) -> std::ops::Range<u32> {
        let half = (self.vocabulary / 2) as u32;
        u32::from(self.is_zoology())..half
    }

    fn blank(&self) -> u32 {
        match self.variant {
            // The token behind the keys and the values.
            RecallVariant::Small => self.vocabulary as u32,
            RecallVariant::Zoology => 0,
        }
    }

    /// The class that a value is answered by.
    fn class(&self, value: u32) -> u32 {
        match self.variant {
            RecallVariant::Small => value - self.keys().end,
            RecallVariant::Zoology => value,
        }
    }

    /// Steps from one place where a question may stand to the next.
    fn stride(&self) -> usize {
        1 + usize::from(self.is_zoology())
    }

    /// The places of the questions, counted from the first step behind the pairs: one for each pair, in the pairs' order.
    fn places(&self, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let n_places = (self.length - 2 * self.pairs) / self.stride();
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
            self.stride() * place
        };
        (0..self.pairs).map(draw).collect()
    }

    /// The same with other sizes, and without a mixture.
    fn of_size(&self, length: usize, pairs: usize) -> Self {
        MultiQueryRecall {
            length,
            pairs,
            mixture: None,
            ..self.clone()
        }
    }

    fn validate_sizes(&self, fields: [&str; 2]) -> Result<(), Error> {
        let n_keys = self.keys().len();
        let pairs = (1..=n_keys).contains(&self.pairs);
        let of = match self.variant {
            RecallVariant::Small => "half of task.vocabulary",
            RecallVariant::Zoology => "half of task.vocabulary without the blank",
        };
        let rule = format!("lie between 1 and {n_keys}, {of}");
        require(pairs, fields[0], self.pairs, &rule)?;
        let times = 2 + self.stride();
        let least = times * self.pairs;
        let length = (least..=100_000).contains(&self.length);
        let rule = format!("lie between {least}, {times} times the pairs, and 100,000");
        require(length, fields[1], self.length, &rule)?;
        let fits = self.length.is_multiple_of(self.stride());
        require(fits, fields[1], self.length, "be even")
    }
}

impl Generator for MultiQueryRecall {
    type Drawn = Sample;

    fn validate(&self) -> Result<(), Error> {
        let n = self.vocabulary;
        let even = (4..=65_536).contains(&n) && n.is_multiple_of(2);
        require(even, "task.vocabulary", n, "be even, from 4 to 65,536")?;
        let power = self.power > 0.0 && self.power <= 10.0;
        let rule = "lie above 0, and be at most 10";
        require(power, "task.power", self.power, rule)?;
        let Some(mixture) = &self.mixture else {
            return self.validate_sizes(["task.pairs", "task.length"]);
        };
        let rule = "be left out where task.variant is \"small\"";
        require(self.is_zoology(), "task.mixture", "set", rule)?;
        let rule = "hold at least one size";
        require(!mixture.is_empty(), "task.mixture", "empty", rule)?;
        for (place, &[length, pairs, batches]) in mixture.iter().enumerate() {
            let field = |what: &str| format!("the {what} at place {} of task.mixture", place + 1);
            let of_size = self.of_size(length, pairs);
            of_size.validate_sizes([&field("number of pairs"), &field("length")])?;
            let field = field("number of batches");
            let in_range = (1..=1_000_000).contains(&batches);
            require(in_range, &field, batches, "lie between 1 and 1,000,000")?;
        }
        Ok(())
    }

    fn format(&self) -> Format {
        let n_values = self.vocabulary - self.keys().end as usize;
        let (n_tokens, n_classes) = match self.variant {
            RecallVariant::Small => (self.vocabulary + 1, n_values),
            RecallVariant::Zoology => (self.vocabulary, self.vocabulary),
        };
        Format {
            input: InputFormat::Tokens { n_tokens },
            answer: AnswerFormat::Classes { n_classes },
        }
    }

    fn longest(&self) -> usize {
        let lengths = self.mixture.iter().flatten().map(|[length, ..]| *length);
        lengths.max().unwrap_or(self.length)
    }

    fn at(&self, split: Split, index: u64) -> Option<Self> {
        let mixture = self.mixture.as_ref()?;
        let place = match split {
            Split::Train => {
                let in_a_round: usize = mixture.iter().map(|[.., batches]| batches).sum();
                let batch = (index / IN_A_ROW) as usize % in_a_round;
                let mut end = 0;
                let is_within = |[.., batches]: &[usize; 3]| {
                    end += batches;
                    batch < end
                };
                let place = mixture.iter().position(is_within);
                place.expect("a batch of a round")
            }
            Split::Validation | Split::Test => (index % mixture.len() as u64) as usize,
        };
        let [length, pairs, _] = mixture[place];
        Some(self.of_size(length, pairs))
    }

    fn draw(&self, _split: Split, rng: &mut ChaCha8Rng) -> Sample {
        let values_from = self.keys().end;
        let values_to = self.vocabulary as u32;
        let (keys, values) = match self.variant {
            RecallVariant::Small => {
                // Pair by pair: in this order its samples have always been drawn.
                let mut keys: Vec<u32> = self.keys().collect();
                let mut values = Vec::with_capacity(self.pairs);
                for pair in 0..self.pairs {
                    let rest = (keys.len() - pair) as u32;
                    keys.swap(pair, pair + below(rng, rest) as usize);
                    values.push(values_from + below(rng, values_to - values_from));
                }
                (keys, values)
            }
            RecallVariant::Zoology => (
                distinct(rng, self.keys(), self.pairs),
                distinct(rng, values_from..values_to, self.pairs),
            ),
        };
        let mut tokens = Vec::with_capacity(self.length);
        for (key, value) in keys.iter().zip(&values) {
            tokens.extend([*key, *value]);
        }
        let mut answers = vec![None; self.length];
        let n_pairs = self.pairs;
        let mut asked = vec![None; self.length - 2 * n_pairs];
        for (pair, place) in self.places(rng).into_iter().enumerate() {
            asked[place] = Some(keys[pair]);
            answers[2 * n_pairs + place] = Some(StepClass {
                class: self.class(values[pair]),
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
        let keys = self.keys();
        match token {
            blank if blank == self.blank() => " .".to_owned(),
            value if value >= keys.end => format!(" {}", self.class_text(self.class(value))),
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
            (
                "variant = 'zoology'\npairs = 32\nlength = 400",
                "task.pairs is 32; it must lie between 1 and 31, half of task.vocabulary without the blank",
            ),
            (
                "variant = 'zoology'\npairs = 4\nlength = 15",
                "task.length is 15; it must lie between 16, 4 times the pairs",
            ),
            (
                "variant = 'zoology'\npairs = 4\nlength = 17",
                "task.length is 17; it must be even",
            ),
            (
                "mixture = [[64, 4, 1]]",
                "task.mixture is set; it must be left out where task.variant is \"small\"",
            ),
            (
                "variant = 'zoology'\nmixture = [[64, 4, 1], [64, 17, 1]]",
                "the length at place 2 of task.mixture is 64; it must lie between 68, 4 times the pairs",
            ),
            (
                "variant = 'zoology'\nmixture = [[64, 4, 0]]",
                "the number of batches at place 1 of task.mixture is 0; it must lie between 1",
            ),
            ("power = 0.0", "task.power is 0; it must lie above 0"),
        ] {
            let error = task::<MultiQueryRecall>(settings).expect_err(settings);
            assert!(error.contains(message), "{settings}: {error}");
        }
    }

    const ZOOLOGY: &str =
        "variant = 'zoology'\nvocabulary = 8192\npower = 0.01\ndistractors = true";

    /// What the public generator's samples are like, as tests/data/mqar/statistics.py has found it.
    #[derive(serde::Deserialize)]
    struct Statistics {
        samples: f64,
        sizes: Vec<OfSize>,
    }

    #[derive(serde::Deserialize)]
    struct OfSize {
        length: usize,
        pairs: usize,
        first_at_once: f64,
        mean_places: Vec<f64>,
        mean_filler: f64,
        fillers_that_are_keys: f64,
    }

    /// Two means of numbers with this variance are those of one distribution.
    #[track_caller]
    fn assert_alike(what: &str, ours: f64, theirs: f64, variance: f64, numbers: [f64; 2]) {
        let deviation = (variance * (1.0 / numbers[0] + 1.0 / numbers[1])).sqrt();
        assert!(
            (ours - theirs).abs() < 5.0 * deviation,
            "{what}: {ours} for {theirs}, with a deviation of {deviation}"
        );
    }

    #[test]
    fn zoology_s_samples_are_those_of_the_public_generator() {
        let theirs = include_str!("../../tests/data/mqar/statistics.json");
        let theirs: Statistics = serde_json::from_str(theirs).expect("statistics");
        for of_size in &theirs.sizes {
            let (length, pairs) = (of_size.length, of_size.pairs);
            let settings = format!("{ZOOLOGY}\nlength = {length}\npairs = {pairs}");
            let task: Recall = task(&settings).expect("a task");
            let n = 3000;
            let mut places = vec![Vec::new(); pairs];
            let (mut fillers, mut that_are_keys) = (Vec::new(), Vec::new());
            for index in 0..n {
                let (tokens, classes) = drawn(&task, index);
                let (keys, values): (Vec<u32>, Vec<u32>) = tokens[..2 * pairs]
                    .chunks(2)
                    .map(|pair| (pair[0], pair[1]))
                    .unzip();
                assert!(keys.iter().all(|key| (1..4096).contains(key)));
                assert!(values.iter().all(|value| (4096..8192).contains(value)));
                for all in [&keys, &values] {
                    let mut all = all.clone();
                    all.sort_unstable();
                    all.dedup();
                    assert_eq!(all.len(), pairs, "none comes twice");
                }
                let mut n_keys = 0;
                for (place, class) in classes.iter().enumerate().skip(2 * pairs) {
                    let pair = keys.iter().position(|key| *key == tokens[place]);
                    let Some(class) = class else {
                        fillers.push(f64::from(tokens[place]) / 8191.0);
                        n_keys += usize::from(pair.is_some());
                        continue;
                    };
                    assert!(place.is_multiple_of(2));
                    let pair = pair.expect("a key of the sequence");
                    assert_eq!(values[pair], *class, "answered with the value itself");
                    places[pair].push(((place - 2 * pairs) / 2) as f64);
                }
                that_are_keys.push(n_keys as f64);
                assert!(classes[..2 * pairs].iter().all(Option::is_none));
            }
            let counts = [n as f64, theirs.samples];
            for (pair, (places, expected)) in places.iter().zip(&of_size.mean_places).enumerate() {
                assert_eq!(places.len(), n as usize, "each key is asked for once");
                let what = format!("{length} steps, the place of pair {pair}");
                assert_alike(&what, mean(places), *expected, variance(places), counts);
            }
            let at_once = places[0].iter().filter(|&&place| place == 0.0).count();
            let (share, expected) = (at_once as f64 / n as f64, of_size.first_at_once);
            let spread = expected * (1.0 - expected);
            assert_alike("the first at once", share, expected, spread, counts);
            let expected = of_size.fillers_that_are_keys;
            let (found, spread) = (mean(&that_are_keys), expected);
            assert_alike("fillers that are keys", found, expected, spread, counts);
            let each = fillers.len() as f64 / n as f64;
            let counts = counts.map(|count| count * each);
            let expected = of_size.mean_filler;
            assert_alike("fillers", mean(&fillers), expected, 1.0 / 12.0, counts);
        }
        // Where there are as many questions as places, every second step is one.
        let full: Recall = task(&format!("{ZOOLOGY}\nlength = 64\npairs = 16")).expect("a task");
        let (_, classes) = drawn(&full, 0);
        assert!((32..64).all(|place| classes[place].is_some() == (place % 2 == 0)));
        // Blanks are 0, and nothing else is.
        let blank = ZOOLOGY.replace("true", "false");
        let task: Recall = task(&format!("{blank}\nlength = 64\npairs = 4")).expect("a task");
        let (tokens, classes) = drawn(&task, 0);
        for (place, token) in tokens.iter().enumerate() {
            assert_eq!(*token == 0, place >= 8 && classes[place].is_none());
        }
        assert_eq!(task.format().d_output(), 8192);
    }

    fn mean(numbers: &[f64]) -> f64 {
        numbers.iter().sum::<f64>() / numbers.len() as f64
    }

    fn variance(numbers: &[f64]) -> f64 {
        let mean = mean(numbers);
        numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / numbers.len() as f64
    }

    #[test]
    fn a_mixture_takes_its_sizes_in_turn() {
        let settings = format!("{ZOOLOGY}\nmixture = [[16, 2, 2], [32, 4, 1]]");
        let task: Recall = task(&settings).expect("a task");
        assert_eq!(task.seq_length(), 32);
        let length = |split, index| task.draw(split, index).input.seq_length();
        for (index, expected) in [(0, 16), (511, 16), (512, 32), (767, 32), (768, 16)] {
            assert_eq!(length(Split::Train, index), expected, "{index}");
        }
        for (index, expected) in [(0, 16), (1, 32), (2, 16)] {
            assert_eq!(length(Split::Test, index), expected, "{index}");
        }
    }
}
