//! The whole sequence in one launch on a GPU: CubeCL kernels, one source for wgpu and CUDA.

mod backward;
mod forward;
mod gradients;
mod launch;
mod plan;
mod steps;

use alloc::vec::Vec;

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType};
use burn::tensor::Tensor;

use super::composed::{Controller, Weights};
use super::{Addressing, State, StateSizes, output_and_state};
use crate::error::expect_fits;
use crate::ops::cube::{hardware, operand, single, spec};
use crate::ops::operation::{on_cube, operands};
use crate::ops::shapes::check;
use crate::ops::{Activation, LstmState, Sequence};
use plan::{Plan, Sizes};

/// The sequence by the kernel, from what the first layer makes of the input by `project`: every `[h_t ; r_t]`, and the state after the
/// last step; nothing, where there is no kernel. Everything is computed in f32, and comes back in the input's type.
///
/// # Panics
/// If a shape does not fit.
#[track_caller]
pub(crate) fn sequence(
    input: &Sequence,
    state: &State,
    weights: &Weights,
    project: impl FnOnce(Tensor<3>) -> Tensor<3>,
) -> Option<(Tensor<3>, State)> {
    let tensor = input.tensor();
    let [batch_size, seq_length, _] = tensor.dims();
    let hardware = hardware(&tensor.device(), tensor.dtype(), batch_size)?;
    if seq_length == 0 {
        return None;
    }
    let sizes = sizes(state, weights);
    let plan = Plan::new(sizes, &hardware)?;
    let projected = input.clone().projected(project);
    check_shapes(&projected, state, weights, &sizes);
    Some(run(&projected, state, weights, plan))
}

/// The same by a given plan.
fn run(projected: &Tensor<3>, state: &State, weights: &Weights, plan: Plan) -> (Tensor<3>, State) {
    let (device, dtype) = (projected.device(), projected.dtype());
    let [batch_size, seq_length, _] = projected.dims();
    let layers = weights.controller.layers();
    let flat: Vec<Tensor<1>> = layers
        .iter()
        .map(|layer| layer.weight.clone().flatten(0, 1))
        .collect();
    let biases: Vec<Tensor<1>> = layers
        .iter()
        .filter_map(|layer| layer.bias.clone())
        .collect();
    let biases = (!biases.is_empty()).then(|| Tensor::cat(biases, 0));
    let of_layers = |part: fn(&LstmState) -> Tensor<2>| {
        let states: Vec<Tensor<2>> = state.controller.iter().map(part).collect();
        let states = (!states.is_empty()).then(|| Tensor::cat(states, 1));
        operand(states.as_ref(), &device)
    };
    let inputs = Inputs {
        projected: single(projected),
        layers: single(&Tensor::cat(flat, 0)),
        biases: operand(biases.as_ref(), &device),
        heads_weight: single(&weights.heads.weight),
        heads_bias: single(&weights.heads.bias),
        hidden: of_layers(|layer| layer.hidden.clone()),
        cell: of_layers(|layer| layer.cell.clone()),
        memory: single(&state.memory),
        reads: single(&state.reads),
        weights: single(&state.weights),
    };
    let results = <Dispatch as NtmOnCube>::ntm(inputs, plan);
    let results = Tensor::<1>::from_dispatch(results).cast(dtype);
    let shape = [batch_size, seq_length];
    output_and_state(results, shape, state, plan.sizes.d_hidden)
}

fn sizes(state: &State, weights: &Weights) -> Sizes {
    let [_, memory_size, word_size] = state.memory.dims();
    let n_read = state.reads.dims()[1];
    let n_write = weights.heads.n_write;
    let [d_hidden, d_raw] = weights.heads.weight.dims();
    // What does not fit is refused below.
    let d_addressing = d_raw.saturating_sub(2 * n_write * word_size) / (n_read + n_write).max(1);
    Sizes {
        is_lstm: matches!(weights.controller, Controller::Lstm(_)),
        activation: match &weights.controller {
            Controller::Lstm(_) => Activation::Tanh,
            Controller::FeedForward(_, activation) => *activation,
        },
        d_hidden,
        n_layers: weights.controller.layers().len(),
        n_read,
        n_write,
        memory_size,
        word_size,
        shift_width: d_addressing.saturating_sub(Addressing::width(word_size, 0)),
    }
}

/// Panics unless every tensor has the shape and the type that the kernels rely on.
#[track_caller]
fn check_shapes(projected: &Tensor<3>, state: &State, weights: &Weights, sizes: &Sizes) {
    let dtype = projected.dtype();
    let [batch_size, seq_length, _] = projected.dims();
    let [d_hidden, d_raw] = [sizes.d_hidden, sizes.d_raw()];
    let expected = [batch_size, seq_length, sizes.d_gates()];
    check("the projected input", projected, expected, dtype);
    for (index, layer) in weights.controller.layers().iter().enumerate() {
        let expected = [sizes.d_layer(index), sizes.d_gates()];
        check("a layer's weight", &layer.weight, expected, dtype);
        if index > 0 {
            let bias = layer.bias.as_ref().expect("upper layers have a bias");
            check("a layer's bias", bias, [sizes.d_gates()], dtype);
        }
    }
    check(
        "the heads' weight",
        &weights.heads.weight,
        [d_hidden, d_raw],
        dtype,
    );
    check("the heads' bias", &weights.heads.bias, [d_raw], dtype);
    let sizes = StateSizes {
        batch_size,
        d_hidden,
        n_states: if sizes.is_lstm { sizes.n_layers } else { 0 },
        memory_size: sizes.memory_size,
        word_size: sizes.word_size,
        n_read: sizes.n_read,
        n_write: sizes.n_write,
    };
    expect_fits(state.check(sizes, dtype));
}

operands! {
    /// The tensors that the operation reads; those that are not there have one element.
    #[derive(Clone, Debug, ExtensionType)]
    #[extension_type(fusion)]
    pub struct Inputs { projected, layers, biases, heads_weight, heads_bias, hidden, cell, memory, reads, weights }
}

/// What the forward pass leaves for the backward pass.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion)]
pub struct Tape<B: Backend> {
    results: FloatTensor<B>,
    /// `[batch_size, seq_length, width of a row]`.
    rows: FloatTensor<B>,
    /// `[batch_size, n, memory_size word_size]`.
    checkpoints: FloatTensor<B>,
}

/// What the backward kernel yields.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion)]
pub struct Gradients<B: Backend> {
    /// `[batch_size, seq_length, d_row]`.
    rows: FloatTensor<B>,
    /// `[batch_size, d_start]`.
    start: FloatTensor<B>,
}

on_cube! {
    /// Every output row, the memory, the weightings, and h and c of the controller, in one row of numbers.
    NtmOnCube::ntm, NtmPasses::{ntm_forward, ntm_backward}: Plan, results
}

fn tape_spec(inputs: &InputsMetadata, plan: &Plan) -> TapeMetadata {
    let [batch_size, seq_length, _] = inputs.projected.shape.dims();
    TapeMetadata {
        results: spec([plan.results(batch_size, seq_length)]),
        rows: spec(plan.tape_shape(batch_size, seq_length)),
        checkpoints: spec(plan.checkpoints_shape(batch_size, seq_length)),
    }
}

fn gradients_spec(
    inputs: &InputsMetadata,
    _tape: &TapeMetadata,
    _slopes: &TensorSpec,
    plan: &Plan,
) -> GradientsMetadata {
    let [batch_size, seq_length, _] = inputs.projected.shape.dims();
    GradientsMetadata {
        rows: spec([batch_size, seq_length, plan.sizes.d_row()]),
        start: spec([batch_size, plan.sizes.d_start()]),
    }
}

#[cfg(all(test, any(feature = "wgpu", feature = "cuda")))]
mod tests;
