//! The forward kernel: one cube computes one sample for the whole sequence.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::{Attention, Plan};
use super::steps::{EPSILON, above, is_crowded, memory, n_before, n_chosen, oldest, share_above};
use crate::ops::cube::{
    MOMENTS, largest_of, place, share_largest, sigmoid, sum_of_parts, sync, terms, times, total_of,
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
    let mut largest = Shared::<[f32]>::new_slice(MOMENTS);
    let mut total = Shared::<[f32]>::new_slice(MOMENTS);
    let mut best = Shared::<[f32]>::new_slice(comptime!(plan.units() + MOMENTS));
    let mut best_at = Shared::<[u32]>::new_slice(comptime!(plan.units() + MOMENTS));

    for o in range_stepped(unit, n, units) {
        hidden[o] = hidden_start[sample * n + o];
        if comptime!(plan.is_lstm()) {
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
            if comptime!(plan.is_lstm()) {
                let i = sigmoid(projected[at] + sum_of_parts(&shares, o, d_gates, plan.gates));
                let f =
                    sigmoid(projected[at + n] + sum_of_parts(&shares, n + o, d_gates, plan.gates));
                let g =
                    projected[at + 2 * n] + sum_of_parts(&shares, 2 * n + o, d_gates, plan.gates);
                let g = g.tanh();
                let out =
                    projected[at + 3 * n] + sum_of_parts(&shares, 3 * n + o, d_gates, plan.gates);
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
            } else {
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
                let lanes = comptime!(plan.scoring.lanes);
                let (lane, part) = place(plan.scoring);
                for base in range_stepped(0usize, visible, lanes) {
                    let i = base + lane;
                    if i < visible {
                        let key = (scores_at + from + i) * d_attention;
                        let (first, last) = terms(part, d_attention, plan.scoring);
                        let mut sum = 0.0f32;
                        for a in first..last {
                            match comptime!(attention.score) {
                                Score::Mlp => sum += v[a] * (keys[key + a] + query[a]).tanh(),
                                Score::ScaledDot => sum += keys[key + a] * query[a],
                                Score::Released => sum += keys[key + a] + query[a],
                            }
                        }
                        shares[part * lanes + lane] = sum;
                    }
                    sync_cube();
                    if part == 0 && i < visible {
                        scores[scores_at + i] = sum_of_parts(&shares, lane, lanes, plan.scoring);
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
                        plan,
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

    if comptime!(plan.is_lstm()) {
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
#[cube]
#[allow(clippy::too_many_arguments, reason = "slices and where they begin")]
fn choose(
    scores: &[f32],
    scores_at: usize,
    visible: usize,
    count: usize,
    from: usize,
    chosen: &mut [f32],
    chosen_at: usize,
    slots: usize,
    best: &mut [f32],
    best_at: &mut [u32],
    #[comptime] plan: Plan,
) {
    let unit = UNIT_POS as usize;
    let units = comptime!(plan.units());
    let mut last = 0.0f32;
    let mut last_at = 0usize;
    for j in 0..count {
        // Each unit's best behind the last that was chosen.
        let mut value = 0.0f32;
        let mut at = visible;
        for i in range_stepped(unit, visible, units) {
            let score = scores[scores_at + i];
            let is_left = j == 0 || score < last || (score == last && i > last_at);
            if is_left && (at == visible || score > value) {
                value = score;
                at = i;
            }
        }
        best[unit] = value;
        best_at[unit] = at as u32;
        sync_cube();
        if unit < MOMENTS {
            let mut value = best[unit];
            let mut at = best_at[unit] as usize;
            for other in range_stepped(unit + MOMENTS, units, MOMENTS) {
                if is_better(best[other], best_at[other] as usize, value, at, visible) {
                    value = best[other];
                    at = best_at[other] as usize;
                }
            }
            best[units + unit] = value;
            best_at[units + unit] = at as u32;
        }
        sync_cube();
        last = best[units];
        last_at = best_at[units] as usize;
        for other in 1..MOMENTS {
            let (value, at) = (best[units + other], best_at[units + other] as usize);
            if is_better(value, at, last, last_at, visible) {
                last = value;
                last_at = at;
            }
        }
        // Where no score is a number none is best.
        last_at = min(last_at, visible - 1);
        if unit == 0 {
            chosen[chosen_at + j] = (from + last_at) as f32;
            chosen[chosen_at + 2 * slots + j] = scores[scores_at + last_at];
        }
    }
}

/// Whether a score, at a place that is one, comes before another.
#[cube]
fn is_better(value: f32, at: usize, than: f32, than_at: usize, visible: usize) -> bool {
    at < visible && (than_at >= visible || value > than || (value == than && at < than_at))
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
        if unit < MOMENTS {
            let most = largest_of(&*largest, 0);
            let mut sum = 0.0f32;
            for j in range_stepped(unit, count, MOMENTS) {
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
