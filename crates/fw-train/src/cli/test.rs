//! `fw-train test`

use burn::tensor::Device;
use clap::Args;
use serde::Serialize;

use crate::Error;
use crate::cli::loaded::ModelArgs;
use crate::cli::output;
use crate::models::{Model, WithModel};
use crate::tasks::{Split, Task};
use crate::training::{Evaluation, evaluate};

/// Measure a trained model's loss and error on a whole split.
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// Print one JSON object instead of a line of text
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    split: Split,
    samples: Option<u64>,
    checkpoint_step: usize,
    #[serde(flatten)]
    evaluation: Evaluation,
}

impl TestArgs {
    pub fn run(self) -> Result<(), Error> {
        let loaded = self.model.load()?;
        let task = loaded.experiment.task.task();
        let split = self.model.split;
        let evaluation = loaded.with_model(Evaluate {
            task,
            split,
            device: &loaded.device,
        })?;
        let report = Report {
            split,
            samples: task.n_samples(split),
            checkpoint_step: loaded.checkpoint.step,
            evaluation,
        };
        if self.json {
            output::line(format_args!(
                "{}",
                serde_json::to_string(&report).expect("plain data can be written as JSON")
            ))?;
        } else {
            output::line(format_args!(
                "error {:.2} %, loss {:.4} nats on the {} split (checkpoint of step {})",
                100.0 * evaluation.error,
                evaluation.loss,
                split.name(),
                report.checkpoint_step
            ))?;
        }
        Ok(())
    }
}

struct Evaluate<'a> {
    task: &'a dyn Task,
    split: Split,
    device: &'a Device,
}

impl WithModel for Evaluate<'_> {
    type Output = Evaluation;

    fn run<M: Model>(self, model: M) -> Result<Evaluation, Error> {
        Ok(evaluate(&model, self.task, self.split, self.device))
    }
}
