//! The whole sequence in one launch on a GPU: CubeCL kernels, one source for wgpu and CUDA.

mod backward;
mod forward;
mod gradients;
mod launch;
mod plan;
mod steps;

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType};
use burn::tensor::Tensor;
use burn_cubecl::cubecl::ir::HardwareProperties;

use super::{Form, Memory, Options, State, Weights, Write};
use crate::ops::Sequence;
use crate::ops::cube::{hardware, operand, single, spec};
use crate::ops::operation::{on_cube, operands};
use plan::Plan;

/// Fast weights over a whole sequence by the kernel; nothing, where there is none. Everything is computed in f32, and comes back
/// in the input's type.
#[track_caller]
pub(super) fn fast_weights(
    input: &Sequence,
    state: &State,
    weights: &Weights,
    options: &Options,
    form: Form,
) -> Option<(Tensor<3>, State)> {
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
    form: Form,
    (hardware, chunk): (&HardwareProperties, Option<usize>),
) -> Option<(Tensor<3>, State)> {
    let (device, dtype) = (input.tensor().device(), input.tensor().dtype());
    let [_, seq_length, _] = input.tensor().dims();
    let d_hidden = weights.hidden.dims()[0];
    let form = form.resolve(state.memory.written(), seq_length, d_hidden);
    let start = match state.memory.clone() {
        Memory::Matrix(start) => Some(start),
        Memory::History {
            start,
            writes: None,
        } => start,
        history => Some(history.into_matrix(&state.hidden, options)),
    };
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
    let inputs = Inputs {
        projected: single(&projected),
        hidden: single(&state.hidden),
        start: operand(start.as_ref(), &device),
        w_hidden: single(&weights.hidden),
        gain: operand(norm.map(|norm| &norm.gain), &device),
        norm_bias: operand(norm.map(|norm| &norm.bias), &device),
    };
    let outputs = <Dispatch as FastWeightsOnCube>::fast_weights(inputs, request);
    let outputs = Tensor::<4>::from_dispatch(outputs).cast(dtype);
    let nth = |n| outputs.clone().narrow(0, n, 1).squeeze_dim::<3>(0);
    let output = nth(0);
    let writes = match options.write {
        Write::Final => output.clone(),
        Write::Preliminary => nth(1),
    };
    let hidden = output
        .clone()
        .narrow(1, seq_length - 1, 1)
        .squeeze_dim::<2>(1);
    let mut memory = Memory::History {
        start,
        writes: Some(writes),
    };
    if form == Form::Matrix {
        memory = Memory::Matrix(memory.into_matrix(&hidden, options));
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

/// What the forward pass leaves for the backward pass; what is not needed has one element.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion)]
pub struct Tape<B: Backend> {
    outputs: FloatTensor<B>,
    /// `[batch_size, seq_length, inner_steps, d_hidden]`.
    states: FloatTensor<B>,
    /// `[batch_size, seq_length, n_norms, d_hidden]`.
    normalized: FloatTensor<B>,
    /// `[batch_size, seq_length, n_norms]`.
    scales: FloatTensor<B>,
    /// `[batch_size, n_chunks, d_hidden, d_hidden]`.
    matrices: FloatTensor<B>,
}

/// What the backward kernel yields.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion)]
pub struct Gradients<B: Backend> {
    /// `[batch_size, seq_length, d_hidden]`.
    projected: FloatTensor<B>,
    /// `[batch_size, seq_length, inner_steps, d_hidden]`; with a start only.
    reads: FloatTensor<B>,
    /// `[batch_size, d_hidden]`.
    hidden: FloatTensor<B>,
    /// Of each sample, `[batch_size, d_hidden]`; with a normalisation only.
    gain: FloatTensor<B>,
    norm_bias: FloatTensor<B>,
}

on_cube! {
    /// Every h_t, `[1, batch_size, seq_length, d_hidden]`, and every s_0 where those are written: `[2, batch_size, seq_length, d_hidden]`.
    FastWeightsOnCube::fast_weights, FastWeightsPasses::{fast_weights_forward, fast_weights_backward}: Request, outputs
}

fn tape_spec(inputs: &InputsMetadata, request: &Request) -> TapeMetadata {
    let [batch_size, seq_length, _] = inputs.projected.shape.dims();
    let shapes = request.plan.tape_shapes(batch_size, seq_length);
    TapeMetadata {
        outputs: spec(shapes.outputs),
        states: spec(shapes.states),
        normalized: spec(shapes.normalized),
        scales: spec(shapes.scales),
        matrices: spec(shapes.matrices),
    }
}

fn gradients_spec(
    inputs: &InputsMetadata,
    _tape: &TapeMetadata,
    _slopes: &TensorSpec,
    request: &Request,
) -> GradientsMetadata {
    let [batch_size, seq_length, _] = inputs.projected.shape.dims();
    let shapes = request.plan.gradient_shapes(batch_size, seq_length);
    GradientsMetadata {
        projected: spec(shapes.projected),
        reads: spec(shapes.reads),
        hidden: spec(shapes.hidden),
        gain: spec(shapes.of_norm),
        norm_bias: spec(shapes.of_norm),
    }
}

#[cfg(all(test, any(feature = "wgpu", feature = "cuda")))]
mod tests;
