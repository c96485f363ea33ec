//! From tensors to launches.

use alloc::vec::Vec;

use burn::backend::TensorMetadata;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::prelude::CubeCount;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::backward::backward as backward_kernel;
use super::forward::forward as forward_kernel;
use super::{Gradients, Inputs, Request, Tape};
use crate::ops::cube::{empty, from_numbers, transposed};

pub(super) fn forward(inputs: Inputs<CubeBackend>, request: Request) -> Tape<CubeBackend> {
    let plan = request.plan;
    let projected = into_contiguous(inputs.projected);
    let [batch_size, seq_length, _] = projected.shape().dims();
    let shapes = plan.tape_shapes(batch_size, seq_length);
    let by_age = from_numbers(&projected, request.by_age());
    let tape = Tape::<CubeBackend> {
        outputs: empty(&projected, shapes.outputs),
        states: empty(&projected, shapes.states),
        normalized: empty(&projected, shapes.normalized),
        scales: empty(&projected, shapes.scales),
        matrices: empty(&projected, shapes.matrices),
    };
    let start = match plan.has_start {
        true => transposed(inputs.start, 1),
        false => inputs.start,
    };
    let client = projected.client.clone();
    // SAFETY: every buffer has the shape that the plan gives it, and the kernel stays within those.
    unsafe {
        forward_kernel::launch_unchecked(
            &client,
            CubeCount::Static(batch_size as u32, 1, 1),
            plan.layout.cube_dim(),
            projected.into_buffer_arg(),
            into_contiguous(inputs.hidden).into_buffer_arg(),
            start.into_buffer_arg(),
            into_contiguous(inputs.w_hidden).into_buffer_arg(),
            into_contiguous(inputs.gain).into_buffer_arg(),
            into_contiguous(inputs.norm_bias).into_buffer_arg(),
            by_age.into_buffer_arg(),
            tape.outputs.clone().into_buffer_arg(),
            tape.states.clone().into_buffer_arg(),
            tape.normalized.clone().into_buffer_arg(),
            tape.scales.clone().into_buffer_arg(),
            tape.matrices.clone().into_buffer_arg(),
            seq_length,
            request.epsilon as f32,
            plan,
        );
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
    let slopes = into_contiguous(slopes);
    let shapes = plan.gradient_shapes(batch_size, seq_length);
    let gradients = Gradients::<CubeBackend> {
        projected: empty(&slopes, shapes.projected),
        reads: empty(&slopes, shapes.reads),
        hidden: empty(&slopes, shapes.hidden),
        gain: empty(&slopes, shapes.of_norm),
        norm_bias: empty(&slopes, shapes.of_norm),
    };
    let room = match plan.matrix_is_shared || plan.inner_steps == 0 {
        true => [1; 3],
        false => [batch_size, d_hidden, d_hidden],
    };
    let room = empty(&slopes, room);
    // The forward pass left them transposed, and they are symmetric but for the start.
    let matrices = match plan.has_start {
        true => transposed(tape.matrices, 2),
        false => tape.matrices,
    };
    let by_age = from_numbers(&slopes, request.by_age());
    let client = slopes.client.clone();
    // SAFETY: every buffer has the shape that the plan gives it, and the kernel stays within those.
    unsafe {
        backward_kernel::launch_unchecked(
            &client,
            CubeCount::Static(batch_size as u32, 1, 1),
            plan.layout.cube_dim(),
            slopes.into_buffer_arg(),
            into_contiguous(tape.outputs).into_buffer_arg(),
            into_contiguous(tape.states).into_buffer_arg(),
            into_contiguous(tape.normalized).into_buffer_arg(),
            into_contiguous(tape.scales).into_buffer_arg(),
            matrices.into_buffer_arg(),
            transposed(inputs.w_hidden, 0).into_buffer_arg(),
            into_contiguous(inputs.gain).into_buffer_arg(),
            by_age.into_buffer_arg(),
            gradients.projected.clone().into_buffer_arg(),
            gradients.reads.clone().into_buffer_arg(),
            gradients.hidden.clone().into_buffer_arg(),
            gradients.gain.clone().into_buffer_arg(),
            gradients.norm_bias.clone().into_buffer_arg(),
            room.into_buffer_arg(),
            seq_length,
            plan,
        );
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
