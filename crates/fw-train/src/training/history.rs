//! What has made a run: each time that it was begun or continued.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::settings::Change;
use crate::tasks::DataFile;
use crate::training::RunResult;

/// One time that a run was begun or continued: an entry of `history.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// When, RFC 3339.
    pub started: String,
    /// Version of fw-train.
    pub version: String,
    /// Version of Burn.
    pub burn: String,
    /// Updates that had been done before.
    pub step: usize,
    /// The run whose weights this one began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Origin>,
    /// Settings that are not as they were before: of the session before, or of the run whose weights it began with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<Change>,
    /// The files of data that it read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataFile>,
    /// What the run had come to before, if it had ended and was then trained further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<RunResult>,
}

/// Where the first weights of a run come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The folder of that run.
    pub run: PathBuf,
    /// The step of its checkpoint.
    pub step: usize,
}

impl Session {
    /// A session of this build that begins now.
    pub(super) fn now(step: usize, data: Vec<DataFile>) -> Self {
        Session {
            started: now(),
            version: VERSION.to_owned(),
            burn: BURN.to_owned(),
            step,
            from: None,
            changed: Vec::new(),
            data,
            result: None,
        }
    }
}

/// The version of fw-train that this is.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of Burn that this is built with: see `build.rs`.
pub(crate) const BURN: &str = env!("BURN_VERSION");

/// The time, RFC 3339.
pub(super) fn now() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
