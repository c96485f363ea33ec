//! What both kernels do in a step.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::{Plan, SCALARS};
use crate::ops::cube::sigmoid;
use crate::ops::ntm::addressing;

/// The square of the smallest norm.
pub(super) const SMALLEST_SQUARE: f32 =
    (addressing::SMALLEST_NORM * addressing::SMALLEST_NORM) as f32;

pub(super) const SMALLEST_WEIGHT: f32 = addressing::SMALLEST_WEIGHT as f32;

/// Where the last state of a sample lies in the results, and its gradient in theirs.
#[derive(CubeType)]
pub(super) struct Ends {
    pub(super) memory: usize,
    pub(super) weights: usize,
    pub(super) hidden: usize,
    pub(super) cell: usize,
}

#[cube]
impl Ends {
    /// The places of the sample that this cube computes.
    pub(super) fn new(seq_length: usize, #[comptime] plan: Plan) -> Ends {
        let sizes = comptime!(plan.sizes);
        let d_output = comptime!(sizes.d_output());
        let d_states = comptime!(sizes.d_states());
        let n_weights = comptime!(sizes.n_weights());
        let numbers = comptime!(sizes.memory_numbers());
        let sample = CUBE_POS_X as usize;
        let batch_size = CUBE_COUNT_X as usize;
        let memory = batch_size * seq_length * d_output + sample * numbers;
        let weights = batch_size * (seq_length * d_output + numbers) + sample * n_weights;
        let hidden = batch_size * (seq_length * d_output + numbers + n_weights) + sample * d_states;
        let cell = hidden + batch_size * d_states;
        Ends {
            memory,
            weights,
            hidden,
            cell,
        }
    }
}

#[cube]
pub(super) fn softplus(value: f32) -> f32 {
    max(value, 0.0f32) + (-value.abs()).exp().log1p()
}

/// From what the heads' map yields: of each head β, γ, g and the square of the key's norm; the shifts; the erase vectors. Keys
/// and add vectors are what the map yields.
#[cube]
pub(super) fn parameters(
    raw: &[f32],
    scalars: &mut [f32],
    shifts: &mut [f32],
    erases: &mut [f32],
    #[comptime] plan: Plan,
) {
    let sizes = comptime!(plan.sizes);
    let unit = UNIT_POS as usize;
    let units = comptime!(plan.units());
    let word_size = comptime!(sizes.word_size);
    let shift_width = comptime!(sizes.shift_width);
    for head in range_stepped(unit, comptime!(sizes.n_heads()), units) {
        let at = head * comptime!(sizes.d_addressing());
        let mut square = 0.0f32;
        for m in 0..word_size {
            square += raw[at + m] * raw[at + m];
        }
        let at = at + word_size;
        scalars[head * SCALARS] = softplus(raw[at]);
        scalars[head * SCALARS + 1] = 1.0f32 + softplus(raw[at + 1]);
        scalars[head * SCALARS + 2] = sigmoid(raw[at + 2]);
        scalars[head * SCALARS + 3] = square;
        let at = at + 3;
        let mut largest = raw[at];
        for j in 1..shift_width {
            largest = max(largest, raw[at + j]);
        }
        let mut total = 0.0f32;
        for j in 0..shift_width {
            total += (raw[at + j] - largest).exp();
        }
        for j in 0..shift_width {
            shifts[head * shift_width + j] = (raw[at + j] - largest).exp() / total;
        }
    }
    for e in range_stepped(unit, comptime!(sizes.d_erase()), units) {
        erases[e] = sigmoid(raw[comptime!(sizes.erase_at()) + e]);
    }
}

/// The row that shift `j` brings weight from, or, going `back`, to.
#[cube]
pub(super) fn shifted(
    i: usize,
    j: usize,
    #[comptime] back: bool,
    #[comptime] memory_size: usize,
    #[comptime] shift_width: usize,
) -> usize {
    let range = comptime!(shift_width / 2);
    // The range is at most the memory's size, so that nothing is negative.
    if comptime!(back) {
        (i + comptime!(memory_size + range) - j) % memory_size
    } else {
        (i + j + comptime!(memory_size - range)) % memory_size
    }
}

/// `Σ_j s(j) wᵍ(..)` for a row, or its transpose.
#[cube]
pub(super) fn shift(
    weights: &[f32],
    shifts: &[f32],
    head: usize,
    i: usize,
    #[comptime] back: bool,
    #[comptime] plan: Plan,
) -> f32 {
    let memory_size = comptime!(plan.sizes.memory_size);
    let shift_width = comptime!(plan.sizes.shift_width);
    let mut sum = 0.0f32;
    for j in 0..shift_width {
        let from = shifted(i, j, back, memory_size, shift_width);
        sum += shifts[head * shift_width + j] * weights[head * memory_size + from];
    }
    sum
}

/// The share of a word's number that all write heads leave: `Π_h (1 - w_h(i) e_h)`, but for head `but` (none: `n_write`).
#[cube]
pub(super) fn kept(
    weights: &[f32],
    weights_at: usize,
    erases: &[f32],
    i: usize,
    m: usize,
    but: usize,
    #[comptime] plan: Plan,
) -> f32 {
    let sizes = comptime!(plan.sizes);
    let mut kept = 1.0f32;
    for head in 0..comptime!(sizes.n_write) {
        let w = weights
            [weights_at + (comptime!(sizes.n_read) + head) * comptime!(sizes.memory_size) + i];
        if head != but {
            kept *= 1.0f32 - w * erases[head * comptime!(sizes.word_size) + m];
        }
    }
    kept
}

/// What all write heads add to a word's number: `Σ_h w_h(i) a_h`.
#[cube]
pub(super) fn added(
    weights: &[f32],
    weights_at: usize,
    adds: &[f32],
    adds_at: usize,
    i: usize,
    m: usize,
    #[comptime] plan: Plan,
) -> f32 {
    let sizes = comptime!(plan.sizes);
    let mut sum = 0.0f32;
    for head in 0..comptime!(sizes.n_write) {
        let w = weights
            [weights_at + (comptime!(sizes.n_read) + head) * comptime!(sizes.memory_size) + i];
        sum += w * adds[adds_at + head * comptime!(sizes.word_size) + m];
    }
    sum
}
