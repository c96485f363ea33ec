//! From tensors to launches.

use burn::backend::TensorMetadata;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::backward::backward as backward_kernel;
use super::forward::forward as forward_kernel;
use super::{Gradients, Inputs, Request, Tape};
use crate::ops::cube::{empty, launch, transposed};

pub(super) fn forward(inputs: Inputs<CubeBackend>, request: Request) -> Tape<CubeBackend> {
    let plan = request.plan;
    let [batch_size, seq_length, _] = inputs.projected.shape().dims();
    let tape = Tape::empty(&inputs, &request);
    let scores = empty(&inputs.projected, [batch_size, request.n_memories.max(1)]);
    launch! {
        forward_kernel[batch_size, plan.hidden];
        inputs.projected, inputs.hidden, inputs.cell, inputs.memories, inputs.w_hidden, inputs.bias,
        inputs.w_query, inputs.w_key, inputs.v,
        tape.results.clone(), tape.rows.clone(), tape.chosen.clone(), tape.keys.clone(), scores;
        seq_length, request.n_given, request.n_memories, request.slots, request.first_step, plan
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
    let gradients = Gradients::empty(&inputs, &request);
    let of_chosen = empty(&slopes, [batch_size, request.slots.max(1)]);
    let of_attention = |weight: CubeTensor| match plan.recalls {
        true => transposed(weight, 0),
        false => weight,
    };
    launch! {
        backward_kernel[batch_size, plan.hidden];
        slopes, tape.results, tape.rows, tape.chosen, tape.keys,
        inputs.hidden, inputs.cell, inputs.memories, transposed(inputs.w_hidden, 0),
        of_attention(inputs.w_query), of_attention(inputs.w_key), inputs.v,
        gradients.rows.clone(), gradients.memories.clone(), gradients.keys.clone(), gradients.v.clone(), gradients.start.clone(),
        of_chosen;
        seq_length, request.n_given, request.n_memories, request.slots, request.first_step, plan
    }
    gradients
}
