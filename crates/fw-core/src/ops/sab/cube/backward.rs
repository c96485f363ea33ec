//! The backward kernel: one cube goes back through one sample.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::{Plan, SCORE_ROW};
use super::steps::{
    EPSILON, above, is_crowded, memory, n_before, n_chosen, oldest, score_of, share_above,
};
use crate::ops::CellKind;
use crate::ops::cube::{
    SHARERS, activate_slope, place, share_dot, share_total, sum_of_parts, terms, times, total_of,
};
use crate::ops::sab::{Combination, Score, Sparsifier};

/// Steps after which the sums for v are handed on.
const FEW_STEPS: usize = 64;

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
    let row = comptime!(plan.tape_row());
    let slope_row = comptime!(plan.slope_row());
    let attention = comptime!(plan.attention);
    let n = comptime!(plan.d_hidden);
    let d_gates = comptime!(plan.d_gates());
    let d_output = comptime!(plan.d_output());
    let d_attention = comptime!(plan.d_attention());
    let units = comptime!(plan.units());
    let unit = UNIT_POS as usize;
    let sample = CUBE_POS_X as usize;
    let batch_size = CUBE_COUNT_X as usize;

    // Of h, ĥ, s and c.
    let mut of_hidden = Shared::<[f32]>::new_slice(n);
    let mut of_candidate = Shared::<[f32]>::new_slice(n);
    let mut of_summary = Shared::<[f32]>::new_slice(n);
    let mut of_cell = Shared::<[f32]>::new_slice(n);
    let mut from_hidden = Shared::<[f32]>::new_slice(d_gates);
    let mut of_query = Shared::<[f32]>::new_slice(d_attention);
    let mut of_v = Shared::<[f32]>::new_slice(d_attention);
    let mut shares = Shared::<[f32]>::new_slice(comptime!(plan.shares()));
    let mut other_shares = Shared::<[f32]>::new_slice(comptime!(plan.query_shares()));
    let mut weighted = Shared::<[f32]>::new_slice(SHARERS);
    let mut excess = Shared::<[f32]>::new_slice(SHARERS);
    let mut moved = Shared::<[f32]>::new_slice(SHARERS);

    for o in range_stepped(unit, n, units) {
        of_hidden[o] = 0.0f32;
        of_cell[o] = 0.0f32;
        if comptime!(plan.kind.has_cell()) {
            of_cell[o] = slopes[batch_size * seq_length * d_output + sample * n + o];
        }
    }
    if comptime!(plan.recalls) {
        for a in range_stepped(unit, d_attention, units) {
            of_v[a] = 0.0f32;
            d_v[sample * d_attention + a] = 0.0f32;
        }
        for e in range_stepped(unit, n_memories * d_attention, units) {
            d_keys[sample * n_memories * d_attention + e] = 0.0f32;
        }
        for e in range_stepped(unit, n_memories * n, units) {
            d_memories[sample * n_memories * n + e] = 0.0f32;
        }
        sync_storage();
    }
    sync_cube();

    for back in 0..seq_length {
        let t = seq_length - back - 1;
        let step = sample * seq_length + t;
        let tape_at = step * row.width;
        let rows_at = step * slope_row.width;

        let mut visible = 0usize;
        let mut all = 0usize;
        let mut is_stored = false;
        if comptime!(plan.recalls) {
            all = n_before(t, n_given, first_step, attention);
            visible = all - oldest(all, attention);
            is_stored = (first_step + t + 1).is_multiple_of(comptime!(attention.interval));
        }

        // The gradient of h_t: of the output, of the next step, and of the memory that it became.
        if comptime!(plan.recalls && plan.attention.replay) {
            if is_stored {
                let key = (sample * n_memories + all) * d_attention;
                times(
                    w_key_transposed,
                    0,
                    d_attention,
                    &*d_keys,
                    key,
                    &mut shares,
                    n,
                    plan.hidden,
                );
            }
            sync_cube();
        }
        for o in range_stepped(unit, n, units) {
            let mut slope = slopes[step * d_output + o] + of_hidden[o];
            if comptime!(plan.recalls && plan.attention.replay) && is_stored {
                let mut of_key = sum_of_parts(&shares, o, n, plan.hidden);
                if comptime!(attention.score == Score::Released) {
                    let squashed = results[step * d_output + o].tanh();
                    of_key *= 1.0f32 - squashed * squashed;
                }
                slope += d_memories[(sample * n_memories + all) * n + o] + of_key;
            }
            let mut summary = 0.0f32;
            if comptime!(plan.yields_summary) {
                summary = slopes[step * d_output + n + o];
            }
            let mut candidate = slope;
            if comptime!(plan.recalls) && visible > 0 {
                match comptime!(attention.combination) {
                    Combination::Average => {
                        candidate = slope * 0.5f32;
                        summary += slope * 0.5f32;
                    }
                    Combination::Add => summary += slope,
                    Combination::OutputOnly => {}
                }
            }
            of_candidate[o] = candidate;
            of_summary[o] = summary;
        }
        sync_cube();

        if comptime!(plan.recalls) && visible > 0 {
            let count = n_chosen(visible, attention);
            let crowded = is_crowded(visible, attention);
            let chosen_at = step * 3 * slots;
            let weights_at = chosen_at + slots;
            let scores_at = chosen_at + 2 * slots;
            let of_chosen_at = sample * slots;

            // Of the weights: d_w = ds·m.
            let block = comptime!(plan.scored());
            for base in range_stepped(0usize, count, block) {
                let scored = min(count - base, block);
                for e in range_stepped(unit, scored * SHARERS, units) {
                    let (j, first) = (e / SHARERS, e % SHARERS);
                    let index = chosen[chosen_at + base + j] as usize;
                    let mut sum = 0.0f32;
                    for o in range_stepped(first, n, SHARERS) {
                        sum += of_summary[o]
                            * memory(
                                given, results, sample, index, o, n_given, first_step, seq_length,
                                plan, attention,
                            );
                    }
                    shares[j * SCORE_ROW + first] = sum;
                }
                sync_cube();
                for j in range_stepped(unit, scored, units) {
                    of_chosen[of_chosen_at + base + j] = score_of(&shares, j);
                }
                sync_cube();
            }
            sync_storage();

            // Back through the sparsifier.
            share_dot(
                chosen,
                weights_at,
                &*of_chosen,
                of_chosen_at,
                count,
                &mut weighted,
                1usize,
                units,
            );
            let is_above = crowded && comptime!(attention.sparsifier != Sparsifier::Softmax);
            if is_above {
                share_above(chosen, scores_at, count, &mut excess, attention.sparsifier);
            }
            sync_cube();
            let mean = total_of(&weighted, 0);
            if is_above {
                let last = chosen[scores_at + count - 1];
                let scale = 1.0f32 / (total_of(&excess, 0) + EPSILON);
                for j in range_stepped(unit, count, units) {
                    let above = above(chosen[scores_at + j], last, attention.sparsifier);
                    let slope = (of_chosen[of_chosen_at + j] - mean) * scale;
                    of_chosen[of_chosen_at + j] = select(above <= 0.0f32, 0.0f32, slope);
                }
            } else if comptime!(attention.sparsifier != Sparsifier::Released) {
                for j in range_stepped(unit, count, units) {
                    let slope = of_chosen[of_chosen_at + j] - mean;
                    of_chosen[of_chosen_at + j] = chosen[weights_at + j] * slope;
                }
            }
            sync_storage();
            if is_above {
                // The last gives the threshold: what all others say of it, turned round.
                share_total(&*of_chosen, of_chosen_at, count, &mut moved, 1usize, units);
                sync_cube();
                if unit == 0 {
                    of_chosen[of_chosen_at + count - 1] -= total_of(&moved, 0);
                }
                sync_storage();
            }

            // Of the memories, the query, the keys and v.
            if comptime!(plan.attention.replay) {
                for e in range_stepped(unit, count * n, units) {
                    let (j, o) = (e / n, e % n);
                    let index = chosen[chosen_at + j] as usize;
                    d_memories[(sample * n_memories + index) * n + o] +=
                        chosen[weights_at + j] * of_summary[o];
                }
            }
            let lanes = comptime!(plan.query.lanes);
            let (lane, part) = place(plan.query);
            let (first, last) = terms(part, count, plan.query);
            for a in range_stepped(lane, d_attention, lanes) {
                let query = tape[tape_at + row.query + a];
                let mut of_this_query = 0.0f32;
                let mut of_this_v = 0.0f32;
                for j in first..last {
                    let index = chosen[chosen_at + j] as usize;
                    let at = (sample * n_memories + index) * d_attention + a;
                    let slope = of_chosen[of_chosen_at + j];
                    match comptime!(attention.score) {
                        Score::Mlp => {
                            let squashed = (keys[at] + query).tanh();
                            let through = slope * v[a] * (1.0f32 - squashed * squashed);
                            of_this_v += slope * squashed;
                            of_this_query += through;
                            d_keys[at] += through;
                        }
                        Score::ScaledDot => {
                            of_this_query += slope * keys[at];
                            d_keys[at] += slope * query;
                        }
                        Score::Released => {
                            of_this_query += slope;
                            d_keys[at] += slope;
                        }
                    }
                }
                shares[part * d_attention + a] = of_this_query;
                other_shares[part * d_attention + a] = of_this_v;
            }
            sync_storage();
            for a in range_stepped(unit, d_attention, units) {
                let mut slope = sum_of_parts(&shares, a, d_attention, plan.query);
                if comptime!(attention.score == Score::ScaledDot) {
                    slope *= comptime!(1.0 / (attention.d_attention as f64).sqrt()) as f32;
                }
                of_query[a] = slope;
                d_rows[rows_at + slope_row.query + a] = slope;
                let of_this_v = of_v[a] + sum_of_parts(&other_shares, a, d_attention, plan.query);
                of_v[a] = of_this_v;
                // The sums of a few steps are handed on: one of all steps would lose digits.
                if t.is_multiple_of(FEW_STEPS) {
                    d_v[sample * d_attention + a] += of_this_v;
                    of_v[a] = 0.0f32;
                }
            }
            sync_cube();
            times(
                w_query_transposed,
                0,
                d_attention,
                &of_query,
                0,
                &mut shares,
                n,
                plan.hidden,
            );
            sync_cube();
            for o in range_stepped(unit, n, units) {
                let mut slope = sum_of_parts(&shares, o, n, plan.hidden);
                if comptime!(attention.score == Score::Released) {
                    let squashed = tape[tape_at + row.candidate + o].tanh();
                    slope *= 1.0f32 - squashed * squashed;
                }
                of_candidate[o] += slope;
            }
        } else {
            for a in range_stepped(unit, d_attention, units) {
                d_rows[rows_at + slope_row.query + a] = 0.0f32;
            }
        }
        sync_cube();

        // Back through the cell.
        for o in range_stepped(unit, n, units) {
            let slope = of_candidate[o];
            match comptime!(plan.kind) {
                CellKind::Lstm => {
                    let (i, f) = (tape[tape_at + o], tape[tape_at + n + o]);
                    let (g, out) = (tape[tape_at + 2 * n + o], tape[tape_at + 3 * n + o]);
                    let squashed = tape[tape_at + row.carry + o].tanh();
                    let before = if t == 0 {
                        cell_start[sample * n + o]
                    } else {
                        tape[tape_at + row.carry + o - row.width]
                    };
                    let cell = of_cell[o] + slope * out * (1.0f32 - squashed * squashed);
                    of_cell[o] = cell * f;
                    from_hidden[o] = cell * g * i * (1.0f32 - i);
                    from_hidden[n + o] = cell * before * f * (1.0f32 - f);
                    from_hidden[2 * n + o] = cell * i * (1.0f32 - g * g);
                    from_hidden[3 * n + o] = slope * squashed * out * (1.0f32 - out);
                    of_hidden[o] = 0.0f32;
                }
                CellKind::Gru => {
                    let (u, r, new) = (
                        tape[tape_at + o],
                        tape[tape_at + n + o],
                        tape[tape_at + 2 * n + o],
                    );
                    let before = if t == 0 {
                        hidden_start[sample * n + o]
                    } else {
                        results[(step - 1) * d_output + o]
                    };
                    let of_new = (slope - slope * u) * (1.0f32 - new * new);
                    let of_update = slope * (before - new) * u * (1.0f32 - u);
                    let of_reset = of_new * tape[tape_at + row.carry + o] * r * (1.0f32 - r);
                    from_hidden[o] = of_update;
                    from_hidden[n + o] = of_reset;
                    from_hidden[2 * n + o] = of_new * r;
                    d_rows[rows_at + o] = of_update;
                    d_rows[rows_at + n + o] = of_reset;
                    d_rows[rows_at + 2 * n + o] = of_new;
                    of_hidden[o] = slope * u;
                }
                CellKind::Elman(activation) => {
                    let yielded = tape[tape_at + row.candidate + o];
                    from_hidden[o] = slope * activate_slope(yielded, activation);
                    of_hidden[o] = 0.0f32;
                }
            }
        }
        sync_cube();
        for g in range_stepped(unit, d_gates, units) {
            d_rows[rows_at + slope_row.from_hidden + g] = from_hidden[g];
        }
        let mut is_cut = false;
        if let Some(length) = comptime!(plan.truncation_length) {
            is_cut = (first_step + t + 1).is_multiple_of(length);
        }
        times(
            w_hidden_transposed,
            0,
            d_gates,
            &from_hidden,
            0,
            &mut shares,
            n,
            plan.hidden,
        );
        sync_cube();
        for o in range_stepped(unit, n, units) {
            let slope = of_hidden[o] + sum_of_parts(&shares, o, n, plan.hidden);
            of_hidden[o] = select(is_cut, 0.0f32, slope);
            of_cell[o] = select(is_cut, 0.0f32, of_cell[o]);
        }
        sync_cube();
    }

    for o in range_stepped(unit, n, units) {
        d_start[sample * 2 * n + o] = of_hidden[o];
        d_start[sample * 2 * n + n + o] = of_cell[o];
    }
    if comptime!(plan.recalls) {
        for a in range_stepped(unit, d_attention, units) {
            d_v[sample * d_attention + a] += of_v[a];
        }
        if comptime!(plan.attention.replay) {
            // Given memories have keys as well.
            for e in range_stepped(unit, n_given * n, units) {
                let (i, o) = (e / n, e % n);
                let key = (sample * n_memories + i) * d_attention;
                let mut sum = 0.0f32;
                for a in 0..d_attention {
                    sum += d_keys[key + a] * w_key_transposed[a * n + o];
                }
                if comptime!(attention.score == Score::Released) {
                    let squashed = given[(sample * n_given + i) * n + o].tanh();
                    sum *= 1.0f32 - squashed * squashed;
                }
                d_memories[(sample * n_memories + i) * n + o] += sum;
            }
        }
    }
}
