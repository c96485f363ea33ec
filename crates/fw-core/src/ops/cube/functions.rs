//! Functions of one number.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use crate::ops::Activation;

#[cube]
pub(crate) fn sigmoid(value: f32) -> f32 {
    1.0f32 / (1.0f32 + (-value).exp())
}

/// f. Not the larger of the two: that would hide a NaN.
#[cube]
pub(crate) fn activate(value: f32, #[comptime] activation: Activation) -> f32 {
    match comptime!(activation) {
        Activation::Relu => select(value <= 0.0f32, 0.0f32, value),
        Activation::Tanh => value.tanh(),
    }
}

/// The slope of f, from what it yielded.
#[cube]
pub(crate) fn activate_slope(yielded: f32, #[comptime] activation: Activation) -> f32 {
    match comptime!(activation) {
        Activation::Relu => select(yielded <= 0.0f32, 0.0f32, 1.0f32),
        Activation::Tanh => 1.0f32 - yielded * yielded,
    }
}
