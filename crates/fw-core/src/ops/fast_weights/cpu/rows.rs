//! Operations on rows of a chunk, for one step of one sample.

use super::layout::{Layout, Shared};
use crate::ops::Activation;
use crate::ops::cpu::{Real, Rows, Simd, activated, load, row_product, splat, store};

/// The writes of a chunk, as columns (`[d_hidden, chunk_width]`) and as rows.
#[derive(Clone, Copy)]
pub(super) struct History<T> {
    pub(super) columns: *const T,
    pub(super) rows: Rows<T>,
}

/// The coefficients `rate_j (w_j · s)` of the first n writes, and `sum = initial + Σ_j coefficient_j w_j`.
///
/// # Safety
/// The pointers must have the sizes that the layout says, and the machine the instructions of S.
#[inline(always)]
pub(super) unsafe fn attend<S: Simd, T: Real>(
    layout: &Layout,
    (history, n): (History<T>, usize),
    rates: *const T,
    s: *const T,
    coefficients: *mut T,
    initial: Option<*const T>,
    sum: *mut T,
) {
    let vectors = n.div_ceil(layout.lanes);
    let columns = Rows::new(history.columns, layout.chunk_width);
    // SAFETY: as the caller promises.
    unsafe {
        row_product::<S, T>(
            [layout.d_hidden, vectors],
            s,
            1,
            columns,
            None,
            coefficients,
        );
        for lane in (0..vectors * layout.lanes).step_by(layout.lanes) {
            let score = load::<S, T>(coefficients.add(lane));
            let rate = load::<S, T>(rates.add(lane));
            store::<S, T>(coefficients.add(lane), score * rate);
        }
        let vectors = layout.width / layout.lanes;
        row_product::<S, T>([n, vectors], coefficients, 1, history.rows, initial, sum);
    }
}

/// `sum += factor v M` for M `[d_hidden, width]`. `scaled` is a row to work in.
///
/// # Safety
/// The pointers must have the sizes that the layout says, and the machine the instructions of S.
#[inline(always)]
pub(super) unsafe fn add_read<S: Simd, T: Real>(
    layout: &Layout,
    factor: T,
    v: *const T,
    matrix: *const T,
    scaled: *mut T,
    sum: *mut T,
) {
    let matrix = Rows::new(matrix, layout.width);
    let sizes = [layout.d_hidden, layout.width / layout.lanes];
    // SAFETY: as the caller promises.
    unsafe {
        layout.row().scale_to::<S, T>(factor, v, scaled);
        row_product::<S, T>(sizes, scaled, 1, matrix, Some(sum), sum);
    }
}

/// Where what a normalisation computes goes: the normalised row and, if it is wanted, what it was divided by, inverted.
#[derive(Clone, Copy)]
pub(super) struct Normalised<T> {
    pub(super) row: *mut T,
    pub(super) inverse_deviation: Option<*mut T>,
}

/// `f(LN(v))`, or `f(v)` where there is no normalisation.
///
/// # Safety
/// The pointers must have the sizes that the layout says, and the machine the instructions of S.
#[inline(always)]
pub(super) unsafe fn activate<S: Simd, T: Real>(
    layout: &Layout,
    shared: &Shared<T>,
    activation: Activation,
    norm: Option<Normalised<T>>,
    v: *const T,
    to: *mut T,
) {
    let rows = (0..layout.width).step_by(layout.lanes);
    // SAFETY: as the caller promises.
    unsafe {
        let Some(norm) = norm else {
            for lane in rows {
                let value = load::<S, T>(v.add(lane));
                store::<S, T>(to.add(lane), activated::<S, T>(activation, value));
            }
            return;
        };
        let mut sum = splat::<S, T>(T::zero());
        for lane in rows.clone() {
            sum += load::<S, T>(v.add(lane));
        }
        let mean = splat::<S, T>(sum.reduce_add() * shared.per_unit);
        let mut squares = splat::<S, T>(T::zero());
        for lane in rows.clone() {
            let unit = load::<S, T>(shared.units.as_ptr().add(lane));
            let centred = load::<S, T>(v.add(lane)) - mean * unit;
            squares = centred.mul_add(centred, squares);
            store::<S, T>(norm.row.add(lane), centred);
        }
        let variance = squares.reduce_add() * shared.per_unit;
        let inverse = T::one() / (variance + shared.epsilon).sqrt();
        if let Some(to) = norm.inverse_deviation {
            *to = inverse;
        }
        let inverse = splat::<S, T>(inverse);
        for lane in rows {
            let value = load::<S, T>(norm.row.add(lane)) * inverse;
            store::<S, T>(norm.row.add(lane), value);
            let gain = load::<S, T>(shared.gain.as_ptr().add(lane));
            let bias = load::<S, T>(shared.norm_bias.as_ptr().add(lane));
            let value = value.mul_add(gain, bias);
            store::<S, T>(to.add(lane), activated::<S, T>(activation, value));
        }
    }
}

/// Transposes a square matrix of `d` rows, `width` apart, in place.
///
/// # Safety
/// The matrix must be writable.
pub(super) unsafe fn transpose<T>(matrix: *mut T, d: usize, width: usize) {
    for row in 0..d {
        for column in 0..row {
            // SAFETY: as the caller promises; the two places differ.
            unsafe {
                core::ptr::swap(
                    matrix.add(row * width + column),
                    matrix.add(column * width + row),
                );
            }
        }
    }
}
