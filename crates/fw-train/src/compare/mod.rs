//! Many trainings at once: which there are to make, and the processes that make them.

mod display;
mod plan;
mod workers;

pub use plan::{Plan, PlannedRun, RunState};
pub use workers::{Failure, Workers};
