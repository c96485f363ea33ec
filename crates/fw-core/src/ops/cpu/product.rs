//! Products of small matrices.

use macerator::{Simd, Vector};

use super::lanes::{Real, load, splat, store};

/// A matrix whose entries are read one at a time: entry `(i, k)` is at `i * row + k * column`.
pub(crate) struct Strided<T> {
    pub(crate) start: *const T,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

/// A matrix whose rows are read in vectors; row `k` begins at `k * stride`.
pub(crate) struct Rows<T> {
    pub(crate) start: *const T,
    pub(crate) stride: usize,
}

/// A matrix whose rows are written in vectors.
pub(crate) struct RowsMut<T> {
    pub(crate) start: *mut T,
    pub(crate) stride: usize,
}

impl<T> Clone for Strided<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Strided<T> {}
impl<T> Clone for Rows<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Rows<T> {}
impl<T> Clone for RowsMut<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for RowsMut<T> {}

/// `C = A B`, or `C += A B` if `accumulate`, for A `[m, k]`, B `[k, vectors]` and C `[m, vectors]`, the
/// columns counted in whole vectors of `S`.
///
/// # Safety
/// The three matrices must lie in memory that is readable, and for C writable by nobody else. The machine
/// must have the instructions of `S`.
#[inline(never)]
pub(crate) unsafe fn product<S: Simd, T: Real>(
    [m, k, vectors]: [usize; 3],
    a: Strided<T>,
    b: Rows<T>,
    c: RowsMut<T>,
    accumulate: bool,
) {
    // SAFETY: as the caller promises.
    unsafe {
        S::vectorize(
            #[inline(always)]
            || in_tiles::<S, T>([m, k, vectors], a, b, c, accumulate),
        );
    }
}

/// The tiles of C, so sized that a tile stays in registers while it is summed.
#[inline(always)]
unsafe fn in_tiles<S: Simd, T: Real>(
    [m, k, vectors]: [usize; 3],
    a: Strided<T>,
    b: Rows<T>,
    c: RowsMut<T>,
    accumulate: bool,
) {
    let lanes = T::lanes::<S>();
    // AVX2 has 16 registers: a tile of four rows and four vectors would take them all.
    let widest = if lanes * size_of::<T>() == 32 { 3 } else { 4 };
    let widest = if m == 1 { 8 } else { widest };
    let mut vector = 0;
    while vector < vectors {
        let wide = widest.min(vectors - vector);
        let mut row = 0;
        while row < m {
            let high = 4.min(m - row);
            // SAFETY: within the matrices, as the caller promises.
            let (a, b, c) = unsafe {
                (
                    Strided {
                        start: a.start.add(row * a.row),
                        ..a
                    },
                    Rows {
                        start: b.start.add(vector * lanes),
                        ..b
                    },
                    RowsMut {
                        start: c.start.add(row * c.stride + vector * lanes),
                        ..c
                    },
                )
            };
            macro_rules! tile {
                ($($high:literal $wide:literal $sums:literal),*) => {
                    match (high, wide) {
                        // SAFETY: as the caller promises.
                        $(($high, $wide) => unsafe {
                            tile::<S, T, $high, $wide, $sums>(k, a, b, c, accumulate)
                        },)*
                        _ => unreachable!("a tile is at most 4 x 4 or 1 x 8"),
                    }
                };
            }
            // Sums apart from one another hide the latency of an addition where a tile has few.
            tile!(
                1 1 4, 1 2 4, 1 3 2, 1 4 2, 1 5 1, 1 6 1, 1 7 1, 1 8 1,
                2 1 4, 2 2 2, 2 3 1, 2 4 1,
                3 1 2, 3 2 1, 3 3 1, 3 4 1,
                4 1 2, 4 2 1, 4 3 1, 4 4 1
            );
            row += high;
        }
        vector += wide;
    }
}

/// One tile of C: `HIGH` rows of `WIDE` vectors, in `SUMS` partial sums over k.
#[inline(always)]
unsafe fn tile<S: Simd, T: Real, const HIGH: usize, const WIDE: usize, const SUMS: usize>(
    k: usize,
    a: Strided<T>,
    b: Rows<T>,
    c: RowsMut<T>,
    accumulate: bool,
) {
    let lanes = T::lanes::<S>();
    let zero: Vector<S, T> = splat::<S, T>(T::zero());
    let mut sums = [[[zero; WIDE]; HIGH]; SUMS];
    // SAFETY: every address lies within the matrices, as the caller promises.
    unsafe {
        if accumulate {
            for row in 0..HIGH {
                for vector in 0..WIDE {
                    sums[0][row][vector] =
                        load::<S, T>(c.start.add(row * c.stride + vector * lanes));
                }
            }
        }
        let mut a_k = a.start;
        let mut b_k = b.start;
        let add = |sum: &mut [[Vector<S, T>; WIDE]; HIGH], a_k: *const T, b_k: *const T| {
            let mut columns = [zero; WIDE];
            for vector in 0..WIDE {
                columns[vector] = load::<S, T>(b_k.add(vector * lanes));
            }
            for row in 0..HIGH {
                let factor = splat::<S, T>(*a_k.add(row * a.row));
                for vector in 0..WIDE {
                    sum[row][vector] = factor.mul_add(columns[vector], sum[row][vector]);
                }
            }
        };
        let mut left = k;
        while left >= SUMS {
            for sum in &mut sums {
                add(sum, a_k, b_k);
                a_k = a_k.wrapping_add(a.column);
                b_k = b_k.wrapping_add(b.stride);
            }
            left -= SUMS;
        }
        while left > 0 {
            add(&mut sums[0], a_k, b_k);
            a_k = a_k.wrapping_add(a.column);
            b_k = b_k.wrapping_add(b.stride);
            left -= 1;
        }
        for row in 0..HIGH {
            for vector in 0..WIDE {
                let mut sum = sums[0][row][vector];
                for more in &sums[1..] {
                    sum += more[row][vector];
                }
                store::<S, T>(c.start.add(row * c.stride + vector * lanes), sum);
            }
        }
    }
}
