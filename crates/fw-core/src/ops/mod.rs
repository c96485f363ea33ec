//! Pure tensor functions of the mechanisms: no parameters, no modules.
//!
//! Each mechanism has its own module, which opens with the equations. Layers hold the parameters and
//! call these; whoever needs a mechanism without the layer calls them directly.

mod activation;
mod cell;
#[cfg(any(feature = "flex", feature = "cube"))]
pub(crate) mod checkpoint;
pub(crate) mod convolution;
#[cfg(feature = "flex")]
mod cpu;
#[cfg(feature = "cube")]
mod cube;
pub mod fast_weights;
pub mod holographic;
pub mod matrix_memory;
pub(crate) mod norm;
pub mod ntm;
#[cfg(any(feature = "flex", feature = "cube"))]
pub(crate) mod operation;
mod path;
pub(crate) mod precision;
mod projection;
pub mod sab;
mod scan;
mod select;
mod sequence;
pub(crate) mod shapes;
mod spans;
#[cfg(test)]
pub(crate) mod trials;

pub use activation::Activation;
pub use cell::{CellKind, LstmState, SLstmState};
pub(crate) use cell::{lstm_step, slstm_step};
#[cfg(feature = "flex")]
pub use cpu::{InstructionSet, InstructionSetError};
pub use path::ExecutionPath;
pub use projection::{project, project_linear};
pub(crate) use scan::cut;
pub use scan::scan;
pub(crate) use select::rows;
pub(crate) use sequence::Sequence;
pub(crate) use spans::takes_spans;
pub use spans::{Span, Spans};
