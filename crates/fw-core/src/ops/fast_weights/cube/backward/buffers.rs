//! The buffers of the backward kernel.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::super::plan::Plan;

/// What the forward pass left.
#[derive(CubeType)]
pub(super) struct Tape<'a> {
    pub(super) outputs: &'a [f32],
    pub(super) states: &'a [f32],
    pub(super) normalized: &'a [f32],
    pub(super) scales: &'a [f32],
    pub(super) matrices: &'a [f32],
}

#[cube]
impl<'a> Tape<'a> {
    pub(super) fn new(
        outputs: &'a [f32],
        states: &'a [f32],
        normalized: &'a [f32],
        scales: &'a [f32],
        matrices: &'a [f32],
    ) -> Tape<'a> {
        Tape::<'a> {
            outputs,
            states,
            normalized,
            scales,
            matrices,
        }
    }
}

/// What the steps read.
#[derive(CubeType)]
pub(super) struct Given<'a> {
    /// The gradients of the outputs.
    pub(super) slopes: &'a [f32],
    pub(super) tape: Tape<'a>,
    pub(super) w_hidden_transposed: &'a [f32],
    pub(super) gain: &'a [f32],
    pub(super) by_age: &'a [f32],
    /// η.
    pub(super) rate: f32,
    /// λ.
    pub(super) decay: f32,
}

#[cube]
impl<'a> Given<'a> {
    pub(super) fn new(
        slopes: &'a [f32],
        tape: Tape<'a>,
        w_hidden_transposed: &'a [f32],
        gain: &'a [f32],
        by_age: &'a [f32],
        #[comptime] plan: Plan,
    ) -> Given<'a> {
        let rate = by_age[0];
        let decay = by_age[comptime!(plan.chunk + 1)];
        Given::<'a> {
            slopes,
            tape,
            w_hidden_transposed,
            gain,
            by_age,
            rate,
            decay,
        }
    }
}

/// What the kernel leaves.
#[derive(CubeType)]
pub(super) struct Left<'a> {
    pub(super) d_projected: &'a mut [f32],
    pub(super) d_read: &'a mut [f32],
    pub(super) d_hidden: &'a mut [f32],
    pub(super) d_gain: &'a mut [f32],
    pub(super) d_norm_bias: &'a mut [f32],
    /// Room for G + Gᵀ, unless units share it.
    pub(super) sums_of_gradients: &'a mut [f32],
}

#[cube]
impl<'a> Left<'a> {
    pub(super) fn new(
        d_projected: &'a mut [f32],
        d_read: &'a mut [f32],
        d_hidden: &'a mut [f32],
        d_gain: &'a mut [f32],
        d_norm_bias: &'a mut [f32],
        sums_of_gradients: &'a mut [f32],
    ) -> Left<'a> {
        Left::<'a> {
            d_projected,
            d_read,
            d_hidden,
            d_gain,
            d_norm_bias,
            sums_of_gradients,
        }
    }
}
