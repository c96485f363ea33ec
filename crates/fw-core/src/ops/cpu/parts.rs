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

    /// `size` sums over the batch, of `rows` rows a sample. Each part has its own, to which `work(part, samples, scratch, sums)` adds,
    /// group by group as in [`for_each_group`](Self::for_each_group); those of all parts are then joined, in their order.
    pub(crate) fn sum_groups<T: Real>(
        &self,
        group: usize,
        scratch: usize,
        size: usize,
        rows: usize,
        work: impl Fn(usize, Range<usize>, *mut T, &mut BlockSums<T>) + Send + Sync,
    ) -> Buffer<T> {
        let most = self.samples.min(self.batch_size).saturating_mul(rows);
        let room = BlockSums::<T>::room(size, most);
        let buffer = Buffer::<T>::new(self.count() * room);
        let partial = SharedMut::new(buffer.as_ptr());
        at_once(self.count(), |part| {
            let samples = self.samples(part);
            // SAFETY: each part has sums of its own, with that much room.
            let mut sums = unsafe { BlockSums::new(partial.at(part * room), size, most) };
            with_scratch(scratch, |scratch| {
                for first in samples.clone().step_by(group) {
                    let samples = first..(first + group).min(samples.end);
                    work(part, samples, scratch, &mut sums);
                }
            });
            sums.finish();
        });
        // SAFETY: each part has made its sums.
        unsafe { self.join(&buffer, size, room) };
        buffer
    }

    /// Adds the `size` sums of each part to those of the first, in their order.
    ///
    /// # Safety
    /// The buffer must hold the sums of all parts, one part after another and `room` numbers apart, and nobody may touch them
    /// meanwhile.
    pub(crate) unsafe fn join<T: Real>(&self, buffer: &Buffer<T>, size: usize, room: usize) {
        for part in 1..self.count() {
            // SAFETY: as the caller promises.
            unsafe { add_all(buffer.as_ptr().add(part * room), buffer.as_ptr(), size) };
        }
    }
}

/// Adds `size` numbers to others.
///
/// # Safety
/// Both must have as many, which nobody else touches.
unsafe fn add_all<T: Real>(from: *const T, to: *mut T, size: usize) {
    for number in 0..size {
        // SAFETY: as the caller promises.
        unsafe { *to.add(number) += *from.add(number) };
    }
}

/// Sums over many rows, in two stages: those of a block of rows, and from them those of all rows. Row after row, a sum of a million
/// numbers of one sign in single precision is off by 4e-4 of itself; so it is off by less than 1e-5.
pub(crate) struct BlockSums<T> {
    /// Of all rows in blocks that are complete, if there is more than one block.
    total: Option<*mut T>,
    /// Of the present block.
    block: *mut T,
    size: usize,
    /// Rows in the present block.
    rows: usize,
}

impl<T: Real> BlockSums<T> {
    /// Rows of a block. More lose digits, less cost time: at 1,024 a block's sums are joined in a hundredth of the time that they take
    /// to be made.
    const ROWS: usize = 1024;

    /// Numbers that `size` sums over at most `rows` rows need.
    pub(crate) fn room(size: usize, rows: usize) -> usize {
        if rows > Self::ROWS { 2 * size } else { size }
    }

    /// Sums of nothing. They are at `start` in the end.
    ///
    /// # Safety
    /// There must be [`room`](Self::room) for them, which nobody else touches as long as they live.
    pub(crate) unsafe fn new(start: *mut T, size: usize, rows: usize) -> Self {
        // SAFETY: as the caller promises.
        unsafe { Self::apart(start, size, size, rows) }
    }

    /// The same where a block's sums, if they need room of their own, are `between` numbers behind `start`.
    ///
    /// # Safety
    /// As for [`new`](Self::new), in both places.
    pub(crate) unsafe fn apart(start: *mut T, size: usize, between: usize, rows: usize) -> Self {
        let is_several = rows > Self::ROWS;
        // SAFETY: as the caller promises.
        unsafe {
            let block = start.add(if is_several { between } else { 0 });
            clear(start, size);
            clear(block, size);
            BlockSums {
                total: is_several.then_some(start),
                block,
                size,
                rows: 0,
            }
        }
    }

    /// Where to add.
    #[inline(always)]
    pub(crate) fn block(&self) -> *mut T {
        self.block
    }

    /// Says that `rows` more rows are added.
    #[inline(always)]
    pub(crate) fn added(&mut self, rows: usize) {
        self.rows += rows;
        if self.rows >= Self::ROWS {
            self.end_block();
        }
    }

    /// Adds the present block to the total. It is one of a thousand rows: it need not be vectorised for each instruction set.
    #[inline(never)]
    fn end_block(&mut self) {
        self.rows = 0;
        if let Some(total) = self.total {
            // SAFETY: as the caller of `new` promises.
            unsafe {
                add_all(self.block, total, self.size);
                clear(self.block, self.size);
            }
        }
    }

    /// No rows follow.
    pub(crate) fn finish(mut self) {
        self.end_block();
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
