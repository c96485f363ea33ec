//! From a head's parameters to its weighting and back, on rows of slots.

use super::layout::Layout;
use super::parameters::Asked;
use crate::ops::cpu::{Real, Row, Simd, Vector, in_fours, load, splat, store};
use crate::ops::ntm::addressing::SMALLEST_WEIGHT;

/// The rows of one head in one step.
#[derive(Clone, Copy)]
pub(super) struct Rows<T> {
    /// K
    pub(super) cosines: *const T,
    /// wᶜ
    pub(super) content: *mut T,
    /// w_{t-1}
    pub(super) prev: *const T,
    /// ln w̃
    pub(super) logs: *mut T,
    /// w_t
    pub(super) weights: *mut T,
}

/// Two rows of slots with room around them, so that a circular shift reads them a few places on.
#[derive(Clone, Copy)]
pub(super) struct Ring<T> {
    pub(super) gated: *mut T,
    pub(super) slopes: *mut T,
}

/// Numbers of a row with room around it, and of what [`activate`](super::parameters::activate) needs.
pub(super) fn ring_width(layout: &Layout) -> usize {
    layout.slots.width + (3 + layout.shift_width).next_multiple_of(layout.slots.lanes)
}

/// Repeats the ends of a row that begins `shift_width / 2` numbers after `row`.
#[inline(always)]
unsafe fn close_ring<T: Real>(layout: &Layout, row: *mut T) {
    let (range, n) = (layout.shift_width / 2, layout.slots.units);
    // SAFETY: the row has room for it.
    unsafe {
        for place in 0..range {
            *row.add(place) = *row.add(place + n);
            *row.add(range + n + place) = *row.add(range + place);
        }
    }
}

/// ```text
/// w̃(i) = Σ_j s(j) wᵍ(i - j)
/// ```
#[inline(always)]
unsafe fn shifted<S: Simd, T: Real>(
    layout: &Layout,
    shift: *const T,
    ring: *const T,
    lane: usize,
) -> Vector<S, T> {
    let mut sum = splat::<S, T>(T::zero());
    for index in 0..layout.shift_width {
        // SAFETY: the ring has room for it.
        unsafe {
            let s = splat::<S, T>(*shift.add(index));
            sum = s.mul_add(load::<S, T>(ring.add(lane + index)), sum);
        }
    }
    sum
}

/// Writes a number behind the slots of a row, to which a softmax gives nothing.
#[inline(always)]
unsafe fn hide_behind<T: Real>(slots: Row, row: *mut T, number: T) {
    for slot in slots.units..slots.width {
        // SAFETY: within the row.
        unsafe { *row.add(slot) = number };
    }
}

#[inline(always)]
unsafe fn largest<S: Simd, T: Real>(slots: Row, row: *const T) -> T {
    // SAFETY: within the row.
    unsafe {
        let mut largest = load::<S, T>(row);
        for lane in slots.starts().skip(1) {
            let x = load::<S, T>(row.add(lane));
            largest = x.gt(largest).select(x, largest);
        }
        largest.reduce_max()
    }
}

/// `to = exp(factor (row - largest)) / Σ`, where `row` may be `to`.
#[inline(always)]
unsafe fn softmax<S: Simd, T: Real>(slots: Row, factor: T, row: *const T, to: *mut T) {
    // SAFETY: within the rows.
    unsafe {
        let largest = splat::<S, T>(largest::<S, T>(slots, row));
        let factor = splat::<S, T>(factor);
        let mut sum = splat::<S, T>(T::zero());
        in_fours!(slots, |N, first| {
            let mut x = [largest; N];
            for (index, x) in x.iter_mut().enumerate() {
                let place = row.add(first + index * slots.lanes);
                *x = (load::<S, T>(place) - largest) * factor;
            }
            for (index, power) in T::exp_each::<S, N>(x).into_iter().enumerate() {
                store::<S, T>(to.add(first + index * slots.lanes), power);
                sum += power;
            }
        });
        slots.scale_to::<S, T>(sum.reduce_add().recip(), to, to);
    }
}

/// The four stages, for one head; `ring.gated` is left with wᵍ.
///
/// # Safety
/// All rows must have the width of the slots, the ring that of [`ring_width`]; the caller must be compiled with the instructions
/// of S.
#[inline(always)]
pub(super) unsafe fn address<S: Simd, T: Real>(
    layout: &Layout,
    asked: Asked<T>,
    rows: Rows<T>,
    ring: Ring<T>,
) {
    let slots = layout.slots;
    // SAFETY: as the caller promises.
    unsafe {
        slots.scale_to::<S, T>(asked.strength, rows.cosines, rows.content);
        hide_behind(slots, rows.content, T::neg_infinity());
        softmax::<S, T>(slots, T::one(), rows.content, rows.content);
        interpolate::<S, T>(layout, asked.gate, rows, ring.gated);

        let least = splat::<S, T>(T::of(SMALLEST_WEIGHT));
        in_fours!(slots, |N, first| {
            let mut w = [least; N];
            for (index, w) in w.iter_mut().enumerate() {
                let lane = first + index * slots.lanes;
                let here = shifted::<S, T>(layout, asked.shift, ring.gated, lane);
                *w = here.lt(least).select(least, here);
            }
            for (index, log) in T::ln_each::<S, N>(w).into_iter().enumerate() {
                store::<S, T>(rows.logs.add(first + index * slots.lanes), log);
            }
        });
        // Finite: times a slope of 0 it has to be 0.
        hide_behind(slots, rows.logs, T::min_value());
        softmax::<S, T>(slots, asked.sharpening, rows.logs, rows.weights);
    }
}

/// `wᵍ = w_{t-1} + (wᶜ - w_{t-1}) g`, closed to a ring.
#[inline(always)]
unsafe fn interpolate<S: Simd, T: Real>(layout: &Layout, gate: T, rows: Rows<T>, ring: *mut T) {
    let range = layout.shift_width / 2;
    let gate = splat::<S, T>(gate);
    // SAFETY: as the caller promises.
    unsafe {
        for lane in layout.slots.starts() {
            let prev = load::<S, T>(rows.prev.add(lane));
            let content = load::<S, T>(rows.content.add(lane));
            let gated = (content - prev).mul_add(gate, prev);
            store::<S, T>(ring.add(range + lane), gated);
        }
        close_ring(layout, ring);
    }
}

/// The slopes of what a head asks for, and those that go on.
#[derive(Clone, Copy)]
pub(super) struct Slopes<T> {
    /// Where those of β, γ, g and s go.
    pub(super) asked: *mut T,
    /// Of w_t; then of w_{t-1}.
    pub(super) weights: *mut T,
    /// Where those of K go.
    pub(super) cosines: *mut T,
}

/// The gradients of [`address`].
///
/// # Safety
/// As for [`address`].
#[inline(always)]
pub(super) unsafe fn address_back<S: Simd, T: Real>(
    layout: &Layout,
    asked: Asked<T>,
    rows: Rows<T>,
    slopes: Slopes<T>,
    ring: Ring<T>,
) {
    let (slots, width, range) = (layout.slots, layout.shift_width, layout.shift_width / 2);
    let zero = splat::<S, T>(T::zero());
    // SAFETY: as the caller promises.
    unsafe {
        interpolate::<S, T>(layout, asked.gate, rows, ring.gated);

        // Sharpening: a softmax of γ ln w̃. The largest ln w̃ takes nothing, since the slopes of a softmax sum to 0.
        let mean = dot::<S, T>(slots, rows.weights, slopes.weights);
        let largest = splat::<S, T>(largest::<S, T>(slots, rows.logs));
        let least = splat::<S, T>(T::of(SMALLEST_WEIGHT));
        let sharpening = splat::<S, T>(asked.sharpening);
        let mut of_sharpening = zero;
        for lane in slots.starts() {
            let slope = load::<S, T>(slopes.weights.add(lane)) - mean;
            let slope = load::<S, T>(rows.weights.add(lane)) * slope;
            let below_largest = load::<S, T>(rows.logs.add(lane)) - largest;
            of_sharpening = slope.mul_add(below_largest, of_sharpening);
            let w = shifted::<S, T>(layout, asked.shift, ring.gated, lane);
            let of_shifted = w.lt(least).select(zero, slope * sharpening / w);
            store::<S, T>(ring.slopes.add(range + lane), of_shifted);
        }
        *slopes.asked.add(1) = of_sharpening.reduce_add();

        // Shift.
        for index in 0..width {
            let mut sum = zero;
            for lane in slots.starts() {
                let slope = load::<S, T>(ring.slopes.add(range + lane));
                sum = slope.mul_add(load::<S, T>(ring.gated.add(lane + index)), sum);
            }
            *slopes.asked.add(3 + index) = sum.reduce_add();
        }
        close_ring(layout, ring.slopes);

        // Interpolation.
        let gate = splat::<S, T>(asked.gate);
        let mut of_gate = zero;
        for lane in slots.starts() {
            let mut slope = zero;
            for index in 0..width {
                let s = splat::<S, T>(*asked.shift.add(index));
                let place = lane + width - 1 - index;
                slope = s.mul_add(load::<S, T>(ring.slopes.add(place)), slope);
            }
            let content = load::<S, T>(rows.content.add(lane));
            let prev = load::<S, T>(rows.prev.add(lane));
            of_gate = slope.mul_add(content - prev, of_gate);
            let of_content = slope * gate;
            store::<S, T>(slopes.cosines.add(lane), of_content);
            store::<S, T>(slopes.weights.add(lane), slope - of_content);
        }
        *slopes.asked.add(2) = of_gate.reduce_add();

        // Content: a softmax of β K.
        let mean = dot::<S, T>(slots, rows.content, slopes.cosines);
        let strength = splat::<S, T>(asked.strength);
        let mut of_strength = zero;
        for lane in slots.starts() {
            let slope = load::<S, T>(slopes.cosines.add(lane)) - mean;
            let slope = load::<S, T>(rows.content.add(lane)) * slope;
            of_strength = slope.mul_add(load::<S, T>(rows.cosines.add(lane)), of_strength);
            store::<S, T>(slopes.cosines.add(lane), slope * strength);
        }
        *slopes.asked = of_strength.reduce_add();
    }
}

/// The sum of the products of two rows, in every lane.
#[inline(always)]
unsafe fn dot<S: Simd, T: Real>(slots: Row, a: *const T, b: *const T) -> Vector<S, T> {
    let mut sum = splat::<S, T>(T::zero());
    for lane in slots.starts() {
        // SAFETY: within the rows.
        sum = unsafe { load::<S, T>(a.add(lane)).mul_add(load::<S, T>(b.add(lane)), sum) };
    }
    splat::<S, T>(sum.reduce_add())
}
