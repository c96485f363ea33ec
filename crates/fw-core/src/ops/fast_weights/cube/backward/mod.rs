//! The backward kernel: one cube goes back through one sample.

mod buffers;
mod pass;

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::plan::Plan;
use super::steps::{has_matrix, place_of_matrix};
use crate::ops::fast_weights::WrittenState;
use buffers::{Given, Left, Tape};
use pass::Pass;

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
    let sample = CUBE_POS_X as usize;
    let batch_size = CUBE_COUNT_X as usize;
    let chunk_length = comptime!(plan.chunk);
    let tape = Tape::new(outputs, states, normalized, scales, matrices);
    let given = Given::new(slopes, tape, w_hidden_transposed, gain, by_age, plan);
    let left = Left::new(
        d_projected,
        d_read,
        d_hidden,
        d_gain,
        d_norm_bias,
        sums_of_gradients,
    );
    let mut pass = Pass::new(left, plan);

    let sums_at = sample * n * n;
    pass.begin(sample, sums_at);
    let n_chunks = seq_length.div_ceil(chunk_length);
    for back in 0..n_chunks {
        let chunk = n_chunks - 1 - back;
        let first = chunk * chunk_length;
        let length = min(chunk_length, seq_length - first);
        let reads_matrix = has_matrix(chunk, plan);
        let matrix_at = place_of_matrix(sample, chunk, seq_length, plan);
        pass.gather_written(
            &given,
            batch_size * seq_length,
            sample * seq_length + first,
            length,
        );
        for step_back in 0..length {
            let in_chunk = length - 1 - step_back;
            let step = Step {
                n_steps: batch_size * seq_length,
                at: sample * seq_length + first + in_chunk,
                in_chunk,
                reads_matrix,
                matrix_at,
                sums_at,
            };
            // The sums of a few steps are handed on: one of all steps would lose digits.
            if comptime!(plan.is_normalized) && step.at.is_multiple_of(comptime!(few_steps(plan))) {
                pass.hand_on(sample);
            }
            pass.of_output(&given, &step);
            for i_back in 0..plan.inner_steps {
                let i = plan.inner_steps - i_back - 1;
                pass.of_read(&given, &step, i);
                pass.of_query(&given, &step, i);
            }
            if comptime!(plan.inner_steps > 0) {
                pass.of_memory(&given, &step);
            }
            if comptime!(plan.write == WrittenState::Preliminary) {
                pass.of_written(&given, &step);
            }
            pass.of_preliminary(&given, &step);
            pass.of_hidden(&given);
        }
    }
    pass.end(sample);
}

/// Where a step is.
#[derive(CubeType)]
struct Step {
    /// Of all samples.
    n_steps: usize,
    /// Among those.
    at: usize,
    in_chunk: usize,
    /// Whether a matrix precedes the chunk, and where it lies.
    reads_matrix: bool,
    matrix_at: usize,
    /// Where G + Gᵀ lies, unless units share it.
    sums_at: usize,
}
