//! What the heads ask for, from numbers of any size, forward and backward.

use super::layout::Layout;
use crate::ops::cpu::{Real, Simd, Vector, load, sigmoid, sigmoid_slope, splat, store};

/// What a head's addressing asks for, but for its key.
#[derive(Clone, Copy)]
pub(super) struct Asked<T> {
    /// β
    pub(super) strength: T,
    /// γ
    pub(super) sharpening: T,
    /// g
    pub(super) gate: T,
    /// s, as many numbers as the shift is wide.
    pub(super) shift: *const T,
}

impl<T: Real> Asked<T> {
    /// From a row that [`activate`] has worked on.
    ///
    /// # Safety
    /// `row` must be a row of what the heads ask for.
    #[inline(always)]
    pub(super) unsafe fn of(layout: &Layout, row: *const T, head: usize) -> Self {
        // SAFETY: as the caller promises.
        unsafe {
            let numbers = row.add(layout.addressing(head) + layout.word);
            Asked {
                strength: *numbers,
                sharpening: *numbers.add(1) + T::one(),
                gate: *numbers.add(2),
                shift: numbers.add(3),
            }
        }
    }
}

/// ```text
/// β = softplus    γ - 1 = softplus    g = σ    s = softmax    e = σ        k and a as they are
/// ```
///
/// # Safety
/// `row` must be a row of what the heads ask for, `room` have room for `3 + shift_width` numbers in whole vectors; the caller must
/// be compiled with the instructions of S.
#[inline(always)]
pub(super) unsafe fn activate<S: Simd, T: Real>(layout: &Layout, row: *mut T, room: *mut T) {
    let (lanes, width) = (layout.slots.lanes, layout.shift_width);
    let zero = splat::<S, T>(T::zero());
    // SAFETY: as the caller promises; what is read behind a head's numbers lies in the same row.
    unsafe {
        for head in 0..layout.n_heads() {
            let numbers = row.add(layout.addressing(head) + layout.word);
            for lane in (0..2).step_by(lanes) {
                let x = load::<S, T>(numbers.add(lane));
                // max(x, 0) + ln (1 + e^-|x|)
                let power = T::exp_lanes::<S>(x.gt(zero).select(zero - x, x));
                let softplus = ln_1p::<S, T>(power) + x.gt(zero).select(x, zero);
                store::<S, T>(room.add(lane), softplus);
            }
            *numbers = *room;
            *numbers.add(1) = *room.add(1);
            store::<S, T>(room, sigmoid(load::<S, T>(numbers.add(2))));
            *numbers.add(2) = *room;
            let shift = numbers.add(3);
            let mut largest = *shift;
            for index in 1..width {
                largest = largest.max(*shift.add(index));
            }
            let largest = splat::<S, T>(largest);
            for lane in (0..width).step_by(lanes) {
                let x = load::<S, T>(shift.add(lane));
                store::<S, T>(room.add(lane), T::exp_lanes::<S>(x - largest));
            }
            let mut sum = *room;
            for index in 1..width {
                sum += *room.add(index);
            }
            for index in 0..width {
                *shift.add(index) = *room.add(index) / sum;
            }
        }
        let erase = row.add(layout.erase());
        for lane in layout.asked[1].starts() {
            let e = sigmoid(load::<S, T>(erase.add(lane)));
            store::<S, T>(erase.add(lane), e);
        }
    }
}

/// `ln (1 + x)` for x from 0 to 1, as near to x as it is where x is small.
#[inline(always)]
fn ln_1p<S: Simd, T: Real>(x: Vector<S, T>) -> Vector<S, T> {
    let one = splat::<S, T>(T::one());
    let sum = x + one;
    // What rounding has made of x in the sum cancels.
    let corrected = T::ln_lanes::<S>(sum) * x / (sum - one);
    sum.le(one).select(x, corrected)
}

/// From the slopes of what [`activate`] yielded, in `slopes`, to those of what it was given.
///
/// # Safety
/// As for [`activate`], for both rows.
#[inline(always)]
pub(super) unsafe fn activate_back<S: Simd, T: Real>(
    layout: &Layout,
    row: *const T,
    slopes: *mut T,
) {
    // SAFETY: as the caller promises.
    unsafe {
        for head in 0..layout.n_heads() {
            let at = layout.addressing(head) + layout.word;
            let asked = Asked::of(layout, row, head);
            let slope = |index: usize| slopes.add(at + index);
            // The slope of softplus where its value is y.
            let softplus = |y: T| -(-y).exp_m1();
            *slope(0) = *slope(0) * softplus(asked.strength);
            *slope(1) = *slope(1) * softplus(*row.add(at + 1));
            *slope(2) = *slope(2) * asked.gate * (T::one() - asked.gate);
            let weights = core::slice::from_raw_parts(asked.shift, layout.shift_width);
            let of_shift = core::slice::from_raw_parts_mut(slope(3), layout.shift_width);
            let products = weights.iter().zip(&*of_shift).map(|(s, slope)| *s * *slope);
            let mean = products.fold(T::zero(), |sum, product| sum + product);
            for (slope, s) in of_shift.iter_mut().zip(weights) {
                *slope = *s * (*slope - mean);
            }
        }
        let erase = layout.erase();
        for lane in layout.asked[1].starts() {
            let e = sigmoid_slope(load::<S, T>(row.add(erase + lane)));
            let slope = slopes.add(erase + lane);
            store::<S, T>(slope, load::<S, T>(slope) * e);
        }
    }
}
