//! The trials of a grid, and which of them was the best.

use std::path::Path;

use toml::Value;

use crate::Error;
use crate::compare::entries::{Candidate, Entry, Grid};
use crate::compare::plan::{Plan, PlannedRun};
use crate::experiment::Experiment;
use crate::training::{Choice, RunFolder, Trial, settings_in_words, trials_folder};

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
        Ok(match grid.choose(&entry, plan, out)? {
            Some((choice, candidate)) => Ok(Chosen {
                entry,
                candidate,
                choice: Some(choice),
            }),
            None => Err(format!(
                "{}: every trial has failed (see {})",
                entry.name,
                trials_folder(out, &entry.name).display()
            )),
        })
    }

    /// Writes down what was tried and chosen.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, out: &Path) -> Result<(), Error> {
        match &self.choice {
            Some(choice) => choice.write(out, &self.entry.name),
            None => Ok(()),
        }
    }
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
            let path =
                trials_folder(out, &entry.name).join(format!("{}-seed{}", index + 1, self.seed));
            let mut run = PlannedRun::trial(entry, assignments, candidate, self.seed, path)?;
            run.name = format!("{} ({})", entry.name, settings_in_words(candidate));
            Ok(run)
        });
        runs.collect()
    }

    /// The best of the trials of an experiment, all of which have come to an end, and what it sets; nothing, if all of them have failed.
    ///
    /// # Errors
    /// If what they have left cannot be read.
    fn choose(
        &self,
        entry: &Entry,
        plan: &Plan,
        out: &Path,
    ) -> Result<Option<(Choice, Candidate)>, Error> {
        let folder = trials_folder(out, &entry.name);
        let mut candidates = self.candidates();
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
                seed: self.seed,
                trials,
                chosen,
            };
            (choice, candidates.swap_remove(chosen))
        }))
    }
}
