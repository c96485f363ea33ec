//! Gathers what the gradients of the weights are summed from.

use super::super::forward::tanh_row;
use super::{Pass, Walk};
use crate::ops::cpu::{Pairs, Real, Simd};
use crate::ops::sab::Score;

impl<T: Real> Pass<'_, T> {
    /// Gathers a pair of rows for a weight through which states or memories were read.
    #[inline(always)]
    pub(super) unsafe fn gather_read<S: Simd>(
        &self,
        walk: &mut Walk<'_, T>,
        pairs: usize,
        left: *const T,
        right: *const T,
    ) {
        // SAFETY: as in `run`.
        unsafe {
            self.gather::<S>(walk, pairs, left, right);
            if self.layout.score == Score::Released {
                let place = self.room.pairs[pairs];
                let last = (walk.n_pairs[pairs] - 1) * place.left_stride;
                let left = walk.common.add(place.left + last);
                tanh_row::<S, T>(&self.layout, left, left);
            }
        }
    }

    /// Gathers a pair of rows whose outer product belongs to a weight's gradient.
    #[inline(always)]
    pub(super) unsafe fn gather<S: Simd>(
        &self,
        walk: &mut Walk<'_, T>,
        pairs: usize,
        left: *const T,
        right: *const T,
    ) {
        // SAFETY: as in `run`.
        unsafe {
            if walk.n_pairs[pairs] == Pairs::MOST {
                self.multiply::<S>(walk, pairs);
            }
            let n = walk.n_pairs[pairs];
            self.room.pairs[pairs].gather::<S, T>(n, left, right, walk.common);
        }
        walk.n_pairs[pairs] += 1;
    }

    /// Adds the outer products of the pairs gathered so far to the gradient that they belong to.
    #[inline(always)]
    pub(super) unsafe fn multiply<S: Simd>(&self, walk: &mut Walk<'_, T>, pairs: usize) {
        let n = core::mem::take(&mut walk.n_pairs[pairs]);
        // SAFETY: as in `run`.
        unsafe { self.room.pairs[pairs].multiply::<S, T>(n, walk.common, walk.sums.block()) };
        walk.n_summed[pairs] += n;
        let most = walk.n_summed[pairs].max(walk.n_rows);
        walk.sums.added(most - walk.n_rows);
        walk.n_rows = most;
    }
}
