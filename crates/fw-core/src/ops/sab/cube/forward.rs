//! The forward kernel: one cube computes one sample for the whole sequence.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::{Attention, Plan, SCORE_ROW};
use super::steps::{
    EPSILON, above, is_crowded, memory, n_before, n_chosen, oldest, score_of, share_above,
};
use crate::ops::CellKind;
use crate::ops::cube::{
    SHARERS, activate, largest_of, place, share_largest, sigmoid, sum_of_parts, sync, terms, times,
    total_of,
};
use crate::ops::sab::{Combination, Score, Sparsifier};

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
    let row = comptime!(plan.tape_row());
    let n = comptime!(plan.d_hidden);
    let d_gates = comptime!(plan.d_gates());
    let d_output = comptime!(plan.d_output());
    let attention = comptime!(plan.attention);
    let units = comptime!(plan.units());
    let unit = UNIT_POS as usize;
    let sample = CUBE_POS_X as usize;
    let batch_size = CUBE_COUNT_X as usize;

    let mut hidden = Shared::<[f32]>::new_slice(n);
    let mut carry = Shared::<[f32]>::new_slice(n);
    // ĥ, and what attention reads of it or of h.
    let mut candidate = Shared::<[f32]>::new_slice(n);
    let mut seen = Shared::<[f32]>::new_slice(n);
    let mut query = Shared::<[f32]>::new_slice(comptime!(plan.d_attention()));
    let mut shares = Shared::<[f32]>::new_slice(comptime!(plan.shares()));
    let mut largest = Shared::<[f32]>::new_slice(SHARERS);
    let mut total = Shared::<[f32]>::new_slice(SHARERS);
    let mut best = Shared::<[u32]>::new_slice(units);
    let mut best_at = Shared::<[u32]>::new_slice(units);
    let mut holders = Shared::<[u32]>::new_slice(units);

    for o in range_stepped(unit, n, units) {
        hidden[o] = hidden_start[sample * n + o];
        if comptime!(plan.kind.has_cell()) {
            carry[o] = cell_start[sample * n + o];
        }
    }
    if comptime!(plan.recalls) {
        let d_attention = comptime!(attention.d_attention);
        for e in range_stepped(unit, n_given * d_attention, units) {
            let (i, a) = (e / d_attention, e % d_attention);
            let mut sum = 0.0f32;
            for o in 0..n {
                let value = given[(sample * n_given + i) * n + o];
                sum += attended(value, attention) * w_key[o * d_attention + a];
            }
            keys[sample * n_memories * d_attention + e] = sum;
        }
        sync_storage();
    }
    sync_cube();

    for t in 0..seq_length {
        let step = sample * seq_length + t;
        let tape_at = step * row.width;

        // The cell.
        times(w_hidden, 0, n, &hidden, 0, &mut shares, d_gates, plan.gates);
        sync_cube();
        for o in range_stepped(unit, n, units) {
            let at = step * d_gates + o;
            match comptime!(plan.kind) {
                CellKind::Lstm => {
                    let i = sigmoid(projected[at] + sum_of_parts(&shares, o, d_gates, plan.gates));
                    let f = projected[at + n] + sum_of_parts(&shares, n + o, d_gates, plan.gates);
                    let f = sigmoid(f);
                    let g = projected[at + 2 * n]
                        + sum_of_parts(&shares, 2 * n + o, d_gates, plan.gates);
                    let g = g.tanh();
                    let out = projected[at + 3 * n]
                        + sum_of_parts(&shares, 3 * n + o, d_gates, plan.gates);
                    let out = sigmoid(out);
                    let c = f * carry[o] + i * g;
                    carry[o] = c;
                    candidate[o] = out * c.tanh();
                    if comptime!(plan.keeps) {
                        tape[tape_at + o] = i;
                        tape[tape_at + n + o] = f;
                        tape[tape_at + 2 * n + o] = g;
                        tape[tape_at + 3 * n + o] = out;
                        tape[tape_at + row.carry + o] = c;
                    }
                }
                CellKind::Gru => {
                    let u = projected[at] + sum_of_parts(&shares, o, d_gates, plan.gates);
                    let u = sigmoid(u + bias[o]);
                    let r = projected[at + n] + sum_of_parts(&shares, n + o, d_gates, plan.gates);
                    let r = sigmoid(r + bias[n + o]);
                    let from_hidden =
                        sum_of_parts(&shares, 2 * n + o, d_gates, plan.gates) + bias[2 * n + o];
                    let new = projected[at + 2 * n] + r * from_hidden;
                    let new = new.tanh();
                    candidate[o] = new + u * (hidden[o] - new);
                    if comptime!(plan.keeps) {
                        tape[tape_at + o] = u;
                        tape[tape_at + n + o] = r;
                        tape[tape_at + 2 * n + o] = new;
                        tape[tape_at + row.carry + o] = from_hidden;
                    }
                }
                CellKind::Elman(activation) => {
                    let value = projected[at] + sum_of_parts(&shares, o, d_gates, plan.gates);
                    candidate[o] = activate(value, activation);
                }
            }
            if comptime!(plan.keeps) {
                tape[tape_at + row.candidate + o] = candidate[o];
            }
            if comptime!(plan.recalls) {
                seen[o] = attended(candidate[o], attention);
            }
        }
        sync_cube();

        let mut from = 0usize;
        let mut visible = 0usize;
        if comptime!(plan.recalls) {
            let all = n_before(t, n_given, first_step, attention);
            from = oldest(all, attention);
            visible = all - from;
        }
        if comptime!(plan.recalls) {
            let d_attention = comptime!(attention.d_attention);
            let chosen_at = if comptime!(plan.keeps) {
                step * 3 * slots
            } else {
                sample * 3 * slots
            };
            let scores_at = sample * n_memories;
            let count = n_chosen(visible, attention);
            if visible > 0 {
                times(
                    w_query,
                    0,
                    n,
                    &seen,
                    0,
                    &mut shares,
                    d_attention,
                    plan.query,
                );
                sync_cube();
                for a in range_stepped(unit, d_attention, units) {
                    let mut value = sum_of_parts(&shares, a, d_attention, plan.query);
                    if comptime!(attention.score == Score::ScaledDot) {
                        value *= comptime!(1.0 / (attention.d_attention as f64).sqrt()) as f32;
                    }
                    query[a] = value;
                    if comptime!(plan.keeps) {
                        tape[tape_at + row.query + a] = value;
                    }
                }
                sync_cube();
                let block = comptime!(plan.scored());
                for base in range_stepped(0usize, visible, block) {
                    let scored = min(visible - base, block);
                    for e in range_stepped(unit, scored * SHARERS, units) {
                        let (i, first) = (e / SHARERS, e % SHARERS);
                        let key = (scores_at + from + base + i) * d_attention;
                        let mut sum = 0.0f32;
                        for a in range_stepped(first, d_attention, SHARERS) {
                            match comptime!(attention.score) {
                                Score::Mlp => sum += v[a] * (keys[key + a] + query[a]).tanh(),
                                Score::ScaledDot => sum += keys[key + a] * query[a],
                                Score::Released => sum += keys[key + a] + query[a],
                            }
                        }
                        shares[i * SCORE_ROW + first] = sum;
                    }
                    sync_cube();
                    for i in range_stepped(unit, scored, units) {
                        scores[scores_at + base + i] = score_of(&shares, i);
                    }
                    sync_cube();
                }
                sync_storage();

                if is_crowded(visible, attention) {
                    choose(
                        &*scores,
                        scores_at,
                        visible,
                        count,
                        from,
                        chosen,
                        chosen_at,
                        slots,
                        &mut best,
                        &mut best_at,
                        &mut holders,
                        units,
                    );
                } else {
                    for i in range_stepped(unit, visible, units) {
                        chosen[chosen_at + i] = (from + i) as f32;
                        chosen[chosen_at + 2 * slots + i] = scores[scores_at + i];
                    }
                }
                sync_storage();
                weigh(
                    chosen,
                    chosen_at,
                    count,
                    slots,
                    is_crowded(visible, attention),
                    &mut largest,
                    &mut total,
                    attention,
                    plan,
                );
                sync_storage();

                // Each unit's share of what is recalled.
                let lanes = comptime!(plan.hidden.lanes);
                let (lane, part) = place(plan.hidden);
                let (first, last) = terms(part, count, plan.hidden);
                for o in range_stepped(lane, n, lanes) {
                    let mut sum = 0.0f32;
                    for j in first..last {
                        let index = chosen[chosen_at + j] as usize;
                        let value = memory(
                            given, &*results, sample, index, o, n_given, first_step, seq_length,
                            plan, attention,
                        );
                        sum += chosen[chosen_at + slots + j] * value;
                    }
                    shares[part * n + o] = sum;
                }
                sync_cube();
            }
        }

        for o in range_stepped(unit, n, units) {
            let mut value = candidate[o];
            let mut summary = 0.0f32;
            if comptime!(plan.recalls) {
                if visible > 0 {
                    summary = sum_of_parts(&shares, o, n, plan.hidden);
                    match comptime!(attention.combination) {
                        Combination::Average => value = (value + summary) * 0.5f32,
                        Combination::Add => value += summary,
                        Combination::OutputOnly => {}
                    }
                }
                seen[o] = attended(value, attention);
            }
            hidden[o] = value;
            results[step * d_output + o] = value;
            if comptime!(plan.yields_summary) {
                results[step * d_output + n + o] = summary;
            }
        }
        sync_cube();

        if comptime!(plan.recalls)
            && (first_step + t + 1).is_multiple_of(comptime!(attention.interval))
        {
            let d_attention = comptime!(attention.d_attention);
            times(w_key, 0, n, &seen, 0, &mut shares, d_attention, plan.query);
            sync_cube();
            let at = (sample * n_memories + from + visible) * d_attention;
            for a in range_stepped(unit, d_attention, units) {
                keys[at + a] = sum_of_parts(&shares, a, d_attention, plan.query);
            }
        }
        sync(plan.recalls);
    }

    if comptime!(plan.kind.has_cell()) {
        let at = batch_size * seq_length * d_output + sample * n;
        for o in range_stepped(unit, n, units) {
            results[at + o] = carry[o];
        }
    }
}

/// What attention sees of a state.
#[cube]
fn attended(value: f32, #[comptime] attention: Attention) -> f32 {
    match comptime!(attention.score) {
        Score::Released => value.tanh(),
        _ => value,
    }
}

/// The `count` best of `visible` scores, from the best on; of equal ones the older.
///
/// Each unit takes every `units`-th score. The best of all lie with the units whose own best are the best of those; and where
/// no unit has two scores, they are those.
#[cube]
#[allow(clippy::too_many_arguments, reason = "slices and where they begin")]
pub(super) fn choose(
    scores: &[f32],
    scores_at: usize,
    visible: usize,
    count: usize,
    from: usize,
    chosen: &mut [f32],
    chosen_at: usize,
    slots: usize,
    best: &mut [u32],
    best_at: &mut [u32],
    holders: &mut [u32],
    #[comptime] units: usize,
) {
    let unit = UNIT_POS as usize;
    let n_bests = min(visible, units);
    let is_single = visible <= units;
    let mut place = 0u32;
    let mut at = unit;
    if unit < n_bests {
        place = order(scores[scores_at + unit]);
        for i in range_stepped(unit + units, visible, units) {
            let other = order(scores[scores_at + i]);
            if other > place {
                place = other;
                at = i;
            }
        }
        best[unit] = place;
        best_at[unit] = at as u32;
    }
    sync_cube();
    if unit < n_bests {
        let mut rank = 0usize;
        for other in 0..n_bests {
            if is_before(best[other], best_at[other] as usize, place, at) {
                rank += 1;
            }
        }
        if rank < count {
            if is_single {
                chosen[chosen_at + rank] = (from + at) as f32;
                chosen[chosen_at + 2 * slots + rank] = scores[scores_at + at];
            } else {
                holders[rank] = unit as u32;
            }
        }
    }
    if !is_single {
        sync_cube();
        let held = visible.div_ceil(units);
        let n_held = min(count, units) * held;
        for e in range_stepped(unit, n_held, units) {
            let i = holders[e / held] as usize + e % held * units;
            if i < visible {
                let place = order(scores[scores_at + i]);
                let mut rank = 0usize;
                for other in 0..n_held {
                    let j = holders[other / held] as usize + other % held * units;
                    if j < visible && is_before(order(scores[scores_at + j]), j, place, i) {
                        rank += 1;
                    }
                }
                if rank < count {
                    chosen[chosen_at + rank] = (from + i) as f32;
                    chosen[chosen_at + 2 * slots + rank] = scores[scores_at + i];
                }
            }
        }
    }
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

/// The weights of those that take part.
#[cube]
#[allow(clippy::too_many_arguments, reason = "slices and where they begin")]
fn weigh(
    chosen: &mut [f32],
    chosen_at: usize,
    count: usize,
    slots: usize,
    is_crowded: bool,
    largest: &mut [f32],
    total: &mut [f32],
    #[comptime] attention: Attention,
    #[comptime] plan: Plan,
) {
    let unit = UNIT_POS as usize;
    let units = comptime!(plan.units());
    let sparsifier = comptime!(attention.sparsifier);
    let weights_at = chosen_at + slots;
    let scores_at = chosen_at + 2 * slots;
    if is_crowded && comptime!(sparsifier != Sparsifier::Softmax) {
        share_above(&*chosen, scores_at, count, total, sparsifier);
        sync_cube();
        let last = chosen[scores_at + count - 1];
        for j in range_stepped(unit, count, units) {
            let above = above(chosen[scores_at + j], last, sparsifier);
            chosen[weights_at + j] = above / (total_of(&*total, 0) + EPSILON);
        }
    } else if comptime!(sparsifier == Sparsifier::Released) {
        for j in range_stepped(unit, count, units) {
            chosen[weights_at + j] = chosen[scores_at + j];
        }
    } else {
        share_largest(&*chosen, scores_at, count, largest, 1usize, units);
        sync_cube();
        if unit < SHARERS {
            let most = largest_of(&*largest, 0);
            let mut sum = 0.0f32;
            for j in range_stepped(unit, count, SHARERS) {
                sum += (chosen[scores_at + j] - most).exp();
            }
            total[unit] = sum;
        }
        sync_cube();
        let most = largest_of(&*largest, 0);
        for j in range_stepped(unit, count, units) {
            chosen[weights_at + j] = (chosen[scores_at + j] - most).exp() / total_of(&*total, 0);
        }
    }
}
