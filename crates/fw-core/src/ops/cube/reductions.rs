//! Sums and maxima over vectors that [`SHARERS`] units share. Between a function that leaves shares and the one that takes them
//! together stands a `sync_cube()`.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

/// Units that share a sum or a maximum over a vector.
pub(crate) const SHARERS: usize = 16;

/// Each unit's share of the mean and the variance of the first `n` numbers: `2 SHARERS` numbers.
#[cube]
pub(crate) fn share_moments(numbers: &[f32], shares: &mut [f32], #[comptime] n: usize) {
    let unit = UNIT_POS as usize;
    if unit < SHARERS {
        let mut sum = 0.0f32;
        let mut count = 0.0f32;
        let mut k = unit;
        while k < n {
            sum += numbers[k];
            count += 1.0f32;
            k += SHARERS;
        }
        let mean = sum / max(count, 1.0f32);
        let mut squares = 0.0f32;
        let mut k = unit;
        while k < n {
            let difference = numbers[k] - mean;
            squares += difference * difference;
            k += SHARERS;
        }
        shares[unit] = mean;
        shares[SHARERS + unit] = squares;
    }
}

/// The mean, and the variance (of the numbers themselves, not an estimate), from [`share_moments`].
#[cube]
#[allow(clippy::needless_range_loop, reason = "kernels have no iterators")]
pub(crate) fn moments(shares: &[f32], #[comptime] n: usize) -> (f32, f32) {
    let mut sum = 0.0f32;
    #[unroll]
    for unit in 0..SHARERS {
        sum += shares[unit] * comptime!(share_of(unit, n) as f32);
    }
    let mean = sum / comptime!(n as f32);
    let mut squares = 0.0f32;
    #[unroll]
    for unit in 0..SHARERS {
        let difference = shares[unit] - mean;
        squares +=
            shares[SHARERS + unit] + comptime!(share_of(unit, n) as f32) * difference * difference;
    }
    (mean, squares / comptime!(n as f32))
}

/// Each unit's share of the sums of `a` and of `a b` over the first `n` numbers: `2 SHARERS` numbers.
#[cube]
pub(crate) fn share_sums(a: &[f32], b: &[f32], shares: &mut [f32], #[comptime] n: usize) {
    let unit = UNIT_POS as usize;
    if unit < SHARERS {
        let mut plain = 0.0f32;
        let mut weighted = 0.0f32;
        let mut k = unit;
        while k < n {
            plain += a[k];
            weighted += a[k] * b[k];
            k += SHARERS;
        }
        shares[unit] = plain;
        shares[SHARERS + unit] = weighted;
    }
}

/// The two sums of [`share_sums`].
#[cube]
pub(crate) fn sums(shares: &[f32]) -> (f32, f32) {
    let mut plain = 0.0f32;
    let mut weighted = 0.0f32;
    #[unroll]
    for unit in 0..SHARERS {
        plain += shares[unit];
        weighted += shares[SHARERS + unit];
    }
    (plain, weighted)
}

/// How many of `n` numbers a unit sums up.
fn share_of(unit: usize, n: usize) -> usize {
    n.saturating_sub(unit).div_ceil(SHARERS)
}

/// Each unit's share of the largest number of each of `count` vectors of n numbers, which follow each other.
#[cube]
pub(crate) fn share_largest(
    numbers: &[f32],
    from: usize,
    n: usize,
    shares: &mut [f32],
    #[comptime] count: usize,
    #[comptime] units: usize,
) {
    for u in range_stepped(UNIT_POS as usize, comptime!(count * SHARERS), units) {
        let at = from + u / SHARERS * n;
        let mut largest = numbers[at];
        for i in range_stepped(u % SHARERS, n, SHARERS) {
            largest = max(largest, numbers[at + i]);
        }
        shares[u] = largest;
    }
}

/// The largest number of a vector.
#[cube]
pub(crate) fn largest_of(shares: &[f32], which: usize) -> f32 {
    let mut largest = shares[which * SHARERS];
    for u in 1..SHARERS {
        largest = max(largest, shares[which * SHARERS + u]);
    }
    largest
}

/// Each unit's share of the sum of each of `count` vectors of n numbers, which follow each other.
#[cube]
pub(crate) fn share_total(
    numbers: &[f32],
    from: usize,
    n: usize,
    shares: &mut [f32],
    #[comptime] count: usize,
    #[comptime] units: usize,
) {
    for u in range_stepped(UNIT_POS as usize, comptime!(count * SHARERS), units) {
        let at = from + u / SHARERS * n;
        let mut sum = 0.0f32;
        for i in range_stepped(u % SHARERS, n, SHARERS) {
            sum += numbers[at + i];
        }
        shares[u] = sum;
    }
}

/// The same of the products of two.
#[cube]
#[allow(clippy::too_many_arguments, reason = "two slices and where they begin")]
pub(crate) fn share_dot(
    a: &[f32],
    a_from: usize,
    b: &[f32],
    b_from: usize,
    n: usize,
    shares: &mut [f32],
    #[comptime] count: usize,
    #[comptime] units: usize,
) {
    for u in range_stepped(UNIT_POS as usize, comptime!(count * SHARERS), units) {
        let at = u / SHARERS * n;
        let mut sum = 0.0f32;
        for i in range_stepped(u % SHARERS, n, SHARERS) {
            sum += a[a_from + at + i] * b[b_from + at + i];
        }
        shares[u] = sum;
    }
}

/// The sum of a vector.
#[cube]
pub(crate) fn total_of(shares: &[f32], which: usize) -> f32 {
    let mut sum = 0.0f32;
    for u in 0..SHARERS {
        sum += shares[which * SHARERS + u];
    }
    sum
}
