//! What came of a grid: every trial of an experiment, and which of them was the best.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Value;

use crate::Error;
use crate::compare::entries::{Candidate, Entry, Grid};
use crate::compare::plan::{Plan, PlannedRun};
use crate::experiment::Experiment;
use crate::files::write_atomically;
use crate::plain::to_json_pretty;
use crate::training::RunFolder;

/// The folder of all trials, beside the runs.
pub(crate) const GRID_FOLDER: &str = "grid";
/// In the folder of an experiment's trials.
const CHOICE_FILE: &str = "choice.json";

/// What was tried for an experiment, and what was chosen: the trial that is best on the validation split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The model seed of the trials.
    pub seed: u64,
    /// In the order of the grid.
    pub trials: Vec<Trial>,
    /// The place of the best trial.
    pub chosen: usize,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// `section.field`, and its value as TOML.
    pub settings: Vec<(String, String)>,
    /// Error and loss on the validation split; nothing, if the training has failed.
    pub validation: Option<[f64; 2]>,
    /// Updates.
    pub steps: Option<usize>,
}

impl Trial {
    /// What it set, without the sections: `learning_rate = 0.01, n_heads = 2`.
    pub fn title(&self) -> String {
        title(&self.settings)
    }
}

fn title<V: Display>(settings: &[(String, V)]) -> String {
    let settings = settings.iter().map(|(path, value)| {
        let field = path.rsplit('.').next().unwrap_or(path);
        format!("{field} = {value}")
    });
    settings.collect::<Vec<_>>().join(", ")
}

/// An experiment with the settings that it is trained with.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub(super) entry: Entry,
    pub(super) candidate: Candidate,
    /// Nothing, where there was no grid.
    choice: Option<Choice>,
}

impl Chosen {
    /// An experiment as its file has it.
    pub fn as_it_is(entry: Entry) -> Self {
        Chosen {
            entry,
            candidate: Candidate::new(),
            choice: None,
        }
    }

    /// The best of the trials of an experiment, once these have come to an end.
    ///
    /// # Errors
    /// If what they have left cannot be read; or, within, why nothing can be chosen: all of them have failed.
    pub(super) fn of_trials(
        entry: Entry,
        plan: &Plan,
        out: &Path,
    ) -> Result<Result<Self, String>, Error> {
        let Some(grid) = &entry.grid else {
            return Ok(Ok(Chosen::as_it_is(entry)));
        };
        Ok(match Choice::of(&entry, grid, plan, out)? {
            Some((choice, candidate)) => Ok(Chosen {
                entry,
                candidate,
                choice: Some(choice),
            }),
            None => Err(format!(
                "{}: every trial has failed (see {})",
                entry.name,
                folder_of(out, &entry.name).display()
            )),
        })
    }

    /// Writes down what was tried and chosen.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, out: &Path) -> Result<(), Error> {
        let Some(choice) = &self.choice else {
            return Ok(());
        };
        let path = folder_of(out, &self.entry.name).join(CHOICE_FILE);
        write_atomically(&path, &to_json_pretty(choice))
    }
}

/// The folder of the trials of an experiment.
fn folder_of(out: &Path, name: &str) -> PathBuf {
    out.join(GRID_FOLDER).join(name)
}

impl Grid {
    /// The trials of an experiment.
    pub(super) fn plan(
        &self,
        entry: &Entry,
        assignments: &[String],
        out: &Path,
    ) -> Result<Vec<PlannedRun>, Error> {
        let candidates = self.candidates();
        let candidates = candidates.iter().enumerate();
        let runs = candidates.map(|(index, candidate)| {
            let path = folder_of(out, &entry.name).join(format!("{}-seed{}", index + 1, self.seed));
            let mut run = PlannedRun::trial(entry, assignments, candidate, self.seed, path)?;
            run.name = format!("{} ({})", entry.name, title(candidate));
            Ok(run)
        });
        runs.collect()
    }
}

impl Choice {
    /// The best of the trials of an experiment, all of which have come to an end, and what it sets; nothing, if all of them have failed.
    ///
    /// # Errors
    /// If what they have left cannot be read.
    fn of(
        entry: &Entry,
        grid: &Grid,
        plan: &Plan,
        out: &Path,
    ) -> Result<Option<(Self, Candidate)>, Error> {
        let folder = folder_of(out, &entry.name);
        let mut candidates = grid.candidates();
        let mut trials = Vec::with_capacity(candidates.len());
        let mut scores = Vec::new();
        let of_entry = |run: &&PlannedRun| run.path.parent() == Some(&folder);
        for (candidate, run) in candidates.iter().zip(plan.runs.iter().filter(of_entry)) {
            let result = match RunFolder::open(&run.path) {
                Ok(folder) => folder.result()?,
                Err(_) => None,
            };
            let experiment = Experiment::from_document(run.document.clone(), &[])?;
            let by_error = experiment.task.task().format().is_ranked_by_error();
            let validation = result.as_ref().map(|result| &result.validation);
            if let Some(validation) = validation {
                let (error, loss) = (validation.error, validation.loss);
                let score = if by_error {
                    [error, loss]
                } else {
                    [loss, error]
                };
                scores.push((score, trials.len()));
            }
            trials.push(Trial {
                settings: candidate
                    .iter()
                    .map(|(path, value)| (path.clone(), Value::to_string(value)))
                    .collect(),
                validation: validation.map(|validation| [validation.error, validation.loss]),
                steps: result.as_ref().map(|result| result.steps),
            });
        }
        let better = |one: &([f64; 2], usize), other: &([f64; 2], usize)| {
            let by = |index: usize| one.0[index].total_cmp(&other.0[index]);
            by(0).then_with(|| by(1)).then_with(|| one.1.cmp(&other.1))
        };
        let best = scores.into_iter().min_by(better);
        Ok(best.map(|(_, chosen)| {
            let choice = Choice {
                seed: grid.seed,
                trials,
                chosen,
            };
            (choice, candidates.swap_remove(chosen))
        }))
    }

    /// The choice for the runs of a name in a folder, if there was one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn read(out: &Path, name: &str) -> Result<Option<Self>, Error> {
        let path = folder_of(out, name).join(CHOICE_FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("read", &path)(error)),
        };
        let choice: Result<Choice, serde_json::Error> = serde_json::from_slice(&text);
        let told = |problem: String| {
            Error::usage(format!(
                "{} is damaged ({problem}); `fw-train compare` writes it again",
                path.display()
            ))
        };
        let choice = choice.map_err(|error| told(error.to_string()))?;
        match choice.chosen < choice.trials.len() {
            true => Ok(Some(choice)),
            false => Err(told(format!("chosen is {}", choice.chosen))),
        }
    }
}
