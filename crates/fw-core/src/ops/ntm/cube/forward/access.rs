//! What the heads read and write, and the state before the first step and after the last.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::super::steps::{Ends, added, kept};
use super::{Pass, PassExpand, Step};
use crate::ops::cube::{place, sum_of_shares, terms};

#[cube]
impl Pass<'_> {
    /// M and w before the first step.
    pub(super) fn start_memory(
        &mut self,
        memory_start: &[f32],
        weights_start: &[f32],
        ends: &Ends,
    ) {
        let n_weights = comptime!(self.plan.sizes.n_weights());
        let numbers = comptime!(self.plan.sizes.memory_numbers());
        let units = comptime!(self.plan.units());
        let unit = UNIT_POS as usize;
        let sample = CUBE_POS_X as usize;
        for e in range_stepped(unit, n_weights, units) {
            self.weights[e] = weights_start[sample * n_weights + e];
        }
        for e in range_stepped(unit, numbers, units) {
            let place = self.results.place(e, ends.memory);
            let value = memory_start[sample * numbers + e];
            self.results.set_memory(place, value);
        }
        self.results.sync_memory();
    }

    /// Keeps M before a step for the backward pass.
    pub(super) fn keep_memory(&mut self, step: &Step, seq_length: usize) {
        let numbers = comptime!(self.plan.sizes.memory_numbers());
        let interval = comptime!(self.plan.interval());
        let n_checkpoints = seq_length.div_ceil(interval);
        let at = (CUBE_POS_X as usize * n_checkpoints + step.t / interval) * numbers;
        for e in range_stepped(UNIT_POS as usize, numbers, comptime!(self.plan.units())) {
            let place = self.results.place(e, step.memory_at);
            self.checkpoints[at + e] = self.results.memory(place);
        }
    }

    /// `r = Σ_i w(i) M(i)` of each read head, and `[h ; r]`.
    pub(super) fn read(&mut self, step: &Step) {
        let plan = comptime!(self.plan);
        let sizes = comptime!(plan.sizes);
        let d_hidden = comptime!(sizes.d_hidden);
        let d_reads = comptime!(sizes.d_reads());
        let d_output = comptime!(sizes.d_output());
        let top = comptime!((sizes.n_layers - 1) * sizes.d_hidden);
        self.share_reads(step);
        sync_cube();
        for k in range_stepped(UNIT_POS as usize, d_output, comptime!(plan.units())) {
            if k < d_hidden {
                self.results.numbers[step.row * d_output + k] = self.hidden[top + k];
            } else {
                let value = sum_of_shares(&self.shares, k - d_hidden, d_reads, plan.words);
                self.reads[k - d_hidden] = value;
                self.results.numbers[step.row * d_output + k] = value;
            }
        }
    }

    /// Each unit's share of what the read heads read.
    fn share_reads(&mut self, step: &Step) {
        let sizes = comptime!(self.plan.sizes);
        let workgroup = comptime!(self.plan.words);
        let memory_size = comptime!(sizes.memory_size);
        let word_size = comptime!(sizes.word_size);
        let d_reads = comptime!(sizes.d_reads());
        let (lane, share) = place(workgroup);
        let (first, last) = terms(share, memory_size, workgroup);
        for o in range_stepped(lane, d_reads, comptime!(workgroup.lanes)) {
            let (head, m) = (o / word_size, o % word_size);
            let mut sum = 0.0f32;
            for i in first..last {
                let at = self.results.word(i, step.memory_at) + m;
                sum += self.weights[head * memory_size + i] * self.results.memory(at);
            }
            self.shares[share * d_reads + o] = sum;
        }
    }

    /// `M(i) = M(i) Π_h (1 - w_h(i) e_h) + Σ_h w_h(i) a_h`.
    pub(super) fn write(&mut self, step: &Step) {
        let plan = comptime!(self.plan);
        let sizes = comptime!(plan.sizes);
        let word_size = comptime!(sizes.word_size);
        let n_write = comptime!(sizes.n_write);
        let adds_at = comptime!(sizes.add_at());
        let numbers = comptime!(sizes.memory_numbers());
        for e in range_stepped(UNIT_POS as usize, numbers, comptime!(plan.units())) {
            let (i, m) = (e / word_size, e % word_size);
            let rest = kept(&self.weights, 0, &self.erases, i, m, n_write, plan);
            let new = added(&self.weights, 0, &self.raw, adds_at, i, m, plan);
            let place = self.results.place(e, step.memory_at);
            let value = self.results.memory(place) * rest + new;
            self.results.set_memory(place, value);
        }
        self.results.sync_memory();
    }

    /// The state after the last step.
    pub(super) fn finish(&mut self, ends: &Ends) {
        let n_weights = comptime!(self.plan.sizes.n_weights());
        let d_states = comptime!(self.plan.sizes.d_states());
        let units = comptime!(self.plan.units());
        let unit = UNIT_POS as usize;
        self.results.finish_memory(ends.memory);
        for e in range_stepped(unit, n_weights, units) {
            self.results.numbers[ends.weights + e] = self.weights[e];
        }
        for k in range_stepped(unit, d_states, units) {
            self.results.numbers[ends.hidden + k] = self.hidden[k];
            self.results.numbers[ends.cell + k] = self.cell[k];
        }
    }
}
