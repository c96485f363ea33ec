//! Many trainings at once: which there are to make, and the processes that make them.

mod choice;
mod display;
mod entries;
mod plan;
mod study;
mod workers;

pub use choice::Chosen;
pub use entries::{Candidate, Entry, Grid};
pub use plan::{Plan, PlannedRun, RunState};
pub use study::Study;
pub use workers::{Failure, Workers};
