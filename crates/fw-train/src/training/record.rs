//! What a run writes down: where it was made, a record after some updates, and what it came to.

use serde::{Deserialize, Serialize};
use toml::Value;

use crate::device::Devices;
use crate::plain::to_json;
use crate::training::checkpoint::{Progress, is_zero};
use crate::training::evaluate::Evaluation;
use crate::training::history::{BURN, VERSION, now};

/// Where and when a run was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Environment {
    /// Version of fw-train.
    pub version: String,
    /// Version of Burn.
    pub burn: String,
    /// Where it is computed.
    #[serde(flatten)]
    pub devices: Devices,
    /// Threads that the CPU work may use.
    pub threads: usize,
    /// Operating system and processor architecture.
    pub system: String,
    /// The instructions that CPU kernels use (`FW_INSTRUCTIONS`); nothing, on other devices and of runs that have not written it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// When the run was started, RFC 3339.
    pub started: String,
}

impl Environment {
    /// The environment of a run that starts now.
    pub fn now(devices: impl Into<Devices>) -> Self {
        let devices: Devices = devices.into();
        Environment {
            version: VERSION.to_owned(),
            burn: BURN.to_owned(),
            instructions: devices.kind.instructions().map(str::to_owned),
            devices,
            threads: std::env::var("RAYON_NUM_THREADS")
                .ok()
                .and_then(|threads| threads.parse().ok())
                .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
                .unwrap_or(1),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            started: now(),
        }
    }

    /// `linux x86_64, avx512`
    pub fn machine(&self) -> String {
        match &self.instructions {
            Some(instructions) => format!("{}, {instructions}", self.system),
            None => self.system.clone(),
        }
    }
}

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Updates done.
    pub step: usize,
    /// `train`: means since the last record. `validation`: the whole split.
    pub split: RecordSplit,
    /// Tasks of the curriculum that were mastered before, where there is a curriculum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<usize>,
    /// Mean loss: see [`Evaluation::loss`].
    pub loss: f64,
    /// See [`Evaluation::counted_loss`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_loss: Option<f64>,
    /// Share of wrong answers or bits, 0 to 1.
    pub error: f64,
    /// Share of sequences with no wrong answer, 0 to 1, where one has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perfect: Option<f64>,
    /// The loss of the best predictor there is, where one is known that is not 0 (validation only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimal: Option<f64>,
    /// Norm of all gradients together before clipping, at this step (training only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<f64>,
    /// At this step (training only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Time spent so far, in seconds.
    pub seconds: f64,
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordSplit {
    /// Training.
    Train,
    /// Validation.
    Validation,
}

/// `result.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunResult {
    /// On the test split, with the best checkpoint.
    pub test: Evaluation,
    /// On the validation split, with the best checkpoint.
    pub validation: Evaluation,
    /// Updates done, those before a restart included.
    pub steps: usize,
    /// How often training has begun anew: see [`Curriculum::restart_after`](crate::training::Curriculum::restart_after).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: usize,
    /// The step of the best checkpoint.
    pub best_step: usize,
    /// With the best checkpoint, on the test split of the task with other settings, as `[test]` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<SliceResult>,
    /// Training time, evaluations included, in seconds.
    pub seconds: f64,
    /// Time of an update, evaluations left out, in milliseconds; the mean of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milliseconds_per_step: Option<f64>,
    /// The most memory that a process of this run has held, in bytes, where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// Numbers that are learned.
    pub parameters: usize,
    /// Numbers carried for each sample at the end of a sequence.
    pub state_size: usize,
    /// The task's kind.
    pub task: String,
    /// The model's kind.
    pub model: String,
    /// Width of the recurrent layer.
    pub d_hidden: usize,
    /// The model seed.
    pub seed: u64,
}

/// How a model does on the task with another value of a setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliceResult {
    /// The setting's name.
    pub setting: String,
    /// Its value.
    pub value: Value,
    /// How the model does there.
    #[serde(flatten)]
    pub evaluation: Evaluation,
}

impl Record {
    /// As a line of `metrics.jsonl`.
    pub(super) fn line(&self) -> String {
        let json = to_json(self);
        json + "\n"
    }

    pub(super) fn validation(
        progress: &Progress,
        stage: Option<usize>,
        evaluation: Evaluation,
    ) -> Self {
        Record {
            step: progress.step,
            split: RecordSplit::Validation,
            stage,
            loss: evaluation.loss,
            counted_loss: evaluation.counted_loss,
            error: evaluation.error,
            perfect: evaluation.perfect,
            optimal: evaluation.optimal,
            gradient_norm: None,
            learning_rate: None,
            seconds: progress.seconds,
        }
    }
}
