//! How the samples of a batch are shared among threads.

use core::ops::Range;

use super::buffer::{Buffer, with_scratch};
use super::lanes::Real;
use super::rows::clear;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

/// A batch cut into parts that are worked on at the same time.
///
/// The cut depends on sizes alone: sums over the parts, made in their order, are then the same numbers whatever the
/// number of threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    batch_size: usize,
    samples: usize,
}

impl Parts {
    /// Multiply-adds for which waking a thread is worth its while.
    const LEAST_WORK: usize = 1 << 20;
    /// Each part has its own sums of the weights' gradients, which have to be joined.
    const MOST: usize = 32;

    /// Parts of whole groups of `group` samples, where a sample costs `work` multiply-adds.
    pub(crate) fn new(batch_size: usize, group: usize, work: usize) -> Self {
        let samples = (Self::LEAST_WORK / work.max(1))
            .max(batch_size.div_ceil(Self::MOST))
            .max(1);
        Parts {
            batch_size,
            samples: samples.next_multiple_of(group),
        }
    }

    /// How many samples, of at most `most`, a thread takes at a time, so that a weight that comes out of the cache is used by
    /// all of them. Few samples are shared out: threads are to have work.
    pub(crate) fn group(batch_size: usize, most: usize) -> usize {
        match batch_size {
            few @ ..=8 => few.div_ceil(2).min(most),
            many => many.div_ceil(8).max(4).min(most),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.batch_size.div_ceil(self.samples)
    }

    /// The samples of a part.
    pub(crate) fn samples(&self, part: usize) -> Range<usize> {
        let start = part * self.samples;
        start..(start + self.samples).min(self.batch_size)
    }

    /// Calls `work(part, samples, scratch)` for groups of at most `group` samples, with room for `scratch` numbers, which hold
    /// any; those of one part one after another.
    pub(crate) fn for_each_group<T: Real>(
        &self,
        group: usize,
        scratch: usize,
        work: impl Fn(usize, Range<usize>, *mut T) + Send + Sync,
    ) {
        at_once(self.count(), |part| {
            let samples = self.samples(part);
            with_scratch(scratch, |scratch| {
                for first in samples.clone().step_by(group) {
                    work(part, first..(first + group).min(samples.end), scratch);
                }
            });
        });
    }

    /// `size` sums over the batch. Each part has its own, to which `work(part, samples, scratch, sums)` adds, group by group as
    /// in [`for_each_group`](Self::for_each_group); those of all parts are then joined, in their order.
    pub(crate) fn sum_groups<T: Real>(
        &self,
        group: usize,
        scratch: usize,
        size: usize,
        work: impl Fn(usize, Range<usize>, *mut T, *mut T) + Send + Sync,
    ) -> Buffer<T> {
        let buffer = Buffer::<T>::new(self.count() * size);
        let partial = SharedMut::new(buffer.as_ptr());
        self.for_each_group(group, scratch, |part, samples, scratch| {
            // SAFETY: each part has sums of its own, and begins with its first group.
            let sums = unsafe { partial.at(part * size) };
            if samples.start == part * self.samples {
                // SAFETY: as above.
                unsafe { clear(sums, size) };
            }
            work(part, samples, scratch, sums);
        });
        // SAFETY: each part has made its sums.
        unsafe { self.join(&buffer, size) };
        buffer
    }

    /// Adds the `size` sums of each part to those of the first, in their order.
    ///
    /// # Safety
    /// The buffer must hold the sums of all parts, one part after another, and nobody may touch them meanwhile.
    pub(crate) unsafe fn join<T: Real>(&self, buffer: &Buffer<T>, size: usize) {
        let sums = buffer.as_ptr();
        for part in 1..self.count() {
            for number in 0..size {
                // SAFETY: as the caller promises.
                unsafe { *sums.add(number) += *sums.add(part * size + number) };
            }
        }
    }
}

/// Calls `work` for every number below `count`, on the threads of rayon's pool.
pub(crate) fn at_once(count: usize, work: impl Fn(usize) + Send + Sync) {
    match count {
        1 => work(0),
        count => (0..count).into_par_iter().with_max_len(1).for_each(work),
    }
}

/// A pointer into memory of which each part writes its own piece.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut<T>(*mut T);

// SAFETY: whoever dereferences it promises that no two parts touch the same numbers.
unsafe impl<T: Send> Send for SharedMut<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<T> {}

impl<T> SharedMut<T> {
    pub(crate) fn new(pointer: *mut T) -> Self {
        SharedMut(pointer)
    }

    /// The place `offset` numbers on.
    ///
    /// # Safety
    /// It must lie in the same allocation.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, offset: usize) -> *mut T {
        // SAFETY: as the caller promises.
        unsafe { self.0.add(offset) }
    }
}
