//! Products and sums that all units of a cube compute together. Between a function that leaves shares and the one that
//! sums them up stands a `sync_cube()`.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::Layout;

/// Units that share a sum over a vector.
pub(crate) const MOMENTS: usize = 16;

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
    let lane = UNIT_POS as usize % layout.lanes;
    let part = UNIT_POS as usize / layout.lanes;
    let span = n_in.div_ceil(layout.parts);
    let first = min(part * span, n_in);
    let last = min(first + span, n_in);
    let mut o = lane;
    while o < n_out {
        let row = offset + o * stride_out;
        let mut sum = 0.0f32;
        for k in first..last {
            sum += matrix[row + k * stride_in] * vector[from + k];
        }
        shares[part * width + o] = sum;
        o += layout.lanes;
    }
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

/// Each unit's share of the mean and the variance of the first `n` numbers: `2 MOMENTS` numbers.
#[cube]
pub(crate) fn share_moments(numbers: &[f32], shares: &mut [f32], #[comptime] n: usize) {
    let unit = UNIT_POS as usize;
    if unit < MOMENTS {
        let mut sum = 0.0f32;
        let mut count = 0.0f32;
        let mut k = unit;
        while k < n {
            sum += numbers[k];
            count += 1.0f32;
            k += MOMENTS;
        }
        let mean = sum / max(count, 1.0f32);
        let mut squares = 0.0f32;
        let mut k = unit;
        while k < n {
            let difference = numbers[k] - mean;
            squares += difference * difference;
            k += MOMENTS;
        }
        shares[unit] = mean;
        shares[MOMENTS + unit] = squares;
    }
}

/// The mean, and the variance (of the numbers themselves, not an estimate), from [`share_moments`].
#[cube]
#[allow(clippy::needless_range_loop, reason = "kernels have no iterators")]
pub(crate) fn moments(shares: &[f32], #[comptime] n: usize) -> (f32, f32) {
    let mut sum = 0.0f32;
    #[unroll]
    for unit in 0..MOMENTS {
        sum += shares[unit] * comptime!(share_of(unit, n) as f32);
    }
    let mean = sum / comptime!(n as f32);
    let mut squares = 0.0f32;
    #[unroll]
    for unit in 0..MOMENTS {
        let difference = shares[unit] - mean;
        squares +=
            shares[MOMENTS + unit] + comptime!(share_of(unit, n) as f32) * difference * difference;
    }
    (mean, squares / comptime!(n as f32))
}

/// Each unit's share of the sums of `a` and of `a b` over the first `n` numbers: `2 MOMENTS` numbers.
#[cube]
pub(crate) fn share_sums(a: &[f32], b: &[f32], shares: &mut [f32], #[comptime] n: usize) {
    let unit = UNIT_POS as usize;
    if unit < MOMENTS {
        let mut plain = 0.0f32;
        let mut weighted = 0.0f32;
        let mut k = unit;
        while k < n {
            plain += a[k];
            weighted += a[k] * b[k];
            k += MOMENTS;
        }
        shares[unit] = plain;
        shares[MOMENTS + unit] = weighted;
    }
}

/// The two sums of [`share_sums`].
#[cube]
pub(crate) fn sums(shares: &[f32]) -> (f32, f32) {
    let mut plain = 0.0f32;
    let mut weighted = 0.0f32;
    #[unroll]
    for unit in 0..MOMENTS {
        plain += shares[unit];
        weighted += shares[MOMENTS + unit];
    }
    (plain, weighted)
}

/// How many of `n` numbers a unit sums up.
fn share_of(unit: usize, n: usize) -> usize {
    n.saturating_sub(unit).div_ceil(MOMENTS)
}
