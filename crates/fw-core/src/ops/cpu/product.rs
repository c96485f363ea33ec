//! Products of small matrices.

use macerator::{Simd, Vector, WithSimd};

use super::lanes::{Real, load, prefetch, splat, store};

/// A matrix whose entries are read one at a time: entry `(i, k)` is at `i * row + k * column`.
#[derive(Clone, Copy)]
pub(crate) struct Strided<T> {
    pub(crate) start: *const T,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

/// A matrix whose rows are read in vectors; row `k` begins at `k * stride`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<T> {
    pub(crate) start: *const T,
    pub(crate) stride: usize,
}

/// A matrix whose rows are written in vectors.
#[derive(Clone, Copy)]
pub(crate) struct RowsMut<T> {
    pub(crate) start: *mut T,
    pub(crate) stride: usize,
}

impl<T> Strided<T> {
    #[inline(always)]
    pub(crate) fn new(start: *const T, row: usize, column: usize) -> Self {
        Strided { start, row, column }
    }
}

impl<T> Rows<T> {
    #[inline(always)]
    pub(crate) fn new(start: *const T, stride: usize) -> Self {
        Rows { start, stride }
    }
}

impl<T> RowsMut<T> {
    #[inline(always)]
    pub(crate) fn new(start: *mut T, stride: usize) -> Self {
        RowsMut { start, stride }
    }

    /// These rows, for sums that start from them.
    #[inline(always)]
    pub(crate) fn as_initial(&self) -> Initial<T> {
        Initial::Rows(Rows::new(self.start, self.stride))
    }
}

/// What a sum starts from.
#[derive(Clone, Copy)]
pub(crate) enum Initial<T> {
    Zero,
    /// The rows that begin here.
    Rows(Rows<T>),
}

/// `C = A B + initial` for A `[m, k]`, B `[k, vectors]` and C `[m, vectors]`, the columns counted in whole vectors
/// of `S`.
///
/// # Safety
/// The matrices must lie in memory that is readable, and for C writable by nobody else. The machine must have
/// the instructions of `S`.
pub(crate) unsafe fn product<S: Simd, T: Real>(
    sizes: [usize; 3],
    a: Strided<T>,
    b: Rows<T>,
    initial: Initial<T>,
    c: RowsMut<T>,
) {
    // SAFETY: as the caller promises.
    unsafe {
        S::vectorize(Product {
            sizes,
            a,
            b,
            initial,
            c,
        });
    }
}

/// `C += A B`.
///
/// # Safety
/// As for [`product`].
#[inline(always)]
pub(crate) unsafe fn add_product<S: Simd, T: Real>(
    sizes: [usize; 3],
    a: Strided<T>,
    b: Rows<T>,
    c: RowsMut<T>,
) {
    // SAFETY: as the caller promises.
    unsafe { product::<S, T>(sizes, a, b, c.as_initial(), c) }
}

/// The arguments of [`product`], to be run with the instructions of S: a closure would not be inlined there.
struct Product<T> {
    sizes: [usize; 3],
    a: Strided<T>,
    b: Rows<T>,
    initial: Initial<T>,
    c: RowsMut<T>,
}

impl<T: Real> WithSimd for Product<T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self) {
        // SAFETY: as the caller of `product` promises.
        unsafe { tiles::<S, T>(self.sizes, self.a, self.b, self.initial, self.c) }
    }
}

/// Vectors of the next tile, where so many are left.
#[inline(always)]
pub(super) fn tile_width<T>(lanes: usize, left: usize) -> usize {
    // AVX2 has 16 registers: a tile of four rows and four vectors would take them all.
    let widest = if lanes * size_of::<T>() == 32 { 3 } else { 4 };
    // One vector alone would wait for its sums.
    if left == widest + 1 {
        widest - 1
    } else {
        widest.min(left)
    }
}

/// [`product`], tile by tile of C, so sized that a tile stays in registers while it is summed.
///
/// # Safety
/// As for [`product`]; and the caller must be compiled with the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn tiles<S: Simd, T: Real>(
    sizes: [usize; 3],
    a: Strided<T>,
    b: Rows<T>,
    initial: Initial<T>,
    c: RowsMut<T>,
) {
    let [m, k, vectors] = sizes;
    let lanes = T::lanes::<S>();
    let mut vector = 0;
    while vector < vectors {
        let wide = tile_width::<T>(lanes, vectors - vector);
        let mut row = 0;
        while row < m {
            let high = 4.min(m - row);
            macro_rules! tile {
                ($($high:literal $wide:literal $sums:literal),*) => {
                    match (high, wide) {
                        // SAFETY: within the matrices, as the caller of `product` promises.
                        $(($high, $wide) => unsafe {
                            tile::<S, T, $high, $wide, $sums>(
                                k,
                                Strided {
                                    start: a.start.add(row * a.row),
                                    ..a
                                },
                                Rows {
                                    start: b.start.add(vector * lanes),
                                    ..b
                                },
                                initial.at(row, vector * lanes),
                                RowsMut {
                                    start: c.start.add(row * c.stride + vector * lanes),
                                    ..c
                                },
                            )
                        },)*
                        _ => unreachable!("a tile is at most 4 x 4"),
                    }
                };
            }
            // Sums apart from one another hide the latency of an addition where a tile has few.
            tile!(
                1 1 4, 1 2 4, 1 3 2, 1 4 2,
                2 1 4, 2 2 2, 2 3 1, 2 4 1,
                3 1 2, 3 2 1, 3 3 1, 3 4 1,
                4 1 2, 4 2 1, 4 3 1, 4 4 1
            );
            row += high;
        }
        vector += wide;
    }
}

/// `to = a B + initial` for a row a of k numbers, `step` apart, B `[k, vectors]`, and `to` and `initial` rows of as
/// many vectors. It is inlined: calls cost more than the sums where a step is small.
///
/// # Safety
/// As for [`product`]; and the caller must be compiled with the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn row_product<S: Simd, T: Real>(
    [k, vectors]: [usize; 2],
    a: *const T,
    step: usize,
    b: Rows<T>,
    initial: Option<*const T>,
    to: *mut T,
) {
    let lanes = T::lanes::<S>();
    let mut vector = 0;
    while vector < vectors {
        let wide = 8.min(vectors - vector);
        let offset = vector * lanes;
        macro_rules! tile {
            ($($wide:literal $sums:literal),*) => {
                match wide {
                    // SAFETY: within the matrices, as the caller promises.
                    $($wide => unsafe {
                        tile::<S, T, 1, $wide, $sums>(
                            k,
                            Strided::new(a, 0, step),
                            Rows::new(b.start.add(offset), b.stride),
                            match initial {
                                None => Initial::Zero,
                                Some(start) => Initial::Rows(Rows::new(start.add(offset), 0)),
                            },
                            RowsMut::new(to.add(offset), 0),
                        )
                    },)*
                    _ => unreachable!("a tile is at most 8 wide"),
                }
            };
        }
        tile!(1 4, 2 4, 3 2, 4 2, 5 1, 6 1, 7 1, 8 1);
        vector += wide;
    }
}

impl<T> Initial<T> {
    #[inline(always)]
    pub(super) unsafe fn at(self, row: usize, column: usize) -> Self {
        match self {
            Initial::Zero => self,
            Initial::Rows(rows) => Initial::Rows(Rows {
                // SAFETY: within the rows, as the caller promises.
                start: unsafe { rows.start.add(row * rows.stride + column) },
                ..rows
            }),
        }
    }
}

/// One tile of C: `HIGH` rows of `WIDE` vectors, in `SUMS` partial sums over k. What it starts from is added last, so that a sum of many
/// products keeps its digits.
#[inline(always)]
unsafe fn tile<S: Simd, T: Real, const HIGH: usize, const WIDE: usize, const SUMS: usize>(
    k: usize,
    a: Strided<T>,
    b: Rows<T>,
    initial: Initial<T>,
    c: RowsMut<T>,
) {
    let lanes = T::lanes::<S>();
    let zero: Vector<S, T> = splat::<S, T>(T::zero());
    let mut sums = [[[zero; WIDE]; HIGH]; SUMS];
    // SAFETY: every address lies within the matrices, as the caller promises.
    unsafe {
        let mut a_k = a.start;
        let mut b_k = b.start;
        let mut left = k;
        while left >= SUMS {
            if HIGH * WIDE == 12 {
                // Three registers are left on AVX2: without this the loop is unrolled, and the sums are spilled.
                prefetch(b_k.wrapping_add(8 * b.stride), WIDE * lanes);
            }
            for sum in &mut sums {
                add::<S, T, HIGH, WIDE>(sum, a_k, a.row, b_k);
                a_k = a_k.wrapping_add(a.column);
                b_k = b_k.wrapping_add(b.stride);
            }
            left -= SUMS;
        }
        while left > 0 {
            add::<S, T, HIGH, WIDE>(&mut sums[0], a_k, a.row, b_k);
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
                if let Initial::Rows(rows) = initial {
                    sum += load::<S, T>(rows.start.add(row * rows.stride + vector * lanes));
                }
                store::<S, T>(c.start.add(row * c.stride + vector * lanes), sum);
            }
        }
    }
}

/// Adds the product of a column of A and a row of B.
#[inline(always)]
unsafe fn add<S: Simd, T: Real, const HIGH: usize, const WIDE: usize>(
    sums: &mut [[Vector<S, T>; WIDE]; HIGH],
    column: *const T,
    stride: usize,
    row: *const T,
) {
    let mut vectors = [splat::<S, T>(T::zero()); WIDE];
    for (index, vector) in vectors.iter_mut().enumerate() {
        // SAFETY: as the caller promises.
        *vector = unsafe { load::<S, T>(row.add(index * T::lanes::<S>())) };
    }
    for (index, sums) in sums.iter_mut().enumerate() {
        // SAFETY: as the caller promises.
        let factor = splat::<S, T>(unsafe { *column.add(index * stride) });
        for (sum, vector) in sums.iter_mut().zip(vectors) {
            *sum = factor.mul_add(vector, *sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use macerator::Scalar;

    use super::*;

    #[test]
    fn products_of_all_sizes_equal_the_sums_that_define_them() {
        struct Check;
        impl WithSimd for Check {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self) {
                let lanes = f64::lanes::<S>();
                let numbers =
                    |count: usize, step: f64| (0..count).map(|i| (i as f64 * step).sin()).collect();
                for (m, k, vectors) in (1..=6).flat_map(|m| {
                    [0, 1, 2, 5, 9]
                        .into_iter()
                        .flat_map(move |k| (1..=9).map(move |v| (m, k, v)))
                }) {
                    let width = vectors * lanes;
                    let a: Vec<f64> = numbers(m * (k + 1), 0.7);
                    let b: Vec<f64> = numbers(k * width, 1.3);
                    let start: Vec<f64> = numbers(m * width, 0.3);
                    let expected: Vec<f64> = (0..m * width)
                        .map(|at| {
                            let (row, column) = (at / width, at % width);
                            let terms = (0..k).map(|k| a[k * m + row] * b[k * width + column]);
                            start[at] + terms.sum::<f64>()
                        })
                        .collect();
                    let mut c = start.clone();
                    // SAFETY: the sizes are those of the vectors.
                    unsafe {
                        add_product::<S, f64>(
                            [m, k, vectors],
                            Strided::new(a.as_ptr(), 1, m),
                            Rows::new(b.as_ptr(), width),
                            RowsMut::new(c.as_mut_ptr(), width),
                        );
                    }
                    assert_near(&c, &expected);
                    let mut row = alloc::vec![0.0; width];
                    // SAFETY: as above.
                    unsafe {
                        let (a, b) = (a.as_ptr(), Rows::new(b.as_ptr(), width));
                        let initial = Some(start.as_ptr());
                        row_product::<S, f64>([k, vectors], a, m, b, initial, row.as_mut_ptr());
                    }
                    assert_near(&row, &expected[..width]);
                }
            }
        }

        fn assert_near(actual: &[f64], expected: &[f64]) {
            for (actual, expected) in actual.iter().zip(expected) {
                assert!(
                    (actual - expected).abs() < 1e-12,
                    "{actual} is not {expected}"
                );
            }
        }

        macerator::AutoArch::new().dispatch(Check);
    }
}
