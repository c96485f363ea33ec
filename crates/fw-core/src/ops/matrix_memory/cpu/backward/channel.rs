//! Pairs of a reader and a write where each channel fades by itself.

use super::super::super::Rule;
use super::decay::{multiply_add, scale_add};
use super::{At, Pass};
use crate::ops::cpu::{Real, Rows, Simd, clear, row_product};

impl<T: Real> Pass<'_, T> {
    /// Of dX, dk and dg what pairs say.
    #[inline(always)]
    pub(super) unsafe fn pair_slopes_by_channel<S: Simd>(&self, at: &At<T>) {
        // SAFETY: as the caller promises.
        unsafe {
            self.readers_by_channel::<S>(at);
            self.writes_by_channel::<S>(at);
        }
    }

    /// `dX_r += Σ_i N_{ri} D_{ri} k_i`, from the first step to the last, with what is left of the keys.
    #[inline(always)]
    unsafe fn readers_by_channel<S: Simd>(&self, at: &At<T>) {
        let (layout, room) = (&self.loader.layout, &self.loader.room);
        let (key, written, scratch) = (layout.key, layout.written.width, at.scratch);
        let block = written * key.width;
        let is_transition = layout.rule == Rule::Transition;
        // SAFETY: as the caller promises.
        unsafe {
            for t in 0..at.chunk.n_steps {
                if is_transition && t > 0 {
                    self.receive_keys::<S>(at, t, t - 1, t * layout.writes);
                }
                let left = scratch.add(self.room.left + t * block);
                let decays = scratch.add(room.decays + t * key.width);
                let first = t * layout.writes;
                for i in 0..first {
                    let row = left.add(i * key.width);
                    key.copy::<S, T>(decays, row);
                    let before = left.sub(block).add(i * key.width);
                    key.update::<S, T>(row, before, |decay, key| decay * key);
                }
                for write in first..first + layout.writes {
                    if layout.rule == Rule::Delta && write > 0 {
                        self.receive_keys::<S>(at, write, t, write);
                    }
                    let from = scratch.add(room.keys + write * key.width);
                    key.copy::<S, T>(from, left.add(write * key.width));
                }
                let reader = layout.first_step + t;
                self.receive_keys::<S>(at, reader, t, first + layout.writes);
            }
        }
    }

    /// `dk_i = Σ_r N_{ri} D_{ri} X_r` and dg, from the last step to the first, with what has come back to each write.
    #[inline(always)]
    unsafe fn writes_by_channel<S: Simd>(&self, at: &At<T>) {
        let (layout, room) = (&self.loader.layout, &self.loader.room);
        let (key, written, scratch) = (layout.key, layout.written.width, at.scratch);
        // SAFETY: as the caller promises.
        unsafe {
            let slopes = scratch.add(self.room.keys);
            clear(slopes, at.chunk.n_writes * key.width);
            for t in (0..at.chunk.n_steps).rev() {
                let first = t * layout.writes;
                self.return_to_keys::<S>(at, layout.first_step + t, first + layout.writes);
                if layout.rule == Rule::Delta {
                    for write in (first..first + layout.writes).rev() {
                        self.return_to_keys::<S>(at, write, write);
                    }
                }
                let left = scratch.add(self.room.left + t * written * key.width);
                let decays = scratch.add(room.decays + t * key.width);
                let sum = scratch.add(self.room.spanning_by_channel + t * key.width);
                clear(sum, key.width);
                for i in 0..first {
                    let slope = slopes.add(i * key.width);
                    multiply_add::<S, T>(key, left.add(i * key.width), slope, sum);
                    key.update::<S, T>(slope, decays, |slope, decay| slope * decay);
                }
                if layout.rule == Rule::Transition {
                    self.return_to_keys::<S>(at, t, first);
                }
            }
        }
    }

    /// dX of a reader in step t, of the first n writes.
    #[inline(always)]
    unsafe fn receive_keys<S: Simd>(&self, at: &At<T>, reader: usize, t: usize, n: usize) {
        let layout = &self.loader.layout;
        let (key, written) = (layout.key, layout.written.width);
        // SAFETY: as the caller promises.
        unsafe {
            let slope = at.scratch.add(self.room.readers + reader * key.width);
            let left = at.scratch.add(self.room.left + t * written * key.width);
            row_product::<S, T>(
                [n, key.vectors()],
                at.scratch.add(self.room.pairs + reader * written),
                1,
                Rows::new(left, key.width),
                Some(slope),
                slope,
            );
        }
    }

    /// What a reader says of the first n writes.
    #[inline(always)]
    unsafe fn return_to_keys<S: Simd>(&self, at: &At<T>, reader: usize, n: usize) {
        let layout = &self.loader.layout;
        let (key, written) = (layout.key, layout.written.width);
        // SAFETY: as the caller promises.
        unsafe {
            let query = at
                .scratch
                .add(self.loader.room.readers + reader * key.width);
            for i in 0..n {
                let factor = *at.scratch.add(self.room.pairs + reader * written + i);
                let slope = at.scratch.add(self.room.keys + i * key.width);
                scale_add::<S, T>(key, factor, query, slope);
            }
        }
    }
}
