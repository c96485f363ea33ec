//! The memories again, and back through what the heads read and wrote.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::super::plan::SCALARS;
use super::super::steps::{SMALLEST_SQUARE, added, kept, parameters};
use super::{Pass, PassExpand, Step};
use crate::ops::cube::{place, sigmoid, sum_of_shares, terms};

#[cube]
impl Pass<'_> {
    /// M before each of `length` steps from `row` on, from a checkpoint. Each number depends on itself alone.
    pub(super) fn write_again(&mut self, checkpoint: usize, row: usize, length: usize) {
        let plan = comptime!(self.plan);
        let sizes = comptime!(plan.sizes);
        let tape_row = comptime!(sizes.tape_row());
        let word_size = comptime!(sizes.word_size);
        let numbers = comptime!(sizes.memory_numbers());
        let memories_at = CUBE_POS_X as usize * comptime!(plan.interval());
        for e in range_stepped(UNIT_POS as usize, numbers, comptime!(plan.units())) {
            let (i, m) = (e / word_size, e % word_size);
            let mut value = self.checkpoints[checkpoint * numbers + e];
            for k in 0..length {
                self.memories[(memories_at + k) * numbers + e] = value;
                let tape_at = (row + k) * tape_row.width;
                let weights_at = tape_at + tape_row.weights;
                let adds_at = tape_at + tape_row.raw + comptime!(sizes.add_at());
                let rest = self.kept_on_tape(tape_at, i, m);
                let new = added(self.tape, weights_at, self.tape, adds_at, i, m, plan);
                value = value * rest + new;
            }
        }
        sync_storage();
    }

    /// `Π_h (1 - w_h(i) e_h)`, from the tape alone.
    fn kept_on_tape(&self, tape_at: usize, i: usize, m: usize) -> f32 {
        let sizes = comptime!(self.plan.sizes);
        let row = comptime!(sizes.tape_row());
        let mut rest = 1.0f32;
        for head in 0..comptime!(sizes.n_write) {
            let erase =
                tape_at + row.raw + comptime!(sizes.erase_at()) + head * sizes.word_size + m;
            let w = self.tape
                [tape_at + row.weights + (comptime!(sizes.n_read) + head) * sizes.memory_size + i];
            rest *= 1.0f32 - w * sigmoid(self.tape[erase]);
        }
        rest
    }

    /// The parameters of the heads again, and the gradient of r.
    pub(super) fn parameters(&mut self, step: &Step) {
        let plan = comptime!(self.plan);
        let sizes = comptime!(plan.sizes);
        let row = comptime!(sizes.tape_row());
        let units = comptime!(plan.units());
        let unit = UNIT_POS as usize;
        let reads_at = step.row * comptime!(sizes.d_output()) + comptime!(sizes.d_hidden);
        for v in range_stepped(unit, comptime!(sizes.d_raw()), units) {
            self.raw[v] = self.tape[step.tape_at + row.raw + v];
        }
        for o in range_stepped(unit, comptime!(sizes.d_reads()), units) {
            self.reads[o] = self.slopes[reads_at + o] + self.carried_reads[o];
        }
        sync_cube();
        parameters(
            &self.raw,
            &mut self.scalars,
            &mut self.shifts,
            &mut self.erases,
            plan,
        );
        sync_cube();
    }

    /// The gradient of w, and wᵍ again.
    pub(super) fn weights(&mut self, step: &Step) {
        let sizes = comptime!(self.plan.sizes);
        let row = comptime!(sizes.tape_row());
        let n_read = comptime!(sizes.n_read);
        let memory_size = comptime!(sizes.memory_size);
        let n_weights = comptime!(sizes.n_weights());
        for e in range_stepped(UNIT_POS as usize, n_weights, comptime!(self.plan.units())) {
            let (head, i) = (e / memory_size, e % memory_size);
            let carried = self.start.numbers[step.weights_at + e];
            if head < n_read {
                self.of_weights[e] = self.weight_of_reading(step, head, i, carried);
            } else {
                self.of_weights[e] = self.weight_of_writing(step, head - n_read, i, carried);
            }
            let before = self.weight_before(step, e);
            let content = self.tape[step.tape_at + row.content + e];
            self.gated[e] = before + (content - before) * self.scalars[head * SCALARS + 2];
        }
    }

    /// The gradient of a read head's weight: what the next step says of it, and that of r times M(i).
    fn weight_of_reading(&self, step: &Step, head: usize, i: usize, carried: f32) -> f32 {
        let word_size = comptime!(self.plan.sizes.word_size);
        let mut sum = carried;
        for m in 0..word_size {
            sum +=
                self.reads[head * word_size + m] * self.memories[step.memory + i * word_size + m];
        }
        sum
    }

    /// The gradient of a write head's weight: what the next step says of it, and that of M(i) times what the head adds less what it erases.
    fn weight_of_writing(&self, step: &Step, head: usize, i: usize, carried: f32) -> f32 {
        let plan = comptime!(self.plan);
        let sizes = comptime!(plan.sizes);
        let word_size = comptime!(sizes.word_size);
        let of_word = self.start.word(i, step.memory_at);
        let mut sum = carried;
        for m in 0..word_size {
            let rest = kept(self.tape, step.now, &self.erases, i, m, head, plan);
            let erased = self.erases[head * word_size + m]
                * self.memories[step.memory + i * word_size + m]
                * rest;
            let add = self.raw[comptime!(sizes.add_at()) + head * word_size + m];
            sum += self.start.memory(of_word + m) * (add - erased);
        }
        sum
    }

    /// A head's weight before the step.
    pub(super) fn weight_before(&self, step: &Step, e: usize) -> f32 {
        let sizes = comptime!(self.plan.sizes);
        if step.t == 0 {
            self.weights_start[CUBE_POS_X as usize * comptime!(sizes.n_weights()) + e]
        } else {
            self.tape[step.now + e - comptime!(sizes.tape_row().width)]
        }
    }

    /// `M(i)·M(i)` again, but at least the smallest that counts.
    pub(super) fn words(&mut self, step: &Step) {
        let word_size = comptime!(self.plan.sizes.word_size);
        let memory_size = comptime!(self.plan.sizes.memory_size);
        for i in range_stepped(UNIT_POS as usize, memory_size, comptime!(self.plan.units())) {
            let mut sum = 0.0f32;
            for m in 0..word_size {
                let value = self.memories[step.memory + i * word_size + m];
                sum += value * value;
            }
            self.squares[i] = max(sum, SMALLEST_SQUARE);
        }
    }

    /// Each unit's share of the gradients of all erase vectors, then of all add vectors.
    pub(super) fn share_written(&mut self, step: &Step) {
        let plan = comptime!(self.plan);
        let sizes = comptime!(plan.sizes);
        let workgroup = comptime!(plan.words);
        let memory_size = comptime!(sizes.memory_size);
        let word_size = comptime!(sizes.word_size);
        let width = comptime!(2 * sizes.d_erase());
        let (lane, share) = place(workgroup);
        let (first, last) = terms(share, memory_size, workgroup);
        for o in range_stepped(lane, width, comptime!(workgroup.lanes)) {
            let vector = o % comptime!(sizes.d_erase());
            let (head, m) = (vector / word_size, vector % word_size);
            let mut sum = 0.0f32;
            for i in first..last {
                let w = self.tape[step.now + (comptime!(sizes.n_read) + head) * memory_size + i];
                let of_word = self.start.word(i, step.memory_at);
                let slope = self.start.memory(of_word + m) * w;
                if o >= comptime!(sizes.d_erase()) {
                    sum += slope;
                } else {
                    let rest = kept(self.tape, step.now, &self.erases, i, m, head, plan);
                    sum -= slope * self.memories[step.memory + i * word_size + m] * rest;
                }
            }
            self.shares[share * width + o] = sum;
        }
        sync_cube();
    }

    /// The gradients of what the heads' map yields for the erase and add vectors.
    pub(super) fn written(&mut self) {
        let plan = comptime!(self.plan);
        let sizes = comptime!(plan.sizes);
        let d_erase = comptime!(sizes.d_erase());
        let width = comptime!(2 * sizes.d_erase());
        for e in range_stepped(UNIT_POS as usize, d_erase, comptime!(plan.units())) {
            let erase = self.erases[e];
            self.of_raw[comptime!(sizes.erase_at()) + e] =
                sum_of_shares(&self.shares, e, width, plan.words) * erase * (1.0f32 - erase);
            self.of_raw[comptime!(sizes.add_at()) + e] =
                sum_of_shares(&self.shares, d_erase + e, width, plan.words);
        }
    }

    /// The gradient of M before the step, but for what addressing says of it: what writing left of that after it, and what was read.
    pub(super) fn memory(&mut self, step: &Step) {
        let plan = comptime!(self.plan);
        let sizes = comptime!(plan.sizes);
        let memory_size = comptime!(sizes.memory_size);
        let word_size = comptime!(sizes.word_size);
        let n_write = comptime!(sizes.n_write);
        let numbers = comptime!(sizes.memory_numbers());
        for e in range_stepped(UNIT_POS as usize, numbers, comptime!(plan.units())) {
            let (i, m) = (e / word_size, e % word_size);
            let rest = kept(self.tape, step.now, &self.erases, i, m, n_write, plan);
            let mut sum = 0.0f32;
            for head in 0..comptime!(sizes.n_read) {
                sum +=
                    self.tape[step.now + head * memory_size + i] * self.reads[head * word_size + m];
            }
            let place = self.start.place(e, step.memory_at);
            let value = self.start.memory(place) * rest + sum;
            self.start.set_memory(place, value);
        }
    }
}
