//! Matrix memories over a whole sequence, forward and backward, on slices.
//!
//! A unit is a head of a sample. Its steps are taken in chunks, in the form that the [equations](super::super) have there; a chunk has at most
//! [`MOST_WRITES`] writes, so that a number of each of them fits in a vector register or a few.
//!
//! # Readers
//!
//! Within a chunk there are two kinds of rows that read the memory: its writes, which read what they are to replace, and its steps, which read
//! with their queries. With `X_r = k_r` for a write and `X_r = q_r / √K` for a step, `S` the memory before the chunk, and `D_{ri}` the decay
//! from write i to reader r, a reader yields
//!
//! ```text
//! y_r = D_{r0} Sᵀ X_r + Σ_i P_{ri} u_i        P_{ri} = D_{ri} (X_r · k_i) for the writes i that r sees, else 0
//! ```
//!
//! and `u_i = β_i e_i` with `e_i = v_i - y_i` for the delta rule, `e_i = v_i` for a sum, where only steps read.
//!
//! Two rules have become of a sum and of the delta rule:
//!
//! - [Gated](super::Rule::Gated): a sum whose values have a column more, which holds 1. A unit makes decays and β of its gates, chunk by chunk, with m
//!   before the chunk; what steps yield is divided by what they yield of that column, and the backward pass goes through all of it (`backward/gates.rs`).
//! - [Transition](super::Rule::Transition): two writes a step, `u = y` under b and `u = v` under k, and one reader that is a write, `X = a`, which reads before its
//!   step fades: of step t the decays are those up to t - 1. `Y` of that reader is ū of the first write.
//!
//! # Back
//!
//! With `Y_r` the gradient of what a reader yielded and G that of the memory after the chunk:
//!
//! ```text
//! ū_i = D_{Ci} Gᵀ k_i + Σ_r P_{ri} Y_r         dβ_i = e_i · ū_i        dv_i = -Y_i = β_i ū_i       the last write first
//! N_{ri} = Y_r · u_i                            of the pairs in which r sees i
//! dX_r = D_{r0} S Y_r + Σ_i N_{ri} D_{ri} k_i
//! dk_i = D_{Ci} G u_i + Σ_r N_{ri} D_{ri} X_r   and what it is as a reader
//! G <- D_{C0} G + Σ_r D_{r0} X_r Y_rᵀ
//! ```
//!
//! The gradient of a step's log decay is the sum of all products that span the step, each of which is that of a decay and its slope. No term is taken
//! away from another, and nothing is divided by a decay.
//!
//! # The tape
//!
//! For each unit every `e_i`, `[T n, V]`, and the memory at the beginning of each segment of some chunks but the first, `[K, V]`: as seldom as the memories
//! have no more numbers than keys and values together. The backward pass makes the memories between once more. Of what is gated m and nᵀq of every step as well.

mod alone;
mod backward;
mod chunk;
mod forward;
mod layout;
mod room;

pub(super) use alone::step;
pub(super) use backward::{Cotangents, Gradients, backward};
pub(super) use forward::{Outputs, forward};
pub(super) use layout::{Decay, MOST_WRITES, Problem, Tape, chunk_length};
