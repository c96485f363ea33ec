//! The adding problem: say the sum of two marked numbers.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::tasks::generated::{Generator, MAX_NUMBERS, below, unit};
use crate::tasks::{Answer, AnswerFormat, Format, Input, InputFormat, Sample, Split};

/// The adding problem (Hochreiter, Schmidhuber 1997, section 5.4; lengths as in Ke et al. 2018).
///
/// ```text
/// input 0   0.71 0.05 0.93 0.38 0.62 0.27       uniform in [0, 1)
///       1      .    1    .    .    1    .       a mark in the first half and one in the second
/// target                                0.67    the sum of the two marked numbers
/// ```
///
/// Two numbers in at each of `length` steps, one number out after the last. Always saying 1 has a squared error of 1/6 = 0.167;
/// an answer that is off by more than 0.04 counts as an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Adding {
    /// Steps: 2 to 100,000. Default 200.
    pub length: usize,
}

impl Default for Adding {
    fn default() -> Self {
        Adding { length: 200 }
    }
}

impl Generator for Adding {
    type Drawn = Sample;

    fn validate(&self) -> Result<(), Error> {
        const { assert!(100_000 < MAX_NUMBERS) };
        let length = (2..=100_000).contains(&self.length);
        let rule = "lie between 2 and 100,000";
        require(length, "task.length", self.length, rule)
    }

    fn format(&self) -> Format {
        Format {
            input: InputFormat::Vectors { d_input: 2 },
            answer: AnswerFormat::Number,
        }
    }

    fn longest(&self) -> usize {
        self.length
    }

    fn draw(&self, _split: Split, rng: &mut ChaCha8Rng) -> Sample {
        let half = self.length / 2;
        let first = below(rng, half as u32) as usize;
        let second = half + below(rng, (self.length - half) as u32) as usize;
        let mut vectors: Vec<Vec<f32>> = (0..self.length)
            .map(|_| vec![unit(rng) as f32, 0.0])
            .collect();
        let mut sum = 0.0;
        for marked in [first, second] {
            vectors[marked][1] = 1.0;
            sum += vectors[marked][0];
        }
        Sample {
            input: Input::Vectors(vectors),
            answer: Answer::Number(sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::generated::tests::task;
    use super::*;
    use crate::tasks::Generated;

    fn sample(task: &Generated<Adding>, index: u64) -> (Vec<Vec<f32>>, f32) {
        match task.draw(Split::Train, index) {
            Sample {
                input: Input::Vectors(vectors),
                answer: Answer::Number(sum),
            } => (vectors, sum),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_answer_is_the_sum_of_one_number_of_each_half() {
        for length in [2, 7, 40] {
            let task = task(&format!("length = {length}")).expect("a task");
            let mut error = 0.0;
            for index in 0..500 {
                let (vectors, sum) = sample(&task, index);
                assert_eq!(vectors.len(), length);
                let marked: Vec<usize> = (0..length).filter(|&t| vectors[t][1] == 1.0).collect();
                assert!(
                    marked.len() == 2 && marked[0] < length / 2 && marked[1] >= length / 2,
                    "{marked:?}"
                );
                assert_eq!(sum, vectors[marked[0]][0] + vectors[marked[1]][0]);
                error += f64::from((sum - 1.0).powi(2)) / 500.0;
            }
            assert!((error - 1.0 / 6.0).abs() < 0.04, "{error}");
        }
    }

    #[test]
    fn samples_never_change() {
        let task = task("length = 4").expect("a task");
        let (vectors, sum) = sample(&task, 0);
        let rounded: Vec<String> = vectors
            .iter()
            .map(|v| format!("{:.2} {}", v[0], v[1]))
            .collect();
        assert_eq!(rounded.join(", "), "0.73 0, 0.47 1, 0.51 0, 0.70 1");
        assert_eq!(format!("{sum:.2}"), "1.17");
    }
}
