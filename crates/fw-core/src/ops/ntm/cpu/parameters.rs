//! What the heads ask for, from numbers of any size, forward and backward.

use super::layout::Layout;
use crate::ops::cpu::{Real, Simd, load, sigmoid, sigmoid_slope, store};

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
                sharpening: *numbers.add(1),
                gate: *numbers.add(2),
                shift: numbers.add(3),
            }
        }
    }
}

/// ```text
/// β = softplus    γ = 1 + softplus    g = σ    s = softmax    e = σ        k and a as they are
/// ```
///
/// # Safety
/// `row` must be a row of what the heads ask for; the caller must be compiled with the instructions of S.
#[inline(always)]
pub(super) unsafe fn activate<S: Simd, T: Real>(layout: &Layout, row: *mut T) {
    let softplus = |x: T| x.max(T::zero()) + (-x.abs()).exp().ln_1p();
    // SAFETY: as the caller promises.
    unsafe {
        for head in 0..layout.n_heads() {
            let numbers = row.add(layout.addressing(head) + layout.word);
            // The larger of a NaN and 0 would be 0.
            for (at, more) in [(0, T::zero()), (1, T::one())] {
                let x = *numbers.add(at);
                *numbers.add(at) = if x.is_nan() { x } else { more + softplus(x) };
            }
            *numbers.add(2) = T::one() / (T::one() + (-*numbers.add(2)).exp());
            let shift = core::slice::from_raw_parts_mut(numbers.add(3), layout.shift_width);
            softmax(shift);
        }
        let erase = row.add(layout.erase());
        for lane in layout.asked[1].starts() {
            let e = sigmoid(load::<S, T>(erase.add(lane)));
            store::<S, T>(erase.add(lane), e);
        }
    }
}

fn softmax<T: Real>(numbers: &mut [T]) {
    let largest = numbers.iter().fold(T::neg_infinity(), |a, b| a.max(*b));
    let mut sum = T::zero();
    for number in &mut *numbers {
        *number = (*number - largest).exp();
        sum += *number;
    }
    for number in numbers {
        *number = *number / sum;
    }
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
            *slope(1) = *slope(1) * softplus(asked.sharpening - T::one());
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
