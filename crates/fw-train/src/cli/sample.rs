//! `fw-train sample`

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};
use clap::Args;

use crate::Error;
use crate::cli::loaded::ModelArgs;
use crate::cli::output;
use crate::models::{Model, WithModel};
use crate::tasks::{Format, Split, Task, VectorSample};

/// Show samples with the model's answer and how sure it is.
#[derive(Debug, Args)]
pub(super) struct SampleArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// How many samples
    #[arg(short = 'n', long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,

    /// The first sample's index
    #[arg(long, default_value_t = 0)]
    first: u64,
}

impl SampleArgs {
    pub fn run(self) -> Result<(), Error> {
        let loaded = self.model.load()?;
        let task = loaded.experiment.task.task();
        let split = self.model.split;
        let indices = task.range(split, self.first, self.number)?;
        loaded.with_model(Show {
            task,
            split,
            indices,
            device: &loaded.device,
        })
    }
}

struct Show<'a> {
    task: &'a dyn Task,
    split: Split,
    indices: std::ops::Range<u64>,
    device: &'a Device,
}

impl WithModel for Show<'_> {
    type Output = ();

    fn run<M: Model>(self, model: M) -> Result<(), Error> {
        match self.task.format() {
            Format::Tokens { .. } => self.tokens(&model),
            Format::Vectors { .. } => self.vectors(&model),
        }
    }
}

impl Show<'_> {
    /// A line for each sample.
    fn tokens<M: Model>(self, model: &M) -> Result<(), Error> {
        let batch = self
            .task
            .batch(self.split, self.indices.clone(), self.device);
        let logits = model.logits(batch.inputs).squeeze_dim(1);
        let probabilities: Tensor<2> = softmax(logits, 1);
        let (confidences, answers) = probabilities.max_dim_with_indices(1);
        let confidences: Vec<f32> = read(confidences.try_into_vec_as());
        let answers: Vec<i64> = read(answers.try_into_vec_as());
        let n = answers.len();
        let mut right = 0;
        for ((index, answer), confidence) in self.indices.zip(answers).zip(confidences) {
            let sample = self.task.sample(self.split, index);
            let sample = sample.tokens();
            let is_right = answer as u32 == sample.class;
            right += usize::from(is_right);
            output::line(format_args!(
                "{}  target {}  answer {}  {:5.1} %  {}",
                self.task.input_text(&sample.tokens),
                self.task.class_text(sample.class),
                self.task.class_text(answer as u32),
                100.0 * confidence,
                if is_right { "right" } else { "WRONG" }
            ))?;
        }
        output::line(format_args!("{right} of {n} right"))
    }

    /// A picture of letters for each sample: a row for each number, a column for each step.
    fn vectors<M: Model>(self, model: &M) -> Result<(), Error> {
        let n = self.indices.clone().count();
        let mut perfect = 0;
        for index in self.indices.clone() {
            let sample = self.task.sample(self.split, index);
            let sample = sample.vectors();
            let batch = self.task.batch(self.split, [index], self.device);
            let logits: Vec<f32> = read(model.logits(batch.inputs).try_into_vec_as());
            let d_output = logits.len() / sample.seq_length();
            let answers: Vec<&[f32]> = logits.chunks_exact(d_output).collect();
            let wrong = wrong_bits(sample, &answers);
            perfect += usize::from(wrong == 0);
            output::line(format_args!("sample {index}, {wrong} bits wrong"))?;
            rows("input", sample.inputs[0].len(), |row| {
                let numbers = sample.inputs.iter().map(|input| input[row]);
                numbers.map(number_as_letter).collect()
            })?;
            rows("target", d_output, |row| {
                let targets = sample.targets.iter().map(Option::as_ref);
                let bits = targets.map(|target| target.map(|target| target[row] > 0.5));
                bits.map(bit_as_letter).collect()
            })?;
            rows("answer", d_output, |row| {
                let steps = sample.targets.iter().zip(&answers);
                let letters = steps.map(|(target, answer)| {
                    let said = answer[row] > 0.0;
                    match target {
                        Some(target) if (target[row] > 0.5) != said => 'x',
                        Some(_) => bit_as_letter(Some(said)),
                        None => ' ',
                    }
                });
                letters.collect()
            })?;
        }
        output::line(format_args!("{perfect} of {n} perfect (x: a wrong bit)"))
    }
}

/// Bits on the wrong side where an answer is asked for.
fn wrong_bits(sample: &VectorSample, answers: &[&[f32]]) -> usize {
    let steps = sample.targets.iter().zip(answers);
    let wrong = steps.filter_map(|(target, answer)| {
        let bits = target.as_ref()?.iter().zip(*answer);
        Some(
            bits.filter(|(bit, logit)| (**bit > 0.5) != (**logit > 0.0))
                .count(),
        )
    });
    wrong.sum()
}

/// Lines of a picture, the first of them with a name.
fn rows(name: &str, n_rows: usize, row: impl Fn(usize) -> String) -> Result<(), Error> {
    for index in 0..n_rows {
        let name = if index == 0 { name } else { "" };
        output::line(format_args!("  {name:<7}{}", row(index).trim_end()))?;
    }
    Ok(())
}

fn number_as_letter(number: f32) -> char {
    match number {
        0.0 => '.',
        1.0 => '#',
        number if number > 0.0 => '+',
        _ => '-',
    }
}

fn bit_as_letter(bit: Option<bool>) -> char {
    match bit {
        None => ' ',
        Some(false) => '.',
        Some(true) => '#',
    }
}

/// Numbers of a tensor that was just computed.
fn read<T, E: std::fmt::Debug>(values: Result<Vec<T>, E>) -> Vec<T> {
    values.expect("a tensor that was computed can be read")
}
