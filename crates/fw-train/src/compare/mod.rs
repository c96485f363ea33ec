//! Many trainings at once: which there are to make, and the processes that make them.

mod display;
mod plan;
mod study;
mod workers;

pub use plan::{Plan, PlannedRun, RunState};
pub use study::Study;
pub use workers::{Failure, Workers};
