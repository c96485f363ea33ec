//! What a trained model did on a few samples, small enough to be kept and shown in a report.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::models::{HeatMap, Model, SampleTrace, Tracer, likeliest, transposed};
use crate::tasks::{AnswerFormat, Input, Split, Task};

/// One sample as `samples.json` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptSample {
    /// Its index in the test split.
    pub index: u64,
    /// What was read, a text a step, where tokens are read.
    pub tokens: Vec<String>,
    /// What was asked for at each step, where it can be said as text.
    pub targets: Vec<Option<String>>,
    /// What was answered where an answer was asked for.
    pub answers: Vec<Option<String>>,
    /// Vectors that were read, asked for and answered; then what the layer did.
    pub maps: Vec<KeptMap>,
}

/// Numbers by row and step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptMap {
    /// What the numbers are.
    pub title: String,
    /// What a row is.
    pub rows: String,
    /// The number of rows.
    pub n_rows: usize,
    /// The number of steps.
    pub n_steps: usize,
    /// What the highest byte stands for. A byte is a share of it, 0 to 255; with numbers below 0, byte 128 is 0, and 1 is -`most`.
    pub most: f32,
    /// Whether there are numbers below 0.
    pub is_signed: bool,
    /// `[n_rows][n_steps]` bytes, base64.
    pub values: String,
}

/// More steps are not kept: too wide to be looked at.
const MOST_KEPT_STEPS: usize = 500;
/// Samples that are kept, if they are small.
const MOST_SAMPLES: u64 = 6;
/// Characters of all maps of all samples together.
const MOST_TEXT: usize = 500_000;

/// The first samples of the test split: as many as there is room for, none if one is too long.
pub(super) fn keep_samples(
    model: &Model,
    trace: Tracer,
    task: &dyn Task,
    device: &Device,
) -> Vec<KeptSample> {
    let mut kept = Vec::new();
    let mut room = MOST_TEXT;
    let n_samples = task.n_samples(Split::Test).unwrap_or(MOST_SAMPLES);
    for index in 0..n_samples.min(MOST_SAMPLES) {
        if task.sample(Split::Test, index).input.seq_length() > MOST_KEPT_STEPS {
            break;
        }
        let trace = SampleTrace::new(model, trace, task, Split::Test, index, device);
        let sample = KeptSample::new(task, index, trace);
        let size: usize = sample.maps.iter().map(|map| map.values.len()).sum();
        if size > room {
            break;
        }
        room -= size;
        kept.push(sample);
    }
    kept
}

impl KeptSample {
    fn new(task: &dyn Task, index: u64, trace: SampleTrace) -> Self {
        let tokens = match task.sample(Split::Test, index).input {
            Input::Tokens(tokens) => tokens,
            Input::Vectors(_) => Vec::new(),
        };
        let text = |row: &Vec<f32>| match task.format().answer {
            AnswerFormat::Bits { .. } => None,
            AnswerFormat::Number => Some(format!("{:.3}", row[0])),
            _ => Some(task.class_text(likeliest(row).0)),
        };
        let asked = |(answer, target): (&Option<Vec<f32>>, &Option<Vec<f32>>)| {
            target.as_ref()?;
            text(answer.as_ref()?)
        };
        let mut maps = Vec::new();
        if tokens.is_empty() {
            let rows = trace.input_rows;
            maps.push(KeptMap::new("input", rows, &transposed(&trace.inputs)));
        }
        if matches!(task.format().answer, AnswerFormat::Bits { .. }) {
            let width = task.format().d_output();
            for (title, steps) in [("target", &trace.targets), ("answer", &trace.answers)] {
                let asked = steps.iter().zip(&trace.targets);
                let steps: Vec<Vec<f32>> = asked
                    .map(|(step, target)| match (step, target) {
                        (Some(step), Some(_)) => step.clone(),
                        _ => vec![0.0; width],
                    })
                    .collect();
                maps.push(KeptMap::new(title, trace.answer_rows, &transposed(&steps)));
            }
        }
        let of_layer = trace.heat_maps.iter().flatten().flatten();
        maps.extend(of_layer.map(|map: &HeatMap| KeptMap::new(&map.title, map.rows, &map.values)));
        KeptSample {
            index,
            tokens: tokens.iter().map(|&token| task.token_text(token)).collect(),
            targets: trace
                .targets
                .iter()
                .map(|row| text(row.as_ref()?))
                .collect(),
            answers: trace
                .answers
                .iter()
                .zip(&trace.targets)
                .map(asked)
                .collect(),
            maps,
        }
    }
}

impl KeptMap {
    fn new(title: &str, rows: &str, values: &[Vec<f32>]) -> Self {
        // What is not a number cannot be drawn.
        let finite = |value: f32| if value.is_finite() { value } else { 0.0 };
        let all = || values.iter().flatten().map(|&value| finite(value));
        let is_signed = all().any(|value| value < 0.0);
        let most = all().fold(0.0, |most: f32, value| most.max(value.abs()));
        // Weights and bits keep their own scale, so that two pictures can be compared.
        let most = if !is_signed && most <= 1.0 + 1e-6 {
            1.0
        } else {
            most
        };
        let byte = |value: f32| match is_signed {
            true => (128.0 + 127.0 * value / most).round() as u8,
            false => (255.0 * value / most).round() as u8,
        };
        let bytes: Vec<u8> = all().map(byte).collect();
        KeptMap {
            title: title.to_owned(),
            rows: rows.to_owned(),
            n_rows: values.len(),
            n_steps: values.first().map_or(0, Vec::len),
            most,
            is_signed,
            values: STANDARD.encode(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_map_says_what_its_bytes_stand_for() {
        let bytes = |map: &KeptMap| STANDARD.decode(&map.values).expect("base64");
        let shares = KeptMap::new("", "", &[vec![0.0, 1.0], vec![0.5, 0.0]]);
        assert_eq!((bytes(&shares), shares.most), (vec![0, 255, 128, 0], 1.0));
        let signed = KeptMap::new("", "", &[vec![-4.0, 0.0, 2.0]]);
        assert_eq!((bytes(&signed), signed.most), (vec![1, 128, 192], 4.0));
        assert!(signed.is_signed && (signed.n_rows, signed.n_steps) == (1, 3));
    }
}
