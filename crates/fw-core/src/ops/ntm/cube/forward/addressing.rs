//! From what the heads look for to their weightings: `content -> interpolate -> shift -> sharpen`.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::super::plan::SCALARS;
use super::super::steps::{SMALLEST_SQUARE, SMALLEST_WEIGHT, shift};
use super::{Pass, PassExpand, Step};
use crate::ops::cube::{largest_of, share_largest, share_total, total_of};

#[cube]
impl Pass<'_> {
    /// `k·M(i)` of each head, and `M(i)·M(i)`.
    pub(super) fn resemblance(&mut self, step: &Step) {
        let sizes = comptime!(self.plan.sizes);
        let memory_size = comptime!(sizes.memory_size);
        let count = comptime!((sizes.n_heads() + 1) * sizes.memory_size);
        for e in range_stepped(UNIT_POS as usize, count, comptime!(self.plan.units())) {
            let (head, i) = (e / memory_size, e % memory_size);
            let at = self.results.word(i, step.memory_at);
            let mut sum = 0.0f32;
            if head < comptime!(sizes.n_heads()) {
                let key = head * comptime!(sizes.d_addressing());
                for m in 0..comptime!(sizes.word_size) {
                    sum += self.raw[key + m] * self.results.memory(at + m);
                }
                self.one[e] = sum;
            } else {
                for m in 0..comptime!(sizes.word_size) {
                    let value = self.results.memory(at + m);
                    sum += value * value;
                }
                self.squares[i] = sum;
            }
        }
        sync_cube();
    }

    /// The terms of `wᶜ = softmax(β K)` and shares of their sum, where `K = k·M(i) / (|k| |M(i)|)`.
    pub(super) fn content(&mut self, step: &Step) {
        let sizes = comptime!(self.plan.sizes);
        let row = comptime!(sizes.tape_row());
        let memory_size = comptime!(sizes.memory_size);
        let n_weights = comptime!(sizes.n_weights());
        let units = comptime!(self.plan.units());
        let unit = UNIT_POS as usize;
        for e in range_stepped(unit, n_weights, units) {
            let (head, i) = (e / memory_size, e % memory_size);
            let key = max(self.scalars[head * SCALARS + 3], SMALLEST_SQUARE);
            let word = max(self.squares[i], SMALLEST_SQUARE);
            let value = self.one[e] / (key.sqrt() * word.sqrt());
            self.one[e] = self.scalars[head * SCALARS] * value;
            if comptime!(self.plan.keeps) {
                self.tape[step.tape_at + row.similarity + e] = value;
            }
        }
        sync_cube();
        self.largest();
        for e in range_stepped(unit, n_weights, units) {
            self.one[e] = (self.one[e] - largest_of(&self.largest, e / memory_size)).exp();
        }
        sync_cube();
        self.totals();
    }

    /// `wᵍ = g wᶜ + (1 - g) w_(t-1)`.
    pub(super) fn interpolate(&mut self, step: &Step) {
        let sizes = comptime!(self.plan.sizes);
        let row = comptime!(sizes.tape_row());
        let n_weights = comptime!(sizes.n_weights());
        for e in range_stepped(UNIT_POS as usize, n_weights, comptime!(self.plan.units())) {
            let head = e / comptime!(sizes.memory_size);
            let content = self.one[e] / total_of(&self.total, head);
            let before = self.weights[e];
            self.other[e] = before + (content - before) * self.scalars[head * SCALARS + 2];
            if comptime!(self.plan.keeps) {
                self.tape[step.tape_at + row.content + e] = content;
            }
        }
        sync_cube();
    }

    /// `ln w̃`, where `w̃(i) = Σ_j s(j) wᵍ(..)`.
    pub(super) fn shift(&mut self) {
        let plan = comptime!(self.plan);
        let memory_size = comptime!(plan.sizes.memory_size);
        let n_weights = comptime!(plan.sizes.n_weights());
        for e in range_stepped(UNIT_POS as usize, n_weights, comptime!(plan.units())) {
            let (head, i) = (e / memory_size, e % memory_size);
            let shifted = shift(&self.other, &self.shifts, head, i, false, plan);
            self.one[e] = max(shifted, SMALLEST_WEIGHT).ln();
        }
        sync_cube();
    }

    /// `w(i) = w̃(i)^γ / Σ_j w̃(j)^γ`.
    pub(super) fn sharpen(&mut self, step: &Step) {
        let sizes = comptime!(self.plan.sizes);
        let row = comptime!(sizes.tape_row());
        let memory_size = comptime!(sizes.memory_size);
        let n_weights = comptime!(sizes.n_weights());
        let units = comptime!(self.plan.units());
        let unit = UNIT_POS as usize;
        self.largest();
        for e in range_stepped(unit, n_weights, units) {
            let head = e / memory_size;
            let most = largest_of(&self.largest, head);
            self.one[e] = ((self.one[e] - most) * self.scalars[head * SCALARS + 1]).exp();
            if comptime!(self.plan.keeps) && e % memory_size == 0 {
                self.tape[step.tape_at + row.largest + head] = most;
            }
        }
        sync_cube();
        self.totals();
        for e in range_stepped(unit, n_weights, units) {
            let value = self.one[e] / total_of(&self.total, e / memory_size);
            self.weights[e] = value;
            if comptime!(self.plan.keeps) {
                self.tape[step.tape_at + row.weights + e] = value;
            }
        }
        sync_cube();
    }

    /// Shares of the largest number of each head.
    fn largest(&mut self) {
        let memory_size = comptime!(self.plan.sizes.memory_size);
        let n_heads = comptime!(self.plan.sizes.n_heads());
        let units = comptime!(self.plan.units());
        share_largest(&self.one, 0, memory_size, &mut self.largest, n_heads, units);
        sync_cube();
    }

    /// Shares of the sum of each head's numbers.
    fn totals(&mut self) {
        let memory_size = comptime!(self.plan.sizes.memory_size);
        let n_heads = comptime!(self.plan.sizes.n_heads());
        let units = comptime!(self.plan.units());
        share_total(&self.one, 0, memory_size, &mut self.total, n_heads, units);
        sync_cube();
    }
}
