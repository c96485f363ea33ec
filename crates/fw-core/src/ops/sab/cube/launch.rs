//! From tensors to launches.

use burn::backend::TensorMetadata;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::prelude::CubeCount;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::backward::backward as backward_kernel;
use super::forward::forward as forward_kernel;
use super::{Gradients, Inputs, Request, Tape};
use crate::ops::cube::{empty, transposed};

pub(super) fn forward(inputs: Inputs<CubeBackend>, request: Request) -> Tape<CubeBackend> {
    let plan = request.plan;
    let projected = into_contiguous(inputs.projected);
    let [batch_size, seq_length, _] = projected.shape().dims();
    let lengths = request.lengths(batch_size, seq_length);
    let tape = Tape::<CubeBackend> {
        results: empty(&projected, [plan.results(lengths)]),
        rows: empty(&projected, plan.tape_shape(lengths)),
        chosen: empty(&projected, plan.chosen_shape(lengths)),
        keys: empty(&projected, plan.keys_shape(lengths)),
    };
    let scores = empty(&projected, [batch_size, request.n_memories.max(1)]);
    let client = projected.client.clone();
    // SAFETY: every buffer has the shape that the plan gives it, and the kernel stays within those.
    unsafe {
        forward_kernel::launch_unchecked(
            &client,
            CubeCount::Static(batch_size as u32, 1, 1),
            plan.hidden.cube_dim(),
            projected.into_buffer_arg(),
            into_contiguous(inputs.hidden).into_buffer_arg(),
            into_contiguous(inputs.cell).into_buffer_arg(),
            into_contiguous(inputs.memories).into_buffer_arg(),
            into_contiguous(inputs.w_hidden).into_buffer_arg(),
            into_contiguous(inputs.bias).into_buffer_arg(),
            into_contiguous(inputs.w_query).into_buffer_arg(),
            into_contiguous(inputs.w_key).into_buffer_arg(),
            into_contiguous(inputs.v).into_buffer_arg(),
            tape.results.clone().into_buffer_arg(),
            tape.rows.clone().into_buffer_arg(),
            tape.chosen.clone().into_buffer_arg(),
            tape.keys.clone().into_buffer_arg(),
            scores.into_buffer_arg(),
            seq_length,
            request.n_given,
            request.n_memories,
            request.slots,
            request.first_step,
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
    let [batch_size, seq_length, _] = inputs.projected.shape().dims();
    let lengths = request.lengths(batch_size, seq_length);
    let slopes = into_contiguous(slopes);
    let gradients = Gradients::<CubeBackend> {
        rows: empty(&slopes, plan.slopes_shape(lengths)),
        memories: empty(&slopes, plan.memories_shape(lengths)),
        keys: empty(&slopes, plan.keys_shape(lengths)),
        v: empty(&slopes, plan.v_shape(lengths)),
        start: empty(&slopes, plan.start_shape(lengths)),
    };
    let of_chosen = empty(&slopes, [batch_size, request.slots.max(1)]);
    let of_attention = |weight: CubeTensor| match plan.recalls {
        true => transposed(weight, 0),
        false => weight,
    };
    let client = slopes.client.clone();
    // SAFETY: every buffer has the shape that the plan gives it, and the kernel stays within those.
    unsafe {
        backward_kernel::launch_unchecked(
            &client,
            CubeCount::Static(batch_size as u32, 1, 1),
            plan.hidden.cube_dim(),
            slopes.into_buffer_arg(),
            into_contiguous(tape.results).into_buffer_arg(),
            into_contiguous(tape.rows).into_buffer_arg(),
            into_contiguous(tape.chosen).into_buffer_arg(),
            into_contiguous(tape.keys).into_buffer_arg(),
            into_contiguous(inputs.hidden).into_buffer_arg(),
            into_contiguous(inputs.cell).into_buffer_arg(),
            into_contiguous(inputs.memories).into_buffer_arg(),
            transposed(inputs.w_hidden, 0).into_buffer_arg(),
            of_attention(inputs.w_query).into_buffer_arg(),
            of_attention(inputs.w_key).into_buffer_arg(),
            into_contiguous(inputs.v).into_buffer_arg(),
            gradients.rows.clone().into_buffer_arg(),
            gradients.memories.clone().into_buffer_arg(),
            gradients.keys.clone().into_buffer_arg(),
            gradients.v.clone().into_buffer_arg(),
            gradients.start.clone().into_buffer_arg(),
            of_chosen.into_buffer_arg(),
            seq_length,
            request.n_given,
            request.n_memories,
            request.slots,
            request.first_step,
            plan,
        );
    }
    gradients
}
