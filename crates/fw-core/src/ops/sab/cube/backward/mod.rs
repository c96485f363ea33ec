//! The backward kernel: one cube goes back through one sample.

mod attention;
mod network;

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::Plan;
use super::scores::attended_back;
use super::steps::{Sample, Step};
use crate::ops::cube::{SHARERS, sum_of_shares, times};
use crate::ops::sab::Combination;

/// The gradients of what each product yields, of the memories and their keys, of v, and of what precedes the sequence.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, reason = "buffers")]
pub(super) fn backward(
    // Of the results, and those.
    slopes: &[f32],
    results: &[f32],
    tape: &[f32],
    chosen: &[f32],
    keys: &[f32],
    hidden_start: &[f32],
    cell_start: &[f32],
    given: &[f32],
    // [d_gates, d_hidden], then two of [d_attention, d_hidden].
    w_hidden_transposed: &[f32],
    w_query_transposed: &[f32],
    w_key_transposed: &[f32],
    v: &[f32],
    // See `SlopeRow`: [batch_size, seq_length, width].
    d_rows: &mut [f32],
    // [batch_size, n_memories, d_hidden], and [.., d_attention].
    d_memories: &mut [f32],
    d_keys: &mut [f32],
    // [batch_size, d_attention]
    d_v: &mut [f32],
    // [batch_size, 2 d_hidden]
    d_start: &mut [f32],
    // Room for the gradients of weights, then of scores, [batch_size, slots].
    of_chosen: &mut [f32],
    seq_length: usize,
    n_given: usize,
    n_memories: usize,
    slots: usize,
    first_step: usize,
    #[comptime] plan: Plan,
) {
    let sample = Sample::new(seq_length, n_given, n_memories, slots, first_step);
    let mut pass = Pass::new(
        slopes,
        results,
        tape,
        chosen,
        keys,
        hidden_start,
        cell_start,
        given,
        w_hidden_transposed,
        w_query_transposed,
        w_key_transposed,
        v,
        d_rows,
        d_memories,
        d_keys,
        d_v,
        of_chosen,
        plan,
    );

    pass.start(&sample);
    sync_cube();

    for back in 0..seq_length {
        let step = Step::new(seq_length - back - 1, &sample, plan);
        pass.combine_back(&step, &sample);
        sync_cube();
        if comptime!(plan.recalls) && step.memories.visible > 0 {
            pass.recall_back(&step, &sample);
        } else {
            pass.no_query(&step);
        }
        sync_cube();
        pass.propose_back(&step, &sample);
        sync_cube();
        pass.hidden_back(&step, &sample);
        sync_cube();
    }

    pass.yield_start(d_start, &sample);
    if comptime!(plan.recalls) {
        pass.last_of_v(&sample);
    }
    if comptime!(plan.recalls && plan.attention.replay) {
        pass.of_given(&sample);
    }
}

/// What the stages of a step read and write: the buffers, and what the units of a cube share.
#[derive(CubeType)]
struct Pass<'a> {
    slopes: &'a [f32],
    results: &'a [f32],
    tape: &'a [f32],
    chosen: &'a [f32],
    keys: &'a [f32],
    hidden_start: &'a [f32],
    cell_start: &'a [f32],
    given: &'a [f32],
    w_hidden_transposed: &'a [f32],
    w_query_transposed: &'a [f32],
    w_key_transposed: &'a [f32],
    v: &'a [f32],
    d_rows: &'a mut [f32],
    d_memories: &'a mut [f32],
    d_keys: &'a mut [f32],
    d_v: &'a mut [f32],
    of_chosen: &'a mut [f32],
    /// Of h, ĥ, s and c.
    of_hidden: Shared<[f32]>,
    of_candidate: Shared<[f32]>,
    of_summary: Shared<[f32]>,
    of_cell: Shared<[f32]>,
    from_hidden: Shared<[f32]>,
    of_query: Shared<[f32]>,
    of_v: Shared<[f32]>,
    shares: Shared<[f32]>,
    other_shares: Shared<[f32]>,
    weighted: Shared<[f32]>,
    excess: Shared<[f32]>,
    moved: Shared<[f32]>,
    #[cube(comptime)]
    plan: Plan,
}

#[cube]
impl<'a> Pass<'a> {
    /// The buffers of the kernel, and new arrays for its units.
    #[allow(clippy::too_many_arguments, reason = "buffers")]
    fn new(
        slopes: &'a [f32],
        results: &'a [f32],
        tape: &'a [f32],
        chosen: &'a [f32],
        keys: &'a [f32],
        hidden_start: &'a [f32],
        cell_start: &'a [f32],
        given: &'a [f32],
        w_hidden_transposed: &'a [f32],
        w_query_transposed: &'a [f32],
        w_key_transposed: &'a [f32],
        v: &'a [f32],
        d_rows: &'a mut [f32],
        d_memories: &'a mut [f32],
        d_keys: &'a mut [f32],
        d_v: &'a mut [f32],
        of_chosen: &'a mut [f32],
        #[comptime] plan: Plan,
    ) -> Pass<'a> {
        let n = comptime!(plan.d_hidden);
        let d_attention = comptime!(plan.d_attention());
        Pass::<'a> {
            slopes,
            results,
            tape,
            chosen,
            keys,
            hidden_start,
            cell_start,
            given,
            w_hidden_transposed,
            w_query_transposed,
            w_key_transposed,
            v,
            d_rows,
            d_memories,
            d_keys,
            d_v,
            of_chosen,
            of_hidden: Shared::<[f32]>::new_slice(n),
            of_candidate: Shared::<[f32]>::new_slice(n),
            of_summary: Shared::<[f32]>::new_slice(n),
            of_cell: Shared::<[f32]>::new_slice(n),
            from_hidden: Shared::<[f32]>::new_slice(comptime!(plan.d_gates())),
            of_query: Shared::<[f32]>::new_slice(d_attention),
            of_v: Shared::<[f32]>::new_slice(d_attention),
            shares: Shared::<[f32]>::new_slice(comptime!(plan.shares())),
            other_shares: Shared::<[f32]>::new_slice(comptime!(plan.query_shares())),
            weighted: Shared::<[f32]>::new_slice(SHARERS),
            excess: Shared::<[f32]>::new_slice(SHARERS),
            moved: Shared::<[f32]>::new_slice(SHARERS),
            plan,
        }
    }
}

#[cube]
impl Pass<'_> {
    /// Nothing yet, but for the gradient of the last c.
    fn start(&mut self, sample: &Sample) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let units = comptime!(plan.units());
        let unit = UNIT_POS as usize;
        for o in range_stepped(unit, n, units) {
            self.of_hidden[o] = 0.0f32;
            self.of_cell[o] = 0.0f32;
            if comptime!(plan.kind.n_carried() > 0) {
                self.of_cell[o] = self.slopes[sample.last_cell_at(plan) + o];
            }
        }
        if comptime!(plan.recalls) {
            let d_attention = comptime!(plan.d_attention());
            for a in range_stepped(unit, d_attention, units) {
                self.of_v[a] = 0.0f32;
                self.d_v[sample.index * d_attention + a] = 0.0f32;
            }
            for e in range_stepped(unit, sample.n_memories * d_attention, units) {
                self.d_keys[sample.memories_at * d_attention + e] = 0.0f32;
            }
            for e in range_stepped(unit, sample.n_memories * n, units) {
                self.d_memories[sample.memories_at * n + e] = 0.0f32;
            }
            sync_storage();
        }
    }

    /// Each unit's shares of the gradient of what attention has seen of h_t, from the key that it became.
    fn share_of_key(&mut self, step: &Step, sample: &Sample) {
        let plan = comptime!(self.plan);
        let d_attention = comptime!(plan.d_attention());
        times(
            self.w_key_transposed,
            0,
            d_attention,
            &*self.d_keys,
            (sample.memories_at + step.memories.all) * d_attention,
            &mut self.shares,
            comptime!(plan.d_hidden),
            plan.hidden,
        );
    }

    /// The gradients of ĥ_t, so far, and of s_t, from that of h_t: of the output, of the next step, and of the memory that it became.
    fn combine_back(&mut self, step: &Step, sample: &Sample) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        let output_at = step.index * comptime!(plan.d_output());
        if comptime!(plan.recalls && plan.attention.replay) {
            if step.is_stored {
                self.share_of_key(step, sample);
            }
            sync_cube();
        }
        for o in range_stepped(UNIT_POS as usize, n, comptime!(plan.units())) {
            let mut slope = self.slopes[output_at + o] + self.of_hidden[o];
            if comptime!(plan.recalls && plan.attention.replay) && step.is_stored {
                let of_key = attended_back(
                    sum_of_shares(&self.shares, o, n, plan.hidden),
                    self.results,
                    output_at + o,
                    plan.attention,
                );
                slope += self.d_memories[(sample.memories_at + step.memories.all) * n + o] + of_key;
            }
            let mut summary = 0.0f32;
            if comptime!(plan.yields_summary) {
                summary = self.slopes[output_at + n + o];
            }
            let mut candidate = slope;
            if comptime!(plan.recalls) && step.memories.visible > 0 {
                match comptime!(plan.attention.combination) {
                    Combination::Average => {
                        candidate = slope * 0.5f32;
                        summary += slope * 0.5f32;
                    }
                    Combination::Add => summary += slope,
                    Combination::OutputOnly => {}
                }
            }
            self.of_candidate[o] = candidate;
            self.of_summary[o] = summary;
        }
    }

    /// A step without memories says nothing of `ĥ W_h`.
    fn no_query(&mut self, step: &Step) {
        let plan = comptime!(self.plan);
        let query_at = step.slopes_at(plan) + comptime!(plan.slope_row().query);
        for a in range_stepped(
            UNIT_POS as usize,
            comptime!(plan.d_attention()),
            comptime!(plan.units()),
        ) {
            self.d_rows[query_at + a] = 0.0f32;
        }
    }

    /// The gradients of h and c before the sequence.
    fn yield_start(&self, d_start: &mut [f32], sample: &Sample) {
        let plan = comptime!(self.plan);
        let n = comptime!(plan.d_hidden);
        for o in range_stepped(UNIT_POS as usize, n, comptime!(plan.units())) {
            d_start[sample.index * 2 * n + o] = self.of_hidden[o];
            d_start[sample.index * 2 * n + n + o] = self.of_cell[o];
        }
    }
}
