//! The backward kernel: one cube goes back through one sample.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::{Plan, SCALARS};
use super::steps::{SMALLEST_SQUARE, SMALLEST_WEIGHT, added, kept, parameters, shift, shifted};
use crate::ops::cube::{
    SHARERS, activate_slope, place, share_dot, share_total, sigmoid, sum_of_parts, sync, terms,
    times, total_of,
};

/// The gradients of what each product yields, and of what precedes the sequence.
///
/// Memories are written again from a checkpoint, sixteen at a time, into `memories`.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, reason = "buffers")]
pub(super) fn backward(
    // Of the results.
    slopes: &[f32],
    tape: &[f32],
    checkpoints: &[f32],
    weights_start: &[f32],
    cell_start: &[f32],
    // Of each layer [d_gates, d_layer], and [d_raw, d_hidden].
    layers_transposed: &[f32],
    heads_transposed: &[f32],
    // See `Sizes::d_row`: [batch_size, seq_length, d_row].
    d_rows: &mut [f32],
    // See `Sizes::d_start`: [batch_size, d_start].
    d_start: &mut [f32],
    // [batch_size, interval, memory_size word_size]
    memories: &mut [f32],
    seq_length: usize,
    #[comptime] plan: Plan,
) {
    let sizes = comptime!(plan.sizes);
    let row = comptime!(sizes.tape_row());
    let d_hidden = comptime!(sizes.d_hidden);
    let d_gates = comptime!(sizes.d_gates());
    let d_raw = comptime!(sizes.d_raw());
    let d_reads = comptime!(sizes.d_reads());
    let d_output = comptime!(sizes.d_output());
    let d_states = comptime!(sizes.d_states());
    let d_erase = comptime!(sizes.d_erase());
    let n_heads = comptime!(sizes.n_heads());
    let n_read = comptime!(sizes.n_read);
    let n_weights = comptime!(sizes.n_weights());
    let memory_size = comptime!(sizes.memory_size);
    let word_size = comptime!(sizes.word_size);
    let shift_width = comptime!(sizes.shift_width);
    let d_addressing = comptime!(sizes.d_addressing());
    let numbers = comptime!(sizes.memory_numbers());
    let interval = comptime!(plan.interval());
    let units = comptime!(plan.units());
    let unit = UNIT_POS as usize;
    let sample = CUBE_POS_X as usize;
    let batch_size = CUBE_COUNT_X as usize;

    let mut d_hiddens = Shared::<[f32]>::new_slice(comptime!(sizes.n_layers * sizes.d_hidden));
    let mut d_cells = Shared::<[f32]>::new_slice(comptime!(sizes.n_layers * sizes.d_hidden));
    let mut gates = Shared::<[f32]>::new_slice(d_gates);
    let mut raw = Shared::<[f32]>::new_slice(d_raw);
    let mut of_raw = Shared::<[f32]>::new_slice(d_raw);
    let mut scalars = Shared::<[f32]>::new_slice(comptime!(sizes.n_heads() * SCALARS));
    let mut shifts = Shared::<[f32]>::new_slice(comptime!(sizes.n_heads() * sizes.shift_width));
    let mut erases = Shared::<[f32]>::new_slice(d_erase);
    let mut reads = Shared::<[f32]>::new_slice(d_reads);
    let mut carried_reads = Shared::<[f32]>::new_slice(d_reads);
    // Of w; wᵍ; of w̃; of wᵍ.
    let mut of_weights = Shared::<[f32]>::new_slice(n_weights);
    let mut gated = Shared::<[f32]>::new_slice(n_weights);
    let mut of_shifted = Shared::<[f32]>::new_slice(n_weights);
    let mut of_gated = Shared::<[f32]>::new_slice(n_weights);
    let mut squares = Shared::<[f32]>::new_slice(memory_size);
    let mut shares = Shared::<[f32]>::new_slice(comptime!(plan.shares()));
    let mut of_sharpened = Shared::<[f32]>::new_slice(comptime!(sizes.n_heads() * SHARERS));
    let mut of_sharpening = Shared::<[f32]>::new_slice(comptime!(sizes.n_heads() * SHARERS));
    let mut of_shifts =
        Shared::<[f32]>::new_slice(comptime!(sizes.n_heads() * sizes.shift_width * SHARERS));
    let mut of_gate = Shared::<[f32]>::new_slice(comptime!(sizes.n_heads() * SHARERS));
    let mut of_content = Shared::<[f32]>::new_slice(comptime!(sizes.n_heads() * SHARERS));
    let mut of_strength = Shared::<[f32]>::new_slice(comptime!(sizes.n_heads() * SHARERS));
    // Of M; without room to share it lies in what the kernel yields.
    let mut of_memory = Shared::<[f32]>::new_slice(comptime!(plan.shared_memory()));

    let memory_slopes = batch_size * seq_length * d_output + sample * numbers;
    let weights_slopes = batch_size * (seq_length * d_output + numbers) + sample * n_weights;
    let hidden_slopes =
        batch_size * (seq_length * d_output + numbers + n_weights) + sample * d_states;
    let cell_slopes = hidden_slopes + batch_size * d_states;
    // In what the kernel yields: memory, weightings, what was read, h and c. The gradient of the weightings lies there all
    // the time: each unit reads only what it wrote.
    let memory_at = sample * comptime!(sizes.d_start());
    let weights_at = memory_at + numbers;
    let reads_at = weights_at + n_weights;
    let hidden_at = reads_at + d_reads;
    let cell_at = hidden_at + d_states;

    for k in range_stepped(unit, comptime!(sizes.n_layers * sizes.d_hidden), units) {
        if comptime!(sizes.is_lstm) {
            d_hiddens[k] = slopes[hidden_slopes + k];
            d_cells[k] = slopes[cell_slopes + k];
        } else {
            d_hiddens[k] = 0.0f32;
        }
    }
    for k in range_stepped(unit, d_reads, units) {
        carried_reads[k] = 0.0f32;
    }
    for e in range_stepped(unit, n_weights, units) {
        d_start[weights_at + e] = slopes[weights_slopes + e];
    }
    for e in range_stepped(unit, numbers, units) {
        let value = slopes[memory_slopes + e];
        if comptime!(plan.memory_is_shared) {
            of_memory[e / word_size * comptime!(sizes.word_size + 1) + e % word_size] = value;
        } else {
            d_start[memory_at + e] = value;
        }
    }
    sync(comptime!(!plan.memory_is_shared));

    let n_checkpoints = seq_length.div_ceil(interval);
    for back in 0..n_checkpoints {
        let checkpoint = n_checkpoints - back - 1;
        let first = checkpoint * interval;
        let length = min(interval, seq_length - first);
        // The memories before these steps: each number depends on itself alone.
        for e in range_stepped(unit, numbers, units) {
            let (i, m) = (e / word_size, e % word_size);
            let mut value = checkpoints[(sample * n_checkpoints + checkpoint) * numbers + e];
            for k in 0..length {
                memories[(sample * interval + k) * numbers + e] = value;
                let tape_at = (sample * seq_length + first + k) * row.width;
                let mut rest = 1.0f32;
                for head in 0..comptime!(sizes.n_write) {
                    let at = tape_at + row.raw + comptime!(sizes.erase_at()) + head * word_size + m;
                    let w = tape[tape_at + row.weights + (n_read + head) * memory_size + i];
                    rest *= 1.0f32 - w * sigmoid(tape[at]);
                }
                let adds_at = tape_at + row.raw + comptime!(sizes.add_at());
                value =
                    value * rest + added(tape, tape_at + row.weights, tape, adds_at, i, m, plan);
            }
        }
        sync_storage();

        for k_back in 0..length {
            let k = length - k_back - 1;
            let t = first + k;
            let step = sample * seq_length + t;
            let tape_at = step * row.width;
            let memory = (sample * interval + k) * numbers;
            let now = tape_at + row.weights;

            for v in range_stepped(unit, d_raw, units) {
                raw[v] = tape[tape_at + row.raw + v];
            }
            for o in range_stepped(unit, d_reads, units) {
                reads[o] = slopes[step * d_output + d_hidden + o] + carried_reads[o];
            }
            sync_cube();
            parameters(&raw, &mut scalars, &mut shifts, &mut erases, plan);
            sync_cube();

            // What was read and written: the gradient of w; wᵍ, and the length of each word, again.
            for e in range_stepped(unit, n_weights, units) {
                let (head, i) = (e / memory_size, e % memory_size);
                let mut sum = d_start[weights_at + e];
                if head < n_read {
                    for m in 0..word_size {
                        sum += reads[head * word_size + m] * memories[memory + i * word_size + m];
                    }
                } else {
                    let of = head - n_read;
                    for m in 0..word_size {
                        let rest = kept(tape, now, &erases, i, m, of, plan);
                        let erased = erases[of * word_size + m]
                            * memories[memory + i * word_size + m]
                            * rest;
                        let add = raw[comptime!(sizes.add_at()) + of * word_size + m];
                        let slope = if comptime!(plan.memory_is_shared) {
                            of_memory[i * comptime!(sizes.word_size + 1) + m]
                        } else {
                            d_start[memory_at + i * word_size + m]
                        };
                        sum += slope * (add - erased);
                    }
                }
                of_weights[e] = sum;
                let before = weight_before(
                    weights_start,
                    sample * n_weights + e,
                    tape,
                    now + e,
                    t,
                    plan,
                );
                let content = tape[tape_at + row.content + e];
                gated[e] = before + (content - before) * scalars[head * SCALARS + 2];
            }
            for i in range_stepped(unit, memory_size, units) {
                let mut sum = 0.0f32;
                for m in 0..word_size {
                    let value = memories[memory + i * word_size + m];
                    sum += value * value;
                }
                squares[i] = max(sum, SMALLEST_SQUARE);
            }
            if comptime!(plan.memory_is_shared) {
                of_writing(
                    &of_memory,
                    0,
                    word_size + 1,
                    &*memories,
                    memory,
                    tape,
                    now,
                    &erases,
                    &mut shares,
                    plan,
                );
            } else {
                of_writing(
                    &*d_start,
                    memory_at,
                    word_size,
                    &*memories,
                    memory,
                    tape,
                    now,
                    &erases,
                    &mut shares,
                    plan,
                );
            }
            sync_cube();

            for e in range_stepped(unit, d_erase, units) {
                let erase = erases[e];
                let width = comptime!(2 * sizes.d_erase());
                of_raw[comptime!(sizes.erase_at()) + e] =
                    sum_of_parts(&shares, e, width, plan.words) * erase * (1.0f32 - erase);
                of_raw[comptime!(sizes.add_at()) + e] =
                    sum_of_parts(&shares, d_erase + e, width, plan.words);
            }
            for e in range_stepped(unit, numbers, units) {
                let (i, m) = (e / word_size, e % word_size);
                let rest = kept(tape, now, &erases, i, m, comptime!(sizes.n_write), plan);
                let mut sum = 0.0f32;
                for head in 0..n_read {
                    sum += tape[now + head * memory_size + i] * reads[head * word_size + m];
                }
                if comptime!(plan.memory_is_shared) {
                    let at = i * comptime!(sizes.word_size + 1) + m;
                    of_memory[at] = of_memory[at] * rest + sum;
                } else {
                    d_start[memory_at + e] = d_start[memory_at + e] * rest + sum;
                }
            }
            share_dot(
                tape,
                now,
                &of_weights,
                0,
                memory_size,
                &mut of_sharpened,
                n_heads,
                units,
            );
            sync_cube();

            // Back through sharpening.
            for e in range_stepped(unit, n_weights, units) {
                let (head, i) = (e / memory_size, e % memory_size);
                let sharpening = scalars[head * SCALARS + 1];
                let slope = tape[now + e] * (of_weights[e] - total_of(&of_sharpened, head));
                let weight = shift(&gated, &shifts, head, i, false, plan);
                let held = max(weight, SMALLEST_WEIGHT);
                of_weights[e] = slope * (held.ln() - tape[tape_at + row.largest + head]);
                of_shifted[e] = select(weight > SMALLEST_WEIGHT, sharpening * slope / held, 0.0f32);
            }
            sync_cube();
            share_total(
                &of_weights,
                0,
                memory_size,
                &mut of_sharpening,
                n_heads,
                units,
            );
            // Back through the shift.
            for u in range_stepped(
                unit,
                comptime!(sizes.n_heads() * sizes.shift_width * SHARERS),
                units,
            ) {
                let which = u / SHARERS;
                let (head, j) = (which / shift_width, which % shift_width);
                let mut sum = 0.0f32;
                for i in range_stepped(u % SHARERS, memory_size, SHARERS) {
                    let from = shifted(i, j, false, memory_size, shift_width);
                    sum += of_shifted[head * memory_size + i] * gated[head * memory_size + from];
                }
                of_shifts[u] = sum;
            }
            for e in range_stepped(unit, n_weights, units) {
                let (head, i) = (e / memory_size, e % memory_size);
                let slope = shift(&of_shifted, &shifts, head, i, true, plan);
                of_gated[e] = slope;
                d_start[weights_at + e] = slope * (1.0f32 - scalars[head * SCALARS + 2]);
            }
            sync_cube();
            // Back through interpolation, and the sums of the softmax.
            for u in range_stepped(unit, comptime!(sizes.n_heads() * SHARERS), units) {
                let at = u / SHARERS * memory_size;
                let mut of_this_gate = 0.0f32;
                let mut of_this_content = 0.0f32;
                for i in range_stepped(u % SHARERS, memory_size, SHARERS) {
                    let e = at + i;
                    let content = tape[tape_at + row.content + e];
                    let before = weight_before(
                        weights_start,
                        sample * n_weights + e,
                        tape,
                        now + e,
                        t,
                        plan,
                    );
                    of_this_gate += of_gated[e] * (content - before);
                    of_this_content += of_gated[e] * content;
                }
                of_gate[u] = of_this_gate;
                of_content[u] = of_this_content;
            }
            sync_cube();
            // Back through the softmax; of β K, and what it says of β.
            for e in range_stepped(unit, n_weights, units) {
                let head = e / memory_size;
                let gate = scalars[head * SCALARS + 2];
                let content = tape[tape_at + row.content + e];
                let slope = gate * content * (of_gated[e] - total_of(&of_content, head));
                of_shifted[e] = slope * tape[tape_at + row.similarity + e];
                gated[e] = slope * scalars[head * SCALARS];
            }
            sync_cube();
            share_total(
                &of_shifted,
                0,
                memory_size,
                &mut of_strength,
                n_heads,
                units,
            );
            // Back through the resemblance: `gated` is the gradient of K.
            share_keys(&gated, &squares, &*memories, memory, &mut shares, plan);
            for e in range_stepped(unit, numbers, units) {
                let (i, m) = (e / word_size, e % word_size);
                let square = squares[i];
                let value = memories[memory + e];
                let mut sum = 0.0f32;
                for head in 0..n_heads {
                    let slope = gated[head * memory_size + i];
                    let key = max(scalars[head * SCALARS + 3], SMALLEST_SQUARE);
                    sum += slope * raw[head * d_addressing + m] / (key.sqrt() * square.sqrt());
                    let similarity = tape[tape_at + row.similarity + head * memory_size + i];
                    // A word that counts as longer than it is has no slope of its length.
                    sum -= select(
                        square > SMALLEST_SQUARE,
                        slope * similarity * value / square,
                        0.0f32,
                    );
                }
                if comptime!(plan.memory_is_shared) {
                    of_memory[i * comptime!(sizes.word_size + 1) + m] += sum;
                } else {
                    d_start[memory_at + e] += sum;
                }
            }
            sync(comptime!(!plan.memory_is_shared));

            // The gradient of what the heads' map yields.
            for e in range_stepped(unit, comptime!(sizes.n_heads() * sizes.word_size), units) {
                let (head, m) = (e / word_size, e % word_size);
                let square = scalars[head * SCALARS + 3];
                let key = max(square, SMALLEST_SQUARE);
                let at = head * d_addressing + m;
                let width = comptime!(sizes.n_heads() * sizes.word_size);
                let mut value = sum_of_parts(&shares, e, width, plan.words) / key.sqrt();
                let along = scalars[head * SCALARS] * total_of(&of_strength, head);
                value -= select(square > SMALLEST_SQUARE, along * raw[at] / key, 0.0f32);
                of_raw[at] = value;
            }
            for head in range_stepped(unit, n_heads, units) {
                let at = head * d_addressing + word_size;
                let gate = scalars[head * SCALARS + 2];
                of_raw[at] = total_of(&of_strength, head) * sigmoid(raw[at]);
                of_raw[at + 1] = total_of(&of_sharpening, head) * sigmoid(raw[at + 1]);
                of_raw[at + 2] = total_of(&of_gate, head) * gate * (1.0f32 - gate);
                let mut mean = 0.0f32;
                for j in 0..shift_width {
                    let which = head * shift_width + j;
                    mean += shifts[which] * total_of(&of_shifts, which);
                }
                for j in 0..shift_width {
                    let which = head * shift_width + j;
                    of_raw[at + 3 + j] = shifts[which] * (total_of(&of_shifts, which) - mean);
                }
            }
            sync_cube();
            let rows_at = step * comptime!(sizes.d_row());
            for v in range_stepped(unit, d_raw, units) {
                d_rows[rows_at + comptime!(sizes.n_layers * sizes.d_gates()) + v] = of_raw[v];
            }
            times(
                heads_transposed,
                0,
                d_raw,
                &of_raw,
                0,
                &mut shares,
                d_hidden,
                plan.hidden,
            );
            sync_cube();
            let top = comptime!((sizes.n_layers - 1) * sizes.d_hidden);
            for o in range_stepped(unit, d_hidden, units) {
                d_hiddens[top + o] +=
                    slopes[step * d_output + o] + sum_of_parts(&shares, o, d_hidden, plan.hidden);
            }
            sync_cube();

            #[unroll]
            for from_top in 0..sizes.n_layers {
                let layer = comptime!(sizes.n_layers - 1 - from_top);
                let below = comptime!(sizes.d_below(layer));
                let width = comptime!(sizes.d_layer(layer));
                let own = comptime!(layer * sizes.d_hidden);
                for o in range_stepped(unit, d_hidden, units) {
                    let slope = d_hiddens[own + o];
                    if comptime!(sizes.is_lstm) {
                        let at = tape_at + row.gates + own * 4 + o;
                        let (i, f) = (tape[at], tape[at + d_hidden]);
                        let (g, out) = (tape[at + 2 * d_hidden], tape[at + 3 * d_hidden]);
                        let cell_now = tape_at + row.cells + own + o;
                        let squashed = tape[cell_now].tanh();
                        let before = if t == 0 {
                            cell_start[sample * d_states + own + o]
                        } else {
                            tape[cell_now - row.width]
                        };
                        let of_cell =
                            d_cells[own + o] + slope * out * (1.0f32 - squashed * squashed);
                        d_cells[own + o] = of_cell * f;
                        gates[o] = of_cell * g * i * (1.0f32 - i);
                        gates[d_hidden + o] = of_cell * before * f * (1.0f32 - f);
                        gates[2 * d_hidden + o] = of_cell * i * (1.0f32 - g * g);
                        gates[3 * d_hidden + o] = slope * squashed * out * (1.0f32 - out);
                    } else {
                        let yielded = tape[tape_at + row.hidden + own + o];
                        gates[o] = slope * activate_slope(yielded, sizes.activation);
                        d_hiddens[own + o] = 0.0f32;
                    }
                }
                sync_cube();
                for v in range_stepped(unit, d_gates, units) {
                    d_rows[rows_at + comptime!(layer * sizes.d_gates()) + v] = gates[v];
                }
                times(
                    layers_transposed,
                    comptime!(sizes.layer_at(layer)),
                    d_gates,
                    &gates,
                    0,
                    &mut shares,
                    width,
                    plan.below,
                );
                sync_cube();
                for v in range_stepped(unit, width, units) {
                    let value = sum_of_parts(&shares, v, width, plan.below);
                    if v >= below {
                        d_hiddens[own + v - below] = value;
                    } else if comptime!(layer == 0) {
                        carried_reads[v] = value;
                    } else {
                        d_hiddens[comptime!(layer.saturating_sub(1) * sizes.d_hidden) + v] += value;
                    }
                }
                sync_cube();
            }
        }
    }

    if comptime!(plan.memory_is_shared) {
        for e in range_stepped(unit, numbers, units) {
            d_start[memory_at + e] =
                of_memory[e / word_size * comptime!(sizes.word_size + 1) + e % word_size];
        }
    }
    for k in range_stepped(unit, d_reads, units) {
        d_start[reads_at + k] = carried_reads[k];
    }
    for k in range_stepped(unit, d_states, units) {
        d_start[hidden_at + k] = d_hiddens[k];
        d_start[cell_at + k] = d_cells[k];
    }
}

/// A head's weight before step t.
#[cube]
fn weight_before(
    start: &[f32],
    start_at: usize,
    tape: &[f32],
    now: usize,
    t: usize,
    #[comptime] plan: Plan,
) -> f32 {
    if t == 0 {
        start[start_at]
    } else {
        tape[now - comptime!(plan.sizes.tape_row().width)]
    }
}

/// Each unit's share of the gradients of all erase vectors, then of all add vectors.
#[cube]
#[allow(clippy::too_many_arguments, reason = "slices and where they begin")]
fn of_writing(
    of_memory: &[f32],
    of_memory_at: usize,
    stride: usize,
    memories: &[f32],
    memory: usize,
    tape: &[f32],
    weights: usize,
    erases: &[f32],
    shares: &mut [f32],
    #[comptime] plan: Plan,
) {
    let sizes = comptime!(plan.sizes);
    let layout = comptime!(plan.words);
    let memory_size = comptime!(sizes.memory_size);
    let word_size = comptime!(sizes.word_size);
    let width = comptime!(2 * sizes.d_erase());
    let (lane, part) = place(layout);
    let (first, last) = terms(part, memory_size, layout);
    for o in range_stepped(lane, width, comptime!(layout.lanes)) {
        let vector = o % comptime!(sizes.d_erase());
        let (head, m) = (vector / word_size, vector % word_size);
        let mut sum = 0.0f32;
        for i in first..last {
            let w = tape[weights + (comptime!(sizes.n_read) + head) * memory_size + i];
            let slope = of_memory[of_memory_at + i * stride + m] * w;
            if o >= comptime!(sizes.d_erase()) {
                sum += slope;
            } else {
                let rest = kept(tape, weights, erases, i, m, head, plan);
                sum -= slope * memories[memory + i * word_size + m] * rest;
            }
        }
        shares[part * width + o] = sum;
    }
}

/// Each unit's share of `Σ_i d(i) M(i) / |M(i)|` of each head.
#[cube]
fn share_keys(
    slopes: &[f32],
    squares: &[f32],
    memories: &[f32],
    memory: usize,
    shares: &mut [f32],
    #[comptime] plan: Plan,
) {
    let sizes = comptime!(plan.sizes);
    let layout = comptime!(plan.words);
    let memory_size = comptime!(sizes.memory_size);
    let word_size = comptime!(sizes.word_size);
    let width = comptime!(sizes.n_heads() * sizes.word_size);
    let (lane, part) = place(layout);
    let (first, last) = terms(part, memory_size, layout);
    for o in range_stepped(lane, width, comptime!(layout.lanes)) {
        let (head, m) = (o / word_size, o % word_size);
        let mut sum = 0.0f32;
        for i in first..last {
            let slope = slopes[head * memory_size + i] / squares[i].sqrt();
            sum += slope * memories[memory + i * word_size + m];
        }
        shares[part * width + o] = sum;
    }
}
