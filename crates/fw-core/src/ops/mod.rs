//! Pure tensor functions of the mechanisms: no parameters, no modules.
//!
//! Each mechanism has its own module, which opens with the equations. Layers hold the parameters and
//! call these; whoever needs a mechanism without the layer calls them directly.

mod activation;
#[cfg(feature = "flex")]
mod cpu;
pub mod fast_weights;
pub mod holographic;
mod lstm;
pub mod ntm;
mod path;
mod projection;
pub mod sab;
mod scan;

pub use activation::Activation;
pub use lstm::LstmState;
pub(crate) use lstm::lstm_step;
pub use path::Path;
pub use projection::project;
pub(crate) use projection::project_by;
pub use scan::scan;
