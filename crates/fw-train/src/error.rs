//! What can go wrong, in words for the person at the shell.

use std::path::{Path, PathBuf};

/// An error of this crate. The message says what was found, the rule, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for does not make sense: a setting, a name, a path that is in the way. Exit code 2.
    #[error("{0}")]
    Usage(String),

    /// A layer's configuration breaks a rule. Exit code 2.
    #[error("in [model]")]
    Layer(#[from] fw_core::ConfigError),

    /// A file or folder could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// `read`, `write`, ..
        action: &'static str,
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },

    /// A file of data is not what it should be.
    #[error("{} cannot be used as data: {problem}", path.display())]
    Data {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// A run's folder lacks something or holds something unreadable.
    #[error("{} is not a usable run folder: {problem}", path.display())]
    Run {
        /// The run's folder.
        path: PathBuf,
        /// What is missing or broken, and what to do.
        problem: String,
    },

    /// Weights that cannot be read, or are of another net.
    #[error(transparent)]
    Weights(#[from] fw_core::weights::WeightsError),

    /// A file is no trained net.
    #[error("{} is not a usable trained net: {problem}", path.display())]
    Net {
        /// The file.
        path: PathBuf,
        /// What is missing or broken, and what to do.
        problem: String,
    },

    /// The training loss or a gradient became NaN or infinite.
    #[error(
        "training diverged at step {step}: the {what} is not finite{}; {advice}",
        parameter.as_ref().map(|name| format!(" (first in parameter {name})")).unwrap_or_default()
    )]
    NotFinite {
        /// The step.
        step: usize,
        /// `loss`, `gradient`, `validation loss` or `test loss`.
        what: &'static str,
        /// The first parameter whose value is not finite, if one is.
        parameter: Option<String>,
        /// What to try, and which checkpoint is good.
        advice: String,
    },

    /// Some runs of a comparison failed or could not be read; the rest of it is there.
    #[error("{0}")]
    Incomplete(String),

    /// It was asked to stop (see [`training::stop_flag`](crate::training::stop_flag)); what was done is kept. Exit code 130.
    #[error("{0}")]
    Stopped(String),

    /// A figure could not be drawn.
    #[error("cannot draw {}: {problem}", path.display())]
    Figure {
        /// The figure's file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

impl Error {
    /// The exit code of a process that was asked to stop.
    pub(crate) const STOPPED: u8 = 130;

    /// The process's exit code: 2 when the request was wrong, 1 when carrying it out failed, 130 when it was stopped.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) | Error::Layer(_) => 2,
            Error::Stopped(_) => Error::STOPPED,
            _ => 1,
        }
    }

    /// The error and its causes, in a line.
    pub fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(reason) = cause {
            text += &format!(": {reason}");
            cause = reason.source();
        }
        text
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Error::Usage(message.into())
    }

    pub(crate) fn data(path: &Path, problem: impl Into<String>) -> Self {
        Error::Data {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }

    pub(crate) fn run(path: &Path, problem: impl Into<String>) -> Self {
        Error::Run {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }

    /// For `map_err`: a file error with its action and path.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Error::File {
            action,
            path,
            source,
        }
    }
}

/// `Ok` when `holds`, else a usage error that names the field, the value and the rule.
pub(crate) fn require(
    holds: bool,
    field: &str,
    value: impl std::fmt::Display,
    rule: &str,
) -> Result<(), Error> {
    if holds {
        Ok(())
    } else {
        Err(Error::Usage(format!("{field} is {value}; it must {rule}")))
    }
}
