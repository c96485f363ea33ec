//! What both kernels share, and do in a step.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::Plan;
use crate::ops::cube::{SHARERS, product, sum_of_shares};

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

/// Whether a matrix precedes a chunk.
#[cube]
pub(super) fn has_matrix(chunk: usize, #[comptime] plan: Plan) -> bool {
    comptime!(plan.has_start) || chunk > 0
}

/// What the units of a cube share in both kernels.
#[derive(CubeType)]
pub(super) struct Room {
    /// Units' shares of a product.
    pub(super) shares: Shared<[f32]>,
    /// Those of the product with the matrix at the start of a chunk.
    pub(super) from_matrix: Shared<[f32]>,
    /// The vectors written in a chunk, `plan.written_row()` numbers apart.
    pub(super) written: Shared<[f32]>,
    scores: Shared<[f32]>,
    /// Units' shares of what a normalisation sums up.
    pub(super) statistics: Shared<[f32]>,
    /// A transposed in the forward pass, G + Gᵀ in the backward pass, if there is room for it.
    pub(super) matrix: Shared<[f32]>,
    #[cube(comptime)]
    plan: Plan,
}

#[cube]
impl Room {
    pub(super) fn new(#[comptime] plan: Plan) -> Room {
        Room {
            shares: Shared::<[f32]>::new_slice(comptime!(plan.workgroup.shares * plan.width())),
            from_matrix: Shared::<[f32]>::new_slice(comptime!(
                plan.workgroup.shares * plan.d_hidden
            )),
            written: Shared::<[f32]>::new_slice(comptime!(plan.chunk * plan.written_row())),
            scores: Shared::<[f32]>::new_slice(comptime!(plan.chunk)),
            statistics: Shared::<[f32]>::new_slice(comptime!(2 * SHARERS)),
            matrix: Shared::<[f32]>::new_slice(comptime!(plan.matrix_numbers())),
            plan,
        }
    }

    /// Each unit's share of what the first `n` written vectors make of another, `η Σ_τ λ^age w_τ (w_τ · v)`, as numbers
    /// `plan.width()` apart. The units meet twice in it; the caller's `sync_cube()` follows.
    pub(super) fn attend(&mut self, n: usize, vector: &[f32], from: usize, by_age: &[f32]) {
        let plan = comptime!(self.plan);
        let d_hidden = comptime!(plan.d_hidden);
        let row = comptime!(plan.written_row());
        let width = comptime!(plan.width());
        let workgroup = comptime!(plan.workgroup);
        product(
            &self.written,
            0,
            row,
            1,
            n,
            d_hidden,
            vector,
            from,
            &mut self.shares,
            width,
            workgroup,
        );
        sync_cube();
        for i in range_stepped(UNIT_POS as usize, n, comptime!(plan.workgroup.units())) {
            self.scores[i] = by_age[n - 1 - i] * sum_of_shares(&self.shares, i, width, workgroup);
        }
        sync_cube();
        product(
            &self.written,
            0,
            1,
            row,
            d_hidden,
            n,
            &self.scores,
            0,
            &mut self.shares,
            width,
            workgroup,
        );
    }
}
