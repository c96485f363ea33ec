//! From tensors to launches.

use alloc::vec::Vec;

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{Shape, Slice};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::backward::backward as backward_kernel;
use super::forward::forward as forward_kernel;
use super::plan::Plan;
use super::{Gradients, Inputs, Tape};
use crate::ops::cube::{empty, launch, transposed};

pub(super) fn forward(inputs: Inputs<CubeBackend>, plan: Plan) -> Tape<CubeBackend> {
    let [batch_size, seq_length, _] = inputs.projected.shape().dims();
    let tape = Tape::empty(&inputs, &plan);
    launch! {
        forward_kernel[batch_size, plan.gates];
        inputs.projected, inputs.layers, inputs.biases, inputs.heads_weight, inputs.heads_bias,
        inputs.hidden, inputs.cell, inputs.memory, inputs.reads, inputs.weights,
        tape.results.clone(), tape.rows.clone(), tape.checkpoints.clone();
        seq_length, plan
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
    let gradients = Gradients::empty(&inputs, &plan);
    let memories = [batch_size, plan.interval(), plan.sizes.memory_numbers()];
    let memories = empty(&slopes, memories);
    launch! {
        backward_kernel[batch_size, plan.gates];
        slopes, tape.rows, tape.checkpoints, inputs.weights, inputs.cell,
        layers_transposed(inputs.layers, plan), transposed(inputs.heads_weight, 0),
        gradients.rows.clone(), gradients.start.clone(), memories;
        seq_length, plan
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
