//! Operations on rows of a chunk, for one step of one sample.

use super::layout::Layout;
use crate::ops::cpu::{Real, Rows, Simd, load, row_product, store};

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
