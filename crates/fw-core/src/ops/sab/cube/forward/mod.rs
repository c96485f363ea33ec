//! The forward kernel: one cube computes one sample for the whole sequence.

mod attention;
mod network;

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::choice::Rivals;
use super::plan::Plan;
use super::scores::attended;
use super::steps::{Sample, Step};
use crate::ops::cube::{SHARERS, sum_of_shares, sync, times};
use crate::ops::sab::Combination;

/// Every output row, the last c of an LSTM, and what the backward pass reads.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, reason = "buffers")]
pub(super) fn forward(
    // [batch_size, seq_length, d_gates]
    projected: &[f32],
    // [batch_size, d_hidden]
    hidden_start: &[f32],
    cell_start: &[f32],
    // [batch_size, n_given, d_hidden]
    given: &[f32],
    // [d_hidden, d_gates], and b' of a GRU.
    w_hidden: &[f32],
    bias: &[f32],
    // [d_hidden, d_attention]
    w_query: &[f32],
    w_key: &[f32],
    v: &[f32],
    // See `Plan::results`.
    results: &mut [f32],
    // [batch_size, seq_length, width of a row]
    tape: &mut [f32],
    // [batch_size, seq_length or 1, 3 slots]: indices, weights, scores.
    chosen: &mut [f32],
    // [batch_size, n_memories, d_attention]
    keys: &mut [f32],
    // Room for the scores of all memories, [batch_size, n_memories].
    scores: &mut [f32],
    seq_length: usize,
    n_given: usize,
    n_memories: usize,
    slots: usize,
    first_step: usize,
    #[comptime] plan: Plan,
) {
    let sample = Sample::new(seq_length, n_given, n_memories, slots, first_step);
    let mut pass = Pass::new(
        projected, given, w_hidden, bias, w_query, w_key, v, results, tape, chosen, keys, scores,
        plan,
    );

    pass.start(hidden_start, cell_start, &sample);
    if comptime!(plan.recalls) {
        pass.store_given(&sample);
        sync_storage();
    }
    sync_cube();

    for t in 0..seq_length {
        let step = Step::new(t, &sample, plan);
        pass.propose(&step);
        sync_cube();
        if comptime!(plan.recalls) {
            pass.recall(&step, &sample);
        }
        pass.combine(&step);
        sync_cube();
        if step.is_stored {
            pass.store(&step, &sample);
        }
        sync(plan.recalls);
    }

    if comptime!(plan.kind.n_carried() > 0) {
        pass.yield_cell(&sample);
    }
}

/// What the stages of a step read and write: the buffers, and what the units of a cube share.
#[derive(CubeType)]
struct Pass<'a> {
    projected: &'a [f32],
    given: &'a [f32],
    w_hidden: &'a [f32],
    bias: &'a [f32],
    w_query: &'a [f32],
    w_key: &'a [f32],
    v: &'a [f32],
    results: &'a mut [f32],
    tape: &'a mut [f32],
    chosen: &'a mut [f32],
    keys: &'a mut [f32],
    scores: &'a mut [f32],
    /// h and c.
    hidden: Shared<[f32]>,
    carry: Shared<[f32]>,
    /// ĥ, and what attention sees of it or of h.
    candidate: Shared<[f32]>,
    seen: Shared<[f32]>,
    query: Shared<[f32]>,
    shares: Shared<[f32]>,
    largest: Shared<[f32]>,
    total: Shared<[f32]>,
    rivals: Rivals,
    #[cube(comptime)]
    plan: Plan,
}

#[cube]
impl<'a> Pass<'a> {
    /// The buffers of the kernel, and new arrays for its units.
    #[allow(clippy::too_many_arguments, reason = "buffers")]
    fn new(
        projected: &'a [f32],
        given: &'a [f32],
        w_hidden: &'a [f32],
        bias: &'a [f32],
        w_query: &'a [f32],
        w_key: &'a [f32],
        v: &'a [f32],
        results: &'a mut [f32],
        tape: &'a mut [f32],
        chosen: &'a mut [f32],
        keys: &'a mut [f32],
        scores: &'a mut [f32],
        #[comptime] plan: Plan,
    ) -> Pass<'a> {
        let n = comptime!(plan.d_hidden);
        Pass::<'a> {
            projected,
            given,
            w_hidden,
            bias,
            w_query,
            w_key,
            v,
            results,
            tape,
            chosen,
            keys,
            scores,
            hidden: Shared::<[f32]>::new_slice(n),
            carry: Shared::<[f32]>::new_slice(n),
            candidate: Shared::<[f32]>::new_slice(n),
            seen: Shared::<[f32]>::new_slice(n),
            query: Shared::<[f32]>::new_slice(comptime!(plan.d_attention())),
            shares: Shared::<[f32]>::new_slice(comptime!(plan.shares())),
            largest: Shared::<[f32]>::new_slice(SHARERS),
            total: Shared::<[f32]>::new_slice(SHARERS),
            rivals: Rivals::new(comptime!(plan.units())),
            plan,
        }
    }
}

#[cube]
impl Pass<'_> {
    /// h and c before the sequence.
    fn start(&mut self, hidden_start: &[f32], cell_start: &[f32], sample: &Sample) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        for o in range_stepped(UNIT_POS as usize, n, comptime!(plan.units())) {
            self.hidden[o] = hidden_start[sample.index * n + o];
            if comptime!(plan.kind.n_carried() > 0) {
                self.carry[o] = cell_start[sample.index * n + o];
            }
        }
    }

    /// The keys `m W_m` of the memories that are given.
    fn store_given(&mut self, sample: &Sample) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let d_attention = comptime!(plan.d_attention());
        let n_keys = sample.n_given * d_attention;
        for e in range_stepped(UNIT_POS as usize, n_keys, comptime!(plan.units())) {
            let (i, a) = (e / d_attention, e % d_attention);
            let mut sum = 0.0f32;
            for o in 0..n {
                let value = self.given[(sample.index * sample.n_given + i) * n + o];
                sum += attended(value, plan.attention) * self.w_key[o * d_attention + a];
            }
            self.keys[sample.memories_at * d_attention + e] = sum;
        }
    }

    /// h_t from ĥ_t and s_t, of which the units have shares, and what attention sees of it.
    fn combine(&mut self, step: &Step) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let output_at = step.index * comptime!(plan.d_output());
        for o in range_stepped(UNIT_POS as usize, n, comptime!(plan.units())) {
            let mut value = self.candidate[o];
            let mut summary = 0.0f32;
            if comptime!(plan.recalls) {
                if step.memories.visible > 0 {
                    summary = sum_of_shares(&self.shares, o, n, plan.hidden);
                    match comptime!(plan.attention.combination) {
                        Combination::Average => value = (value + summary) * 0.5f32,
                        Combination::Add => value += summary,
                        Combination::OutputOnly => {}
                    }
                }
                self.seen[o] = attended(value, plan.attention);
            }
            self.hidden[o] = value;
            self.results[output_at + o] = value;
            if comptime!(plan.yields_summary) {
                self.results[output_at + n + o] = summary;
            }
        }
    }

    /// The key `h_t W_m` of h_t, which becomes a memory.
    fn store(&mut self, step: &Step, sample: &Sample) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let d_attention = comptime!(plan.d_attention());
        times(
            self.w_key,
            0,
            n,
            &self.seen,
            0,
            &mut self.shares,
            d_attention,
            plan.query,
        );
        sync_cube();
        let at = (sample.memories_at + step.memories.all) * d_attention;
        for a in range_stepped(UNIT_POS as usize, d_attention, comptime!(plan.units())) {
            self.keys[at + a] = sum_of_shares(&self.shares, a, d_attention, plan.query);
        }
    }

    /// c after the sequence.
    fn yield_cell(&mut self, sample: &Sample) {
        let plan = comptime!(self.plan);
        let at = sample.last_cell_at(plan);
        for o in range_stepped(
            UNIT_POS as usize,
            comptime!(plan.d_hidden),
            comptime!(plan.units()),
        ) {
            self.results[at + o] = self.carry[o];
        }
    }
}
