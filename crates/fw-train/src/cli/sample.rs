//! `fw-train sample`

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};
use clap::Args;

use crate::Error;
use crate::cli::loaded::ModelArgs;
use crate::cli::output;
use crate::models::{Model, likeliest};
use crate::tasks::{AnswerFormat, Input, NUMBER_TOLERANCE, Split, StepClass, Task};

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
        let show = Show {
            model: loaded.model()?,
            task,
            split,
            indices,
            device: &loaded.device,
        };
        match task.format().answer {
            AnswerFormat::Class { .. } => show.classes(),
            AnswerFormat::Classes { .. }
            | AnswerFormat::Reconstruction { .. }
            | AnswerFormat::Text { .. } => show.texts(),
            AnswerFormat::Bits { .. } => show.vectors(),
            AnswerFormat::Number => show.numbers(),
        }
    }
}

struct Show<'a> {
    model: Model,
    task: &'a dyn Task,
    split: Split,
    indices: std::ops::Range<u64>,
    device: &'a Device,
}

impl Show<'_> {
    /// What the model answers to each sample, a row of numbers for each step that it answers at.
    fn answers(&self, apply: fn(Tensor<3>) -> Tensor<3>) -> Vec<Vec<Vec<f32>>> {
        let of_sample = |index| {
            let batch = self.task.batch(self.split, [index], self.device);
            let answers = apply(self.model.logits(batch.inputs));
            let [_, _, d_output] = answers.dims();
            let numbers: Vec<f32> = answers
                .try_into_vec_as()
                .expect("a tensor that was computed can be read");
            let rows = numbers.chunks_exact(d_output);
            rows.map(<[f32]>::to_vec).collect()
        };
        self.indices.clone().map(of_sample).collect()
    }

    /// A line for each sample.
    fn classes(self) -> Result<(), Error> {
        let answers = self.answers(|logits| softmax(logits, 2));
        let n = answers.len();
        let mut right = 0;
        for (index, answer) in self.indices.clone().zip(answers) {
            let sample = self.task.sample(self.split, index);
            let class = sample.class();
            let (answer, confidence) = likeliest(&answer[0]);
            let is_right = answer == class;
            right += usize::from(is_right);
            let name = match &sample.input {
                Input::Tokens(tokens) => self.task.input_text(tokens),
                Input::Vectors(_) => format!("sample {index}"),
            };
            output::line(format_args!(
                "{name}  target {}  answer {}  {:5.1} %  {}",
                self.task.class_text(class),
                self.task.class_text(answer),
                100.0 * confidence,
                if is_right { "right" } else { "WRONG" }
            ))?;
        }
        output::line(format_args!("{right} of {n} right"))
    }

    /// What was read, what should be answered and what was, a character or a token a step.
    fn texts(self) -> Result<(), Error> {
        let answers = self.answers(|logits| logits);
        let (mut right, mut counted) = (0, 0);
        for (index, answers) in self.indices.clone().zip(answers) {
            let sample = self.task.sample(self.split, index);
            let (tokens, steps) = (sample.tokens(), sample.classes());
            let said: Vec<u32> = answers.iter().map(|row| likeliest(row).0).collect();
            let counts = steps.iter().zip(&said);
            let counts =
                counts.filter_map(|(step, said)| Some((step.filter(|s| s.counts)?, *said)));
            let n_right = counts
                .clone()
                .filter(|(step, said)| step.class == *said)
                .count();
            let n = counts.count();
            right += n_right;
            counted += n;
            let text = |classes: &mut dyn Iterator<Item = u32>| -> String {
                let texts = classes.map(|class| self.task.class_text(class));
                on_one_line(&texts.collect::<String>())
            };
            let asked = |class: u32, step: &Option<StepClass>| step.map(|_| class);
            output::line(format_args!("sample {index}, {n_right} of {n} right"))?;
            let input = on_one_line(&self.task.input_text(tokens));
            output::line(format_args!("  input   {input}"))?;
            let mut targets = steps.iter().flatten().map(|step| step.class);
            output::line(format_args!("  target  {}", text(&mut targets)))?;
            let mut answers = said
                .iter()
                .zip(steps)
                .filter_map(|(said, step)| asked(*said, step));
            output::line(format_args!("  answer  {}", text(&mut answers)))?;
        }
        output::line(format_args!("{right} of {counted} right"))
    }

    /// A line for each sample.
    fn numbers(self) -> Result<(), Error> {
        let answers = self.answers(|answers| answers);
        let n = answers.len();
        let mut within = 0;
        for (index, answer) in self.indices.clone().zip(answers) {
            let sample = self.task.sample(self.split, index);
            let target = sample.number();
            let answer = answer[0][0];
            let off = (answer - target).abs();
            within += usize::from(f64::from(off) <= NUMBER_TOLERANCE);
            output::line(format_args!(
                "sample {index}  target {target:.4}  answer {answer:.4}  off by {off:.4}"
            ))?;
        }
        output::line(format_args!(
            "{within} of {n} off by at most {NUMBER_TOLERANCE}"
        ))
    }

    /// A picture of letters for each sample: a row for each number, a column for each step.
    fn vectors(self) -> Result<(), Error> {
        let all_answers = self.answers(|logits| logits);
        let n = all_answers.len();
        let mut perfect = 0;
        for (index, answers) in self.indices.clone().zip(all_answers) {
            let sample = self.task.sample(self.split, index);
            let (inputs, targets) = (sample.vectors(), sample.bits());
            let d_output = answers[0].len();
            let wrong = wrong_bits(targets, &answers);
            perfect += usize::from(wrong == 0);
            output::line(format_args!("sample {index}, {wrong} bits wrong"))?;
            rows("input", inputs[0].len(), |row| {
                let numbers = inputs.iter().map(|input| input[row]);
                numbers.map(number_as_letter).collect()
            })?;
            rows("target", d_output, |row| {
                let targets = targets.iter().map(Option::as_ref);
                let bits = targets.map(|target| target.map(|target| target[row] > 0.5));
                bits.map(bit_as_letter).collect()
            })?;
            rows("answer", d_output, |row| {
                let steps = targets.iter().zip(&answers);
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
fn wrong_bits(targets: &[Option<Vec<f32>>], answers: &[Vec<f32>]) -> usize {
    let steps = targets.iter().zip(answers);
    let wrong = steps.filter_map(|(target, answer)| {
        let bits = target.as_ref()?.iter().zip(answer);
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

/// Text without what would move a terminal's cursor: `↵` for the end of a line, `·` for any other control character.
fn on_one_line(text: &str) -> String {
    let shown = text.chars().map(|character| match character {
        '\n' => '\u{21b5}',
        other if other.is_control() => '\u{b7}',
        other => other,
    });
    shown.collect()
}
