//! Which runs a comparison needs, and which of them are there already.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::experiment::Experiment;
use crate::settings;
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
    /// The experiment's file.
    pub file: PathBuf,
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

impl Plan {
    /// Every experiment of some files and folders, with settings changed, with every seed; its runs lie in `out`.
    ///
    /// # Errors
    /// If a file is not a valid experiment, a folder holds none, or `out` has a run of the same name that was made with
    /// other settings.
    pub fn new(
        experiments: &[PathBuf],
        assignments: &[String],
        seeds: &[u64],
        out: &Path,
    ) -> Result<Self, Error> {
        let files = experiment_files(experiments)?;
        let names = names(&files)?;
        let mut runs = Vec::with_capacity(files.len() * seeds.len());
        for &seed in seeds {
            for (file, name) in files.iter().zip(&names) {
                let mut document = Experiment::read_document(file)?;
                settings::set(&mut document, &format!("training.seed={seed}"))?;
                let experiment = Experiment::from_document(document, assignments);
                let experiment = experiment.map_err(|error| {
                    Error::usage(format!("{}: {}", file.display(), error.in_full()))
                })?;
                let path = out.join(format!("{name}-seed{seed}"));
                runs.push(PlannedRun {
                    state: state(&path, &experiment)?,
                    name: name.clone(),
                    file: file.clone(),
                    seed,
                    steps: experiment.training.steps,
                    path,
                });
            }
        }
        Ok(Plan { runs })
    }

    /// How many runs are in a state.
    pub fn count(&self, state: RunState) -> usize {
        self.runs.iter().filter(|run| run.state == state).count()
    }
}

/// The files themselves, and those in the folders.
fn experiment_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(Error::file("read", path))?;
        let mut inside: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "toml")
            })
            .collect();
        if inside.is_empty() {
            return Err(Error::usage(format!(
                "{} holds no experiments; give a folder with *.toml files, or such files",
                path.display()
            )));
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

/// A name for each file, without its ending.
fn names(files: &[PathBuf]) -> Result<Vec<String>, Error> {
    let mut known: BTreeMap<String, &Path> = BTreeMap::new();
    let name = |file: &PathBuf| {
        file.file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    for file in files {
        if let Some(other) = known.insert(name(file), file) {
            return Err(Error::usage(format!(
                "{} and {} have the same name, and so would their runs; compare them into two folders, or rename one",
                other.display(),
                file.display()
            )));
        }
    }
    Ok(files.iter().map(name).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experiments_are_the_files_and_those_in_folders_and_share_no_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["b.toml", "a.toml", "notes.md"] {
            std::fs::write(path(name), "").expect("a file");
        }
        let files = experiment_files(&[folder.path().to_owned()]).expect("files");
        assert_eq!(names(&files).expect("names"), ["a", "b"]);
        let twice = [path("a.toml"), PathBuf::from("other/a.toml")];
        let error = names(&twice).expect_err("one name").to_string();
        assert!(error.contains("have the same name"), "{error}");
        std::fs::create_dir(path("empty")).expect("a folder");
        let error = experiment_files(&[path("empty")]).expect_err("empty");
        assert!(error.to_string().contains("holds no experiments"));
    }
}
