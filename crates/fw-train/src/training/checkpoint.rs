//! Checkpoints: folders that are there whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use fw_core::StateData;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::files::{readable_by_others, sync_folder};
use crate::plain::{from_json, to_json_pretty};
use crate::training::evaluate::Evaluation;
use crate::training::kept_state;

/// Where a training stands, besides its model and optimiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Updates done.
    pub step: usize,
    /// Time spent, in seconds, over all sessions.
    pub seconds: f64,
    /// Of these, the time spent on evaluations and checkpoints.
    #[serde(default)]
    pub evaluation_seconds: f64,
    /// The most memory that a process of this run has held, in bytes, where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// Tasks of the curriculum that are mastered.
    #[serde(default)]
    pub stage: usize,
    /// How often training has begun anew.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: usize,
    /// After which update it came to the present task of the curriculum, or began anew.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stage_begun_at: usize,
    /// Whether it begins anew with the next update: the weights and the optimiser's state are then of what is given up.
    #[serde(default, skip_serializing_if = "is_false")]
    pub begins_anew: bool,
    /// The best evaluation of the task itself so far, which comes after those of the curriculum.
    pub best: Option<Best>,
    /// Evaluations in a row without a better one.
    pub evaluations_without_improvement: usize,
    /// SHA-256 of the files of the task itself, on which the best was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<String>,
}

/// Whether a count is what it is where nothing is written of it.
pub(super) fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The best evaluation on the validation split.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Updates done then.
    pub step: usize,
    /// What it came to.
    #[serde(flatten)]
    pub evaluation: Evaluation,
}

/// How the name of a checkpoint begins while it is being written.
const UNFINISHED: &str = ".unfinished-";
const MODEL: &str = "model.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const PROGRESS: &str = "progress.json";
/// Only where training goes on from it.
const STATE: &str = "state.safetensors";

/// What `progress.json` holds.
#[derive(Serialize, Deserialize)]
struct Contents {
    #[serde(flatten)]
    progress: Progress,
    /// CRC-32 of the other files. Checkpoints of earlier versions have none.
    #[serde(default)]
    crc32: BTreeMap<String, u32>,
}

/// One checkpoint on disk: `checkpoints/step-00000500`.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    /// Updates done.
    pub step: usize,
}

impl Checkpoint {
    /// Every checkpoint in a folder, oldest first.
    pub fn all(folder: &Path) -> Result<Vec<Checkpoint>, Error> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file("read", folder)(error)),
        };
        let mut checkpoints = Vec::new();
        for entry in entries {
            let path = entry.map_err(Error::file("read", folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let step = name.and_then(|name| name.strip_prefix("step-")?.parse().ok());
            if let Some(step) = step {
                checkpoints.push(Checkpoint { path, step });
            }
        }
        checkpoints.sort_by_key(|checkpoint| checkpoint.step);
        Ok(checkpoints)
    }

    /// The checkpoint of a step.
    pub fn at(folder: &Path, step: usize) -> Result<Checkpoint, Error> {
        let mut all = Checkpoint::all(folder)?.into_iter();
        let found = all.find(|checkpoint| checkpoint.step == step);
        found.ok_or_else(|| {
            Error::run(
                folder,
                format!("it has no checkpoint of step {step} any more"),
            )
        })
    }

    /// Removes what a killed run has left half-written.
    pub fn remove_unfinished(folder: &Path) -> Result<(), Error> {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_dir_all(entry.path()).map_err(Error::file("remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// Writes a checkpoint into a folder, then removes those that are neither the newest nor the best.
    pub fn write<M: Module>(
        folder: &Path,
        model: &M,
        optimizer: &ModuleOptimizer,
        state: Option<&StateData>,
        progress: &Progress,
    ) -> Result<(), Error> {
        let path = folder.join(format!("step-{:08}", progress.step));
        let fail = Error::file("write", &path);
        write_folder(folder, &path, model, optimizer, state, progress).map_err(fail)?;
        let best = progress.best.map(|best| best.step);
        for old in Checkpoint::all(folder)? {
            if old.step != progress.step && Some(old.step) != best {
                fs::remove_dir_all(&old.path).map_err(Error::file("remove", &old.path))?;
            }
        }
        Ok(())
    }

    /// The model's parameters, put into `model`.
    pub fn load_model<M: Module>(&self, model: M) -> Result<M, Error> {
        let path = self.path.join(MODEL);
        let is_whole = self.check(MODEL)?;
        model.try_load_file(&path).map_err(|error| match is_whole {
            true => Error::run(
                &self.path,
                format!(
                    "{MODEL} is whole, but it is not of the net that the run's config.toml describes ({error})"
                ),
            ),
            false => self.broken(MODEL, error),
        })
    }

    /// The optimiser's state, put into `optimizer`.
    pub fn load_optimizer(&self, optimizer: ModuleOptimizer) -> Result<ModuleOptimizer, Error> {
        let path = self.path.join(OPTIMIZER);
        self.check(OPTIMIZER)?;
        optimizer
            .load(&path)
            .map_err(|error| self.broken(OPTIMIZER, error))
    }

    /// The state that the next window goes on from, where the training carries one.
    pub fn load_state(&self) -> Result<Option<StateData>, Error> {
        let path = self.path.join(STATE);
        if !self.load_contents()?.crc32.contains_key(STATE) {
            return Ok(None);
        }
        self.check(STATE)?;
        let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
        let state = kept_state::from_bytes(&bytes);
        state.map(Some).map_err(|error| self.broken(STATE, error))
    }

    /// Where the training stood.
    pub fn load_progress(&self) -> Result<Progress, Error> {
        Ok(self.load_contents()?.progress)
    }

    fn load_contents(&self) -> Result<Contents, Error> {
        let path = self.path.join(PROGRESS);
        let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
        from_json(&bytes).map_err(|error| self.broken(PROGRESS, error))
    }

    /// An error where a file is not what was written; else whether that is known.
    fn check(&self, file: &str) -> Result<bool, Error> {
        let Some(expected) = self.load_contents()?.crc32.remove(file) else {
            return Ok(false);
        };
        let actual = crc32(&self.path.join(file)).map_err(|error| self.broken(file, error))?;
        match actual == expected {
            true => Ok(true),
            false => Err(self.broken(
                file,
                format!("its CRC-32 is {actual:08x}, not {expected:08x}"),
            )),
        }
    }

    fn broken(&self, file: &str, error: impl std::fmt::Display) -> Error {
        Error::run(
            &self.path,
            format!(
                "{file} is missing or damaged ({error}); once this checkpoint is removed, `train --resume` goes on from the \
                 newest that is left in `checkpoints`, or from the start"
            ),
        )
    }
}

/// Writes all files under another name, then renames the folder.
fn write_folder<M: Module>(
    folder: &Path,
    path: &Path,
    model: &M,
    optimizer: &ModuleOptimizer,
    state: Option<&StateData>,
    progress: &Progress,
) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let unfinished = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(folder)?;
    let failed = |error: burn::store::RecordError| std::io::Error::other(error.to_string());
    let file = |name| unfinished.path().join(name);
    model.clone().save_file(file(MODEL)).map_err(failed)?;
    optimizer.save(file(OPTIMIZER)).map_err(failed)?;
    let mut names = vec![MODEL, OPTIMIZER];
    if let Some(state) = state {
        let bytes = kept_state::to_bytes(state).map_err(std::io::Error::other)?;
        fs::write(file(STATE), bytes)?;
        names.push(STATE);
    }
    let mut contents = Contents {
        progress: progress.clone(),
        crc32: BTreeMap::new(),
    };
    for &name in &names {
        contents.crc32.insert(name.to_owned(), crc32(&file(name))?);
    }
    fs::write(file(PROGRESS), to_json_pretty(&contents))?;
    names.push(PROGRESS);
    for name in names {
        File::open(file(name))?.sync_all()?;
    }
    readable_by_others(unfinished.path())?;
    fs::rename(unfinished.path(), path)?;
    sync_folder(folder)
}

fn crc32(path: &Path) -> std::io::Result<u32> {
    let mut crc = flate2::Crc::new();
    crc.update(&fs::read(path)?);
    Ok(crc.sum())
}
