//! Products that all units of a cube compute together. Between [`product`], which leaves shares, and [`sum_of_shares`] stands a
//! `sync_cube()`.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::Workgroup;

/// Terms that a unit reads before it multiplies: a GPU waits hundreds of cycles for a number, and as long for several.
const AT_ONCE: usize = 4;

/// A unit's lane and share.
#[cube]
pub(crate) fn place(#[comptime] workgroup: Workgroup) -> (usize, usize) {
    let unit = UNIT_POS as usize;
    (unit % workgroup.lanes, unit / workgroup.lanes)
}

/// The first of n terms that a share sums up, and the first that it does not.
#[cube]
pub(crate) fn terms(share: usize, n: usize, #[comptime] workgroup: Workgroup) -> (usize, usize) {
    let span = n.div_ceil(workgroup.shares);
    let first = min(share * span, n);
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
/// `k < n_in`: `shares` rows of `width` numbers.
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
    #[comptime] workgroup: Workgroup,
) {
    let (lane, share) = place(workgroup);
    let (first, last) = terms(share, n_in, workgroup);
    for o in range_stepped(lane, n_out, comptime!(workgroup.lanes)) {
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
        shares[share * width + o] = sum;
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
    #[comptime] workgroup: Workgroup,
) {
    product(
        matrix, offset, 1, n_out, n_out, n_in, vector, from, shares, n_out, workgroup,
    );
}

/// A number of the result of [`product`].
#[cube]
pub(crate) fn sum_of_shares(
    shares: &[f32],
    o: usize,
    #[comptime] width: usize,
    #[comptime] workgroup: Workgroup,
) -> f32 {
    let mut sum = 0.0f32;
    #[unroll]
    for share in 0..workgroup.shares {
        sum += shares[share * width + o];
    }
    sum
}
