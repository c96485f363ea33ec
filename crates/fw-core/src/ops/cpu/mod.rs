//! What the CPU kernels share: numbers in lanes, products of small matrices, aligned memory, threads.

mod buffer;
mod lanes;
mod parts;
mod product;
mod rows;

pub(crate) use buffer::{Buffer, with_scratch};
pub(crate) use lanes::{Real, load, prefetch, splat, store};
pub(crate) use parts::{Parts, SharedMut};
pub(crate) use product::{Initial, Rows, RowsMut, Strided, add_product, product, row_product};
pub(crate) use rows::{Offsets, Row, clear, padded, transposed};

pub(crate) use macerator::{Arch, Simd, Vector, WithSimd};
