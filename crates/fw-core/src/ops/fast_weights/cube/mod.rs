//! The whole sequence in one launch on a GPU: CubeCL kernels, one source for wgpu and CUDA.

mod backward;
mod forward;
mod gradients;
mod launch;
mod plan;
mod steps;

use burn::backend::{Dispatch, ExtensionType};
use burn::tensor::Tensor;
use burn_cubecl::cubecl::ir::HardwareProperties;

use super::{FastMemory, MemoryForm, Options, State, Weights, WrittenState};
use crate::ops::cube::hardware;
use crate::ops::operation::{Place, on_cube, operands};
use crate::ops::{Sequence, Spans};
use plan::Plan;

/// Fast weights over a whole sequence by the kernel; nothing, where there is none, or the spans are not those of a batch. Everything
/// is computed in f32, and comes back in the input's type.
#[track_caller]
pub(super) fn fast_weights(
    input: &Sequence,
    spans: &Spans,
    state: &State,
    weights: &Weights,
    options: &Options,
    form: MemoryForm,
) -> Option<(Tensor<3>, State)> {
    if !spans.are_of_batch() {
        return None;
    }
    let tensor = input.tensor();
    let hardware = hardware(&tensor.device(), tensor.dtype(), tensor.dims()[0])?;
    run(input, state, weights, options, form, (&hardware, None))
}

/// The same within given limits, and in chunks of a given length.
#[track_caller]
fn run(
    input: &Sequence,
    state: &State,
    weights: &Weights,
    options: &Options,
    form: MemoryForm,
    (hardware, chunk): (&HardwareProperties, Option<usize>),
) -> Option<(Tensor<3>, State)> {
    let dtype = input.tensor().dtype();
    let [_, seq_length, _] = input.tensor().dims();
    let d_hidden = weights.hidden.dims()[0];
    let form = form.resolve(state.memory.written(), seq_length, d_hidden);
    let start = state.memory.clone().into_start(&state.hidden, options);
    let request = Request {
        plan: Plan::new(
            options,
            weights.norm.is_some(),
            start.is_some(),
            [seq_length, d_hidden],
            chunk,
            hardware,
        )?,
        decay: options.decay,
        fast_learning_rate: options.fast_learning_rate,
        epsilon: weights.norm.as_ref().map_or(0.0, |norm| norm.epsilon),
    };
    let projected = input.clone().projected(|input| weights.project(input));
    let norm = weights.norm.as_ref();
    let place = Place::on_cube(&projected);
    let inputs = Inputs {
        projected: place.put(&projected),
        hidden: place.put(&state.hidden),
        start: place.put_any(start.as_ref()),
        w_hidden: place.put(&weights.hidden),
        gain: place.put_any(norm.map(|norm| &norm.gain)),
        norm_bias: place.put_any(norm.map(|norm| &norm.bias)),
    };
    let outputs = <Dispatch as FastWeightsOnCube>::fast_weights(inputs, request);
    let outputs = Tensor::<4>::from_dispatch(outputs).cast(dtype);
    let nth = |n| outputs.clone().narrow(0, n, 1).squeeze_dim::<3>(0);
    let output = nth(0);
    let writes = match options.write {
        WrittenState::Final => output.clone(),
        WrittenState::Preliminary => nth(1),
    };
    let hidden = output
        .clone()
        .narrow(1, seq_length - 1, 1)
        .squeeze_dim::<2>(1);
    let mut memory = FastMemory::History {
        start,
        writes: Some(writes),
    };
    if form == MemoryForm::Matrix {
        memory = FastMemory::Matrix(memory.into_matrix(&hidden, options));
    }
    Some((output, State { hidden, memory }))
}

/// What the operation is to do.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    plan: Plan,
    decay: f64,
    fast_learning_rate: f64,
    /// Of the normalisation, if there is one.
    epsilon: f64,
}

impl Request {
    /// The same, keeping what the backward pass reads.
    fn keeping(mut self) -> Self {
        self.plan.keeps = true;
        self
    }
}

operands! {
    /// The tensors that the operation reads; those that are not there have one element.
    #[derive(Clone, Debug, ExtensionType)]
    #[extension_type(fusion)]
    pub struct Inputs { projected, hidden, start, w_hidden, gain, norm_bias }
}

on_cube! {
    /// Every h_t, `[1, batch_size, seq_length, d_hidden]`, and every s_0 where those are written: `[2, batch_size, seq_length, d_hidden]`.
    FastWeightsOnCube::fast_weights, FastWeightsPasses::{fast_weights_forward, fast_weights_backward}: Request;
    |request, [batch_size, seq_length] of projected|
    Tape {
        outputs: request.plan.outputs_shape(batch_size, seq_length),
        /// `[batch_size, seq_length, inner_steps, d_hidden]`.
        states: request.plan.states_shape(batch_size, seq_length),
        /// `[batch_size, seq_length, n_norms, d_hidden]`, and `[batch_size, seq_length, n_norms]`.
        normalized: request.plan.normalized_shape(batch_size, seq_length),
        scales: request.plan.scales_shape(batch_size, seq_length),
        /// `[batch_size, n_chunks, d_hidden, d_hidden]`.
        matrices: request.plan.matrices_shape(batch_size, seq_length),
    }
    Gradients {
        projected: [batch_size, seq_length, request.plan.d_hidden],
        /// `[batch_size, seq_length, inner_steps, d_hidden]`; with a start only.
        reads: request.plan.reads_shape(batch_size, seq_length),
        hidden: [batch_size, request.plan.d_hidden],
        /// Of each sample, `[batch_size, d_hidden]`; with a normalisation only.
        gain: request.plan.of_norm_shape(batch_size),
        norm_bias: request.plan.of_norm_shape(batch_size),
    }
}

#[cfg(all(test, any(feature = "wgpu", feature = "cuda")))]
mod tests;
