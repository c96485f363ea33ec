//! Loss and error on a whole split.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::models::Model;
use crate::tasks::{Format, Split, Task};
use crate::training::measure::{Numbers, measure};

/// How a model does on a split.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Where a class is answered: mean cross entropy, in nats. Where bits are: cross entropy of a sequence, in bits.
    pub loss: f64,
    /// Share of wrong answers, or of wrong bits, 0 to 1.
    pub error: f64,
    /// Share of sequences with no wrong bit, 0 to 1, where bits are answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perfect: Option<f64>,
    /// The loss of the best predictor there is, where one is known that is not 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimal: Option<f64>,
}

impl Evaluation {
    /// In words: `loss 0.0100 bits per sequence, error per bit 0.00 %, 99.9 % of sequences perfect`.
    pub fn in_words(&self, format: Format) -> String {
        let error = format!("{} {:.2} %", format.error_name(), 100.0 * self.error);
        let loss = format!("loss {} {}", loss_number(self.loss), format.loss_unit());
        let optimal = self
            .optimal
            .map(|optimal| format!(" (the best there is: {})", loss_number(optimal)))
            .unwrap_or_default();
        match self.perfect {
            None => format!("{error}, {loss}{optimal}"),
            Some(perfect) => {
                let perfect = 100.0 * perfect;
                format!("{loss}{optimal}, {error}, {perfect:.1} % of sequences perfect")
            }
        }
    }
}

/// Four digits behind the point, two where there are two before it.
pub(crate) fn loss_number(loss: f64) -> String {
    match loss >= 10.0 {
        true => format!("{loss:.2}"),
        false => format!("{loss:.4}"),
    }
}

/// Samples in one forward pass of an evaluation.
fn batch_size(format: Format) -> u64 {
    match format {
        Format::Tokens { .. } => 1000,
        // Long sequences, and a memory for each.
        Format::Vectors { .. } => 50,
    }
}

/// Evaluates a model, without autodiff, on every sample of a split (the first 10,000 of an endless one).
pub fn evaluate<M: Model>(model: &M, task: &dyn Task, split: Split, device: &Device) -> Evaluation {
    let n_samples = task.n_samples(split).unwrap_or(10_000);
    let step = batch_size(task.format());
    let mut totals = Numbers::default();
    let mut optimal = Some(0.0);
    for first in (0..n_samples).step_by(step as usize) {
        let indices = first..(first + step).min(n_samples);
        // Most tasks have none, and are not asked again.
        optimal = optimal.and_then(|sum: f64| {
            let losses = indices
                .clone()
                .map(|index| task.optimal_loss(&task.sample(split, index)));
            Some(sum + losses.sum::<Option<f64>>()?)
        });
        let batch = task.batch(split, indices, device);
        // Read at once: a sum of many thousands in single precision would lose digits.
        let measured = measure(model.logits(batch.inputs), batch.targets);
        totals = totals.add(measured.totals.numbers());
    }
    let means = totals.means();
    Evaluation {
        loss: means.loss,
        error: means.error,
        perfect: means.perfect_if_distinct(task.format()),
        optimal: optimal.map(|sum| sum / n_samples as f64),
    }
}
