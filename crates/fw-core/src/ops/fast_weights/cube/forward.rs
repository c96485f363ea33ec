//! The forward kernel: one cube computes one sample for the whole sequence.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::Plan;
use super::steps::{attend, place_of_matrix};
use crate::ops::cube::{SHARERS, activate, moments, share_moments, sum_of_parts, times};
use crate::ops::fast_weights::Write;

/// Every h_t, and what the backward pass reads.
///
/// The sequence goes in chunks: within one, the memory is read from the vectors written in it (by attention) and from the matrix
/// at its start, into which they go at its end.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, reason = "buffers")]
pub(super) fn forward(
    // [batch_size, seq_length, d_hidden]
    projected: &[f32],
    // [batch_size, d_hidden]
    hidden: &[f32],
    // A_0 transposed, [batch_size, d_hidden, d_hidden].
    start: &[f32],
    w_hidden: &[f32],
    gain: &[f32],
    norm_bias: &[f32],
    // η λ^a for a < chunk, then λ^a for a <= chunk.
    by_age: &[f32],
    // h, then (if written with it) s_0: [n, batch_size, seq_length, d_hidden].
    outputs: &mut [f32],
    // s_0 .. s_{S-1}, [batch_size, seq_length, S, d_hidden].
    states: &mut [f32],
    // What LN scales by its gain, [batch_size, seq_length, n_norms, d_hidden], and 1 / deviation.
    normalized: &mut [f32],
    scales: &mut [f32],
    // A transposed at the start of each chunk, [batch_size, n_chunks, d_hidden, d_hidden]; one for all, unless kept.
    matrices: &mut [f32],
    seq_length: usize,
    epsilon: f32,
    #[comptime] plan: Plan,
) {
    let n = comptime!(plan.d_hidden);
    let row = comptime!(plan.written_row());
    let layout = comptime!(plan.layout);
    let width = comptime!(plan.width());
    let n_norms = comptime!(plan.n_norms());
    let sample = CUBE_POS_X as usize;
    let batch_size = CUBE_COUNT_X as usize;
    let unit = UNIT_POS_X as usize;
    let units = comptime!(plan.layout.units());

    let mut h = Shared::<[f32]>::new_slice(n);
    let mut s = Shared::<[f32]>::new_slice(n);
    let mut z = Shared::<[f32]>::new_slice(n);
    let mut p = Shared::<[f32]>::new_slice(n);
    let mut shares = Shared::<[f32]>::new_slice(comptime!(plan.layout.parts * plan.width()));
    let mut from_matrix = Shared::<[f32]>::new_slice(comptime!(plan.layout.parts * n));
    let mut written = Shared::<[f32]>::new_slice(comptime!(plan.chunk * row));
    let mut scores = Shared::<[f32]>::new_slice(comptime!(plan.chunk));
    let mut statistics = Shared::<[f32]>::new_slice(comptime!(2 * SHARERS));
    let mut matrix = Shared::<[f32]>::new_slice(comptime!(plan.matrix_numbers()));

    for o in range_stepped(unit, n, units) {
        h[o] = hidden[sample * n + o];
    }
    let mut chunk = 0usize;
    let mut n_written = 0usize;
    if comptime!(plan.has_start) {
        let place = place_of_matrix(sample, 0usize, seq_length, plan);
        for e in range_stepped(unit, n * n, units) {
            let value = start[sample * n * n + e];
            matrices[place + e] = value;
            if comptime!(plan.matrix_is_shared) {
                matrix[e] = value;
            }
        }
        sync_storage();
    }
    sync_cube();

    for t in 0..seq_length {
        if n_written == plan.chunk {
            // The next chunk: what was written goes into the matrix.
            let from = place_of_matrix(sample, chunk, seq_length, plan);
            let to = place_of_matrix(sample, chunk + 1, seq_length, plan);
            for e in range_stepped(unit, n * n, units) {
                let (one, other) = (e / n, e % n);
                let mut sum = 0.0f32;
                if comptime!(plan.has_start) || chunk > 0 {
                    sum = matrices[from + e] * by_age[2 * plan.chunk];
                }
                for i in 0..plan.chunk {
                    sum += by_age[plan.chunk - 1 - i]
                        * written[i * row + one]
                        * written[i * row + other];
                }
                matrices[to + e] = sum;
                if comptime!(plan.matrix_is_shared) {
                    matrix[e] = sum;
                }
            }
            sync_storage();
            chunk += 1;
            n_written = 0;
        }
        let step = sample * seq_length + t;

        times(w_hidden, 0, n, &h, 0, &mut shares, n, layout);
        sync_cube();
        for o in range_stepped(unit, n, units) {
            let value = projected[step * n + o] + sum_of_parts(&shares, o, n, layout);
            z[o] = value;
            if comptime!(!plan.normalizes_preliminary) {
                s[o] = activate(value, plan.activation);
            }
        }
        sync_cube();
        if comptime!(plan.normalizes_preliminary) {
            share_moments(&z, &mut statistics, n);
            sync_cube();
            let place = step * n_norms;
            normalize(
                &z,
                &statistics,
                gain,
                norm_bias,
                &mut s,
                normalized,
                scales,
                place,
                epsilon,
                plan,
            );
            sync_cube();
        }
        if comptime!(plan.write == Write::Preliminary) {
            for o in range_stepped(unit, n, units) {
                written[n_written * row + o] = s[o];
                outputs[(batch_size * seq_length + step) * n + o] = s[o];
            }
            n_written += 1;
            sync_cube();
        }

        for i in 0..plan.inner_steps {
            if comptime!(plan.keeps) {
                for o in range_stepped(unit, n, units) {
                    states[(step * plan.inner_steps + i) * n + o] = s[o];
                }
            }
            let reads_matrix = comptime!(plan.has_start) || chunk > 0;
            if reads_matrix {
                if comptime!(plan.matrix_is_shared) {
                    times(&matrix, 0, n, &s, 0, &mut from_matrix, n, layout);
                } else {
                    let place = place_of_matrix(sample, chunk, seq_length, plan);
                    times(&*matrices, place, n, &s, 0, &mut from_matrix, n, layout);
                }
            }
            attend(
                &written,
                n_written,
                &s,
                0,
                by_age,
                &mut scores,
                &mut shares,
                plan,
            );
            sync_cube();
            for o in range_stepped(unit, n, units) {
                let mut value = z[o] + sum_of_parts(&shares, o, width, layout);
                if reads_matrix {
                    value +=
                        by_age[plan.chunk + n_written] * sum_of_parts(&from_matrix, o, n, layout);
                }
                if comptime!(plan.is_normalized) {
                    p[o] = value;
                } else {
                    s[o] = activate(value, plan.activation);
                }
            }
            sync_cube();
            if comptime!(plan.is_normalized) {
                share_moments(&p, &mut statistics, n);
                sync_cube();
                let place = step * n_norms + comptime!(plan.normalizes_preliminary as usize) + i;
                normalize(
                    &p,
                    &statistics,
                    gain,
                    norm_bias,
                    &mut s,
                    normalized,
                    scales,
                    place,
                    epsilon,
                    plan,
                );
                sync_cube();
            }
        }

        for o in range_stepped(unit, n, units) {
            h[o] = s[o];
            outputs[step * n + o] = s[o];
            if comptime!(plan.write == Write::Final) {
                written[n_written * row + o] = s[o];
            }
        }
        if comptime!(plan.write == Write::Final) {
            n_written += 1;
        }
        sync_cube();
    }
}

/// LN and f.
#[cube]
#[allow(clippy::too_many_arguments, reason = "buffers")]
fn normalize(
    numbers: &[f32],
    statistics: &[f32],
    gain: &[f32],
    norm_bias: &[f32],
    s: &mut [f32],
    normalized: &mut [f32],
    scales: &mut [f32],
    place: usize,
    epsilon: f32,
    #[comptime] plan: Plan,
) {
    let n = comptime!(plan.d_hidden);
    let unit = UNIT_POS as usize;
    let (mean, variance) = moments(statistics, n);
    let scale = (variance + epsilon).inverse_sqrt();
    for o in range_stepped(unit, n, comptime!(plan.layout.units())) {
        let value = (numbers[o] - mean) * scale;
        s[o] = activate(value * gain[o] + norm_bias[o], plan.activation);
        if comptime!(plan.keeps) {
            normalized[place * n + o] = value;
        }
    }
    if comptime!(plan.keeps) && unit == 0 {
        scales[place] = scale;
    }
}
