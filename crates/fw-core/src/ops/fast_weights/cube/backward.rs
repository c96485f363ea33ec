//! The backward kernel: one cube goes back through one sample.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::Plan;
use super::steps::{attend, place_of_matrix};
use crate::ops::cube::{SHARERS, activate_slope, share_sums, sum_of_parts, sums, sync, times};
use crate::ops::fast_weights::Write;

/// Steps after which the sums for the normalisation are handed on.
fn few_steps(plan: Plan) -> usize {
    (64 / (plan.inner_steps + 1)).max(1)
}

/// The gradients of z and of what precedes the sequence, and for the normalisation those of each sample.
///
/// Of the gradient G of the memory only G + Gᵀ is read: it is kept as a matrix from step to step.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, reason = "buffers")]
pub(super) fn backward(
    // Of the outputs, and those.
    slopes: &[f32],
    outputs: &[f32],
    states: &[f32],
    normalized: &[f32],
    scales: &[f32],
    // A at the start of each chunk, [batch_size, n_chunks, d_hidden, d_hidden].
    matrices: &[f32],
    w_hidden_transposed: &[f32],
    gain: &[f32],
    by_age: &[f32],
    // [batch_size, seq_length, d_hidden]
    d_projected: &mut [f32],
    // Of z_t + A_{t-1} s_{i-1}, [batch_size, seq_length, S, d_hidden]; with a start only.
    d_read: &mut [f32],
    // [batch_size, d_hidden], three times.
    d_hidden: &mut [f32],
    d_gain: &mut [f32],
    d_norm_bias: &mut [f32],
    // Room for G + Gᵀ, [batch_size, d_hidden, d_hidden], unless units share it.
    sums_of_gradients: &mut [f32],
    seq_length: usize,
    #[comptime] plan: Plan,
) {
    let n = comptime!(plan.d_hidden);
    let row = comptime!(plan.written_row());
    let layout = comptime!(plan.layout);
    let width = comptime!(plan.width());
    let n_norms = comptime!(plan.n_norms());
    let inner_steps = comptime!(plan.inner_steps);
    let chunk_length = comptime!(plan.chunk);
    let sample = CUBE_POS_X as usize;
    let batch_size = CUBE_COUNT_X as usize;
    let unit = UNIT_POS_X as usize;
    let units = comptime!(plan.layout.units());
    // η, and λ.
    let rate = by_age[0];
    let decay = by_age[chunk_length + 1];

    let mut d = Shared::<[f32]>::new_slice(n);
    let mut dz = Shared::<[f32]>::new_slice(n);
    let mut carried = Shared::<[f32]>::new_slice(n);
    let mut scaled = Shared::<[f32]>::new_slice(n);
    let mut centred = Shared::<[f32]>::new_slice(n);
    let mut of_gain = Shared::<[f32]>::new_slice(n);
    let mut of_norm_bias = Shared::<[f32]>::new_slice(n);
    // For each inner step: the gradient of what it read, and what it read with.
    let mut reads = Shared::<[f32]>::new_slice(comptime!(plan.read_numbers()));
    let mut queries = Shared::<[f32]>::new_slice(comptime!(plan.read_numbers()));
    let mut shares = Shared::<[f32]>::new_slice(comptime!(plan.layout.parts * plan.width()));
    let mut from_matrix = Shared::<[f32]>::new_slice(comptime!(plan.layout.parts * n));
    let mut written = Shared::<[f32]>::new_slice(comptime!(plan.chunk * row));
    let mut scores = Shared::<[f32]>::new_slice(comptime!(plan.chunk));
    let mut statistics = Shared::<[f32]>::new_slice(comptime!(2 * SHARERS));
    let mut matrix = Shared::<[f32]>::new_slice(comptime!(plan.matrix_numbers()));

    for o in range_stepped(unit, n, units) {
        carried[o] = 0.0f32;
        of_gain[o] = 0.0f32;
        of_norm_bias[o] = 0.0f32;
        if comptime!(plan.is_normalized) {
            d_gain[sample * n + o] = 0.0f32;
            d_norm_bias[sample * n + o] = 0.0f32;
        }
    }
    let place_of_sums = sample * n * n;
    if comptime!(plan.inner_steps > 0) {
        for e in range_stepped(unit, n * n, units) {
            if comptime!(plan.matrix_is_shared) {
                matrix[e] = 0.0f32;
            } else {
                sums_of_gradients[place_of_sums + e] = 0.0f32;
            }
        }
        if comptime!(!plan.matrix_is_shared) {
            sync_storage();
        }
    }

    let n_chunks = seq_length.div_ceil(chunk_length);
    for back in 0..n_chunks {
        let chunk = n_chunks - 1 - back;
        let first = chunk * chunk_length;
        let length = min(chunk_length, seq_length - first);
        let reads_matrix = comptime!(plan.has_start) || chunk > 0;
        let place = place_of_matrix(sample, chunk, seq_length, plan);
        for e in range_stepped(unit, length * n, units) {
            let (i, o) = (e / n, e % n);
            let mut from = (sample * seq_length + first) * n;
            if comptime!(plan.write == Write::Preliminary) {
                from += batch_size * seq_length * n;
            }
            written[i * row + o] = outputs[from + e];
        }
        sync_cube();

        for step_back in 0..length {
            let in_chunk = length - 1 - step_back;
            let step = sample * seq_length + first + in_chunk;

            // The sums of a few steps are handed on: one of all steps would lose digits.
            if comptime!(plan.is_normalized) && step.is_multiple_of(comptime!(few_steps(plan))) {
                for o in range_stepped(unit, n, units) {
                    d_gain[sample * n + o] += of_gain[o];
                    d_norm_bias[sample * n + o] += of_norm_bias[o];
                    of_gain[o] = 0.0f32;
                    of_norm_bias[o] = 0.0f32;
                }
            }

            // The gradient of h_t.
            if comptime!(plan.write == Write::Final && plan.inner_steps > 0) {
                if comptime!(plan.matrix_is_shared) {
                    times(
                        &matrix,
                        0,
                        n,
                        &written,
                        in_chunk * row,
                        &mut shares,
                        n,
                        layout,
                    );
                } else {
                    times(
                        &*sums_of_gradients,
                        place_of_sums,
                        n,
                        &written,
                        in_chunk * row,
                        &mut shares,
                        n,
                        layout,
                    );
                }
                sync_cube();
            }
            for o in range_stepped(unit, n, units) {
                let mut value = slopes[step * n + o] + carried[o];
                if comptime!(plan.write == Write::Final && plan.inner_steps > 0) {
                    value += rate * sum_of_parts(&shares, o, n, layout);
                }
                d[o] = value;
                dz[o] = 0.0f32;
            }
            sync_cube();

            for i_back in 0..inner_steps {
                let i = inner_steps - i_back - 1;
                // Through f and LN: the gradient of z_t + A_{t-1} s_i.
                let norm = step * n_norms + comptime!(plan.normalizes_preliminary as usize) + i;
                for o in range_stepped(unit, n, units) {
                    let mut yielded = outputs[step * n + o];
                    if i + 1 < inner_steps {
                        yielded = states[(step * inner_steps + i + 1) * n + o];
                    }
                    let value = d[o] * activate_slope(yielded, plan.activation);
                    scaled[o] = value;
                    if comptime!(plan.is_normalized) {
                        let normal = normalized[norm * n + o];
                        of_gain[o] += value * normal;
                        of_norm_bias[o] += value;
                        scaled[o] = value * gain[o];
                        centred[o] = normal;
                    }
                    queries[i * n + o] = states[(step * inner_steps + i) * n + o];
                }
                if comptime!(plan.is_normalized) {
                    sync_cube();
                    share_sums(&scaled, &centred, &mut statistics, n);
                }
                sync_cube();
                for o in range_stepped(unit, n, units) {
                    let mut value = scaled[o];
                    if comptime!(plan.is_normalized) {
                        value = before_norm(value, centred[o], scales[norm], &statistics, n);
                    }
                    dz[o] += value;
                    reads[i * n + o] = value;
                    if comptime!(plan.has_start) {
                        d_read[(step * inner_steps + i) * n + o] = value;
                    }
                }
                sync_cube();

                // The gradient of s_i: what the memory, transposed, makes of it.
                let mut visible = in_chunk;
                if comptime!(plan.write == Write::Preliminary) {
                    visible += 1;
                }
                if reads_matrix {
                    times(
                        matrices,
                        place,
                        n,
                        &reads,
                        i * n,
                        &mut from_matrix,
                        n,
                        layout,
                    );
                }
                attend(
                    &written,
                    visible,
                    &reads,
                    i * n,
                    by_age,
                    &mut scores,
                    &mut shares,
                    plan,
                );
                sync_cube();
                for o in range_stepped(unit, n, units) {
                    let mut value = sum_of_parts(&shares, o, width, layout);
                    if reads_matrix {
                        value += by_age[chunk_length + visible]
                            * sum_of_parts(&from_matrix, o, n, layout);
                    }
                    d[o] = value;
                }
                sync_cube();
            }

            if comptime!(plan.inner_steps > 0) {
                // What the reads of this step say to the memory.
                for e in range_stepped(unit, n * n, units) {
                    let (one, other) = (e / n, e % n);
                    let mut sum = 0.0f32;
                    for i in 0..inner_steps {
                        sum += reads[i * n + one] * queries[i * n + other]
                            + queries[i * n + one] * reads[i * n + other];
                    }
                    if comptime!(plan.matrix_is_shared) {
                        matrix[e] = decay * matrix[e] + sum;
                    } else {
                        let at = place_of_sums + e;
                        sums_of_gradients[at] = decay * sums_of_gradients[at] + sum;
                    }
                }
                sync(comptime!(!plan.matrix_is_shared));
            }
            if comptime!(plan.write == Write::Preliminary) {
                if comptime!(plan.inner_steps > 0) {
                    if comptime!(plan.matrix_is_shared) {
                        times(
                            &matrix,
                            0,
                            n,
                            &written,
                            in_chunk * row,
                            &mut shares,
                            n,
                            layout,
                        );
                    } else {
                        times(
                            &*sums_of_gradients,
                            place_of_sums,
                            n,
                            &written,
                            in_chunk * row,
                            &mut shares,
                            n,
                            layout,
                        );
                    }
                    sync_cube();
                }
                for o in range_stepped(unit, n, units) {
                    let mut value = d[o] + slopes[(batch_size * seq_length + step) * n + o];
                    if comptime!(plan.inner_steps > 0) {
                        value += rate * sum_of_parts(&shares, o, n, layout);
                    }
                    d[o] = value;
                }
                sync_cube();
            }

            // Through the preliminary state.
            for o in range_stepped(unit, n, units) {
                let mut yielded = outputs[step * n + o];
                if comptime!(plan.inner_steps > 0) {
                    yielded = states[step * inner_steps * n + o];
                }
                let value = d[o] * activate_slope(yielded, plan.activation);
                scaled[o] = value;
                if comptime!(plan.normalizes_preliminary) {
                    let normal = normalized[step * n_norms * n + o];
                    of_gain[o] += value * normal;
                    of_norm_bias[o] += value;
                    scaled[o] = value * gain[o];
                    centred[o] = normal;
                }
            }
            if comptime!(plan.normalizes_preliminary) {
                sync_cube();
                share_sums(&scaled, &centred, &mut statistics, n);
            }
            sync_cube();
            for o in range_stepped(unit, n, units) {
                let mut value = scaled[o];
                if comptime!(plan.normalizes_preliminary) {
                    let scale = scales[step * n_norms];
                    value = before_norm(value, centred[o], scale, &statistics, n);
                }
                let value = dz[o] + value;
                dz[o] = value;
                d_projected[step * n + o] = value;
            }
            sync_cube();
            times(w_hidden_transposed, 0, n, &dz, 0, &mut shares, n, layout);
            sync_cube();
            for o in range_stepped(unit, n, units) {
                carried[o] = sum_of_parts(&shares, o, n, layout);
            }
            sync_cube();
        }
    }

    for o in range_stepped(unit, n, units) {
        d_hidden[sample * n + o] = carried[o];
        if comptime!(plan.is_normalized) {
            d_gain[sample * n + o] += of_gain[o];
            d_norm_bias[sample * n + o] += of_norm_bias[o];
        }
    }
}

/// Back through LN: `(g - mean(g) - x̂ mean(g x̂)) / deviation`, from the sums over all numbers.
#[cube]
fn before_norm(
    slope: f32,
    normal: f32,
    scale: f32,
    statistics: &[f32],
    #[comptime] n: usize,
) -> f32 {
    let (plain, weighted) = sums(statistics);
    scale * (slope - (plain + normal * weighted) * comptime!(1.0 / n as f32))
}
