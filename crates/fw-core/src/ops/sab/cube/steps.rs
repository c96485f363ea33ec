//! What both kernels know of a step: where its numbers lie, and which memories it sees.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::{Attention, Plan};
use crate::ops::sab::Sparsifier;

/// The sample that a cube computes, and the lengths of the run.
#[derive(CubeType)]
pub(super) struct Sample {
    pub(super) index: usize,
    pub(super) seq_length: usize,
    pub(super) n_given: usize,
    pub(super) n_memories: usize,
    pub(super) slots: usize,
    pub(super) first_step: usize,
    /// Its first memory, among those of all samples.
    pub(super) memories_at: usize,
}

#[cube]
impl Sample {
    /// The sample of this cube.
    pub(super) fn new(
        seq_length: usize,
        n_given: usize,
        n_memories: usize,
        slots: usize,
        first_step: usize,
    ) -> Sample {
        let index = CUBE_POS_X as usize;
        Sample {
            index,
            seq_length,
            n_given,
            n_memories,
            slots,
            first_step,
            memories_at: index * n_memories,
        }
    }

    /// Its first slot, among those of all samples.
    pub(super) fn slots_at(&self) -> usize {
        self.index * self.slots
    }

    /// Where the results have the last c of the sample.
    pub(super) fn last_cell_at(&self, #[comptime] plan: Plan) -> usize {
        let batch_size = CUBE_COUNT_X as usize;
        batch_size * self.seq_length * comptime!(plan.d_output())
            + self.index * comptime!(plan.d_hidden)
    }
}

/// A step of a sample.
#[derive(CubeType)]
pub(super) struct Step {
    pub(super) t: usize,
    /// Among the steps of all samples.
    pub(super) index: usize,
    /// Where its row of the tape begins.
    pub(super) tape_at: usize,
    pub(super) memories: Memories,
    /// Whether h after it becomes a memory.
    pub(super) is_stored: bool,
}

#[cube]
impl Step {
    /// Step t of the sample, and the memories that there are before it.
    pub(super) fn new(t: usize, sample: &Sample, #[comptime] plan: Plan) -> Step {
        let index = sample.index * sample.seq_length + t;
        Step {
            t,
            index,
            tape_at: index * comptime!(plan.tape_row().width),
            memories: Memories::before(t, sample, plan),
            is_stored: is_stored(t, sample, plan),
        }
    }

    /// Where its row of what the backward kernel yields begins.
    pub(super) fn slopes_at(&self, #[comptime] plan: Plan) -> usize {
        self.index * comptime!(plan.slope_row().width)
    }
}

/// The memories before a step.
#[derive(CubeType)]
pub(super) struct Memories {
    /// How many there have been, those that are given among them.
    pub(super) all: usize,
    /// The oldest that is still there.
    pub(super) oldest: usize,
    /// How many are still there.
    pub(super) visible: usize,
}

#[cube]
impl Memories {
    /// Those before step t; none where nothing is recalled.
    fn before(t: usize, sample: &Sample, #[comptime] plan: Plan) -> Memories {
        if comptime!(plan.recalls) {
            let all = n_before(t, sample, plan.attention);
            let oldest = oldest(all, plan.attention);
            Memories {
                all,
                oldest,
                visible: all - oldest,
            }
        } else {
            Memories {
                all: 0usize,
                oldest: 0usize,
                visible: 0usize,
            }
        }
    }
}

/// The memories that take part in a step, and where their indices, weights and scores lie.
#[derive(CubeType)]
pub(super) struct Choice {
    pub(super) count: usize,
    /// Whether there are more memories than are recalled.
    pub(super) is_crowded: bool,
    pub(super) indices_at: usize,
    pub(super) weights_at: usize,
    pub(super) scores_at: usize,
}

#[cube]
impl Choice {
    /// Written in this row of `3 slots` numbers.
    pub(super) fn new(
        memories: &Memories,
        row: usize,
        slots: usize,
        #[comptime] attention: Attention,
    ) -> Choice {
        let indices_at = row * 3 * slots;
        Choice {
            count: n_chosen(memories.visible, attention),
            is_crowded: is_crowded(memories.visible, attention),
            indices_at,
            weights_at: indices_at + slots,
            scores_at: indices_at + 2 * slots,
        }
    }
}

/// Whether h after step t becomes a memory.
#[cube]
fn is_stored(t: usize, sample: &Sample, #[comptime] plan: Plan) -> bool {
    if comptime!(plan.recalls) {
        (sample.first_step + t + 1).is_multiple_of(comptime!(plan.attention.interval))
    } else {
        false.runtime()
    }
}

/// The first step of a sequence after which a state is stored.
#[cube]
fn first_stored(first_step: usize, #[comptime] attention: Attention) -> usize {
    comptime!(attention.interval - 1) - first_step % comptime!(attention.interval)
}

/// The memories before step t, those that are given among them.
#[cube]
fn n_before(t: usize, sample: &Sample, #[comptime] attention: Attention) -> usize {
    let first = first_stored(sample.first_step, attention);
    // Stored after steps first, first + interval, ..
    sample.n_given + (t + comptime!(attention.interval - 1) - first) / comptime!(attention.interval)
}

/// The oldest memory that is still there, of `n`.
#[cube]
fn oldest(n: usize, #[comptime] attention: Attention) -> usize {
    match comptime!(attention.max_memories) {
        Some(most) => n - min(n, most),
        None => 0usize.runtime(),
    }
}

/// Whether `n` memories are more than are recalled.
#[cube]
fn is_crowded(n: usize, #[comptime] attention: Attention) -> bool {
    match comptime!(attention.top_k) {
        Some(top_k) => n > top_k,
        None => false.runtime(),
    }
}

/// How many of `n` memories take part.
#[cube]
fn n_chosen(n: usize, #[comptime] attention: Attention) -> usize {
    match comptime!(attention.top_k) {
        Some(top_k) => {
            let most = comptime!(top_k + (attention.sparsifier == Sparsifier::Threshold) as usize);
            select(n > top_k, most.runtime(), n)
        }
        None => n,
    }
}

/// A number of a memory.
#[cube]
pub(super) fn memory(
    given: &[f32],
    results: &[f32],
    sample: &Sample,
    index: usize,
    o: usize,
    #[comptime] plan: Plan,
) -> f32 {
    if index < sample.n_given {
        given[(sample.index * sample.n_given + index) * comptime!(plan.d_hidden) + o]
    } else {
        let t = first_stored(sample.first_step, plan.attention)
            + (index - sample.n_given) * comptime!(plan.attention.interval);
        results[(sample.index * sample.seq_length + t) * comptime!(plan.d_output()) + o]
    }
}
