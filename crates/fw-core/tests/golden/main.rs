//! Layers against reference values computed outside this crate.
//!
//! The files are those of `tests/goldens`, or of the folder that the environment variable `FW_GOLDENS`
//! names; sizes and options are read from each file, so that a new file needs no new code.

#[path = "../common/mod.rs"]
mod common;
mod fast_weights;
mod matrix_memory;
mod ntm;
mod recurrent_delta;
mod reference;
mod sab;
mod slstm;
