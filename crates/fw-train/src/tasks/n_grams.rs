//! Dynamic n-grams: predict a source whose statistics are new each time.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::generated::{Generator, Range, below, optimum_of_bits, unit, vectors_and_bits};
use crate::Error;
use crate::error::require;
use crate::tasks::{Format, Optimum, Split, VectorSample};

/// Dynamic n-grams (Graves et al. 2014, section 4.4): each sequence has an n-gram source of its own; predict its
/// next bit.
///
/// ```text
/// step       1 2 3 4 5 6 7          length 5, order 4 (the next bit depends on three)
/// input  0   1 0 1 1 0 1 1          the bits so far
/// target 0   . . 1 0 1 1 0          the next one
/// asked          x x x x x
/// ```
///
/// One number in, one out, `length + order - 2` steps. For each of the `2^(order - 1)` contexts the probability of a 1 is drawn
/// from Beta(½, ½); the first `order - 1` bits are 0 or 1 alike. The loss to compare with is that of the optimal
/// estimator, which knows the prior: after `n_1` ones and `n_0` zeros in a context it predicts a 1 with probability
/// `(n_1 + ½) / (n_0 + n_1 + 1)` (Murphy 2012; Graves et al. 2014, equation 10).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NGrams {
    /// n: the next bit depends on the last n - 1. 2 to 16. Default 6.
    pub order: usize,
    /// Bits to predict: a number, or `[least, most]`. Default 200.
    pub length: Range,
}

impl Default for NGrams {
    fn default() -> Self {
        NGrams {
            order: 6,
            length: Range::Exactly(200),
        }
    }
}

impl Generator for NGrams {
    fn validate(&self) -> Result<(), Error> {
        let in_range = (2..=16).contains(&self.order);
        require(in_range, "task.order", self.order, "lie between 2 and 16")?;
        self.length.validate("task.length", 1, 100_000)
    }

    type Drawn = VectorSample;

    fn format(&self) -> Format {
        vectors_and_bits(1, 1)
    }

    fn longest(&self) -> usize {
        self.length.most() + self.order - 2
    }

    fn draw(&self, _split: Split, rng: &mut ChaCha8Rng) -> VectorSample {
        let length = self.length.draw(rng);
        let n_context = self.order - 1;
        // Beta(½, ½) is the arcsine law.
        let source: Vec<f64> = (0..1 << n_context)
            .map(|_| (std::f64::consts::FRAC_PI_2 * unit(rng)).sin().powi(2))
            .collect();
        let mut bits: Vec<u32> = (0..n_context).map(|_| below(rng, 2)).collect();
        for _ in 0..length {
            let context = context(&bits[bits.len() - n_context..]);
            bits.push(u32::from(unit(rng) < source[context]));
        }
        let mut sample = VectorSample::new();
        for (t, pair) in bits.windows(2).enumerate() {
            let (input, next) = (vec![pair[0] as f32], vec![pair[1] as f32]);
            if t + 1 < n_context {
                sample.read(input);
            } else {
                sample.answer(input, next);
            }
        }
        sample
    }

    fn optimum(&self, sample: &VectorSample) -> Option<Optimum> {
        let n_context = self.order - 1;
        let mut counts = vec![[0.0_f64; 2]; 1 << n_context];
        let inputs: Vec<u32> = sample.inputs.iter().map(|input| input[0] as u32).collect();
        let mut of_right_bits = Vec::new();
        for (t, target) in sample.targets.iter().enumerate() {
            let Some(target) = target else { continue };
            let counts = &mut counts[context(&inputs[t + 1 - n_context..=t])];
            let bit = target[0] as usize;
            let probability = (counts[bit] + 0.5) / (counts[0] + counts[1] + 1.0);
            of_right_bits.push(probability);
            counts[bit] += 1.0;
        }
        Some(optimum_of_bits(&of_right_bits))
    }
}

/// The number that the bits are in binary.
fn context(bits: &[u32]) -> usize {
    bits.iter()
        .fold(0, |number, &bit| 2 * number + bit as usize)
}

#[cfg(test)]
mod tests {
    use super::super::generated::tests::{check_samples, samples, task};
    use super::*;

    #[test]
    fn the_answer_is_the_next_bit() {
        let task = task::<NGrams>("").expect("a task");
        check_samples(&task);
        for sample in samples(&task, Split::Train) {
            assert_eq!(sample.targets.iter().flatten().count(), 200);
            for (t, target) in sample.targets.iter().enumerate() {
                assert_eq!(target.is_some(), t >= 4);
                if let (Some(target), Some(next)) = (target, sample.inputs.get(t + 1)) {
                    assert_eq!(target, next);
                }
            }
        }
    }

    /// Order 2: the context is the last bit. 1 1 0 1 after a first 1, by hand.
    #[test]
    fn the_optimal_estimator_is_the_one_of_the_paper() {
        let task = task::<NGrams>("order = 2").expect("a task");
        let mut sample = VectorSample::new();
        for pair in [1.0, 1.0, 1.0, 0.0, 1.0_f32].windows(2) {
            sample.answer(vec![pair[0]], vec![pair[1]]);
        }
        // After 1: (0.5/1), (1.5/2), then a 0: (0.5/3). After 0: (0.5/1).
        let expected: f64 = [0.5, 0.75, 0.5 / 3.0, 0.5]
            .iter()
            .map(|p: &f64| -p.log2())
            .sum();
        let optimum = task.generator.optimum(&sample).expect("an optimum");
        assert!((optimum.loss - expected).abs() < 1e-12);
        // Even at first and in a context that is new; right where a 1 follows as before; wrong where a 0 does.
        assert_eq!(
            (optimum.wrong, optimum.answers),
            (0.5 + 0.0 + 1.0 + 0.5, 4.0)
        );
    }

    /// A longer sequence has more bits: what is stated is of all bits, as what a net does is.
    #[test]
    fn sequences_of_several_lengths_weigh_as_many_bits_as_they_have() {
        let task = task::<NGrams>("order = 2\nlength = [1, 60]").expect("a task");
        let all = samples(&task, Split::Train).into_iter();
        let all: Vec<_> = all
            .filter_map(|sample| task.generator.optimum(&sample))
            .collect();
        let asked: f64 = all.iter().map(|of_sample| of_sample.answers).sum();
        let bits = samples(&task, Split::Train);
        let bits = bits
            .iter()
            .map(|sample| sample.targets.iter().flatten().count());
        assert_eq!(asked, bits.sum::<usize>() as f64);
        assert!(all.iter().any(|one| one.answers != all[0].answers));
    }

    /// No predictor is better on average than the one that knows the prior: neither 1/2, nor the frequencies so far.
    #[test]
    fn the_optimal_estimator_beats_others() {
        let task = task::<NGrams>("").expect("a task");
        let mut losses = [0.0; 2];
        for sample in samples(&task, Split::Train) {
            losses[0] += task.generator.optimum(&sample).expect("an optimum").loss;
            let mut counts = [[1.0_f64; 2]; 32]; // Laplace's rule instead of the prior's ½
            let inputs: Vec<u32> = sample.inputs.iter().map(|input| input[0] as u32).collect();
            for (t, target) in sample.targets.iter().enumerate() {
                let Some(target) = target else { continue };
                let counts = &mut counts[context(&inputs[t - 4..=t])];
                let bit = target[0] as usize;
                losses[1] -= (counts[bit] / (counts[0] + counts[1])).log2();
                counts[bit] += 1.0;
            }
        }
        let [optimal, laplace] = losses.map(|loss| loss / 50.0);
        assert!(optimal < laplace && laplace < 200.0, "{losses:?}");
    }
}
