//! Which runs a comparison needs, and which of them are there already.

use std::path::{Path, PathBuf};

use toml::Table;

use crate::Error;
use crate::compare::choice::Chosen;
use crate::compare::entries::{Candidate, Entry};
use crate::experiment::Experiment;
use crate::training::RunFolder;

/// The runs of a comparison: every experiment with every seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// First every experiment with the first seed, then with the next.
    pub runs: Vec<PlannedRun>,
}

/// One run of a comparison.
#[derive(Clone, Debug)]
pub struct PlannedRun {
    /// The experiment's name.
    pub name: String,
    /// What is trained.
    pub(super) document: Table,
    /// The model seed.
    pub seed: u64,
    /// Updates that it takes at most.
    pub steps: usize,
    /// The run's folder.
    pub path: PathBuf,
    /// Whether it was made before.
    pub state: RunState,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// There is no folder.
    New,
    /// It was stopped before its end.
    Begun,
    /// It has a result.
    Finished,
}

impl PlannedRun {
    pub(super) fn new(
        entry: &Entry,
        assignments: &[String],
        candidate: &Candidate,
        seed: u64,
        path: PathBuf,
    ) -> Result<Self, Error> {
        let document = entry.document(assignments, candidate, seed);
        PlannedRun::of(entry, document, candidate, seed, path)
    }

    /// The same without `[test]` and goals: these are for the runs that a choice leads to.
    pub(super) fn trial(
        entry: &Entry,
        assignments: &[String],
        candidate: &Candidate,
        seed: u64,
        path: PathBuf,
    ) -> Result<Self, Error> {
        // What is left out must be right as well.
        let whole = entry.document(assignments, candidate, seed);
        let whole = whole.and_then(|whole| {
            Experiment::from_document(whole.clone(), &[])?;
            Ok(whole)
        });
        let document = whole.map(|mut document| {
            document.remove("test");
            document.remove("goal");
            document
        });
        PlannedRun::of(entry, document, candidate, seed, path)
    }

    fn of(
        entry: &Entry,
        document: Result<Table, Error>,
        candidate: &Candidate,
        seed: u64,
        path: PathBuf,
    ) -> Result<Self, Error> {
        let told = |error: Error| {
            let tried = candidate
                .iter()
                .map(|(path, value)| format!(" with {path} = {value}"));
            let tried: String = tried.collect();
            Error::usage(format!(
                "{}{tried}: {}",
                entry.file.display(),
                error.in_full()
            ))
        };
        let document = document.map_err(told)?;
        let experiment = Experiment::from_document(document.clone(), &[]).map_err(told)?;
        Ok(PlannedRun {
            state: state(&path, &experiment)?,
            name: entry.name.clone(),
            seed,
            steps: experiment.training.steps,
            document,
            path,
        })
    }
}

impl Plan {
    /// Every experiment with settings changed, as it was chosen from its grid, with every seed; its runs lie in `out`.
    ///
    /// # Errors
    /// If one is not valid, or `out` has a run of the same name that was made with other settings.
    pub fn new(
        chosen: &[Chosen],
        assignments: &[String],
        seeds: &[u64],
        out: &Path,
    ) -> Result<Self, Error> {
        let pairs = seeds
            .iter()
            .flat_map(|&seed| chosen.iter().map(move |one| (seed, one)));
        let runs = pairs.map(
            |(
                seed,
                Chosen {
                    entry, candidate, ..
                },
            )| {
                let path = out.join(format!("{}-seed{seed}", entry.name));
                PlannedRun::new(entry, assignments, candidate, seed, path)
            },
        );
        let runs = runs.collect::<Result<_, _>>()?;
        Ok(Plan { runs })
    }

    /// Every trial of every grid.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_trials(entries: &[Entry], assignments: &[String], out: &Path) -> Result<Self, Error> {
        let mut runs = Vec::new();
        for entry in entries {
            if let Some(grid) = &entry.grid {
                grid.check_assignments(assignments)?;
                runs.extend(grid.plan(entry, assignments, out)?);
            }
        }
        Ok(Plan { runs })
    }

    /// What was chosen for each experiment, once all trials have come to an end; and of which nothing can be, and why.
    ///
    /// # Errors
    /// If what the trials have left cannot be read.
    pub fn choose(
        &self,
        entries: Vec<Entry>,
        out: &Path,
    ) -> Result<(Vec<Chosen>, Vec<String>), Error> {
        let (mut chosen, mut failed) = (Vec::new(), Vec::new());
        for entry in entries {
            match Chosen::of_trials(entry, self, out)? {
                Ok(one) => chosen.push(one),
                Err(reason) => failed.push(reason),
            }
        }
        Ok((chosen, failed))
    }

    /// How many runs are in a state.
    pub fn count(&self, state: RunState) -> usize {
        self.runs.iter().filter(|run| run.state == state).count()
    }
}

fn state(path: &Path, experiment: &Experiment) -> Result<RunState, Error> {
    if !path.exists() {
        return Ok(RunState::New);
    }
    let known = RunFolder::open(path).and_then(|run| {
        run.require_settings(experiment)?;
        let task = experiment.task.task();
        // What is not to be had is no other.
        if task.open().is_ok()
            && let Some(told) = run.other_data(&task.files())
        {
            return Err(Error::usage(format!(
                "{told}. Choose another folder, or remove that run"
            )));
        }
        run.result()
    });
    match known {
        Ok(Some(_)) => Ok(RunState::Finished),
        Err(error @ Error::Usage(_)) => Err(error),
        // What is damaged is found out by who continues it, and keeps nobody else from being made.
        Ok(None) | Err(_) => Ok(RunState::Begun),
    }
}
