//! Pure tensor functions of the mechanisms: no parameters, no modules.
//!
//! Each mechanism has its own module, which opens with the equations. Layers hold the parameters and
//! call these; whoever needs a mechanism without the layer calls them directly.

mod activation;
pub mod fast_weights;
pub mod holographic;
mod scan;

pub use activation::Activation;
pub use scan::scan;
