//! `fw-train sample`

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};
use clap::Args;

use crate::Error;
use crate::cli::loaded::ModelArgs;
use crate::cli::output;
use crate::models::{Model, WithModel};
use crate::tasks::{Split, Task};

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
        let batch = self
            .task
            .batch(self.split, self.indices.clone(), self.device);
        let probabilities: Tensor<2> = softmax(model.logits(batch.tokens), 1);
        let (confidences, answers) = probabilities.max_dim_with_indices(1);
        let confidences: Vec<f32> = read(confidences.try_into_vec_as());
        let answers: Vec<i64> = read(answers.try_into_vec_as());
        let n = answers.len();
        let mut right = 0;
        for ((index, answer), confidence) in self.indices.zip(answers).zip(confidences) {
            let sample = self.task.sample(self.split, index);
            let is_right = answer as u32 == sample.class;
            right += usize::from(is_right);
            output::line(format_args!(
                "{}  target {}  answer {}  {:5.1} %  {}",
                self.task.input_text(&sample),
                self.task.class_text(sample.class),
                self.task.class_text(answer as u32),
                100.0 * confidence,
                if is_right { "right" } else { "WRONG" }
            ))?;
        }
        output::line(format_args!("{right} of {n} right"))?;
        Ok(())
    }
}

/// Numbers of a tensor that was just computed.
fn read<T, E: std::fmt::Debug>(values: Result<Vec<T>, E>) -> Vec<T> {
    values.expect("a tensor that was computed can be read")
}
