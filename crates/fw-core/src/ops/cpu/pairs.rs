//! Gradients of weights, as sums of outer products.

use super::lanes::Real;
use super::product::{Rows, RowsMut, Strided, add_product};
use super::rows::{Offsets, Row};
use macerator::Simd;

/// Adds n rows to a row: their sum is made before it is added.
///
/// # Safety
/// All must be rows of that size, and the caller must be compiled with the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn add_rows<S: Simd, T: Real>(n: usize, rows: Rows<T>, row: Row, to: *mut T) {
    // SAFETY: as the caller promises.
    unsafe {
        add_product::<S, T>(
            [1, n, row.vectors()],
            Strided::new(&T::one(), 0, 0),
            rows,
            RowsMut::new(to, 0),
        );
    }
}

/// Pairs of rows, whose outer products sum to the gradient of a linear map: they are gathered until there are many.
#[derive(Clone, Copy)]
pub(crate) struct Pairs {
    /// Where the left and the right rows begin in the scratch memory, and how far apart they are.
    pub(crate) left: usize,
    pub(crate) left_stride: usize,
    pub(crate) right: usize,
    pub(crate) right_stride: usize,
    left_row: Row,
    right_row: Row,
    /// Where the gradients of the weight and, if the map has one, of the bias are summed.
    of_weight: usize,
    of_bias: Option<usize>,
}

impl Pairs {
    /// Pairs that are gathered before they are multiplied.
    pub(crate) const MOST: usize = 64;

    /// Room for pairs of such rows.
    pub(crate) fn new(
        scratch: &mut Offsets,
        left_row: Row,
        right_row: Row,
        of_weight: usize,
        of_bias: Option<usize>,
    ) -> Self {
        let [left_stride, right_stride] = [left_row, right_row].map(|row| Row::spread(row.width));
        Pairs {
            left: scratch.take(Self::MOST * left_stride),
            left_stride,
            right: scratch.take(Self::MOST * right_stride),
            right_stride,
            left_row,
            right_row,
            of_weight,
            of_bias,
        }
    }

    /// Gathers a pair as the n-th.
    ///
    /// # Safety
    /// There must be less than [`MOST`](Self::MOST), and both must be rows of their size; as for [`multiply`](Self::multiply).
    #[inline(always)]
    pub(crate) unsafe fn gather<S: Simd, T: Real>(
        &self,
        n: usize,
        left: *const T,
        right: *const T,
        scratch: *mut T,
    ) {
        // SAFETY: as the caller promises.
        unsafe {
            let to = scratch.add(self.left + n * self.left_stride);
            self.left_row.copy::<S, T>(left, to);
            let to = scratch.add(self.right + n * self.right_stride);
            self.right_row.copy::<S, T>(right, to);
        }
    }

    /// Adds the outer products of the first n pairs to the gradients that they belong to.
    ///
    /// # Safety
    /// `scratch` and `sums` must have the room that was taken there; the caller must be compiled with the instructions of `S`.
    #[inline(always)]
    pub(crate) unsafe fn multiply<S: Simd, T: Real>(
        &self,
        n: usize,
        scratch: *mut T,
        sums: *mut T,
    ) {
        let right_row = self.right_row;
        // SAFETY: as the caller promises.
        unsafe {
            let right = scratch.add(self.right);
            add_product::<S, T>(
                [self.left_row.units, n, right_row.vectors()],
                Strided::new(scratch.add(self.left), 1, self.left_stride),
                Rows::new(right, self.right_stride),
                RowsMut::new(sums.add(self.of_weight), right_row.width),
            );
            if let Some(of_bias) = self.of_bias {
                let rows = Rows::new(right.cast_const(), self.right_stride);
                add_rows::<S, T>(n, rows, right_row, sums.add(of_bias));
            }
        }
    }
}
