//! Loss and errors of a batch.

use burn::tensor::activation::{log_sigmoid, log_softmax};
use burn::tensor::{Bool, Int, Tensor};

use crate::tasks::{Format, Targets};

/// Loss and errors of a batch, on the device that computed them.
pub(super) struct Measure {
    /// What training lowers: the mean cross entropy of an answer or of a bit, in nats, `[1]`.
    pub objective: Tensor<1>,
    /// What is reported, without gradients.
    pub totals: Totals,
}

/// Sums over sequences, of one batch or of many.
pub(super) struct Totals {
    /// Loss in the task's unit, wrong answers or bits, sequences with one: `[3]`.
    sums: Tensor<1>,
    /// Answers or bits asked for.
    answers: usize,
    sequences: usize,
}

/// [`Totals`] as numbers.
#[derive(Clone, Copy, Default)]
pub(super) struct Numbers {
    sums: [f64; 3],
    answers: usize,
    sequences: usize,
}

/// What the sums come to for one sequence or answer.
pub(super) struct Means {
    /// Loss of a sequence, in the task's unit.
    pub loss: f64,
    /// Share of wrong answers or bits, 0 to 1.
    pub error: f64,
    /// Share of sequences without an error, 0 to 1.
    pub perfect: f64,
}

/// Compares the logits of a model with what it should have answered.
pub(super) fn measure(logits: Tensor<3>, targets: Targets) -> Measure {
    match targets {
        Targets::Classes(classes) => measure_classes(logits.squeeze_dim(1), classes),
        Targets::Bits { bits, mask, n_bits } => measure_bits(logits, bits, mask, n_bits),
    }
}

fn measure_classes(logits: Tensor<2>, classes: Tensor<1, Int>) -> Measure {
    let [batch_size, _] = logits.dims();
    let answers = logits.clone().inner().argmax(1).squeeze_dim::<1>(1);
    let wrong = answers.not_equal(classes.clone().inner());
    let cross_entropy = log_softmax(logits, 1)
        .gather(1, classes.unsqueeze_dim(1))
        .neg();
    let total = cross_entropy.clone().inner().sum();
    let wrong = wrong.float().sum();
    Measure {
        objective: cross_entropy.mean(),
        totals: Totals {
            sums: Tensor::cat(vec![total, wrong.clone(), wrong], 0),
            answers: batch_size,
            sequences: batch_size,
        },
    }
}

/// From logits, not from probabilities: in single precision `1 - σ(x)` is 0 from 17 on, and its gradient with it.
fn measure_bits(logits: Tensor<3>, bits: Tensor<3>, mask: Tensor<3>, n_bits: usize) -> Measure {
    let [batch_size, ..] = logits.dims();
    let wrong = wrong_bits(logits.clone().inner(), bits.clone().inner());
    let wrong = wrong.float() * mask.clone().inner();
    let imperfect = wrong.clone().max_dim(1).max_dim(2).sum();

    // -ln σ(x) where the bit is 1, -ln σ(-x) where it is 0.
    let signs = bits * 2.0 - 1.0;
    let cross_entropy = (log_sigmoid(logits * signs) * mask).sum().neg();
    let in_bits = cross_entropy.clone().inner() / std::f64::consts::LN_2;
    Measure {
        objective: cross_entropy / n_bits as f64,
        totals: Totals {
            sums: Tensor::cat(vec![in_bits, wrong.sum(), imperfect], 0),
            answers: n_bits,
            sequences: batch_size,
        },
    }
}

/// Where the likelier bit is not the right one.
fn wrong_bits(logits: Tensor<3>, bits: Tensor<3>) -> Tensor<3, Bool> {
    logits.greater_elem(0.0).not_equal(bits.greater_elem(0.5))
}

impl Totals {
    pub fn add(self, other: Totals) -> Totals {
        Totals {
            sums: self.sums + other.sums,
            answers: self.answers + other.answers,
            sequences: self.sequences + other.sequences,
        }
    }

    /// Waits for the device.
    pub fn numbers(self) -> Numbers {
        let sums: Vec<f32> = self
            .sums
            .try_into_vec_as()
            .expect("a tensor that was computed can be read");
        Numbers {
            sums: [0, 1, 2].map(|index| f64::from(sums[index])),
            answers: self.answers,
            sequences: self.sequences,
        }
    }
}

impl Numbers {
    pub fn add(self, other: Numbers) -> Numbers {
        Numbers {
            sums: [0, 1, 2].map(|index| self.sums[index] + other.sums[index]),
            answers: self.answers + other.answers,
            sequences: self.sequences + other.sequences,
        }
    }

    pub fn means(self) -> Means {
        let [loss, wrong, imperfect] = self.sums;
        Means {
            loss: loss / self.sequences as f64,
            error: wrong / self.answers as f64,
            perfect: 1.0 - imperfect / self.sequences as f64,
        }
    }
}

impl Means {
    /// The share of perfect sequences, where it is not simply one minus the error.
    pub fn perfect_if_distinct(&self, format: Format) -> Option<f64> {
        match format {
            Format::Tokens { .. } => None,
            Format::Vectors { .. } => Some(self.perfect),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn bits_are_counted_where_they_are_asked_for() {
        let device = Device::flex();
        // Two sequences of two steps of two bits; the first sequence is asked at both steps, the second at its last.
        let logits = [[[0.0, 3.0], [-1.0, 40.0]], [[9.0, -9.0], [-2.0, -2.0]]];
        let bits = [[[1.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]];
        let mask = [[[1.0], [1.0]], [[0.0], [1.0]]];
        let tensor = |values: [[[f32; 2]; 2]; 2]| Tensor::<3>::from_data(values, &device);
        let measured = measure(
            tensor(logits),
            Targets::Bits {
                bits: tensor(bits),
                mask: Tensor::from_data(mask, &device),
                n_bits: 6,
            },
        );
        let cost = |x: f64| (1.0 + (-x).exp()).ln(); // -ln σ(x)
        let nats = cost(0.0) + cost(3.0) + cost(-1.0) + cost(-40.0) + 2.0 * cost(2.0);
        let objective = measured.objective.into_scalar::<f32>();
        assert!((f64::from(objective) - nats / 6.0).abs() < 1e-5);
        let means = measured.totals.numbers().means();
        assert!((means.loss - nats / std::f64::consts::LN_2 / 2.0).abs() < 1e-4);
        // A logit of 0 says nothing, and counts as a 0; two more are on the wrong side.
        assert_eq!(means.error, 3.0 / 6.0);
        assert_eq!(means.perfect, 0.5);
    }

    #[test]
    fn the_gradient_of_a_sure_answer_is_not_lost() {
        let device = Device::flex().autodiff();
        let logits = Tensor::<3>::from_data([[[-30.0, 12.0]]], &device).require_grad();
        let ones = Tensor::<3>::ones([1, 1, 2], &device);
        let mask = Tensor::<3>::ones([1, 1, 1], &device);
        let targets = Targets::Bits {
            bits: ones,
            mask,
            n_bits: 2,
        };
        let gradients = measure(logits.clone(), targets).objective.backward();
        let gradient: Vec<f32> = logits
            .grad(&gradients)
            .and_then(|gradient| gradient.try_into_vec_as().ok())
            .expect("a gradient");
        assert!((gradient[0] + 0.5).abs() < 1e-6);
        let expected = -0.5 * (-12.0_f32).exp();
        assert!((gradient[1] / expected - 1.0).abs() < 1e-2, "{gradient:?}");
    }
}
