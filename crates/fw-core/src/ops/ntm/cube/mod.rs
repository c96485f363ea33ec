//! The whole sequence in one launch on a GPU: CubeCL kernels, one source for wgpu and CUDA.

mod backward;
mod forward;
mod gradients;
mod launch;
mod plan;
mod steps;
mod yielded;

use burn::backend::{Dispatch, ExtensionType};
use burn::tensor::Tensor;

use super::composed::{Dense, Weights};
use super::results::{joined, output_and_state};
use super::shapes::Sizes;
use super::{SlowWeights, State};
use crate::ops::cube::hardware;
use crate::ops::operation::{Place, on_cube, operands};
use crate::ops::{Sequence, Spans};
use plan::Plan;

/// The sequence by the kernel, from what the first layer makes of the input by `project`: every `[h_t ; r_t]`, and the state after the
/// last step; nothing, where there is no kernel, as for spans that are not those of a batch. Everything is computed in f32, and comes back
/// in the input's type.
///
/// # Panics
/// If a shape does not fit.
#[track_caller]
pub(crate) fn sequence(
    input: &Sequence,
    spans: &Spans,
    state: &State,
    weights: SlowWeights,
    project: impl FnOnce(Tensor<3>) -> Tensor<3>,
) -> Option<(Tensor<3>, State)> {
    if !spans.are_of_batch() {
        return None;
    }
    let tensor = input.tensor();
    let [batch_size, seq_length, _] = tensor.dims();
    let hardware = hardware(&tensor.device(), tensor.dtype(), batch_size)?;
    if seq_length == 0 {
        return None;
    }
    let plan = Plan::new(Sizes::new(input, spans, state, &weights), &hardware)?;
    let projected = input.clone().projected(project);
    Some(run(&projected, state, weights, plan))
}

/// The same by a given plan.
fn run(
    projected: &Tensor<3>,
    state: &State,
    weights: SlowWeights,
    plan: Plan,
) -> (Tensor<3>, State) {
    let sizes = plan.sizes;
    let [batch_size, seq_length, _] = projected.dims();
    let weights = Weights::lay_out(weights, sizes.d_reads(), sizes.n_write);
    let layers = weights.controller.layers();
    let flat = |layer: &Dense| layer.weight.clone().flatten::<1>(0, 1);
    let flat = joined(layers.iter().map(flat).collect(), 0);
    let biases = layers.iter().filter_map(|layer| layer.bias.clone());
    let place = Place::on_cube(projected);
    let inputs = Inputs {
        projected: place.put(projected),
        layers: place.put_any(flat.as_ref()),
        biases: place.put_any(joined(biases.collect(), 0).as_ref()),
        heads_weight: place.put(&weights.heads.weight),
        heads_bias: place.put(&weights.heads.bias),
        hidden: place.put_any(state.of_layers(|layer| &layer.hidden).as_ref()),
        cell: place.put_any(state.of_layers(|layer| &layer.cell).as_ref()),
        memory: place.put(&state.memory),
        reads: place.put(&state.reads),
        weights: place.put(&state.weights),
    };
    let results = Tensor::<1>::from_dispatch(<Dispatch as NtmOnCube>::ntm(inputs, plan));
    let results = results.cast(projected.dtype());
    let spans = Spans::of_batch(batch_size, seq_length);
    output_and_state(results, &spans, state, sizes.d_hidden)
}

operands! {
    /// The tensors that the operation reads; those that are not there have one element.
    #[derive(Clone, Debug, ExtensionType)]
    #[extension_type(fusion)]
    pub struct Inputs { projected, layers, biases, heads_weight, heads_bias, hidden, cell, memory, reads, weights }
}

on_cube! {
    /// Every output row, the memory, the weightings, and h and c of the controller, in one row of numbers.
    NtmOnCube::ntm, NtmPasses::{ntm_forward, ntm_backward}: Plan;
    |plan, [batch_size, seq_length] of projected|
    Tape {
        results: [plan.results(batch_size, seq_length)],
        /// `[batch_size, seq_length, width of a row]`.
        rows: plan.tape_shape(batch_size, seq_length),
        /// `[batch_size, n, memory_size word_size]`.
        checkpoints: plan.checkpoints_shape(batch_size, seq_length),
    }
    Gradients {
        rows: [batch_size, seq_length, plan.sizes.d_row()],
        start: [batch_size, plan.sizes.d_start()],
    }
}

#[cfg(all(test, any(feature = "wgpu", feature = "cuda")))]
mod tests;
