//! Pure tensor functions of the mechanisms: no parameters, no modules.
//!
//! Each mechanism has its own module, which opens with the equations. Layers hold the parameters and
//! call these; whoever needs a mechanism without the layer calls them directly.

mod activation;
mod cell;
#[cfg(feature = "flex")]
mod cpu;
#[cfg(feature = "cube")]
mod cube;
pub mod fast_weights;
#[cfg(feature = "flex")]
pub(crate) mod fused;
pub mod holographic;
pub mod ntm;
mod path;
mod precision;
mod projection;
pub mod sab;
mod scan;
pub(crate) mod shapes;

pub use activation::Activation;
pub(crate) use cell::lstm_step;
pub use cell::{CellKind, LstmState};
#[cfg(feature = "flex")]
pub use cpu::{InstructionSet, InstructionSetError};
pub use path::Path;
pub use projection::{project, project_linear};
pub use scan::scan;
