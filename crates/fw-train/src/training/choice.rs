//! What several trainings of one experiment came to, of which one was chosen; and its file.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::files::write_atomically;
use crate::plain::to_json_pretty;

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
        settings_in_words(&self.settings)
    }
}

/// Settings without their sections: `learning_rate = 0.01, n_heads = 2`.
pub(crate) fn settings_in_words<V: Display>(settings: &[(String, V)]) -> String {
    let settings = settings.iter().map(|(path, value)| {
        let field = path.rsplit('.').next().unwrap_or(path);
        format!("{field} = {value}")
    });
    settings.collect::<Vec<_>>().join(", ")
}

/// The folder of the trials of an experiment.
pub(crate) fn trials_folder(out: &Path, name: &str) -> PathBuf {
    out.join(GRID_FOLDER).join(name)
}

impl Choice {
    /// Writes the choice for the runs of a name in a folder.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write(&self, out: &Path, name: &str) -> Result<(), Error> {
        let path = trials_folder(out, name).join(CHOICE_FILE);
        write_atomically(&path, &to_json_pretty(self))
    }

    /// The choice for the runs of a name in a folder, if there was one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn read(out: &Path, name: &str) -> Result<Option<Self>, Error> {
        let path = trials_folder(out, name).join(CHOICE_FILE);
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
