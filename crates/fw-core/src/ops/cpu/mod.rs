//! What the CPU kernels share: numbers in lanes, rows of them, products of small matrices, the step of a recurrent cell,
//! aligned memory, threads.

mod buffer;
pub(crate) mod cell;
mod instructions;
mod lanes;
mod packed;
mod pairs;
mod parts;
mod product;
mod rows;
mod sweep;
mod transpose;

pub(crate) use buffer::{Buffer, with_scratch};
pub(crate) use instructions::arch;
#[cfg(test)]
pub(crate) use instructions::architectures;
pub use instructions::{InstructionSet, InstructionSetError};
pub(crate) use lanes::{
    Real, activated, in_fours, load, log_sigmoid, prefetch, sigmoid, sigmoid_slope, splat, store,
    times_slope,
};
pub(crate) use packed::Packed;
pub(crate) use pairs::{Pairs, add_rows};
pub(crate) use parts::{BlockSums, Parts, SharedMut, at_once};
pub(crate) use product::{Initial, Rows, RowsMut, Strided, add_product, product, row_product};
pub(crate) use rows::{Offsets, Row, clear, extend_trimmed, padded, transposed, trimmed};
pub(crate) use sweep::{BackwardPass, ForwardPass, Sweep, Written};
pub(crate) use transpose::transpose;

pub(crate) use macerator::{Arch, Simd, Vector, WithSimd};
