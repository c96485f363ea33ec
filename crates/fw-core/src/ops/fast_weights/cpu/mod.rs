//! Fast weights over a whole sequence in one operation, with a hand-written backward pass, on slices.
//!
//! Time is cut into chunks of L steps. Within a chunk the memory is what it was at the chunk's start, and
//! the writes since:
//!
//! ```text
//! A s = λⁿ A_c s + η Σ_{j<n} λ^{n-1-j} w_j (w_j · s)             after n writes of the chunk
//! A_{c+1} = λ^L A_c + η Σ_j λ^{L-1-j} w_j w_jᵀ
//! ```
//!
//! A chunk begins and ends at the same steps in all samples, but a sample's last one ends where the sample does.
//!
//! One chunk for the whole sequence is the attention form, which wins on short ones; chunks of one step are the
//! matrix form. What costs least lies between ([`chunk_length`]).
//!
//! The backward pass runs through the chunks from the last to the first. With g the gradient of what a read
//! yielded and s what it was made with, a read adds `λⁿ Aᵀ g + η Σ_j λ^{n-1-j} w_j (w_j · g)` to the gradient of
//! s, `η λ^{n-1-j} ((w_j · s) g + (w_j · g) s)` to that of w_j, and `λⁿ g sᵀ` to that of A_c.
//!
//! A thread takes a few samples at a time, in lockstep from their first steps on, so that their products with the slow
//! weights are products of matrices: of the samples that have the step, which are the first ones of the few. Gradients of
//! the slow weights are products over a chunk's steps, summed for each [part](crate::ops::cpu::Parts) of the samples, then over
//! parts in their order.
//!
//! # The tape
//!
//! What the backward pass needs beside inputs and outputs is kept in one piece for each sample, in units of
//! numbers, with widths rounded up to whole vectors:
//!
//! ```text
//! s_0 .. s_{S-1}                       T · S · H
//! normalised pre-activations           T · S · (H + 1)
//! η λ^{n-1-j} (w_j · s)                T · S · L
//! A at each chunk's start              (T / L) · H², none if a single chunk starts at A = 0
//! ```
//!
//! T is that of the longest of the few; what lies there for steps that a shorter one does not have is not written.

mod alone;
mod backward;
mod forward;
mod layout;
mod rows;

pub(super) use alone::step;
pub(super) use backward::{Cotangents, backward};
pub(super) use forward::{Outputs, forward};
pub(super) use layout::{Problem, Tape, chunk_length};
