//! What every operation with kernels of its own is made of: operands that are declared once, by name, and one node on the graph of
//! the gradients.
//!
//! [`operands!`] declares what an operation reads. On flex [`Kernel`] is its numbers and [`on_flex!`] the rest, on a GPU [`Operation`]
//! its passes and [`on_cube!`] the rest.

#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod operands;
#[cfg(feature = "flex")]
mod prepared;

#[cfg(feature = "cube")]
pub(crate) use cube::{Operation, on_cube, run_tracked as run_tracked_on_cube};
#[cfg(feature = "flex")]
pub(crate) use flex::{
    Kernel, Slopes, View, Yield, contiguous, is_available, on_flex, own, primitive, run,
    run_tracked, view_of,
};
pub(crate) use operands::{Operands, Place, operands};
#[cfg(feature = "flex")]
pub(crate) use prepared::{Source, Sources};
