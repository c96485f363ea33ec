//! Products that all units of a cube compute together. Between [`product`], which leaves shares, and [`sum_of_parts`] stands a
//! `sync_cube()`.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::Layout;

/// Terms that a unit reads before it multiplies: a GPU waits hundreds of cycles for a number, and as long for several.
const AT_ONCE: usize = 4;

/// A unit's lane and part.
#[cube]
pub(crate) fn place(#[comptime] layout: Layout) -> (usize, usize) {
    let unit = UNIT_POS as usize;
    (unit % layout.lanes, unit / layout.lanes)
}

/// The first of n terms that a part sums up, and the first that it does not.
#[cube]
pub(crate) fn terms(part: usize, n: usize, #[comptime] layout: Layout) -> (usize, usize) {
    let span = n.div_ceil(layout.parts);
    let first = min(part * span, n);
    (first, min(first + span, n))
}

/// Waits for all units, and, with `storage`, for what they wrote to buffers.
#[cube]
pub(crate) fn sync(#[comptime] storage: bool) {
    if comptime!(storage) {
        sync_storage();
    } else {
        sync_cube();
    }
}

/// Each unit's share of `out_o = Σ_k matrix[offset + o stride_out + k stride_in] vector[from + k]`, for `o < n_out` and
/// `k < n_in`: `parts` rows of `width` numbers.
#[cube]
#[allow(clippy::too_many_arguments, reason = "two slices and where they lie")]
pub(crate) fn product(
    matrix: &[f32],
    offset: usize,
    stride_out: usize,
    stride_in: usize,
    n_out: usize,
    n_in: usize,
    vector: &[f32],
    from: usize,
    shares: &mut [f32],
    #[comptime] width: usize,
    #[comptime] layout: Layout,
) {
    let (lane, part) = place(layout);
    let (first, last) = terms(part, n_in, layout);
    for o in range_stepped(lane, n_out, comptime!(layout.lanes)) {
        let row = offset + o * stride_out;
        let mut sum = 0.0f32;
        let mut k = first;
        while k + AT_ONCE <= last {
            #[unroll]
            for next in 0..AT_ONCE {
                sum += matrix[row + (k + next) * stride_in] * vector[from + k + next];
            }
            k += AT_ONCE;
        }
        while k < last {
            sum += matrix[row + k * stride_in] * vector[from + k];
            k += 1;
        }
        shares[part * width + o] = sum;
    }
}

/// [`product`] of a vector with a matrix of `n_in` rows of `n_out` numbers.
#[cube]
#[allow(clippy::too_many_arguments, reason = "two slices and where they lie")]
pub(crate) fn times(
    matrix: &[f32],
    offset: usize,
    n_in: usize,
    vector: &[f32],
    from: usize,
    shares: &mut [f32],
    #[comptime] n_out: usize,
    #[comptime] layout: Layout,
) {
    product(
        matrix, offset, 1, n_out, n_out, n_in, vector, from, shares, n_out, layout,
    );
}

/// A number of the result of [`product`].
#[cube]
pub(crate) fn sum_of_parts(
    shares: &[f32],
    o: usize,
    #[comptime] width: usize,
    #[comptime] layout: Layout,
) -> f32 {
    let mut sum = 0.0f32;
    #[unroll]
    for part in 0..layout.parts {
        sum += shares[part * width + o];
    }
    sum
}
