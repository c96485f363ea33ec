//! The forward kernel: one cube computes one sample for the whole sequence.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::{Plan, SCALARS};
use super::steps::{SMALLEST_SQUARE, SMALLEST_WEIGHT, added, kept, parameters, shift};
use crate::ops::cube::{
    SHARERS, activate, largest_of, place, share_largest, share_total, sigmoid, sum_of_parts, sync,
    terms, times, total_of,
};

/// Every `[h_t ; r_t]`, the last state, and what the backward pass reads.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, reason = "buffers")]
pub(super) fn forward(
    // What the first layer makes of the input, [batch_size, seq_length, d_gates].
    projected: &[f32],
    // Of each layer [d_layer, d_gates]; the biases of all but the first.
    layers: &[f32],
    biases: &[f32],
    // [d_hidden, d_raw]
    heads_weight: &[f32],
    heads_bias: &[f32],
    // The state before the first step.
    hidden_start: &[f32],
    cell_start: &[f32],
    memory_start: &[f32],
    reads_start: &[f32],
    weights_start: &[f32],
    // See `Plan::results`.
    results: &mut [f32],
    // [batch_size, seq_length, width of a row]
    tape: &mut [f32],
    // M before every sixteenth step, [batch_size, n, memory_size word_size].
    checkpoints: &mut [f32],
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
    let n_heads = comptime!(sizes.n_heads());
    let n_weights = comptime!(sizes.n_weights());
    let memory_size = comptime!(sizes.memory_size);
    let word_size = comptime!(sizes.word_size);
    let numbers = comptime!(sizes.memory_numbers());
    let units = comptime!(plan.units());
    let unit = UNIT_POS as usize;
    let sample = CUBE_POS_X as usize;
    let batch_size = CUBE_COUNT_X as usize;

    let mut hidden = Shared::<[f32]>::new_slice(comptime!(sizes.n_layers * sizes.d_hidden));
    let mut cell = Shared::<[f32]>::new_slice(comptime!(sizes.n_layers * sizes.d_hidden));
    let mut vector = Shared::<[f32]>::new_slice(comptime!(sizes.widest_layer()));
    let mut reads = Shared::<[f32]>::new_slice(d_reads);
    let mut raw = Shared::<[f32]>::new_slice(d_raw);
    let mut scalars = Shared::<[f32]>::new_slice(comptime!(sizes.n_heads() * SCALARS));
    let mut shifts = Shared::<[f32]>::new_slice(comptime!(sizes.n_heads() * sizes.shift_width));
    let mut erases = Shared::<[f32]>::new_slice(comptime!(sizes.d_erase()));
    let mut weights = Shared::<[f32]>::new_slice(n_weights);
    let mut one = Shared::<[f32]>::new_slice(n_weights);
    let mut other = Shared::<[f32]>::new_slice(n_weights);
    let mut squares = Shared::<[f32]>::new_slice(memory_size);
    let mut shares = Shared::<[f32]>::new_slice(comptime!(plan.shares()));
    let mut largest = Shared::<[f32]>::new_slice(comptime!(sizes.n_heads() * SHARERS));
    let mut total = Shared::<[f32]>::new_slice(comptime!(sizes.n_heads() * SHARERS));
    let mut memory = Shared::<[f32]>::new_slice(comptime!(plan.shared_memory()));

    // Where the last state goes. Without room to share, the memory lies there all the time.
    let memory_at = batch_size * seq_length * d_output + sample * numbers;
    let weights_at = batch_size * (seq_length * d_output + numbers) + sample * n_weights;
    let hidden_at = batch_size * (seq_length * d_output + numbers + n_weights) + sample * d_states;
    let cell_at = hidden_at + batch_size * d_states;

    for k in range_stepped(unit, d_states, units) {
        hidden[k] = hidden_start[sample * d_states + k];
        cell[k] = cell_start[sample * d_states + k];
    }
    for k in range_stepped(unit, d_reads, units) {
        reads[k] = reads_start[sample * d_reads + k];
    }
    for e in range_stepped(unit, n_weights, units) {
        weights[e] = weights_start[sample * n_weights + e];
    }
    for e in range_stepped(unit, numbers, units) {
        let value = memory_start[sample * numbers + e];
        if comptime!(plan.memory_is_shared) {
            memory[e / word_size * comptime!(sizes.word_size + 1) + e % word_size] = value;
        } else {
            results[memory_at + e] = value;
        }
    }
    sync(comptime!(!plan.memory_is_shared));

    for t in 0..seq_length {
        let step = sample * seq_length + t;
        let tape_at = step * row.width;
        if comptime!(plan.keeps) && t % comptime!(plan.interval()) == 0 {
            let n_checkpoints = seq_length.div_ceil(comptime!(plan.interval()));
            let at = (sample * n_checkpoints + t / comptime!(plan.interval())) * numbers;
            for e in range_stepped(unit, numbers, units) {
                if comptime!(plan.memory_is_shared) {
                    checkpoints[at + e] =
                        memory[e / word_size * comptime!(sizes.word_size + 1) + e % word_size];
                } else {
                    checkpoints[at + e] = results[memory_at + e];
                }
            }
        }

        #[unroll]
        for layer in 0..sizes.n_layers {
            let below = comptime!(sizes.d_below(layer));
            let width = comptime!(sizes.d_layer(layer));
            let own = comptime!(layer * sizes.d_hidden);
            for k in range_stepped(unit, width, units) {
                if k >= below {
                    vector[k] = hidden[own + k - below];
                } else if comptime!(layer == 0) {
                    vector[k] = reads[k];
                } else {
                    vector[k] = hidden[comptime!(layer.saturating_sub(1) * sizes.d_hidden) + k];
                }
            }
            sync_cube();
            times(
                layers,
                comptime!(sizes.layer_at(layer)),
                width,
                &vector,
                0,
                &mut shares,
                d_gates,
                plan.gates,
            );
            sync_cube();
            for o in range_stepped(unit, d_hidden, units) {
                if comptime!(sizes.is_lstm) {
                    let mut gates = Array::<f32>::new(4usize);
                    #[unroll]
                    for gate in 0..4usize {
                        let at = gate * d_hidden + o;
                        let mut value = sum_of_parts(&shares, at, d_gates, plan.gates);
                        if comptime!(layer == 0) {
                            value += projected[step * d_gates + at];
                        } else {
                            value +=
                                biases[comptime!(layer.saturating_sub(1) * sizes.d_gates()) + at];
                        }
                        if comptime!(gate == 2) {
                            gates[gate] = value.tanh();
                        } else {
                            gates[gate] = sigmoid(value);
                        }
                        if comptime!(plan.keeps) {
                            tape[tape_at + row.gates + own * 4 + at] = gates[gate];
                        }
                    }
                    let c = gates[1] * cell[own + o] + gates[0] * gates[2];
                    cell[own + o] = c;
                    hidden[own + o] = gates[3] * c.tanh();
                    if comptime!(plan.keeps) {
                        tape[tape_at + row.cells + own + o] = c;
                    }
                } else {
                    let mut value = sum_of_parts(&shares, o, d_gates, plan.gates);
                    if comptime!(layer == 0) {
                        value += projected[step * d_gates + o];
                    } else {
                        value += biases[comptime!(layer.saturating_sub(1) * sizes.d_gates()) + o];
                    }
                    hidden[own + o] = activate(value, sizes.activation);
                }
                if comptime!(plan.keeps) {
                    tape[tape_at + row.hidden + own + o] = hidden[own + o];
                }
            }
            sync_cube();
        }

        let top = comptime!((sizes.n_layers - 1) * sizes.d_hidden);
        times(
            heads_weight,
            0,
            d_hidden,
            &hidden,
            top,
            &mut shares,
            d_raw,
            plan.heads,
        );
        sync_cube();
        for v in range_stepped(unit, d_raw, units) {
            let value = sum_of_parts(&shares, v, d_raw, plan.heads) + heads_bias[v];
            raw[v] = value;
            if comptime!(plan.keeps) {
                tape[tape_at + row.raw + v] = value;
            }
        }
        sync_cube();
        parameters(&raw, &mut scalars, &mut shifts, &mut erases, plan);
        if comptime!(plan.memory_is_shared) {
            resemblance(
                &memory,
                0,
                word_size + 1,
                &raw,
                &mut one,
                &mut squares,
                plan,
            );
        } else {
            resemblance(
                &*results,
                memory_at,
                word_size,
                &raw,
                &mut one,
                &mut squares,
                plan,
            );
        }
        sync_cube();

        // Content.
        for e in range_stepped(unit, n_weights, units) {
            let (head, i) = (e / memory_size, e % memory_size);
            let key = max(scalars[head * SCALARS + 3], SMALLEST_SQUARE);
            let word = max(squares[i], SMALLEST_SQUARE);
            let value = one[e] / (key.sqrt() * word.sqrt());
            one[e] = scalars[head * SCALARS] * value;
            if comptime!(plan.keeps) {
                tape[tape_at + row.similarity + e] = value;
            }
        }
        sync_cube();
        share_largest(&one, 0, memory_size, &mut largest, n_heads, units);
        sync_cube();
        for e in range_stepped(unit, n_weights, units) {
            one[e] = (one[e] - largest_of(&largest, e / memory_size)).exp();
        }
        sync_cube();
        share_total(&one, 0, memory_size, &mut total, n_heads, units);
        sync_cube();
        // Interpolation.
        for e in range_stepped(unit, n_weights, units) {
            let head = e / memory_size;
            let content = one[e] / total_of(&total, head);
            let before = weights[e];
            other[e] = before + (content - before) * scalars[head * SCALARS + 2];
            if comptime!(plan.keeps) {
                tape[tape_at + row.content + e] = content;
            }
        }
        sync_cube();
        // Shift, and sharpening.
        for e in range_stepped(unit, n_weights, units) {
            let (head, i) = (e / memory_size, e % memory_size);
            one[e] = max(
                shift(&other, &shifts, head, i, false, plan),
                SMALLEST_WEIGHT,
            )
            .ln();
        }
        sync_cube();
        share_largest(&one, 0, memory_size, &mut largest, n_heads, units);
        sync_cube();
        for e in range_stepped(unit, n_weights, units) {
            let head = e / memory_size;
            let most = largest_of(&largest, head);
            one[e] = ((one[e] - most) * scalars[head * SCALARS + 1]).exp();
            if comptime!(plan.keeps) && e % memory_size == 0 {
                tape[tape_at + row.largest + head] = most;
            }
        }
        sync_cube();
        share_total(&one, 0, memory_size, &mut total, n_heads, units);
        sync_cube();
        for e in range_stepped(unit, n_weights, units) {
            let value = one[e] / total_of(&total, e / memory_size);
            weights[e] = value;
            if comptime!(plan.keeps) {
                tape[tape_at + row.weights + e] = value;
            }
        }
        sync_cube();

        // Reading.
        if comptime!(plan.memory_is_shared) {
            read(&memory, 0, word_size + 1, &weights, &mut shares, plan);
        } else {
            read(&*results, memory_at, word_size, &weights, &mut shares, plan);
        }
        sync_cube();
        for k in range_stepped(unit, d_output, units) {
            if k < d_hidden {
                results[step * d_output + k] = hidden[top + k];
            } else {
                let value = sum_of_parts(&shares, k - d_hidden, d_reads, plan.words);
                reads[k - d_hidden] = value;
                results[step * d_output + k] = value;
            }
        }
        // Writing.
        for e in range_stepped(unit, numbers, units) {
            let (i, m) = (e / word_size, e % word_size);
            let rest = kept(&weights, 0, &erases, i, m, comptime!(sizes.n_write), plan);
            let new = added(&weights, 0, &raw, comptime!(sizes.add_at()), i, m, plan);
            if comptime!(plan.memory_is_shared) {
                let at = i * comptime!(sizes.word_size + 1) + m;
                memory[at] = memory[at] * rest + new;
            } else {
                results[memory_at + e] = results[memory_at + e] * rest + new;
            }
        }
        sync(comptime!(!plan.memory_is_shared));
    }

    if comptime!(plan.memory_is_shared) {
        for e in range_stepped(unit, numbers, units) {
            results[memory_at + e] =
                memory[e / word_size * comptime!(sizes.word_size + 1) + e % word_size];
        }
    }
    for e in range_stepped(unit, n_weights, units) {
        results[weights_at + e] = weights[e];
    }
    for k in range_stepped(unit, d_states, units) {
        results[hidden_at + k] = hidden[k];
        results[cell_at + k] = cell[k];
    }
}

/// `k·M(i)` of each head, and `M(i)·M(i)`.
#[cube]
fn resemblance(
    memory: &[f32],
    from: usize,
    stride: usize,
    raw: &[f32],
    products: &mut [f32],
    squares: &mut [f32],
    #[comptime] plan: Plan,
) {
    let sizes = comptime!(plan.sizes);
    let memory_size = comptime!(sizes.memory_size);
    let count = comptime!((sizes.n_heads() + 1) * sizes.memory_size);
    for e in range_stepped(UNIT_POS as usize, count, comptime!(plan.units())) {
        let (head, i) = (e / memory_size, e % memory_size);
        let at = from + i * stride;
        let mut sum = 0.0f32;
        if head < comptime!(sizes.n_heads()) {
            let key = head * comptime!(sizes.d_addressing());
            for m in 0..comptime!(sizes.word_size) {
                sum += raw[key + m] * memory[at + m];
            }
            products[e] = sum;
        } else {
            for m in 0..comptime!(sizes.word_size) {
                sum += memory[at + m] * memory[at + m];
            }
            squares[i] = sum;
        }
    }
}

/// Each unit's share of what the read heads read.
#[cube]
fn read(
    memory: &[f32],
    from: usize,
    stride: usize,
    weights: &[f32],
    shares: &mut [f32],
    #[comptime] plan: Plan,
) {
    let sizes = comptime!(plan.sizes);
    let layout = comptime!(plan.words);
    let memory_size = comptime!(sizes.memory_size);
    let word_size = comptime!(sizes.word_size);
    let d_reads = comptime!(sizes.d_reads());
    let (lane, part) = place(layout);
    let (first, last) = terms(part, memory_size, layout);
    for o in range_stepped(lane, d_reads, comptime!(layout.lanes)) {
        let (head, m) = (o / word_size, o % word_size);
        let mut sum = 0.0f32;
        for i in first..last {
            sum += weights[head * memory_size + i] * memory[from + i * stride + m];
        }
        shares[part * d_reads + o] = sum;
    }
}
