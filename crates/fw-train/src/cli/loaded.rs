//! What the commands that use a trained model have in common.

use std::path::PathBuf;

use burn::tensor::Device;
use clap::Args;

use crate::cli::output;
use crate::device::DeviceName;
use crate::experiment::Experiment;
use crate::models::Model;
use crate::plain::to_table;
use crate::tasks::Split;
use crate::training::{SavedModel, Trained};
use crate::{CheckpointChoice, Error, settings};

/// Which trained model, on which data, where.
#[derive(Debug, Args)]
pub(super) struct ModelArgs {
    /// The run's folder, or a file that `export` has written
    pub run: Option<PathBuf>,

    /// A net that comes with the program instead: `list` names them
    #[arg(long, value_name = "NAME", conflicts_with_all = ["run", "checkpoint"])]
    pub pretrained: Option<String>,

    /// Which part of the data
    #[arg(long, value_enum, default_value_t = Split::Test)]
    pub split: Split,

    /// Which checkpoint: the one that did best on the validation split (lowest error where classes are
    /// answered, else lowest loss),
    /// or the newest
    #[arg(long, value_enum, default_value_t = CheckpointChoice::Best)]
    pub checkpoint: CheckpointChoice,

    /// Change the task, for example task.pairs=6 (may be repeated)
    #[arg(long = "set", value_name = "task.FIELD=VALUE")]
    pub assignments: Vec<String>,

    /// Where to compute: flex, ndarray, wgpu or cuda [default: the first of them that is in this build]
    #[arg(long)]
    pub device: Option<DeviceName>,
}

/// An opened run: what is known before the model is loaded.
pub(super) struct Loaded {
    trained: Trained,
    pub experiment: Experiment,
    pub saved: SavedModel,
    pub device: Device,
}

impl ModelArgs {
    /// The run, with its data.
    pub fn load(&self) -> Result<Loaded, Error> {
        self.load_with(&[])
    }

    /// The run, with more assignments after those that were typed, and its data; what has to be said of them is said, once.
    pub fn load_with(&self, more: &[String]) -> Result<Loaded, Error> {
        let loaded = self.load_without_data(more)?;
        let task = loaded.experiment.task.task();
        task.open()?;
        if let Some(told) = loaded.trained.other_data(&task.files()) {
            output::note(&told);
        }
        let [before, now] = [&loaded.trained.experiment(&[])?, &loaded.experiment]
            .map(|experiment| to_table(&experiment.task));
        let of_splits = ["splits", "train", "validation", "test"];
        for change in settings::differences(&before, &now) {
            if of_splits.contains(&change.field.as_str()) {
                output::note(&format!(
                    "task.{} is {} here and was {} in training: what is tested may be what it has learned from",
                    change.field, change.now, change.before
                ));
            }
        }
        if let Some(note) = task.note() {
            output::note(note);
        }
        Ok(loaded)
    }

    /// What was trained.
    fn trained(&self) -> Result<Trained, Error> {
        match (&self.run, &self.pretrained) {
            (Some(run), _) => Trained::open(run),
            (None, Some(name)) => Trained::pretrained(name),
            (None, None) => Err(nothing_given()),
        }
    }

    /// The run, and nothing of its data.
    pub fn load_without_data(&self, more: &[String]) -> Result<Loaded, Error> {
        let assignments = [&self.assignments, more].concat();
        only_task(&assignments)?;
        let trained = self.trained()?;
        if let Some(note) = trained.note() {
            output::note(&note);
        }
        let (before, experiment) = (trained.experiment(&[])?, trained.experiment(&assignments)?);
        let fits = experiment.task.task().format() == before.task.task().format()
            && experiment.task.alphabet() == before.task.alphabet()
            && experiment.model == before.model;
        if !fits {
            return Err(Error::usage(format!(
                "--set {}: this changes what the model reads or answers; the run was trained on other widths",
                assignments.join(" --set ")
            )));
        }
        Ok(Loaded {
            experiment,
            saved: trained.saved(self.checkpoint)?,
            trained,
            device: self
                .device
                .unwrap_or_else(DeviceName::default_of_build)
                .open()?,
        })
    }
}

impl Loaded {
    /// The trained model, without autodiff.
    pub fn model(&self) -> Result<Model, Error> {
        let task = self.experiment.task.task();
        let seed = self.experiment.training.seed;
        let model = self.experiment.model.init(task, seed, &self.device)?;
        self.saved.load_model(model)
    }
}

/// Neither a run nor a net.
pub(super) fn nothing_given() -> Error {
    Error::usage(
        "give a run's folder, a file that `export` has written, or --pretrained NAME; `list` has the names",
    )
}

/// Refuses assignments to anything but the task.
pub(super) fn only_task(assignments: &[String]) -> Result<(), Error> {
    let is_task = |assignment: &&String| settings::is_of(assignment, "task");
    match assignments.iter().find(|assignment| !is_task(assignment)) {
        None => Ok(()),
        Some(other) => Err(Error::usage(format!(
            "--set {other}: here only the task can be set, for example --set task.pairs=6"
        ))),
    }
}
