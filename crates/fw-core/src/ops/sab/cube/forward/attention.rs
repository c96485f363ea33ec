//! Attention to the memories: query, scores, choice, weights, and s_t.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::{Pass, PassExpand};
use crate::ops::cube::{
    SHARERS, largest_of, place, share_largest, sum_of_shares, terms, times, total_of,
};
use crate::ops::sab::cube::choice::{choose, choose_all};
use crate::ops::sab::cube::plan::SCORE_ROW;
use crate::ops::sab::cube::scores::{EPSILON, above, scaled, score_of, share_above};
use crate::ops::sab::cube::steps::{Choice, Sample, Step, memory};
use crate::ops::sab::{Score, Sparsifier};

#[cube]
impl Pass<'_> {
    /// Each unit's shares of s_t, if there is a memory.
    pub(super) fn recall(&mut self, step: &Step, sample: &Sample) {
        let plan = comptime!(self.plan);
        if step.memories.visible > 0 {
            let units = comptime!(plan.units());
            let row = if comptime!(plan.keeps) {
                step.index
            } else {
                sample.index
            };
            let choice = Choice::new(&step.memories, row, sample.slots, plan.attention);
            let scores_at = sample.memories_at;
            self.ask(step);
            sync_cube();
            self.score(step, sample);
            sync_storage();
            if choice.is_crowded {
                choose(
                    &*self.scores,
                    scores_at,
                    self.chosen,
                    &step.memories,
                    &choice,
                    &mut self.rivals,
                    units,
                );
            } else {
                choose_all(
                    &*self.scores,
                    scores_at,
                    self.chosen,
                    &step.memories,
                    &choice,
                    units,
                );
            }
            sync_storage();
            self.weigh(&choice);
            sync_storage();
            self.sum_up(&choice, sample);
            sync_cube();
        }
    }

    /// The query `q = ĥ W_h`.
    fn ask(&mut self, step: &Step) {
        let plan = comptime!(self.plan);
        let d_attention = comptime!(plan.d_attention());
        let row = comptime!(plan.tape_row());
        times(
            self.w_query,
            0,
            comptime!(plan.d_hidden),
            &self.seen,
            0,
            &mut self.shares,
            d_attention,
            plan.query,
        );
        sync_cube();
        for a in range_stepped(UNIT_POS as usize, d_attention, comptime!(plan.units())) {
            let sum = sum_of_shares(&self.shares, a, d_attention, plan.query);
            let value = scaled(sum, plan.attention);
            self.query[a] = value;
            if comptime!(plan.keeps) {
                self.tape[step.tape_at + row.query + a] = value;
            }
        }
    }

    /// The scores of all memories that are visible, some of them between two barriers.
    fn score(&mut self, step: &Step, sample: &Sample) {
        let plan = comptime!(self.plan);
        let units = comptime!(plan.units());
        let block = comptime!(plan.scored());
        for base in range_stepped(0usize, step.memories.visible, block) {
            let scored = min(step.memories.visible - base, block);
            let first_memory = sample.memories_at + step.memories.oldest + base;
            self.share_scores(first_memory, scored);
            sync_cube();
            for i in range_stepped(UNIT_POS as usize, scored, units) {
                self.scores[sample.memories_at + base + i] = score_of(&self.shares, i);
            }
            sync_cube();
        }
    }

    /// Each unit's shares of the scores of `n` memories from this one on: `Σ v tanh(k + q)`, or as [`Score`] has it.
    fn share_scores(&mut self, first_memory: usize, n: usize) {
        let plan = comptime!(self.plan);
        let d_attention = comptime!(plan.d_attention());
        let units = comptime!(plan.units());
        for e in range_stepped(UNIT_POS as usize, n * SHARERS, units) {
            let (i, first) = (e / SHARERS, e % SHARERS);
            let key = (first_memory + i) * d_attention;
            let mut sum = 0.0f32;
            for a in range_stepped(first, d_attention, SHARERS) {
                match comptime!(plan.attention.score) {
                    Score::Mlp => sum += self.v[a] * (self.keys[key + a] + self.query[a]).tanh(),
                    Score::ScaledDot => sum += self.keys[key + a] * self.query[a],
                    Score::Released => sum += self.keys[key + a] + self.query[a],
                }
            }
            self.shares[i * SCORE_ROW + first] = sum;
        }
    }

    /// The weights of those that take part: of what is above the threshold, the scores themselves, or their softmax.
    fn weigh(&mut self, choice: &Choice) {
        let plan = comptime!(self.plan);
        let sparsifier = comptime!(plan.attention.sparsifier);
        if choice.is_crowded && comptime!(sparsifier != Sparsifier::Softmax) {
            self.weigh_above(choice);
        } else if comptime!(sparsifier == Sparsifier::Released) {
            for j in range_stepped(UNIT_POS as usize, choice.count, comptime!(plan.units())) {
                self.chosen[choice.weights_at + j] = self.chosen[choice.scores_at + j];
            }
        } else {
            self.softmax(choice);
        }
    }

    /// How far each score is above the threshold, of the sum of that.
    fn weigh_above(&mut self, choice: &Choice) {
        let plan = comptime!(self.plan);
        let sparsifier = comptime!(plan.attention.sparsifier);
        share_above(
            &*self.chosen,
            choice.scores_at,
            choice.count,
            &mut self.total,
            sparsifier,
        );
        sync_cube();
        let last = self.chosen[choice.scores_at + choice.count - 1];
        for j in range_stepped(UNIT_POS as usize, choice.count, comptime!(plan.units())) {
            let above = above(self.chosen[choice.scores_at + j], last, sparsifier);
            self.chosen[choice.weights_at + j] = above / (total_of(&self.total, 0) + EPSILON);
        }
    }

    /// The softmax of the scores.
    fn softmax(&mut self, choice: &Choice) {
        let plan = comptime!(self.plan);
        let unit = UNIT_POS as usize;
        let units = comptime!(plan.units());
        share_largest(
            &*self.chosen,
            choice.scores_at,
            choice.count,
            &mut self.largest,
            1usize,
            units,
        );
        sync_cube();
        if unit < SHARERS {
            let most = largest_of(&self.largest, 0);
            let mut sum = 0.0f32;
            for j in range_stepped(unit, choice.count, SHARERS) {
                sum += (self.chosen[choice.scores_at + j] - most).exp();
            }
            self.total[unit] = sum;
        }
        sync_cube();
        let most = largest_of(&self.largest, 0);
        for j in range_stepped(unit, choice.count, units) {
            let numerator = (self.chosen[choice.scores_at + j] - most).exp();
            self.chosen[choice.weights_at + j] = numerator / total_of(&self.total, 0);
        }
    }

    /// Each unit's shares of `s = Σ w m`.
    fn sum_up(&mut self, choice: &Choice, sample: &Sample) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let (lane, share) = place(plan.hidden);
        let (first, last) = terms(share, choice.count, plan.hidden);
        for o in range_stepped(lane, n, comptime!(plan.hidden.lanes)) {
            let mut sum = 0.0f32;
            for j in first..last {
                let index = self.chosen[choice.indices_at + j] as usize;
                let value = memory(self.given, &*self.results, sample, index, o, plan);
                sum += self.chosen[choice.weights_at + j] * value;
            }
            self.shares[share * n + o] = sum;
        }
    }
}
