//! A comparison made by a program, with layers of its own.

use std::path::PathBuf;

use burn::tensor::Device;
use toml::{Table, Value};

use crate::device::DeviceName;
use crate::error::require;
use crate::experiment::Experiment;
use crate::models::Layer;
use crate::report::Comparison;
use crate::training::{self, RunFolder, RunResult};
use crate::{Error, settings};

/// Layers of a program's own, trained on one task with several seeds, and a report of them.
///
/// What stands around a layer, the task, the optimiser and the budget are those of one experiment, so that they are the same for
/// all. Runs lie in one folder, `NAME-seedN`; those that have ended are not made again, those that were stopped are continued. A
/// layer that was changed since needs another name, or another folder: what is inside it is not known here.
///
/// ```no_run
/// use fw_core::{GruConfig, LstmConfig};
/// use fw_train::compare::Study;
///
/// # fn main() -> Result<(), fw_train::Error> {
/// let study = Study::new("runs/study", "task.kind = 'copy-memory'\noptimizer.kind = 'adam'", &[])?.with_seeds(&[0, 1, 2]);
/// study.train("gru", |d_input, device| GruConfig::new(d_input, 64).init(device))?;
/// study.train("lstm", |d_input, device| LstmConfig::new(d_input, 64).init(device))?;
/// study.report()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Study {
    folder: PathBuf,
    document: Table,
    seeds: Vec<u64>,
    device: DeviceName,
}

impl Study {
    /// A study in a folder, of an experiment written in TOML, with `section.field=value` assignments after it. Of `[model]` it may give `d_embedding`, `embedding_std` and `d_head`:
    /// what stands around the layer.
    ///
    /// # Errors
    /// If the text is not TOML, or not an experiment.
    pub fn new(
        folder: impl Into<PathBuf>,
        experiment: &str,
        assignments: &[String],
    ) -> Result<Self, Error> {
        let mut document = Experiment::parse_document(experiment)?;
        settings::set_all(&mut document, assignments)?;
        let study = Study {
            folder: folder.into(),
            document,
            seeds: vec![0, 1, 2],
            device: DeviceName::default_of_build(),
        };
        study.experiment("any", 0)?;
        Ok(study)
    }

    /// The model seeds; 0, 1, 2 by default.
    pub fn with_seeds(self, seeds: &[u64]) -> Self {
        let seeds = seeds.to_vec();
        Study { seeds, ..self }
    }

    /// Where to train; the first device of the build by default.
    pub fn with_device(self, device: DeviceName) -> Self {
        Study { device, ..self }
    }

    /// Trains the layer that `init` makes from the width that it has to read, with every seed.
    ///
    /// # Errors
    /// As [`train`](crate::training::train); and if the folder has a run of this name that was made with another experiment.
    pub fn train<R: Layer>(
        &self,
        name: &str,
        init: impl Fn(usize, &Device) -> R,
    ) -> Result<Vec<RunResult>, Error> {
        let is_name = !name.is_empty() && !name.contains(['/', '\\', '.']);
        let rule = "be the name of a folder, without slashes and dots";
        require(is_name, "the layer's name", format!("{name:?}"), rule)?;
        let train = |&seed: &u64| {
            let is_seed = seed <= i64::MAX as u64;
            require(is_seed, "a seed", seed, "be below 2^63")?;
            let path = self.folder.join(format!("{name}-seed{seed}"));
            let experiment = self.experiment(name, seed)?;
            let is_there = RunFolder::open(&path).and_then(|run| run.result());
            match is_there {
                Ok(Some(_)) => tell!(
                    "{name} seed {seed}: trained before; remove {} to train it again",
                    path.display()
                ),
                _ => tell!("{name} seed {seed}:"),
            }
            training::train_layer(&path, &experiment, self.device, &init)
        };
        self.seeds.iter().map(train).collect()
    }

    /// Writes a report of every run in the folder, beside them.
    ///
    /// # Errors
    /// If there is no run, or a file cannot be written.
    pub fn report(&self) -> Result<Comparison, Error> {
        let comparison = Comparison::read(std::slice::from_ref(&self.folder), None)?;
        comparison.write(&self.folder)?;
        Ok(comparison)
    }

    fn experiment(&self, name: &str, seed: u64) -> Result<Experiment, Error> {
        let mut document = self.document.clone();
        for (section, field, value) in [
            ("model", "kind", Value::from("own")),
            ("model", "name", Value::from(name)),
            ("training", "seed", Value::from(seed as i64)),
        ] {
            let section = document
                .entry(section)
                .or_insert_with(|| Table::new().into());
            if let Some(section) = section.as_table_mut() {
                section.insert(field.to_owned(), value);
            }
        }
        Experiment::from_document(document, &[])
    }
}
