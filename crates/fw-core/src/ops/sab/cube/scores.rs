//! What both kernels know of how memories are scored and weighed.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::{Attention, SCORE_ROW};
use crate::ops::cube::SHARERS;
use crate::ops::sab::{Score, Sparsifier};

/// See [`SPARSIFIER_EPSILON`](crate::ops::sab::SPARSIFIER_EPSILON).
pub(super) const EPSILON: f32 = 1e-7;

/// What attention sees of a state.
#[cube]
pub(super) fn attended(value: f32, #[comptime] attention: Attention) -> f32 {
    match comptime!(attention.score) {
        Score::Released => value.tanh(),
        _ => value,
    }
}

/// The gradient of a number of a state, from that of what attention sees of it: back through [`attended`].
#[cube]
pub(super) fn attended_back(
    slope: f32,
    states: &[f32],
    at: usize,
    #[comptime] attention: Attention,
) -> f32 {
    match comptime!(attention.score) {
        Score::Released => {
            let squashed = states[at].tanh();
            slope * (1.0f32 - squashed * squashed)
        }
        _ => slope,
    }
}

/// A number of the query, or its gradient, as the score scales it: by `1 / sqrt(d_attention)`.
#[cube]
pub(super) fn scaled(value: f32, #[comptime] attention: Attention) -> f32 {
    match comptime!(attention.score) {
        Score::ScaledDot => value * comptime!(1.0 / (attention.d_attention as f64).sqrt()) as f32,
        _ => value,
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
