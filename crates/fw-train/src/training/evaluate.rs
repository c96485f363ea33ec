//! Loss and error on a whole split.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::models::Model;
use crate::tasks::{Split, Task};

/// How a model does on a split.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Mean cross entropy, in nats.
    pub loss: f64,
    /// Share of wrong answers, 0 to 1.
    pub error: f64,
}

/// Samples in one forward pass of an evaluation.
const EVALUATION_BATCH: u64 = 1000;

/// Evaluates a model, without autodiff, on every sample of a split (the first 10,000 of an endless one).
pub fn evaluate<M: Model>(model: &M, task: &dyn Task, split: Split, device: &Device) -> Evaluation {
    let n_samples = task.n_samples(split).unwrap_or(10_000);
    let (mut loss, mut wrong) = (0.0, 0.0);
    let mut first = 0;
    while first < n_samples {
        let end = (first + EVALUATION_BATCH).min(n_samples);
        let batch = task.batch(split, first..end, device);
        let logits = model.logits(batch.tokens);
        let size = (end - first) as f64;
        loss += size
            * f64::from(cross_entropy(logits.clone(), batch.classes.clone()).into_scalar::<f32>());
        wrong += size * f64::from(error_rate(logits, batch.classes).into_scalar::<f32>());
        first = end;
    }
    Evaluation {
        loss: loss / n_samples as f64,
        error: wrong / n_samples as f64,
    }
}

/// Mean cross entropy in nats, `[1]`.
pub(super) fn cross_entropy(logits: Tensor<2>, classes: Tensor<1, Int>) -> Tensor<1> {
    log_softmax(logits, 1)
        .gather(1, classes.unsqueeze_dim(1))
        .mean()
        .neg()
}

/// Share of wrong answers, `[1]`.
pub(super) fn error_rate(logits: Tensor<2>, classes: Tensor<1, Int>) -> Tensor<1> {
    let answers = logits.argmax(1).squeeze_dim::<1>(1);
    answers.not_equal(classes).float().mean()
}
