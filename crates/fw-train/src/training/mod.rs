//! Training: the loop, and what it keeps on disk.

mod begin;
mod checkpoint;
mod choice;
mod clip;
mod clock;
mod curriculum;
mod evaluate;
mod history;
mod kept_state;
mod measure;
mod memory;
mod optimizer;
mod order;
mod parameters;
mod progress;
mod record;
mod replica;
mod run_folder;
mod samples;
mod stop;
mod team;
mod threshold;
mod trained;
mod trainer;
mod update_loop;

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::settings::{Field, Section, fields};

pub use begin::{Resume, resume, resume_with, train, train_from, train_layer};
pub use checkpoint::{Best, Checkpoint, Progress};
pub use choice::{Choice, Trial};
pub(crate) use choice::{GRID_FOLDER, settings_in_words, trials_folder};
pub use clip::Clip;
pub(crate) use evaluate::loss_number;
pub use evaluate::{Evaluation, evaluate, evaluate_text};
pub use history::{Origin, Session};
pub(crate) use measure::measure;
pub(crate) use memory::{memory_now, peak_memory, reset_peak_memory};
pub use optimizer::{
    Adam, AdamW, CommonSettings, OptimizerConfig, OptimizerKind, RmsProp, Schedule, Sgd,
};
pub use record::{Environment, Record, RecordSplit, RunResult, SliceResult};
pub use run_folder::RunFolder;
#[cfg(feature = "cli")]
pub(crate) use run_folder::without_tests;
pub use samples::{KeptMap, KeptSample};
pub(crate) use stop::is_stop_asked_for;
pub use stop::stop_flag;
pub use threshold::Threshold;
pub use trained::{NetFile, PRETRAINED, SavedModel, Trained, export};

/// The `[training]` section of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Parameter updates, at least 1. Default 30,000.
    pub steps: usize,
    /// Sequences in each update: 1 to 1,000,000. Default 128.
    pub batch_size: usize,
    /// The model seed, any number: start values of the parameters. Default 0.
    pub seed: u64,
    /// Steps between two training records (mean loss and error since the last one). Default 100.
    pub log_every: usize,
    /// Steps between two evaluations on the validation split, each with a checkpoint; a multiple of
    /// `log_every`. Default 500.
    pub evaluate_every: usize,
    /// When to stop before `steps`. Default `"never"`.
    pub early_stop: EarlyStop,
    /// Whether a text is read in order, as many places of it at a time as there are sequences in a batch, each window going on from the
    /// state in which the one before ended (truncated backpropagation through time); validation and test go on from window to window
    /// too. For tasks of text alone, on one device, without a curriculum. Default false: windows lie anywhere, and begin without anything
    /// before them.
    pub carry_state: bool,
    /// Easier tasks to begin with. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curriculum: Option<Curriculum>,
}

/// Easier tasks to begin with: a setting of the task grows, value by value, whenever the validation split of the task with
/// the present value is mastered; the last value is the task's own. Only then does the best checkpoint count, and may
/// `early_stop` end the training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Curriculum {
    /// The name of the task's setting.
    pub setting: String,
    /// The values before the task's own, in order; at least one.
    #[schemars(with = "Vec<serde_json::Value>")]
    pub values: Vec<toml::Value>,
    /// When a value is mastered: looked at after each evaluation on its validation split.
    pub until: Threshold,
    /// Factor of the learning rate from the second value on, above 0. Default 1. Below 1, what has been found with a high rate is kept while the
    /// task grows.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub later_rate: f64,
    /// Updates that a value has, at least `evaluate_every`: a training that has not mastered it by then begins anew, at the first value, with
    /// other start values and a fresh optimiser. All its updates count ([`TrainingConfig::steps`]), and its result says how often it has begun
    /// anew. Default: never. A training that began with the weights of another run never does, nor does one that has come to the task itself.
    ///
    /// Nets that recall either find it within a thousand updates, or learn the easiest values some other way that leads no further; and some
    /// lose it again when the sequences grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_after: Option<usize>,
}

fn one() -> f64 {
    1.0
}

fn is_one(factor: &f64) -> bool {
    *factor == 1.0
}

impl Curriculum {
    /// Whoever has not mastered the first task after this share of the updates is told so, with what to try. Of trainings that did in
    /// the end, this project has seen few that took longer.
    pub const LATE: f64 = 0.4;
}

/// The `[test]` section of an experiment: values of the task's settings, such as `length = [20, 60, 120]`. The best
/// checkpoint is also tested on the task with each of them, one setting at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct TestConfig {
    /// By the setting's name.
    #[schemars(with = "BTreeMap<String, Vec<serde_json::Value>>")]
    pub sweep: BTreeMap<String, Vec<toml::Value>>,
}

impl TestConfig {
    /// Whether there is nothing to test on but the task itself.
    pub fn is_empty(&self) -> bool {
        self.sweep.is_empty()
    }
}

/// A `[[goal]]` of an experiment: what the trained net, its best checkpoint, is to reach on the test split. Nothing depends on it but
/// what `train` says at the end, and the table of a report that says how many seeds have reached it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    /// At most this error or loss.
    pub reach: Threshold,
    /// A value of a setting of `[test]`, such as `{ length = 120 }`: it is then the task with that value that is looked at. Default: the
    /// task itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub at: BTreeMap<String, toml::Value>,
}

impl Goal {
    /// What it looks at; nothing, where a run was not tested there.
    pub fn evaluation<'a>(&self, result: &'a RunResult) -> Option<&'a Evaluation> {
        match self.at.iter().next() {
            None => Some(&result.test),
            Some((setting, value)) => {
                let mut slices = result.slices.iter();
                let is_meant =
                    |slice: &&SliceResult| slice.setting == *setting && slice.value == *value;
                slices.find(is_meant).map(|slice| &slice.evaluation)
            }
        }
    }

    /// Whether a run has reached it.
    pub fn is_reached_by(&self, result: &RunResult) -> bool {
        let evaluation = self.evaluation(result);
        evaluation.is_some_and(|on| self.reach.is_reached_by(on.error, on.loss))
    }
}

impl Display for Goal {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} at most", self.reach)?;
        match self.at.iter().next() {
            Some((setting, value)) => write!(formatter, ", at {setting} = {value}"),
            None => Ok(()),
        }
    }
}

/// When to stop before the last step, looked at after each evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EarlyStop {
    /// Run all steps.
    Never,
    /// Stop once the error of the best evaluation on the validation split, a share from 0 to 1, is this low.
    Error(f64),
    /// Stop once the loss of the best evaluation on the validation split, in the task's unit, is this low.
    Loss(f64),
    /// Stop after this many evaluations in a row without a better one.
    Patience(usize),
}

impl Default for TrainingConfig {
    fn default() -> Self {
        TrainingConfig {
            steps: 30_000,
            batch_size: 128,
            seed: 0,
            log_every: 100,
            evaluate_every: 500,
            early_stop: EarlyStop::Never,
            carry_state: false,
            curriculum: None,
        }
    }
}

impl TrainingConfig {
    /// The fields, each with its default.
    pub fn fields() -> Vec<Field> {
        fields(&TrainingConfig::default())
    }

    /// The seed of the start values after so many restarts.
    fn seed_of_start(&self, restarts: usize) -> u64 {
        /// Odd and far from regular: seeds near each other stay apart.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        self.seed.wrapping_add(STEP.wrapping_mul(restarts as u64))
    }

    /// What the learning rate is multiplied with after so many tasks of the curriculum.
    fn rate_factor(&self, stage: usize) -> f64 {
        match &self.curriculum {
            Some(curriculum) if stage > 0 => curriculum.later_rate,
            _ => 1.0,
        }
    }

    pub(crate) fn from_section(section: Section) -> Result<Self, Error> {
        let config: TrainingConfig = section.parse()?;
        for (field, size) in [
            ("training.steps", config.steps),
            ("training.batch_size", config.batch_size),
            ("training.log_every", config.log_every),
            ("training.evaluate_every", config.evaluate_every),
        ] {
            require(size >= 1, field, size, "be at least 1")?;
        }
        require(
            config.batch_size <= 1_000_000,
            "training.batch_size",
            config.batch_size,
            "be at most 1,000,000",
        )?;
        // A checkpoint in the middle of a record's window could not be resumed exactly.
        require(
            config.evaluate_every.is_multiple_of(config.log_every),
            "training.evaluate_every",
            config.evaluate_every,
            &format!("be a multiple of training.log_every ({})", config.log_every),
        )?;
        match config.early_stop {
            EarlyStop::Never => {}
            EarlyStop::Error(error) => Threshold::Error(error).validate("training.early_stop")?,
            EarlyStop::Loss(loss) => Threshold::Loss(loss).validate("training.early_stop")?,
            EarlyStop::Patience(patience) => require(
                patience >= 1,
                "training.early_stop.patience",
                patience,
                "be at least 1",
            )?,
        }
        if let Some(curriculum) = &config.curriculum {
            let rule = "be left out where training.carry_state is set";
            require(!config.carry_state, "training.curriculum", "set", rule)?;
            let n = curriculum.values.len();
            let rule = "hold at least one value";
            require(n >= 1, "training.curriculum.values", "empty", rule)?;
            curriculum.until.validate("training.curriculum.until")?;
            let factor = curriculum.later_rate;
            let rule = "be a number above 0";
            let holds = factor.is_finite() && factor > 0.0;
            require(holds, "training.curriculum.later_rate", factor, rule)?;
            if let Some(updates) = curriculum.restart_after {
                let field = "training.curriculum.restart_after";
                let every = config.evaluate_every;
                let rule = format!("be at least training.evaluate_every ({every})");
                require(updates >= every, field, updates, &rule)?;
            }
        }
        Ok(config)
    }
}
