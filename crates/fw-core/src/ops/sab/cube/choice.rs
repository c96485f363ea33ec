//! The choice of the memories that take part in a step.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::steps::{Choice, Memories};

/// Each unit's best score, its place, and the units that hold the best of these.
#[derive(CubeType)]
pub(super) struct Rivals {
    best: Shared<[u32]>,
    best_at: Shared<[u32]>,
    holders: Shared<[u32]>,
}

#[cube]
impl Rivals {
    /// Room for as many as there are units.
    pub(super) fn new(#[comptime] units: usize) -> Rivals {
        Rivals {
            best: Shared::<[u32]>::new_slice(units),
            best_at: Shared::<[u32]>::new_slice(units),
            holders: Shared::<[u32]>::new_slice(units),
        }
    }
}

/// The `count` best of the scores of all visible memories, from the best on; of equal ones the older.
///
/// Each unit takes every `units`-th score. The best of all lie with the units whose own best are the best of those; and where
/// no unit has two scores, they are those.
#[cube]
pub(super) fn choose(
    scores: &[f32],
    from: usize,
    chosen: &mut [f32],
    memories: &Memories,
    choice: &Choice,
    rivals: &mut Rivals,
    #[comptime] units: usize,
) {
    let unit = UNIT_POS as usize;
    let n_bests = min(memories.visible, units);
    let is_single = memories.visible <= units;
    let mut place = 0u32;
    let mut at = unit;
    if unit < n_bests {
        place = order(scores[from + unit]);
        for i in range_stepped(unit + units, memories.visible, units) {
            let other = order(scores[from + i]);
            if other > place {
                place = other;
                at = i;
            }
        }
        rivals.best[unit] = place;
        rivals.best_at[unit] = at as u32;
    }
    sync_cube();
    if unit < n_bests {
        let mut rank = 0usize;
        for other in 0..n_bests {
            if is_before(
                rivals.best[other],
                rivals.best_at[other] as usize,
                place,
                at,
            ) {
                rank += 1;
            }
        }
        if rank < choice.count {
            if is_single {
                take(
                    chosen,
                    choice,
                    rank,
                    memories.oldest + at,
                    scores[from + at],
                );
            } else {
                rivals.holders[rank] = unit as u32;
            }
        }
    }
    if !is_single {
        sync_cube();
        choose_of_holders(scores, from, chosen, memories, choice, &*rivals, units);
    }
}

/// The best of the scores of those units that hold the best.
#[cube]
fn choose_of_holders(
    scores: &[f32],
    from: usize,
    chosen: &mut [f32],
    memories: &Memories,
    choice: &Choice,
    rivals: &Rivals,
    #[comptime] units: usize,
) {
    let held = memories.visible.div_ceil(units);
    let n_held = min(choice.count, units) * held;
    for e in range_stepped(UNIT_POS as usize, n_held, units) {
        let i = rivals.holders[e / held] as usize + e % held * units;
        if i < memories.visible {
            let place = order(scores[from + i]);
            let mut rank = 0usize;
            for other in 0..n_held {
                let j = rivals.holders[other / held] as usize + other % held * units;
                if j < memories.visible && is_before(order(scores[from + j]), j, place, i) {
                    rank += 1;
                }
            }
            if rank < choice.count {
                take(chosen, choice, rank, memories.oldest + i, scores[from + i]);
            }
        }
    }
}

/// All visible memories, where no more are there than are recalled.
#[cube]
pub(super) fn choose_all(
    scores: &[f32],
    from: usize,
    chosen: &mut [f32],
    memories: &Memories,
    choice: &Choice,
    #[comptime] units: usize,
) {
    for i in range_stepped(UNIT_POS as usize, memories.visible, units) {
        take(chosen, choice, i, memories.oldest + i, scores[from + i]);
    }
}

/// Writes down that a memory takes part, and its score.
#[cube]
fn take(chosen: &mut [f32], choice: &Choice, rank: usize, index: usize, score: f32) {
    chosen[choice.indices_at + rank] = index as f32;
    chosen[choice.scores_at + rank] = score;
}

/// A whole number that is the larger the larger the score is. What is no number comes first: it must not be lost.
#[cube]
fn order(score: f32) -> u32 {
    // Both zeros are the same.
    let bits = u32::reinterpret(select(score == 0.0f32, 0.0f32, score));
    let place = select(
        bits >> 31 == 0,
        bits ^ 0x8000_0000u32,
        bits ^ 0xFFFF_FFFFu32,
    );
    let is_number = bits & 0x7FFF_FFFFu32 <= 0x7F80_0000u32;
    select(is_number, place, 0xFFFF_FFFFu32)
}

/// Whether a score comes before another: it is larger, or as large and older.
#[cube]
fn is_before(place: u32, at: usize, other: u32, other_at: usize) -> bool {
    place > other || (place == other && at < other_at)
}
