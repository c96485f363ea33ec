//! Loss and error on a whole split.

use burn::tensor::Device;
use serde::{Deserialize, Deserializer, Serialize};

use crate::models::Model;
use crate::tasks::{Batch, Format, Optimum, Split, Task};
use crate::training::measure::{Numbers, measure};

/// How a model does on a split.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// In the task's unit: the mean cross entropy of an answer in nats, of a character in bits, of a sequence in bits, or the mean
    /// squared error.
    #[serde(deserialize_with = "number_or_null")]
    pub loss: f64,
    /// The loss of the answers that count, where others are asked for too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_loss: Option<f64>,
    /// Share of wrong answers among those that count, or of wrong bits, 0 to 1.
    #[serde(deserialize_with = "number_or_null")]
    pub error: f64,
    /// Share of sequences with no wrong answer, 0 to 1, where one has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perfect: Option<f64>,
    /// The loss of the best predictor there is, where one is known that is not 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimal: Option<f64>,
    /// Its error, where there is such a loss. Runs of version 0.1.0 lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimal_error: Option<f64>,
}

/// JSON has no number that is not finite, as a loss can be on another task than a model was trained on: it is written as null.
fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

impl Evaluation {
    /// In words: `loss 0.0100 bits per sequence, error per bit 0.00 %, 99.9 % of sequences perfect`.
    pub fn in_words(&self, format: Format) -> String {
        let optimal_error = self.optimal_error.map_or(String::new(), |error| {
            format!(" (the best there is: {:.2} %)", 100.0 * error)
        });
        let error = format!(
            "{} {:.2} %{optimal_error}",
            format.error_name(),
            100.0 * self.error
        );
        let loss = format!("loss {} {}", loss_number(self.loss), format.loss_unit());
        let optimal = self
            .optimal
            .map(|optimal| format!(" (the best there is: {})", loss_number(optimal)))
            .unwrap_or_default();
        let counted = self.counted_loss.map_or(String::new(), |loss| {
            format!(", {} where errors count", loss_number(loss))
        });
        let perfect = self.perfect.map_or(String::new(), |perfect| {
            format!(", {:.1} % of sequences perfect", 100.0 * perfect)
        });
        match format.is_ranked_by_error() {
            true => format!("{error}, {loss}{optimal}{counted}{perfect}"),
            false => format!("{loss}{optimal}, {error}{perfect}"),
        }
    }
}

/// Four digits behind the point, two where there are two before it, and as a power of ten where there would be none.
pub(crate) fn loss_number(loss: f64) -> String {
    match loss {
        10.0.. => format!("{loss:.2}"),
        0.0..0.001 if loss > 0.0 => format!("{loss:.1e}"),
        _ => format!("{loss:.4}"),
    }
}

/// Samples in one forward pass of an evaluation: fewer of long sequences, since outputs, and a model's memory, grow with
/// the steps of all of them.
fn batch_size(task: &dyn Task) -> u64 {
    const STEPS_AT_ONCE: usize = 50_000;
    (STEPS_AT_ONCE / task.seq_length()).clamp(1, 1000) as u64
}

/// Evaluates a model, without autodiff, on every sample of a split (the first 10,000 of an endless one).
pub fn evaluate(model: &Model, task: &dyn Task, split: Split, device: &Device) -> Evaluation {
    let n_samples = task.n_samples(split).unwrap_or(10_000);
    let (format, step) = (task.format(), batch_size(task));
    let mut totals = Numbers::default();
    let mut best = Some(Optimum::NONE);
    for first in (0..n_samples).step_by(step as usize) {
        let indices = first..(first + step).min(n_samples);
        // Most tasks have none, and are not asked again.
        best = best.and_then(|sum| {
            let mut samples = indices.clone().map(|index| task.optimum(split, index));
            samples.try_fold(sum, |sum, of_sample| Some(sum + of_sample?))
        });
        let batch = task.batch(split, indices, device);
        // Read at once: a sum of many thousands in single precision would lose digits.
        let measured = measure(model.logits(batch.inputs), batch.targets);
        totals = totals.add(measured.totals.numbers());
    }
    // A task that can always be answered rightly has nothing to say.
    let best = best.filter(|best| best.loss > 0.0);
    Evaluation {
        optimal: best.map(|best| best.loss / n_samples as f64),
        optimal_error: best.map(|best| best.wrong / best.answers),
        ..totals.means(format)
    }
}

/// Evaluates a model, without autodiff, on the whole text of a split, from its first symbol to its last with one state: as character
/// models are measured. Nothing, for a task whose samples do not follow one another.
///
/// It takes as long as that many steps of one sequence take: a split of millions of symbols some minutes, and longer where what a layer
/// recalls grows with the text. Asked to [stop](crate::training::stop_flag), it goes on to its end.
pub fn evaluate_text(
    model: &Model,
    task: &dyn Task,
    split: Split,
    device: &Device,
) -> Option<Evaluation> {
    /// Steps at a time: how many takes memory, and changes no number but by rounding.
    const WINDOW: usize = 10_000;
    evaluate_windows(model, task, split, device, WINDOW)
}

fn evaluate_windows(
    model: &Model,
    task: &dyn Task,
    split: Split,
    device: &Device,
    window: usize,
) -> Option<Evaluation> {
    let n_steps = task.text_length(split)?;
    let mut totals = Numbers::default();
    let mut state = None;
    for first in (0..n_steps).step_by(window) {
        let sample = task.text_window(split, first, window)?;
        let batch = Batch::new(task.format(), &[sample], device);
        let (logits, last) = model.logits_from(batch.inputs, state);
        totals = totals.add(measure(logits, batch.targets).totals.numbers());
        state = Some(last);
    }
    Some(totals.means(task.format()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Experiment;

    /// The state goes on from window to window, whatever they are: cut anywhere, a text has the same loss.
    #[test]
    fn a_text_is_measured_alike_however_it_is_cut() {
        let path = crate::tasks::tests::repository_data().join("tinyshakespeare.txt");
        for model in [
            "kind = 'lstm'\nd_hidden = 6\nn_layers = 2",
            "kind = 'fast-weights'\nd_hidden = 6",
            "kind = 'ntm-lstm'\nd_controller = 6\nmemory_size = 5",
            "kind = 'sab'\nd_hidden = 6\nmax_memories = 9",
        ] {
            let text = format!(
                "[task]\nkind = 'characters'\ntext = '{}'\nlength = 5\nsplits = [900, 200, 200]\n\
                 [model]\n{model}\n[optimizer]\nkind = 'adam'",
                path.display()
            );
            let experiment = Experiment::from_document(text.parse().expect("TOML"), &[]);
            let experiment = experiment.expect("an experiment");
            let task = experiment.task.task();
            task.open().expect("a text");
            let device = Device::flex();
            let model = experiment.model.init(task, 3, &device).expect("a model");
            let loss = |window| {
                let of_text = evaluate_windows(&model, task, Split::Test, &device, window);
                of_text.expect("a text").loss
            };
            let whole = loss(1000);
            for window in [1, 7, 64] {
                let off = (loss(window) - whole).abs();
                assert!(off < 1e-5 * whole, "{window}: {off} of {whole}");
            }
            // Without what was before, it is another loss.
            let apart = evaluate(&model, task, Split::Test, &device).loss;
            assert!((apart - whole).abs() > 1e-4, "{apart} {whole}");
        }
    }

    #[test]
    fn a_loss_that_is_not_finite_can_be_written_and_read() {
        let evaluation = Evaluation {
            loss: f64::INFINITY,
            counted_loss: None,
            error: 0.5,
            perfect: None,
            optimal: None,
            optimal_error: None,
        };
        let text = serde_json::to_string(&evaluation).expect("JSON");
        let read: Evaluation = serde_json::from_str(&text).expect("an evaluation");
        assert!(read.loss.is_nan() && read.error == 0.5, "{text}");
    }
}
