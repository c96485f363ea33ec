//! Loss and errors of a batch.

use std::f64::consts::LN_2;

use burn::tensor::activation::{log_sigmoid, log_softmax};
use burn::tensor::{Int, Tensor};

use crate::tasks::{AnswerFormat, Format, NUMBER_TOLERANCE, Targets};
use crate::training::evaluate::Evaluation;

/// Loss and errors of a batch, on the device that computed them.
pub(crate) struct Measure {
    /// What training lowers: the mean cross entropy of an answer or of a bit, in nats, or the mean squared error, `[1]`.
    pub objective: Tensor<1>,
    /// What is reported, without gradients.
    pub totals: Totals,
}

/// Sums over sequences, of one batch or of many.
pub(crate) struct Totals {
    /// Loss, the loss of the answers that count, wrong ones of these, sequences with one: `[4]`.
    sums: Tensor<1>,
    counts: Counts,
}

/// What the sums are divided by: answers or bits that were asked for, those of them that count as errors if they are wrong, and sequences.
type Counts = [usize; 3];

/// [`Totals`] as numbers.
#[derive(Clone, Copy, Default)]
pub(crate) struct Numbers {
    sums: [f64; 4],
    counts: Counts,
}

/// Compares what a model has answered with what it should have.
pub(crate) fn measure(answers: Tensor<3>, targets: Targets) -> Measure {
    match targets {
        Targets::Classes {
            classes,
            mask,
            counts,
            n_answers,
        } => measure_classes(answers, classes, mask, counts, n_answers),
        Targets::Bits { bits, mask, n_bits } => measure_bits(answers, bits, mask, n_bits),
        Targets::Numbers(numbers) => measure_numbers(answers, numbers),
    }
}

fn measure_classes(
    logits: Tensor<3>,
    classes: Tensor<2, Int>,
    mask: Tensor<2>,
    counts: Tensor<2>,
    [answers, counted]: [usize; 2],
) -> Measure {
    let [batch_size, ..] = logits.dims();
    let (classes_on, counts) = (classes.clone().inner(), counts.inner());
    let said: Tensor<2, Int> = logits.clone().inner().argmax(2).squeeze_dim(2);
    let wrong = said.not_equal(classes_on).float() * counts.clone();
    let imperfect = wrong.clone().max_dim(1).sum();

    let cross_entropy: Tensor<2> = log_softmax(logits, 2)
        .gather(2, classes.unsqueeze_dim(2))
        .squeeze_dim(2);
    let cross_entropy = cross_entropy.neg() * mask;
    let total = cross_entropy.clone().sum();
    let of_counted = (cross_entropy.inner() * counts).sum();
    Measure {
        objective: total.clone() / answers as f64,
        totals: Totals {
            sums: Tensor::cat(vec![total.inner(), of_counted, wrong.sum(), imperfect], 0),
            counts: [answers, counted, batch_size],
        },
    }
}

fn measure_numbers(answers: Tensor<3>, numbers: Tensor<1>) -> Measure {
    let [batch_size, ..] = answers.dims();
    let off = answers.reshape([batch_size]) - numbers;
    let squares = off.clone().square().sum();
    let wrong = off.inner().abs().greater_elem(NUMBER_TOLERANCE);
    let wrong = wrong.float().sum();
    let total = squares.clone().inner();
    Measure {
        objective: squares / batch_size as f64,
        totals: Totals {
            sums: Tensor::cat(vec![total.clone(), total, wrong.clone(), wrong], 0),
            counts: [batch_size; 3],
        },
    }
}

/// From logits, not from probabilities: in single precision `1 - σ(x)` is 0 from 17 on, and its gradient with it.
fn measure_bits(logits: Tensor<3>, bits: Tensor<3>, mask: Tensor<3>, n_bits: usize) -> Measure {
    let [batch_size, ..] = logits.dims();
    let (said, right) = (logits.clone().inner(), bits.clone().inner());
    // Where the likelier bit is not the right one.
    let wrong = said.greater_elem(0.0).not_equal(right.greater_elem(0.5));
    let wrong = wrong.float() * mask.clone().inner();
    let imperfect = wrong.clone().max_dim(1).max_dim(2).sum();

    // -ln σ(x) where the bit is 1, -ln σ(-x) where it is 0.
    let signs = bits * 2.0 - 1.0;
    let cross_entropy = (log_sigmoid(logits * signs) * mask).sum().neg();
    let total = cross_entropy.clone().inner();
    Measure {
        objective: cross_entropy / n_bits as f64,
        totals: Totals {
            sums: Tensor::cat(vec![total.clone(), total, wrong.sum(), imperfect], 0),
            counts: [n_bits, n_bits, batch_size],
        },
    }
}

impl Totals {
    pub fn add(self, other: Totals) -> Totals {
        Totals {
            sums: self.sums + other.sums,
            counts: sum(self.counts, other.counts),
        }
    }

    /// Answers, or bits, that were asked for. Does not wait for the device.
    pub fn answers(&self) -> usize {
        self.counts[0]
    }

    /// Waits for the device.
    pub fn numbers(self) -> Numbers {
        let sums: Vec<f32> = self
            .sums
            .try_into_vec_as()
            .expect("a tensor that was computed can be read");
        Numbers {
            sums: [0, 1, 2, 3].map(|index| f64::from(sums[index])),
            counts: self.counts,
        }
    }
}

fn sum(one: Counts, other: Counts) -> Counts {
    [0, 1, 2].map(|index| one[index] + other[index])
}

impl Numbers {
    pub fn add(self, other: Numbers) -> Numbers {
        Numbers {
            sums: [0, 1, 2, 3].map(|index| self.sums[index] + other.sums[index]),
            counts: sum(self.counts, other.counts),
        }
    }

    /// What the sums come to for one sequence or answer; of the best predictor nothing is known here.
    pub fn means(self, format: Format) -> Evaluation {
        let [loss, of_counted, wrong, imperfect] = self.sums;
        let [answers, counted, sequences] = self.counts;
        let per_unit = |sum: f64, answers: usize| match format.answer {
            AnswerFormat::Class { .. }
            | AnswerFormat::Classes { .. }
            | AnswerFormat::Reconstruction { .. }
            | AnswerFormat::Number => sum / answers as f64,
            AnswerFormat::Text { .. } => sum / answers as f64 / LN_2,
            AnswerFormat::Bits { .. } => sum / sequences as f64 / LN_2,
        };
        Evaluation {
            loss: per_unit(loss, answers),
            counted_loss: (counted != answers).then(|| per_unit(of_counted, counted)),
            error: wrong / counted as f64,
            perfect: format
                .has_perfect_sequences()
                .then(|| 1.0 - imperfect / sequences as f64),
            optimal: None,
            optimal_error: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::tasks::{InputFormat, Symbols};

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
        let means = measured.totals.numbers().means(Format {
            input: InputFormat::Vectors { d_input: 1 },
            answer: AnswerFormat::Bits { d_output: 2 },
        });
        assert!((means.loss - nats / std::f64::consts::LN_2 / 2.0).abs() < 1e-4);
        // A logit of 0 says nothing, and counts as a 0; two more are on the wrong side.
        assert_eq!(means.error, 3.0 / 6.0);
        assert_eq!(means.perfect, Some(0.5));
        assert_eq!(means.counted_loss, None);
    }

    #[test]
    fn classes_cost_where_they_are_asked_for_and_err_where_they_count() {
        let device = Device::flex();
        // Two sequences of three steps and two classes: the first step is not asked, the second costs, the third counts.
        let logits = [
            [[5.0, 0.0], [1.0, 0.0], [0.0, 2.0]],
            [[0.0, 5.0], [0.0, 3.0], [4.0, 0.0]],
        ];
        let measured = measure(
            Tensor::<3>::from_data(logits, &device),
            Targets::Classes {
                classes: Tensor::from_data([[1, 0, 1], [0, 0, 1]], &device),
                mask: Tensor::from_data([[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]], &device),
                counts: Tensor::from_data([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]], &device),
                n_answers: [4, 2],
            },
        );
        let cost = |margin: f64| (1.0 + (-margin).exp()).ln();
        let (silent, counted) = (cost(1.0) + cost(-3.0), cost(2.0) + cost(-4.0));
        let objective = f64::from(measured.objective.into_scalar::<f32>());
        assert!((objective - (silent + counted) / 4.0).abs() < 1e-5);
        let format = |answer| Format {
            input: InputFormat::Tokens { n_tokens: 2 },
            answer,
        };
        let numbers = measured.totals.numbers();
        let means = numbers.means(format(AnswerFormat::Classes { n_classes: 2 }));
        assert!((means.loss - (silent + counted) / 4.0).abs() < 1e-5);
        let of_counted = means.counted_loss.expect("others are asked for too");
        assert!((of_counted - counted / 2.0).abs() < 1e-5);
        assert_eq!((means.error, means.perfect), (0.5, Some(0.5)));
        let means = numbers.means(format(AnswerFormat::Text {
            n_symbols: 2,
            symbols: Symbols::Characters,
        }));
        assert!((means.loss - (silent + counted) / 4.0 / LN_2).abs() < 1e-5);
        assert_eq!(means.perfect, None);
    }

    #[test]
    fn numbers_cost_their_square_and_err_beyond_the_tolerance() {
        let device = Device::flex();
        let measured = measure(
            Tensor::<3>::from_data([[[1.03]], [[0.5]], [[1.95]]], &device),
            Targets::Numbers(Tensor::from_data([1.0, 0.55, 2.0], &device)),
        );
        let expected = (0.03_f64.powi(2) + 2.0 * 0.05_f64.powi(2)) / 3.0;
        let objective = f64::from(measured.objective.into_scalar::<f32>());
        assert!((objective - expected).abs() < 1e-6);
        let means = measured.totals.numbers().means(Format {
            input: InputFormat::Vectors { d_input: 2 },
            answer: AnswerFormat::Number,
        });
        assert!((means.loss - expected).abs() < 1e-6);
        assert!((means.error - 2.0 / 3.0).abs() < 1e-12);
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
