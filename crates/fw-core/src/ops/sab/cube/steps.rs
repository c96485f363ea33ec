//! What both kernels know of the memories, and how they add up.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::{Attention, Plan, SCORE_ROW};
use crate::ops::cube::SHARERS;
use crate::ops::sab::Sparsifier;

/// See [`SPARSIFIER_EPSILON`](crate::ops::sab::SPARSIFIER_EPSILON).
pub(super) const EPSILON: f32 = 1e-7;

/// The first step of a sequence after which a state is stored.
#[cube]
pub(super) fn first_stored(first_step: usize, #[comptime] attention: Attention) -> usize {
    comptime!(attention.interval - 1) - first_step % comptime!(attention.interval)
}

/// The memories before step t, those that are given among them.
#[cube]
pub(super) fn n_before(
    t: usize,
    n_given: usize,
    first_step: usize,
    #[comptime] attention: Attention,
) -> usize {
    let first = first_stored(first_step, attention);
    // Stored after steps first, first + interval, ..
    n_given + (t + comptime!(attention.interval - 1) - first) / comptime!(attention.interval)
}

/// The oldest memory that is still there, of `n`.
#[cube]
pub(super) fn oldest(n: usize, #[comptime] attention: Attention) -> usize {
    match comptime!(attention.max_memories) {
        Some(most) => n - min(n, most),
        None => 0usize.runtime(),
    }
}

/// Whether `n` memories are more than are recalled.
#[cube]
pub(super) fn is_crowded(n: usize, #[comptime] attention: Attention) -> bool {
    match comptime!(attention.top_k) {
        Some(top_k) => n > top_k,
        None => false.runtime(),
    }
}

/// How many of `n` memories take part.
#[cube]
pub(super) fn n_chosen(n: usize, #[comptime] attention: Attention) -> usize {
    match comptime!(attention.top_k) {
        Some(top_k) => {
            let most = comptime!(top_k + (attention.sparsifier == Sparsifier::Threshold) as usize);
            select(n > top_k, most.runtime(), n)
        }
        None => n,
    }
}

/// A number of a memory.
#[cube]
#[allow(clippy::too_many_arguments, reason = "slices and where they begin")]
pub(super) fn memory(
    given: &[f32],
    results: &[f32],
    sample: usize,
    index: usize,
    o: usize,
    n_given: usize,
    first_step: usize,
    seq_length: usize,
    #[comptime] plan: Plan,
    #[comptime] attention: Attention,
) -> f32 {
    if index < n_given {
        given[(sample * n_given + index) * comptime!(plan.d_hidden) + o]
    } else {
        let t =
            first_stored(first_step, attention) + (index - n_given) * comptime!(attention.interval);
        results[(sample * seq_length + t) * comptime!(plan.d_output()) + o]
    }
}

/// How far a score is above the threshold, which the last of those that take part gives. Not the larger of two: that would
/// hide a NaN.
#[cube]
pub(super) fn above(score: f32, last: f32, #[comptime] sparsifier: Sparsifier) -> f32 {
    let above = match comptime!(sparsifier) {
        Sparsifier::Released => score - (last + EPSILON),
        _ => score - last,
    };
    select(above <= 0.0f32, 0.0f32, above)
}

/// Each unit's share of the sum of what is [`above`].
#[cube]
pub(super) fn share_above(
    scores: &[f32],
    from: usize,
    n: usize,
    shares: &mut [f32],
    #[comptime] sparsifier: Sparsifier,
) {
    let unit = UNIT_POS as usize;
    if unit < SHARERS {
        let last = scores[from + n - 1];
        let mut sum = 0.0f32;
        for i in range_stepped(unit, n, SHARERS) {
            sum += above(scores[from + i], last, sparsifier);
        }
        shares[unit] = sum;
    }
}

/// A score, from its shares.
#[cube]
pub(super) fn score_of(shares: &[f32], i: usize) -> f32 {
    let mut sum = 0.0f32;
    #[unroll]
    for unit in 0..SHARERS {
        sum += shares[i * SCORE_ROW + unit];
    }
    sum
}
