//! From tensors to launches.

use alloc::vec::Vec;

use burn::backend::TensorMetadata;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::backward::backward as backward_kernel;
use super::forward::forward as forward_kernel;
use super::{Gradients, Inputs, Request, Tape};
use crate::ops::cube::{empty, from_numbers, launch, transposed};

pub(super) fn forward(inputs: Inputs<CubeBackend>, request: Request) -> Tape<CubeBackend> {
    let plan = request.plan;
    let [batch_size, seq_length, _] = inputs.projected.shape().dims();
    let by_age = from_numbers(&inputs.projected, request.by_age());
    let tape = Tape::empty(&inputs, &request);
    let start = match plan.has_start {
        true => transposed(inputs.start, 1),
        false => inputs.start,
    };
    launch! {
        forward_kernel[batch_size, plan.workgroup];
        inputs.projected, inputs.hidden, start, inputs.w_hidden, inputs.gain, inputs.norm_bias, by_age,
        tape.outputs.clone(), tape.states.clone(), tape.normalized.clone(), tape.scales.clone(), tape.matrices.clone();
        seq_length, request.epsilon as f32, plan
    }
    tape
}

pub(super) fn backward(
    inputs: Inputs<CubeBackend>,
    tape: Tape<CubeBackend>,
    slopes: CubeTensor,
    request: Request,
) -> Gradients<CubeBackend> {
    let plan = request.plan;
    let [batch_size, seq_length, d_hidden] = inputs.projected.shape().dims();
    let gradients = Gradients::empty(&inputs, &request);
    let sums_of_gradients = match plan.matrix_is_shared || plan.inner_steps == 0 {
        true => [1; 3],
        false => [batch_size, d_hidden, d_hidden],
    };
    let sums_of_gradients = empty(&slopes, sums_of_gradients);
    // The forward pass left them transposed, and they are symmetric but for the start.
    let matrices = match plan.has_start {
        true => transposed(tape.matrices, 2),
        false => tape.matrices,
    };
    let by_age = from_numbers(&slopes, request.by_age());
    launch! {
        backward_kernel[batch_size, plan.workgroup];
        slopes, tape.outputs, tape.states, tape.normalized, tape.scales, matrices,
        transposed(inputs.w_hidden, 0), inputs.gain, by_age,
        gradients.projected.clone(), gradients.reads.clone(), gradients.hidden.clone(),
        gradients.gain.clone(), gradients.norm_bias.clone(), sums_of_gradients;
        seq_length, plan
    }
    gradients
}

impl Request {
    /// `η λ^a` for ages below a chunk's length, then `λ^a` up to it.
    fn by_age(&self) -> Vec<f32> {
        let powers = |first: f64| {
            core::iter::successors(Some(first), |power| Some(power * self.decay))
                .map(|power| power as f32)
        };
        let chunk = self.plan.chunk;
        let mut numbers: Vec<f32> = powers(self.fast_learning_rate).take(chunk).collect();
        numbers.extend(powers(1.0).take(chunk + 1));
        numbers
    }
}
