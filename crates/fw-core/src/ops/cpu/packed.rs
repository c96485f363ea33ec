//! Matrices that rows are multiplied with again and again.

use alloc::vec::Vec;

use macerator::{Simd, WithSimd};

use super::lanes::Real;
use super::product::{Initial, Rows, RowsMut, Strided, row_product, tile_width, tiles};
use super::rows::Row;

/// A matrix whose columns are cut into panels as wide as a [tile](tile_width), so that a product reads it from one end to the
/// other: a row alone is multiplied as fast as the matrix comes out of the cache, and of several rows all but the first find a
/// panel in the nearest one.
pub(crate) struct Packed<T> {
    numbers: Vec<T>,
    rows: usize,
    /// Vectors of a row.
    vectors: usize,
    lanes: usize,
}

impl<T: Real> Packed<T> {
    fn zeros(rows: usize, vectors: usize, lanes: usize) -> Self {
        Packed {
            numbers: alloc::vec![T::zero(); rows * vectors * lanes],
            rows,
            vectors,
            lanes,
        }
    }

    /// The panels: for each its first vector, and how many it has.
    fn panels(&self) -> impl Iterator<Item = (usize, usize)> + use<T> {
        let (vectors, lanes) = (self.vectors, self.lanes);
        let mut first = 0;
        core::iter::from_fn(move || {
            let wide = tile_width::<T>(lanes, vectors - first);
            first += wide;
            (wide > 0).then_some((first - wide, wide))
        })
    }

    /// For each vector of a row where that of the first row lies, and how far it is to the next row.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> + use<T> {
        let (rows, lanes) = (self.rows, self.lanes);
        self.panels().flat_map(move |(first, wide)| {
            let start = first * lanes * rows;
            (0..wide).map(move |vector| (start + vector * lanes, wide * lanes))
        })
    }

    /// A matrix whose rows are `blocks` rows of this size, without padding; each is padded.
    pub(crate) fn new(matrix: &[T], row: Row, blocks: usize) -> Self {
        let columns = blocks * row.units;
        let rows = matrix.len().checked_div(columns).unwrap_or(0);
        let mut packed = Packed::zeros(rows, blocks * row.vectors(), row.lanes);
        if packed.rows == 0 {
            return packed;
        }
        for (vector, (start, stride)) in packed.places().enumerate() {
            let (block, lane) = (vector / row.vectors(), vector % row.vectors() * row.lanes);
            let len = row.lanes.min(row.units - lane);
            let from = matrix.chunks_exact(columns);
            let to = packed.numbers[start..].chunks_mut(stride);
            for (to, from) in to.zip(from) {
                copy(to, &from[block * row.units + lane..], len);
            }
        }
        packed
    }

    /// The transpose of such a matrix, rows of zeros where its rows would be padded; `to` is the size of a row of the transpose.
    pub(crate) fn transposed(matrix: &[T], row: Row, blocks: usize, to: Row) -> Self {
        let columns = blocks * row.units;
        let mut packed = Packed::zeros(blocks * row.width, to.vectors(), row.lanes);
        if packed.rows == 0 {
            return packed;
        }
        for (vector, (start, stride)) in packed.places().enumerate() {
            let first = vector * row.lanes;
            let len = row.lanes.min(to.units - first);
            let rows = &matrix[first * columns..(first + len) * columns];
            for block in 0..blocks {
                let places =
                    packed.numbers[start + block * row.width * stride..].chunks_mut(stride);
                for (unit, place) in places.take(row.units).enumerate() {
                    let column = rows[block * row.units + unit..].iter().step_by(columns);
                    for (to, from) in place.iter_mut().zip(column) {
                        *to = *from;
                    }
                }
            }
        }
        packed
    }

    /// `C = A B + initial` for m rows of A, this matrix as B.
    ///
    /// # Safety
    /// As for [`product`](super::product).
    pub(crate) unsafe fn multiply<S: Simd>(
        &self,
        m: usize,
        a: Strided<T>,
        initial: Initial<T>,
        c: RowsMut<T>,
    ) {
        // SAFETY: as the caller promises.
        unsafe {
            S::vectorize(Multiply {
                matrix: self,
                m,
                a,
                initial,
                c,
            });
        }
    }
}

/// Copies a few numbers. Of as many as a register has the compiler knows the number: a call would cost more than the copy.
#[inline(always)]
fn copy<T: Real>(to: &mut [T], from: &[T], len: usize) {
    match len {
        16 => to[..16].copy_from_slice(&from[..16]),
        8 => to[..8].copy_from_slice(&from[..8]),
        4 => to[..4].copy_from_slice(&from[..4]),
        _ => to[..len].copy_from_slice(&from[..len]),
    }
}

/// The arguments of [`Packed::multiply`], to be run with the instructions of S: a closure would not be inlined there.
struct Multiply<'a, T> {
    matrix: &'a Packed<T>,
    m: usize,
    a: Strided<T>,
    initial: Initial<T>,
    c: RowsMut<T>,
}

impl<T: Real> WithSimd for Multiply<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self) {
        let Packed {
            ref numbers,
            rows,
            lanes,
            ..
        } = *self.matrix;
        for (first, wide) in self.matrix.panels() {
            // SAFETY: as the caller of `multiply` promises; the panel lies within the numbers.
            unsafe {
                let start = numbers.as_ptr().add(first * lanes * rows);
                let b = Rows::new(start, wide * lanes);
                let column = first * lanes;
                let initial = self.initial.at(0, column);
                let to = self.c.start.add(column);
                if self.m == 1 {
                    let initial = match initial {
                        Initial::Zero => None,
                        Initial::Rows(rows) => Some(rows.start),
                    };
                    row_product::<S, T>([rows, wide], self.a.start, self.a.column, b, initial, to);
                } else {
                    let c = RowsMut::new(to, self.c.stride);
                    tiles::<S, T>([self.m, rows, wide], self.a, b, initial, c);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use macerator::Scalar;

    use super::*;

    #[test]
    fn packed_matrices_and_their_transposes_are_multiplied_as_they_are() {
        struct Check;
        impl WithSimd for Check {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self) {
                for units in [0, 1, 5, 16, 45] {
                    for (m, k) in [(1, 3), (2, 70), (9, 20)] {
                        check::<S>(m, k, units);
                    }
                }
            }
        }

        /// A row of `width` numbers for each of `rows`, zeros behind the first of each `padded`.
        fn check<S: Simd>(m: usize, k: usize, units: usize) {
            const BLOCKS: usize = 3;
            let lanes = f64::lanes::<S>();
            let numbers =
                |count: usize, step: f64| (0..count).map(move |i| (i as f64 * step).sin());
            let row = Row::new(units, lanes);
            let matrix: Vec<f64> = numbers(k * BLOCKS * units, 0.7).collect();
            let entry = |i: usize, block: usize, unit: usize| {
                matrix[i * BLOCKS * units + block * units + unit]
            };

            let a: Vec<f64> = numbers(m * k, 1.3).collect();
            let width = BLOCKS * row.width;
            let start: Vec<f64> = numbers(m * width, 0.3).collect();
            let mut c = start.clone();
            let initial = Initial::Rows(Rows::new(start.as_ptr(), width));
            // SAFETY: the sizes are those of the vectors.
            unsafe {
                let c = RowsMut::new(c.as_mut_ptr(), width);
                let packed = Packed::new(&matrix, row, BLOCKS);
                packed.multiply::<S>(m, Strided::new(a.as_ptr(), k, 1), initial, c);
            }
            for i in 0..m {
                for block in 0..BLOCKS {
                    for unit in 0..units {
                        let terms = (0..k).map(|j| a[i * k + j] * entry(j, block, unit));
                        let at = i * width + block * row.width + unit;
                        assert!((c[at] - start[at] - terms.sum::<f64>()).abs() < 1e-12);
                    }
                }
            }

            // And back: rows of the padded width times the transpose.
            let to = Row::new(k, lanes);
            let mut back = alloc::vec![0.0; m * to.width];
            // SAFETY: as above.
            unsafe {
                let to_rows = RowsMut::new(back.as_mut_ptr(), to.width);
                let packed = Packed::transposed(&matrix, row, BLOCKS, to);
                let a = Strided::new(c.as_ptr(), width, 1);
                packed.multiply::<S>(m, a, Initial::Zero, to_rows);
            }
            for i in 0..m {
                for j in 0..k {
                    let terms = (0..BLOCKS * units).map(|n| {
                        let (block, unit) = (n / units, n % units);
                        c[i * width + block * row.width + unit] * entry(j, block, unit)
                    });
                    let error = back[i * to.width + j] - terms.sum::<f64>();
                    assert!(error.abs() < 1e-11, "{error}");
                }
            }
        }

        macerator::AutoArch::new().dispatch(Check);
    }
}
