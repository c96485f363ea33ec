//! Operations on rows of a chunk, for one step of one sample.

use super::layout::Layout;
use crate::ops::cpu::{Real, Rows, Simd, load, row_product, splat, store};

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
        scale_to::<S, T>(layout, factor, v, scaled);
        row_product::<S, T>(sizes, scaled, 1, matrix, Some(sum), sum);
    }
}

/// `to = factor row`.
///
/// # Safety
/// Both must be rows of the layout's width.
#[inline(always)]
pub(super) unsafe fn scale_to<S: Simd, T: Real>(
    layout: &Layout,
    factor: T,
    row: *const T,
    to: *mut T,
) {
    let factor = splat::<S, T>(factor);
    for lane in (0..layout.width).step_by(layout.lanes) {
        // SAFETY: as the caller promises.
        unsafe { store::<S, T>(to.add(lane), load::<S, T>(row.add(lane)) * factor) };
    }
}

/// `to += row`.
///
/// # Safety
/// Both must be rows of the layout's width.
#[inline(always)]
pub(super) unsafe fn add_to<S: Simd, T: Real>(layout: &Layout, row: *const T, to: *mut T) {
    for lane in (0..layout.width).step_by(layout.lanes) {
        // SAFETY: as the caller promises.
        unsafe {
            let sum = load::<S, T>(to.add(lane)) + load::<S, T>(row.add(lane));
            store::<S, T>(to.add(lane), sum);
        }
    }
}

/// `to = row`.
///
/// # Safety
/// Both must be rows of the layout's width.
#[inline(always)]
pub(super) unsafe fn copy_row<S: Simd, T: Real>(layout: &Layout, row: *const T, to: *mut T) {
    for lane in (0..layout.width).step_by(layout.lanes) {
        // SAFETY: as the caller promises.
        unsafe { store::<S, T>(to.add(lane), load::<S, T>(row.add(lane))) };
    }
}

/// `to = row`, without the padding: as many numbers as there are hidden units. Rows are short, and a call of
/// `memcpy` for each would cost more than the copies.
///
/// # Safety
/// `row` must be readable and `to` writable for `d_hidden` numbers, and they must not overlap.
#[inline(always)]
pub(super) unsafe fn copy_units<S: Simd, T: Real>(layout: &Layout, row: *const T, to: *mut T) {
    let (d, lanes) = (layout.d_hidden, layout.lanes);
    // SAFETY: as the caller promises; the last vector overlaps the one before it.
    unsafe {
        if d < lanes {
            for unit in 0..d {
                *to.add(unit) = *row.add(unit);
            }
            return;
        }
        for lane in (0..d - lanes + 1).step_by(lanes) {
            store::<S, T>(to.add(lane), load::<S, T>(row.add(lane)));
        }
        let last = d - lanes;
        store::<S, T>(to.add(last), load::<S, T>(row.add(last)));
    }
}

/// A row of a tensor, then zeros up to the layout's width.
///
/// # Safety
/// `row` must be readable for `d_hidden` numbers, `to` writable for the width, and they must not overlap.
#[inline(always)]
pub(super) unsafe fn copy_padded<S: Simd, T: Real>(layout: &Layout, row: *const T, to: *mut T) {
    // SAFETY: as the caller promises.
    unsafe {
        let last = layout.width - layout.lanes;
        store::<S, T>(to.add(last), splat::<S, T>(T::zero()));
        copy_units::<S, T>(layout, row, to);
    }
}

/// # Safety
/// `to` must have room for `len` numbers.
#[inline(always)]
pub(super) unsafe fn clear<T: Real>(to: *mut T, len: usize) {
    // SAFETY: as the caller promises; all bits 0 is the number 0.
    unsafe { core::ptr::write_bytes(to, 0, len) }
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
