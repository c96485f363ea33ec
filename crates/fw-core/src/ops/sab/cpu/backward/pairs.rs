//! Gradients of the weights, as sums of outer products.

use super::super::forward::tanh_row;
use super::{Pass, Walk};
use crate::ops::cpu::{Real, Row, Rows, RowsMut, Simd, Strided, add_product};
use crate::ops::sab::{CellKind, Score};

/// Pairs of rows, whose outer products sum to the gradient of a weight: they are gathered until there are many.
#[derive(Clone, Copy)]
pub(super) struct Pairs {
    /// Where the left and the right rows begin in the scratch memory.
    pub(super) left: usize,
    pub(super) right: usize,
    /// Where the sum goes.
    pub(super) sum: usize,
}

impl Pairs {
    /// Pairs that are gathered before they are multiplied.
    pub(super) const MOST: usize = 64;
}

impl<T: Real> Pass<'_, T> {
    /// Gathers a pair of rows for a weight through which states or memories were read.
    #[inline(always)]
    pub(super) unsafe fn gather_read<S: Simd>(
        &self,
        walk: &mut Walk<T>,
        pairs: usize,
        left: *const T,
        right: *const T,
    ) {
        // SAFETY: as in `run`.
        unsafe {
            self.gather::<S>(walk, pairs, left, right);
            if self.layout.score == Score::Released {
                let stride = Row::spread(self.layout.hidden.width);
                let last = (walk.n_pairs[pairs] - 1) * stride;
                let left = walk.common.add(self.room.pairs[pairs].left + last);
                tanh_row::<S, T>(&self.layout, left, left);
            }
        }
    }

    /// Gathers a pair of rows whose outer product belongs to a weight's gradient.
    #[inline(always)]
    pub(super) unsafe fn gather<S: Simd>(
        &self,
        walk: &mut Walk<T>,
        pairs: usize,
        left: *const T,
        right: *const T,
    ) {
        let place = self.room.pairs[pairs];
        let row = self.right(pairs);
        // SAFETY: as in `run`.
        unsafe {
            if walk.n_pairs[pairs] == Pairs::MOST {
                self.multiply::<S>(walk, pairs);
            }
            let n = walk.n_pairs[pairs];
            let hidden = self.layout.hidden;
            let place_of = |start: usize, row: Row| start + n * Row::spread(row.width);
            hidden.copy::<S, T>(left, walk.common.add(place_of(place.left, hidden)));
            row.copy::<S, T>(right, walk.common.add(place_of(place.right, row)));
        }
        walk.n_pairs[pairs] += 1;
    }

    /// The size of the right rows of pairs.
    #[inline(always)]
    fn right(&self, pairs: usize) -> Row {
        match pairs {
            0 => Row {
                units: self.layout.gates_width(),
                width: self.layout.gates_width(),
                lanes: self.layout.hidden.lanes,
            },
            _ => self.layout.attention,
        }
    }

    /// Adds the outer products of the pairs gathered so far to the gradient that they belong to.
    #[inline(always)]
    pub(super) unsafe fn multiply<S: Simd>(&self, walk: &mut Walk<T>, pairs: usize) {
        let place = self.room.pairs[pairs];
        let (hidden, row) = (self.layout.hidden, self.right(pairs));
        let n = core::mem::take(&mut walk.n_pairs[pairs]);
        let [left_stride, right_stride] = [hidden, row].map(|row| Row::spread(row.width));
        // SAFETY: as in `run`.
        unsafe {
            let right = walk.common.add(place.right);
            add_product::<S, T>(
                [hidden.units, n, row.vectors()],
                Strided::new(walk.common.add(place.left), 1, left_stride),
                Rows::new(right, right_stride),
                RowsMut::new(walk.sums.add(place.sum), row.width),
            );
            if pairs == 0 && self.layout.kind == CellKind::Gru {
                for at in 0..n {
                    let of_bias = walk.sums.add(self.sums.bias);
                    row.add_to::<S, T>(right.add(at * right_stride), of_bias);
                }
            }
        }
    }
}
