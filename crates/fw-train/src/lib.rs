//! Trains models with memory mechanisms, on any device that Burn runs on.
//!
//! The binary `fw-train` is a thin shell around this library:
//!
//! | part | what it does |
//! |---|---|
//! | [`Experiment`] | a validated experiment, from TOML |
//! | [`tasks`] | where samples come from |
//! | [`models`] | what is trained: layers of `fw-core` between an embedding and a head |
//! | [`training`] | the loop, checkpoints, the run's folder |
//! | [`compare`] | many trainings at once |
//! | [`cost`] | time and memory of a forward and a backward pass |
//! | [`report`] | figures, and a report of many runs |
//! | `cli` | what was typed: with the feature `cli`, which is on unless default features are left out |
#![deny(missing_docs)]

/// Prints a line on standard error, whose reader may have gone: what is only told must not end what is done.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), $($text)*);
    }};
}

mod bars;
#[cfg(feature = "cli")]
pub mod cli;
pub mod compare;
pub mod cost;
mod device;
mod error;
mod experiment;
mod files;
pub mod models;
mod plain;
pub mod report;
mod settings;
pub mod tasks;
pub mod training;

pub use device::{DeviceName, Devices};
pub use error::Error;
pub use experiment::Experiment;
pub use settings::Change;

/// Which checkpoint of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum CheckpointChoice {
    /// The one that did best on the validation split: lowest error where classes are answered, else lowest loss.
    #[default]
    Best,
    /// The newest.
    Last,
}
