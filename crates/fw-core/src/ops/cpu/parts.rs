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

    /// Calls `work(samples, scratch)` for groups of at most `group` samples, with room for `scratch` numbers, which hold
    /// any; those of one part one after another.
    pub(crate) fn for_each_group<T: Real>(
        &self,
        group: usize,
        scratch: usize,
        work: impl Fn(Range<usize>, *mut T) + Send + Sync,
    ) {
        at_once(self.count(), |part| {
            let samples = self.samples(part);
            with_scratch(scratch, |scratch| {
                for first in samples.clone().step_by(group) {
                    work(first..(first + group).min(samples.end), scratch);
                }
            });
        });
    }

    /// `size` sums over the batch, of `rows` rows a sample. Each part has its own, to which `work(samples, scratch, sums)` adds,
    /// group by group as in [`for_each_group`](Self::for_each_group); those of all parts are then joined, in their order.
    pub(crate) fn sum_groups<T: Real>(
        &self,
        group: usize,
        scratch: usize,
        size: usize,
        rows: usize,
        work: impl Fn(Range<usize>, *mut T, &mut BlockSums<T>) + Send + Sync,
    ) -> Buffer<T> {
        let most = self.samples.min(self.batch_size).saturating_mul(rows);
        let room = BlockSums::<T>::numbers(size, most);
        let buffer = Buffer::<T>::new(self.count() * room);
        let partial = SharedMut::new(buffer.as_ptr());
        at_once(self.count(), |part| {
            let samples = self.samples(part);
            // SAFETY: each part has sums of its own, with that much room.
            let mut sums = unsafe { BlockSums::new(partial.at(part * room), size, most) };
            with_scratch(scratch, |scratch| {
                for first in samples.clone().step_by(group) {
                    let samples = first..(first + group).min(samples.end);
                    work(samples, scratch, &mut sums);
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

/// Sums over many rows, in stages: those of a block of rows, from them those of some blocks, and from these those of all rows. What is
/// added to a block is itself the sum of some 64 rows. Row after row, a sum of a million numbers of one sign in single precision is off by
/// 4e-4 of itself, and more; so no more than 64 + 16 + 32 + 31 additions are between a number and the sum, each off by at most 2^-25 of what
/// it comes to on average: together less than 5e-6.
pub(crate) struct BlockSums<T> {
    /// Where the sums of each stage are, those of all rows first; as many stages as the rows need.
    stages: [*mut T; 3],
    n_stages: usize,
    size: usize,
    /// Rows in the present block.
    rows: usize,
    /// Blocks that are complete.
    blocks: usize,
}

impl<T: Real> BlockSums<T> {
    /// Rows of a block. More lose digits, less cost time: at 1,024 a block's sums are joined in a hundredth of the time that they take
    /// to be made.
    const ROWS: usize = 1024;
    /// Blocks of a stage.
    const BLOCKS: usize = 32;

    fn n_stages(rows: usize) -> usize {
        match rows {
            0..=Self::ROWS => 1,
            _ if rows <= Self::ROWS * Self::BLOCKS => 2,
            _ => 3,
        }
    }

    /// Numbers that `size` sums over at most `rows` rows need.
    pub(crate) fn numbers(size: usize, rows: usize) -> usize {
        Self::n_stages(rows) * size
    }

    /// Sums of nothing. They are at `start` in the end.
    ///
    /// # Safety
    /// There must be [as many](Self::numbers) numbers for them, which nobody else touches as long as they live.
    pub(crate) unsafe fn new(start: *mut T, size: usize, rows: usize) -> Self {
        // SAFETY: as the caller promises.
        unsafe { Self::apart(start, size, size, rows) }
    }

    /// The same where the sums of each further stage are `between` numbers behind those of the stage before.
    ///
    /// # Safety
    /// As for [`new`](Self::new), in all places.
    pub(crate) unsafe fn apart(start: *mut T, size: usize, between: usize, rows: usize) -> Self {
        let n_stages = Self::n_stages(rows);
        let place = |stage: usize| match stage < n_stages {
            // SAFETY: as the caller promises.
            true => unsafe { start.add(stage * between) },
            false => start,
        };
        let stages = [place(0), place(1), place(2)];
        for stage in &stages[..n_stages] {
            // SAFETY: as the caller promises.
            unsafe { clear(*stage, size) };
        }
        BlockSums {
            stages,
            n_stages,
            size,
            rows: 0,
            blocks: 0,
        }
    }

    /// Where to add.
    #[inline(always)]
    pub(crate) fn block(&self) -> *mut T {
        self.stages[self.n_stages - 1]
    }

    /// Says that `rows` more rows are added.
    #[inline(always)]
    pub(crate) fn added(&mut self, rows: usize) {
        self.rows += rows;
        if self.rows >= Self::ROWS {
            self.end_block();
        }
    }

    /// Adds the present block to the stage before. It is one of a thousand rows: it need not be vectorised for each instruction set.
    #[inline(never)]
    fn end_block(&mut self) {
        self.rows = 0;
        self.blocks += 1;
        if self.n_stages > 1 {
            self.hand_on(self.n_stages - 1);
        }
        if self.n_stages > 2 && self.blocks.is_multiple_of(Self::BLOCKS) {
            self.hand_on(1);
        }
    }

    /// Adds a stage's sums to those of the stage before, and begins them anew.
    fn hand_on(&mut self, stage: usize) {
        // SAFETY: as the caller of `new` promises.
        unsafe {
            add_all(self.stages[stage], self.stages[stage - 1], self.size);
            clear(self.stages[stage], self.size);
        }
    }

    /// No rows follow.
    pub(crate) fn finish(mut self) {
        for stage in (1..self.n_stages).rev() {
            self.hand_on(stage);
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
