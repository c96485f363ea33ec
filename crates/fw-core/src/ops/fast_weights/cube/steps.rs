//! What both kernels do in a step.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::Plan;
use crate::ops::cube::{product, sum_of_parts};

/// Where the matrix at the start of a chunk lies.
#[cube]
pub(super) fn place_of_matrix(
    sample: usize,
    chunk: usize,
    seq_length: usize,
    #[comptime] plan: Plan,
) -> usize {
    let numbers = comptime!(plan.d_hidden * plan.d_hidden);
    if comptime!(plan.keeps) {
        let n_chunks = seq_length.div_ceil(comptime!(plan.chunk));
        (sample * n_chunks + chunk) * numbers
    } else {
        sample * numbers
    }
}

/// Each unit's share of what `n` written vectors make of another, `η Σ_τ λ^age w_τ (w_τ · v)`, as numbers `plan.width()`
/// apart. The units meet twice in it; the caller's `sync_cube()` follows.
#[cube]
#[allow(clippy::too_many_arguments, reason = "slices and where they begin")]
pub(super) fn attend(
    written: &[f32],
    n: usize,
    vector: &[f32],
    from: usize,
    by_age: &[f32],
    scores: &mut [f32],
    shares: &mut [f32],
    #[comptime] plan: Plan,
) {
    let d_hidden = comptime!(plan.d_hidden);
    let row = comptime!(plan.written_row());
    let width = comptime!(plan.width());
    let layout = comptime!(plan.layout);
    product(
        written, 0, row, 1, n, d_hidden, vector, from, shares, width, layout,
    );
    sync_cube();
    for i in range_stepped(UNIT_POS as usize, n, comptime!(plan.layout.units())) {
        scores[i] = by_age[n - 1 - i] * sum_of_parts(&*shares, i, width, layout);
    }
    sync_cube();
    product(
        written, 0, 1, row, d_hidden, n, &*scores, 0, shares, width, layout,
    );
}
