//! Sparse Attentive Backtracking over whole sequences in one operation, with a hand-written backward pass, on slices.
//!
//! A thread takes a few samples at a time, in lockstep, so that their products with the weights are products of matrices. Of
//! [unequal lengths](crate::ops::Spans) the longest come first: at each step the samples that have it are the first of those few.
//! The key of a memory is computed once, when it is stored.
//!
//! The backward pass walks from the last step to the first, and visits only what receives gradient: a step whose state
//! nobody asks for costs nothing, and of the memories only those that took part in a visited step are touched. With
//! g the gradient of s_t and `a_i = vᵀ tanh(q + k_i)`, memory i receives `w_i g`, its key `∂a_i v (1 - tanh²(q + k_i))`; both
//! wait at the memory until the walk arrives at the step that stored it. Gradients of the weights are products over the
//! visited steps of a few samples at a time, summed for each [part](crate::ops::cpu::Parts) of the batch, then over
//! parts in their order.
//!
//! # The tape
//!
//! What the backward pass needs is kept in one piece for each sample, in units of numbers, with widths rounded up to whole
//! vectors. The samples that a thread takes at a time have pieces of one size, T being the steps of the longest of them; a sample that has
//! ended before leaves the rest of its own untouched:
//!
//! ```text
//! gates                                T · n_gates · H
//! c_t (of a GRU W h_{t-1}, new gate)   (T + 1) · H
//! h_t                                  (T + 1) · H
//! ĥ_t                                  T · H
//! queries                              T · A
//! weights and indices                  T · 2 k_top, and T more for what weights were divided by
//! memories and keys                    N · (H + A), N the number of memories after T steps, with those that were dropped
//! ```

mod alone;
mod backward;
mod forward;
mod layout;
mod recall;

pub(super) use alone::{Stored, keys, recall_alone};
#[cfg(test)]
pub(super) use backward::Visits;
pub(super) use backward::backward;
pub(super) use forward::forward;
pub(super) use layout::{Problem, Tape};
