//! Back through attention: from s_t, through weights and scores, to the memories, the query, the keys and v.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::{Pass, PassExpand};
use crate::ops::cube::{
    SHARERS, place, share_dot, share_total, sum_of_shares, terms, times, total_of,
};
use crate::ops::sab::cube::plan::SCORE_ROW;
use crate::ops::sab::cube::scores::{EPSILON, above, attended_back, scaled, score_of, share_above};
use crate::ops::sab::cube::steps::{Choice, Sample, Step, memory};
use crate::ops::sab::{Score, Sparsifier};

/// Steps after which the sums for v are handed on.
const FEW_STEPS: usize = 64;

#[cube]
impl Pass<'_> {
    /// From the gradient of s_t: those of the memories, of their keys, of v, of the query, and what that says of ĥ_t.
    pub(super) fn recall_back(&mut self, step: &Step, sample: &Sample) {
        let plan = comptime!(self.plan);
        let choice = Choice::new(&step.memories, step.index, sample.slots, plan.attention);
        self.of_weights(&choice, sample);
        sync_storage();
        self.weigh_back(&choice, sample);
        if comptime!(plan.attention.replay) {
            self.of_memories(&choice, sample);
        }
        self.score_back(step, &choice, sample);
        sync_storage();
        self.of_query_and_v(step, sample);
        sync_cube();
        self.ask_back(step);
    }

    /// Of the weights: `d_w = ds·m`.
    fn of_weights(&mut self, choice: &Choice, sample: &Sample) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let units = comptime!(plan.units());
        let unit = UNIT_POS as usize;
        let of_chosen_at = sample.slots_at();
        let block = comptime!(plan.scored());
        for base in range_stepped(0usize, choice.count, block) {
            let scored = min(choice.count - base, block);
            for e in range_stepped(unit, scored * SHARERS, units) {
                let (j, first) = (e / SHARERS, e % SHARERS);
                let index = self.chosen[choice.indices_at + base + j] as usize;
                let mut sum = 0.0f32;
                for o in range_stepped(first, n, SHARERS) {
                    sum += self.of_summary[o]
                        * memory(self.given, self.results, sample, index, o, plan);
                }
                self.shares[j * SCORE_ROW + first] = sum;
            }
            sync_cube();
            for j in range_stepped(unit, scored, units) {
                self.of_chosen[of_chosen_at + base + j] = score_of(&self.shares, j);
            }
            sync_cube();
        }
    }

    /// Back through the sparsifier: the gradients of the scores, in the place of those of the weights.
    fn weigh_back(&mut self, choice: &Choice, sample: &Sample) {
        let plan = comptime!(self.plan);
        let of_chosen_at = sample.slots_at();
        let sparsifier = comptime!(plan.attention.sparsifier);
        let units = comptime!(plan.units());
        share_dot(
            self.chosen,
            choice.weights_at,
            &*self.of_chosen,
            of_chosen_at,
            choice.count,
            &mut self.weighted,
            1usize,
            units,
        );
        let is_above = choice.is_crowded && comptime!(sparsifier != Sparsifier::Softmax);
        if is_above {
            share_above(
                self.chosen,
                choice.scores_at,
                choice.count,
                &mut self.excess,
                sparsifier,
            );
        }
        sync_cube();
        let mean = total_of(&self.weighted, 0);
        if is_above {
            let last = self.chosen[choice.scores_at + choice.count - 1];
            let scale = 1.0f32 / (total_of(&self.excess, 0) + EPSILON);
            for j in range_stepped(UNIT_POS as usize, choice.count, units) {
                let above = above(self.chosen[choice.scores_at + j], last, sparsifier);
                let slope = (self.of_chosen[of_chosen_at + j] - mean) * scale;
                self.of_chosen[of_chosen_at + j] = select(above <= 0.0f32, 0.0f32, slope);
            }
        } else if comptime!(sparsifier != Sparsifier::Released) {
            for j in range_stepped(UNIT_POS as usize, choice.count, units) {
                let slope = self.of_chosen[of_chosen_at + j] - mean;
                self.of_chosen[of_chosen_at + j] = self.chosen[choice.weights_at + j] * slope;
            }
        }
        sync_storage();
        if is_above {
            self.of_threshold(choice, sample);
        }
    }

    /// Of the last of those that take part, which gives the threshold: what all others say of it, turned round.
    fn of_threshold(&mut self, choice: &Choice, sample: &Sample) {
        let plan = comptime!(self.plan);
        let of_chosen_at = sample.slots_at();
        share_total(
            &*self.of_chosen,
            of_chosen_at,
            choice.count,
            &mut self.moved,
            1usize,
            comptime!(plan.units()),
        );
        sync_cube();
        if UNIT_POS == 0 {
            self.of_chosen[of_chosen_at + choice.count - 1] -= total_of(&self.moved, 0);
        }
        sync_storage();
    }

    /// Of the memories, as far as s_t says it: `d_m += w ds`.
    fn of_memories(&mut self, choice: &Choice, sample: &Sample) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        for e in range_stepped(UNIT_POS as usize, choice.count * n, comptime!(plan.units())) {
            let (j, o) = (e / n, e % n);
            let index = self.chosen[choice.indices_at + j] as usize;
            self.d_memories[(sample.memories_at + index) * n + o] +=
                self.chosen[choice.weights_at + j] * self.of_summary[o];
        }
    }

    /// Back through the scores: of the keys, and each unit's shares of those of the query and v.
    fn score_back(&mut self, step: &Step, choice: &Choice, sample: &Sample) {
        let plan = comptime!(self.plan);
        let row = comptime!(plan.tape_row());
        let d_attention = comptime!(plan.d_attention());
        let of_chosen_at = sample.slots_at();
        let (lane, share) = place(plan.query);
        let (first, last) = terms(share, choice.count, plan.query);
        for a in range_stepped(lane, d_attention, comptime!(plan.query.lanes)) {
            let query = self.tape[step.tape_at + row.query + a];
            let mut of_this_query = 0.0f32;
            let mut of_this_v = 0.0f32;
            for j in first..last {
                let index = self.chosen[choice.indices_at + j] as usize;
                let at = (sample.memories_at + index) * d_attention + a;
                let slope = self.of_chosen[of_chosen_at + j];
                match comptime!(plan.attention.score) {
                    Score::Mlp => {
                        let squashed = (self.keys[at] + query).tanh();
                        let through = slope * self.v[a] * (1.0f32 - squashed * squashed);
                        of_this_v += slope * squashed;
                        of_this_query += through;
                        self.d_keys[at] += through;
                    }
                    Score::ScaledDot => {
                        of_this_query += slope * self.keys[at];
                        self.d_keys[at] += slope * query;
                    }
                    Score::Released => {
                        of_this_query += slope;
                        self.d_keys[at] += slope;
                    }
                }
            }
            self.shares[share * d_attention + a] = of_this_query;
            self.other_shares[share * d_attention + a] = of_this_v;
        }
    }

    /// Of `ĥ W_h`, and of v.
    fn of_query_and_v(&mut self, step: &Step, sample: &Sample) {
        let plan = comptime!(self.plan);
        let d_attention = comptime!(plan.d_attention());
        let query_at = step.slopes_at(plan) + comptime!(plan.slope_row().query);
        for a in range_stepped(UNIT_POS as usize, d_attention, comptime!(plan.units())) {
            let sum = sum_of_shares(&self.shares, a, d_attention, plan.query);
            let slope = scaled(sum, plan.attention);
            self.of_query[a] = slope;
            self.d_rows[query_at + a] = slope;
            let of_this_v =
                self.of_v[a] + sum_of_shares(&self.other_shares, a, d_attention, plan.query);
            self.of_v[a] = of_this_v;
            // The sums of a few steps are handed on: one of all steps would lose digits.
            if step.t.is_multiple_of(FEW_STEPS) {
                self.d_v[sample.index * d_attention + a] += of_this_v;
                self.of_v[a] = 0.0f32;
            }
        }
    }

    /// Back through the query: what it says of ĥ_t.
    fn ask_back(&mut self, step: &Step) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let row = comptime!(plan.tape_row());
        times(
            self.w_query_transposed,
            0,
            comptime!(plan.d_attention()),
            &self.of_query,
            0,
            &mut self.shares,
            n,
            plan.hidden,
        );
        sync_cube();
        for o in range_stepped(UNIT_POS as usize, n, comptime!(plan.units())) {
            self.of_candidate[o] += attended_back(
                sum_of_shares(&self.shares, o, n, plan.hidden),
                self.tape,
                step.tape_at + row.candidate + o,
                plan.attention,
            );
        }
    }

    /// Of v, what is left of it, once a sample is through.
    pub(super) fn last_of_v(&mut self, sample: &Sample) {
        let plan = comptime!(self.plan);
        let d_attention = comptime!(plan.d_attention());
        for a in range_stepped(UNIT_POS as usize, d_attention, comptime!(plan.units())) {
            self.d_v[sample.index * d_attention + a] += self.of_v[a];
        }
    }

    /// Of the memories that are given, as far as their keys say it.
    pub(super) fn of_given(&mut self, sample: &Sample) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let d_attention = comptime!(plan.d_attention());
        for e in range_stepped(
            UNIT_POS as usize,
            sample.n_given * n,
            comptime!(plan.units()),
        ) {
            let (i, o) = (e / n, e % n);
            let key = (sample.memories_at + i) * d_attention;
            let mut sum = 0.0f32;
            for a in 0..d_attention {
                sum += self.d_keys[key + a] * self.w_key_transposed[a * n + o];
            }
            self.d_memories[(sample.memories_at + i) * n + o] += attended_back(
                sum,
                self.given,
                (sample.index * sample.n_given + i) * n + o,
                plan.attention,
            );
        }
    }
}
