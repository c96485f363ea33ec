//! A Neural Turing Machine over a whole sequence in one operation, with a hand-written backward pass, on slices.
//!
//! A thread takes a few samples at a time, in lockstep, so that their products with the slow weights are products of matrices;
//! what belongs to one sample, its memory and its weightings, it works through alone. The memory lies transposed,
//! `[word_size, memory_size]`, so that a weighting is a few vectors and a shift reads it a few places on.
//!
//! Gradients of the slow weights are outer products of rows, gathered over steps and samples and multiplied as matrices, summed
//! for each [part](crate::ops::cpu::Parts) of the batch, then over parts in their order.
//!
//! # The tape
//!
//! What the backward pass needs is kept in one piece for each sample: a record of each step, one more for the state after the
//! last, and memories. In units of numbers, with widths rounded up to whole vectors (T steps, G gates, L layers, N words of M numbers,
//! `n` heads, P numbers for the heads):
//!
//! ```text
//! what the heads ask for               T · P
//! w, ln w̃, wᶜ and K of each head       T · 4 n · N
//! 1 / |M(i)|                           T · N
//! gates, c_t and h_t of each layer     T · L · (G + 2) · H      (of a feed-forward controller h_t alone)
//! what was read                        T · n_read_heads · M
//! the memory                           T / 16 · N · M
//! ```
//!
//! The memory is kept before every sixteenth step; the backward pass writes again from there.
//!
//! Samples of unequal lengths are sorted, the longest first, so that those of a group that are still there at a step are its first ones, and
//! only they are worked on. T is the number of steps of the longest in a group: the pieces of a group have one size, those of
//! different groups may have different ones.

mod addressing;
mod backward;
mod forward;
mod layout;
mod memory;
mod parameters;
mod resemblance;
mod weights;

pub(super) use backward::backward;
pub(super) use forward::forward;
pub(super) use layout::{Problem, Tape};
