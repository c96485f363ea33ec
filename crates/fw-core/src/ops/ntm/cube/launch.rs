//! From tensors to launches.

use alloc::vec::Vec;

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{Shape, Slice};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::prelude::CubeCount;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::backward::backward as backward_kernel;
use super::forward::forward as forward_kernel;
use super::plan::Plan;
use super::{Gradients, Inputs, Tape};
use crate::ops::cube::{empty, transposed};

pub(super) fn forward(inputs: Inputs<CubeBackend>, plan: Plan) -> Tape<CubeBackend> {
    let projected = into_contiguous(inputs.projected);
    let [batch_size, seq_length, _] = projected.shape().dims();
    let tape = Tape::<CubeBackend> {
        results: empty(&projected, [plan.results(batch_size, seq_length)]),
        rows: empty(&projected, plan.tape_shape(batch_size, seq_length)),
        checkpoints: empty(&projected, plan.checkpoints_shape(batch_size, seq_length)),
    };
    let client = projected.client.clone();
    // SAFETY: every buffer has the shape that the plan gives it, and the kernel stays within those.
    unsafe {
        forward_kernel::launch_unchecked(
            &client,
            CubeCount::Static(batch_size as u32, 1, 1),
            plan.gates.cube_dim(),
            projected.into_buffer_arg(),
            into_contiguous(inputs.layers).into_buffer_arg(),
            into_contiguous(inputs.biases).into_buffer_arg(),
            into_contiguous(inputs.heads_weight).into_buffer_arg(),
            into_contiguous(inputs.heads_bias).into_buffer_arg(),
            into_contiguous(inputs.hidden).into_buffer_arg(),
            into_contiguous(inputs.cell).into_buffer_arg(),
            into_contiguous(inputs.memory).into_buffer_arg(),
            into_contiguous(inputs.reads).into_buffer_arg(),
            into_contiguous(inputs.weights).into_buffer_arg(),
            tape.results.clone().into_buffer_arg(),
            tape.rows.clone().into_buffer_arg(),
            tape.checkpoints.clone().into_buffer_arg(),
            seq_length,
            plan,
        );
    }
    tape
}

pub(super) fn backward(
    inputs: Inputs<CubeBackend>,
    tape: Tape<CubeBackend>,
    slopes: CubeTensor,
    plan: Plan,
) -> Gradients<CubeBackend> {
    let [batch_size, seq_length, _] = inputs.projected.shape().dims();
    let slopes = into_contiguous(slopes);
    let gradients = Gradients::<CubeBackend> {
        rows: empty(&slopes, [batch_size, seq_length, plan.sizes.d_row()]),
        start: empty(&slopes, [batch_size, plan.sizes.d_start()]),
    };
    let memories = [batch_size, plan.interval(), plan.sizes.memory_numbers()];
    let memories = empty(&slopes, memories);
    let client = slopes.client.clone();
    // SAFETY: every buffer has the shape that the plan gives it, and the kernel stays within those.
    unsafe {
        backward_kernel::launch_unchecked(
            &client,
            CubeCount::Static(batch_size as u32, 1, 1),
            plan.gates.cube_dim(),
            slopes.into_buffer_arg(),
            into_contiguous(tape.rows).into_buffer_arg(),
            into_contiguous(tape.checkpoints).into_buffer_arg(),
            into_contiguous(inputs.weights).into_buffer_arg(),
            into_contiguous(inputs.cell).into_buffer_arg(),
            layers_transposed(inputs.layers, plan).into_buffer_arg(),
            transposed(inputs.heads_weight, 0).into_buffer_arg(),
            gradients.rows.clone().into_buffer_arg(),
            gradients.start.clone().into_buffer_arg(),
            memories.into_buffer_arg(),
            seq_length,
            plan,
        );
    }
    gradients
}

/// Each layer's weights transposed, one after another.
fn layers_transposed(layers: CubeTensor, plan: Plan) -> CubeTensor {
    let sizes = plan.sizes;
    let transposed: Vec<CubeTensor> = (0..sizes.n_layers)
        .map(|layer| {
            let (width, d_gates) = (sizes.d_layer(layer), sizes.d_gates());
            let first = sizes.layer_at(layer);
            let slice = Slice::from(first..first + width * d_gates);
            let weights = CubeBackend::float_slice(layers.clone(), &[slice]);
            let weights = CubeBackend::float_reshape(weights, Shape::new([width, d_gates]));
            CubeBackend::float_reshape(transposed(weights, 0), Shape::new([width * d_gates]))
        })
        .collect();
    into_contiguous(CubeBackend::float_cat(transposed, 0))
}
