//! A buffer of what a kernel yields, and the memory within it.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::Plan;
use crate::ops::cube::sync;

/// What a kernel yields of the state of each sample. The memory, or its gradient, lies in what units share until the kernel ends; without room
/// there it lies in the buffer all the time.
#[derive(CubeType)]
pub(super) struct Yielded<'a> {
    pub(super) numbers: &'a mut [f32],
    shared: Shared<[f32]>,
    #[cube(comptime)]
    plan: Plan,
}

#[cube]
impl<'a> Yielded<'a> {
    /// The buffer, and room for the memory in what units share.
    pub(super) fn new(numbers: &'a mut [f32], #[comptime] plan: Plan) -> Yielded<'a> {
        let shared = Shared::<[f32]>::new_slice(comptime!(plan.shared_memory()));
        Yielded::<'a> {
            numbers,
            shared,
            plan,
        }
    }
}

#[cube]
impl Yielded<'_> {
    /// Where word `i` begins, of the memory that begins at `memory_at` in the buffer. In what units share a word is followed by a number
    /// that nobody reads, so that units side by side read from different banks.
    pub(super) fn word(&self, i: usize, memory_at: usize) -> usize {
        let word_size = comptime!(self.plan.sizes.word_size);
        if comptime!(self.plan.memory_is_shared) {
            i * comptime!(word_size + 1)
        } else {
            memory_at + i * word_size
        }
    }

    /// Where number `e` of the memory lies.
    pub(super) fn place(&self, e: usize, memory_at: usize) -> usize {
        let word_size = comptime!(self.plan.sizes.word_size);
        if comptime!(self.plan.memory_is_shared) {
            e / word_size * comptime!(word_size + 1) + e % word_size
        } else {
            memory_at + e
        }
    }

    /// The number of the memory that lies there.
    pub(super) fn memory(&self, place: usize) -> f32 {
        if comptime!(self.plan.memory_is_shared) {
            self.shared[place]
        } else {
            self.numbers[place]
        }
    }

    /// Writes the number of the memory that lies there.
    pub(super) fn set_memory(&mut self, place: usize, value: f32) {
        if comptime!(self.plan.memory_is_shared) {
            self.shared[place] = value;
        } else {
            self.numbers[place] = value;
        }
    }

    /// Waits until all units have written their numbers of the memory.
    pub(super) fn sync_memory(&self) {
        sync(comptime!(!self.plan.memory_is_shared));
    }

    /// Copies the memory into the buffer, unless it lies there.
    pub(super) fn finish_memory(&mut self, memory_at: usize) {
        let count = comptime!(self.plan.sizes.memory_numbers());
        if comptime!(self.plan.memory_is_shared) {
            for e in range_stepped(UNIT_POS as usize, count, comptime!(self.plan.units())) {
                self.numbers[memory_at + e] = self.shared[self.place(e, memory_at)];
            }
        }
    }
}
