//! Back through addressing: `sharpen -> shift -> interpolate -> content`.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::super::plan::SCALARS;
use super::super::steps::{SMALLEST_SQUARE, SMALLEST_WEIGHT, shift, shifted};
use super::{Pass, PassExpand, Step};
use crate::ops::cube::{
    SHARERS, place, share_dot, share_total, sigmoid, sum_of_shares, terms, total_of,
};

#[cube]
impl Pass<'_> {
    /// The gradient of w̃, and shares of that of γ.
    pub(super) fn through_sharpening(&mut self, step: &Step) {
        let plan = comptime!(self.plan);
        let sizes = comptime!(plan.sizes);
        let row = comptime!(sizes.tape_row());
        let memory_size = comptime!(sizes.memory_size);
        let n_heads = comptime!(sizes.n_heads());
        let n_weights = comptime!(sizes.n_weights());
        let units = comptime!(plan.units());
        share_dot(
            self.tape,
            step.now,
            &self.of_weights,
            0,
            memory_size,
            &mut self.of_sharpened,
            n_heads,
            units,
        );
        sync_cube();
        for e in range_stepped(UNIT_POS as usize, n_weights, units) {
            let (head, i) = (e / memory_size, e % memory_size);
            let sharpening = self.scalars[head * SCALARS + 1];
            let slope =
                self.tape[step.now + e] * (self.of_weights[e] - total_of(&self.of_sharpened, head));
            let weight = shift(&self.gated, &self.shifts, head, i, false, plan);
            let held = max(weight, SMALLEST_WEIGHT);
            self.of_weights[e] = slope * (held.ln() - self.tape[step.tape_at + row.largest + head]);
            self.of_shifted[e] =
                select(weight > SMALLEST_WEIGHT, sharpening * slope / held, 0.0f32);
        }
        sync_cube();
        share_total(
            &self.of_weights,
            0,
            memory_size,
            &mut self.of_sharpening,
            n_heads,
            units,
        );
    }

    /// Shares of the gradient of s; the gradients of wᵍ and, as far as interpolation takes it from there, of w before the step.
    pub(super) fn through_shift(&mut self, step: &Step) {
        let plan = comptime!(self.plan);
        let sizes = comptime!(plan.sizes);
        let memory_size = comptime!(sizes.memory_size);
        let shift_width = comptime!(sizes.shift_width);
        let n_shares = comptime!(sizes.n_heads() * sizes.shift_width * SHARERS);
        let units = comptime!(plan.units());
        let unit = UNIT_POS as usize;
        for u in range_stepped(unit, n_shares, units) {
            let which = u / SHARERS;
            let (head, j) = (which / shift_width, which % shift_width);
            let mut sum = 0.0f32;
            for i in range_stepped(u % SHARERS, memory_size, SHARERS) {
                let from = shifted(i, j, false, memory_size, shift_width);
                sum +=
                    self.of_shifted[head * memory_size + i] * self.gated[head * memory_size + from];
            }
            self.of_shifts[u] = sum;
        }
        for e in range_stepped(unit, comptime!(sizes.n_weights()), units) {
            let (head, i) = (e / memory_size, e % memory_size);
            let slope = shift(&self.of_shifted, &self.shifts, head, i, true, plan);
            self.of_gated[e] = slope;
            self.start.numbers[step.weights_at + e] =
                slope * (1.0f32 - self.scalars[head * SCALARS + 2]);
        }
        sync_cube();
    }

    /// Shares of the gradient of g, and of the sum that the softmax takes.
    pub(super) fn through_interpolation(&mut self, step: &Step) {
        let sizes = comptime!(self.plan.sizes);
        let row = comptime!(sizes.tape_row());
        let memory_size = comptime!(sizes.memory_size);
        let n_shares = comptime!(sizes.n_heads() * SHARERS);
        for u in range_stepped(UNIT_POS as usize, n_shares, comptime!(self.plan.units())) {
            let at = u / SHARERS * memory_size;
            let mut of_this_gate = 0.0f32;
            let mut of_this_content = 0.0f32;
            for i in range_stepped(u % SHARERS, memory_size, SHARERS) {
                let e = at + i;
                let content = self.tape[step.tape_at + row.content + e];
                let before = self.weight_before(step, e);
                of_this_gate += self.of_gated[e] * (content - before);
                of_this_content += self.of_gated[e] * content;
            }
            self.of_gate[u] = of_this_gate;
            self.of_content[u] = of_this_content;
        }
        sync_cube();
    }

    /// The gradient of K, from here on in `gated`, and shares of that of β.
    pub(super) fn through_softmax(&mut self, step: &Step) {
        let sizes = comptime!(self.plan.sizes);
        let row = comptime!(sizes.tape_row());
        let memory_size = comptime!(sizes.memory_size);
        let n_weights = comptime!(sizes.n_weights());
        let units = comptime!(self.plan.units());
        for e in range_stepped(UNIT_POS as usize, n_weights, units) {
            let head = e / memory_size;
            let gate = self.scalars[head * SCALARS + 2];
            let content = self.tape[step.tape_at + row.content + e];
            let slope = gate * content * (self.of_gated[e] - total_of(&self.of_content, head));
            self.of_shifted[e] = slope * self.tape[step.tape_at + row.similarity + e];
            self.gated[e] = slope * self.scalars[head * SCALARS];
        }
        sync_cube();
        share_total(
            &self.of_shifted,
            0,
            memory_size,
            &mut self.of_strength,
            comptime!(sizes.n_heads()),
            units,
        );
    }

    /// Shares of the gradients of the keys, and what addressing says of M.
    pub(super) fn through_resemblance(&mut self, step: &Step) {
        let sizes = comptime!(self.plan.sizes);
        let row = comptime!(sizes.tape_row());
        let memory_size = comptime!(sizes.memory_size);
        let word_size = comptime!(sizes.word_size);
        let d_addressing = comptime!(sizes.d_addressing());
        let numbers = comptime!(sizes.memory_numbers());
        self.share_keys(step);
        for e in range_stepped(UNIT_POS as usize, numbers, comptime!(self.plan.units())) {
            let (i, m) = (e / word_size, e % word_size);
            let square = self.squares[i];
            let value = self.memories[step.memory + e];
            let mut sum = 0.0f32;
            for head in 0..comptime!(sizes.n_heads()) {
                let slope = self.gated[head * memory_size + i];
                let key = max(self.scalars[head * SCALARS + 3], SMALLEST_SQUARE);
                sum += slope * self.raw[head * d_addressing + m] / (key.sqrt() * square.sqrt());
                let similarity = self.tape[step.tape_at + row.similarity + head * memory_size + i];
                // A word that counts as longer than it is has no slope of its length.
                sum -= select(
                    square > SMALLEST_SQUARE,
                    slope * similarity * value / square,
                    0.0f32,
                );
            }
            let place = self.start.place(e, step.memory_at);
            let value = self.start.memory(place) + sum;
            self.start.set_memory(place, value);
        }
        self.start.sync_memory();
    }

    /// Each unit's share of `Σ_i d(i) M(i) / |M(i)|` of each head, where d is the gradient of K.
    fn share_keys(&mut self, step: &Step) {
        let sizes = comptime!(self.plan.sizes);
        let workgroup = comptime!(self.plan.words);
        let memory_size = comptime!(sizes.memory_size);
        let word_size = comptime!(sizes.word_size);
        let width = comptime!(sizes.n_heads() * sizes.word_size);
        let (lane, share) = place(workgroup);
        let (first, last) = terms(share, memory_size, workgroup);
        for o in range_stepped(lane, width, comptime!(workgroup.lanes)) {
            let (head, m) = (o / word_size, o % word_size);
            let mut sum = 0.0f32;
            for i in first..last {
                let slope = self.gated[head * memory_size + i] / self.squares[i].sqrt();
                sum += slope * self.memories[step.memory + i * word_size + m];
            }
            self.shares[share * width + o] = sum;
        }
    }

    /// The gradients of the keys.
    pub(super) fn keys(&mut self) {
        let plan = comptime!(self.plan);
        let sizes = comptime!(plan.sizes);
        let word_size = comptime!(sizes.word_size);
        let width = comptime!(sizes.n_heads() * sizes.word_size);
        for e in range_stepped(UNIT_POS as usize, width, comptime!(plan.units())) {
            let (head, m) = (e / word_size, e % word_size);
            let square = self.scalars[head * SCALARS + 3];
            let key = max(square, SMALLEST_SQUARE);
            let at = head * comptime!(sizes.d_addressing()) + m;
            let mut value = sum_of_shares(&self.shares, e, width, plan.words) / key.sqrt();
            let along = self.scalars[head * SCALARS] * total_of(&self.of_strength, head);
            value -= select(square > SMALLEST_SQUARE, along * self.raw[at] / key, 0.0f32);
            self.of_raw[at] = value;
        }
    }

    /// The gradients of what the heads' map yields for β, γ, g and the shifts.
    pub(super) fn heads(&mut self) {
        let sizes = comptime!(self.plan.sizes);
        let n_heads = comptime!(sizes.n_heads());
        let shift_width = comptime!(sizes.shift_width);
        for head in range_stepped(UNIT_POS as usize, n_heads, comptime!(self.plan.units())) {
            let at = head * comptime!(sizes.d_addressing()) + sizes.word_size;
            let gate = self.scalars[head * SCALARS + 2];
            self.of_raw[at] = total_of(&self.of_strength, head) * sigmoid(self.raw[at]);
            self.of_raw[at + 1] = total_of(&self.of_sharpening, head) * sigmoid(self.raw[at + 1]);
            self.of_raw[at + 2] = total_of(&self.of_gate, head) * gate * (1.0f32 - gate);
            let mut mean = 0.0f32;
            for j in 0..shift_width {
                let which = head * shift_width + j;
                mean += self.shifts[which] * total_of(&self.of_shifts, which);
            }
            for j in 0..shift_width {
                let which = head * shift_width + j;
                self.of_raw[at + 3 + j] =
                    self.shifts[which] * (total_of(&self.of_shifts, which) - mean);
            }
        }
        sync_cube();
    }
}
