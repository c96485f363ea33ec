//! What a model read, answered and did on one sample.

use burn::tensor::Device;
use burn::tensor::activation::{sigmoid, softmax};

use crate::models::{HeatMap, Model, Tracer};
use crate::tasks::{Answer, AnswerFormat, InputFormat, Split, Task};

/// What a model did on one sample.
#[derive(Clone, Debug)]
pub struct SampleTrace {
    /// What it read, `[seq_length][rows]`, and what a row is.
    pub inputs: Vec<Vec<f32>>,
    /// See `inputs`.
    pub input_rows: &'static str,
    /// What was asked for: a vector of bits, or a 1 at the class, or a number; nothing at steps that are not looked at.
    pub targets: Vec<Option<Vec<f32>>>,
    /// What was answered, probabilities or a number; nothing at steps without an answer.
    pub answers: Vec<Option<Vec<f32>>>,
    /// What a row of targets and answers is.
    pub answer_rows: &'static str,
    /// What its layer did, by rows of a figure.
    pub heat_maps: Vec<[Option<HeatMap>; 2]>,
}

impl SampleTrace {
    /// Sample `index` of a split, and what a model does with it.
    pub fn new(
        model: &Model,
        trace: Tracer,
        task: &dyn Task,
        split: Split,
        index: u64,
        device: &Device,
    ) -> Self {
        let format = task.format();
        let batch = task.batch(split, [index], device);
        let sample = task.sample(split, index);
        let n_steps = sample.input.seq_length();

        let answers = model.logits(batch.inputs.clone());
        let answers = match format.answer {
            AnswerFormat::Bits { .. } => sigmoid(answers),
            AnswerFormat::Number => answers,
            _ => softmax(answers, 2),
        };
        let numbers: Vec<f32> = answers
            .try_into_vec_as()
            .expect("a tensor that was computed can be read");
        let answers = numbers.chunks_exact(format.d_output());
        let answers: Vec<Option<Vec<f32>>> = answers.map(|row| Some(row.to_vec())).collect();
        let at_the_end = |last| {
            let mut steps = vec![None; n_steps];
            steps[n_steps - 1] = last;
            steps
        };
        let one_hot = |class: u32, n: usize| {
            let places = (0..n).map(|place| f32::from(u8::from(place == class as usize)));
            places.collect::<Vec<f32>>()
        };
        let class = |class| one_hot(class, format.d_output());
        SampleTrace {
            inputs: match format.input {
                InputFormat::Tokens { n_tokens } => {
                    let tokens = sample.tokens().iter();
                    tokens.map(|&token| one_hot(token, n_tokens)).collect()
                }
                InputFormat::Vectors { .. } => sample.vectors().to_vec(),
            },
            input_rows: match format.input {
                InputFormat::Tokens { .. } => "token",
                InputFormat::Vectors { .. } => "number",
            },
            targets: match sample.answer {
                Answer::Bits(targets) => targets,
                Answer::Class(target) => at_the_end(Some(class(target))),
                Answer::Number(target) => at_the_end(Some(vec![target])),
                Answer::Classes(steps) => steps
                    .into_iter()
                    .map(|step| Some(class(step.filter(|step| step.counts)?.class)))
                    .collect(),
            },
            answers: match format.is_answered_at_the_end() {
                true => at_the_end(answers.into_iter().next().flatten()),
                false => answers,
            },
            answer_rows: match format.answer {
                AnswerFormat::Bits { .. } => "bit",
                AnswerFormat::Number => "number",
                _ => "class",
            },
            heat_maps: trace(&model.layer, &model.vectors(batch.inputs)),
        }
    }
}

/// The place of the largest number, and the number.
pub(crate) fn likeliest(row: &[f32]) -> (u32, f32) {
    let places = (0..).zip(row.iter().copied());
    let best = places.max_by(|(_, one), (_, other)| one.total_cmp(other));
    best.expect("there is something to choose")
}

/// `[steps][rows]` to `[rows][steps]`.
pub(crate) fn transposed(steps: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let n_rows = steps.first().map_or(0, Vec::len);
    let row = |row: usize| steps.iter().map(|step| step[row]).collect();
    (0..n_rows).map(row).collect()
}
