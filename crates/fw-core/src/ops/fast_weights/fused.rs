//! The whole sequence as one operation with its own backward pass, on the backends that have a kernel.

use alloc::sync::Arc;
use alloc::vec::Vec;

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Backend, Dispatch, DispatchDevice, ExtensionType, Flex, TensorMetadata, backend_extension,
};
use burn::tensor::{DType, Device, Tensor, TensorData};

use super::cpu::{self, Cotangents, Outputs, Problem, Tape, Wanted};
use super::{Form, Input, Memory, Options, State, Weights, Write};
use crate::ops::cpu::{Arch, Real, SharedMut};

/// Whether there is a kernel for this device and type.
pub(super) fn is_available(device: &Device, dtype: DType) -> bool {
    let device = device.as_dispatch().clone().inner();
    matches!(device, DispatchDevice::Flex(_)) && matches!(dtype, DType::F32 | DType::F64)
}

/// Fast weights over a whole sequence by the kernel.
#[track_caller]
pub(super) fn fast_weights(
    input: Input,
    state: State,
    weights: &Weights,
    options: &Options,
    form: Form,
) -> (Tensor<3>, State) {
    let [_, seq_length, _] = input.tensor().dims();
    let [_, d_hidden] = state.hidden.dims();
    let chunk = cpu::chunk_length(seq_length, d_hidden, options.inner_steps);
    run(
        input,
        state,
        weights,
        options,
        form,
        (Arch::detect(), chunk),
    )
}

/// Panics unless every tensor has the shape and the type that the kernel relies on.
#[track_caller]
fn check_shapes(input: &Input, state: &State, weights: &Weights) {
    let [batch_size, seq_length, width] = input.tensor().dims();
    let d_hidden = weights.hidden.dims()[0];
    assert!(
        batch_size > 0 && seq_length > 0 && d_hidden > 0,
        "batch_size, seq_length and d_hidden are {batch_size}, {seq_length} and {d_hidden}; each must be at least 1"
    );
    let dtype = input.tensor().dtype();
    #[track_caller]
    fn check<const D: usize>(name: &str, tensor: &Tensor<D>, expected: [usize; D], dtype: DType) {
        let actual = tensor.dims();
        assert!(
            actual == expected,
            "{name} has shape {actual:?}; it must be {expected:?}"
        );
        let actual = tensor.dtype();
        assert!(
            actual == dtype,
            "{name} is {actual:?}; the input is {dtype:?}"
        );
    }
    match input {
        Input::Raw(_) => {
            check(
                "the input's weight",
                &weights.input,
                [width, d_hidden],
                dtype,
            );
            check("the bias", &weights.bias, [d_hidden], dtype);
        }
        Input::Projected(projected) => {
            let expected = [batch_size, seq_length, d_hidden];
            check("the projected input", projected, expected, dtype);
        }
    }
    check(
        "the recurrent weight",
        &weights.hidden,
        [d_hidden, d_hidden],
        dtype,
    );
    if let Some(norm) = &weights.norm {
        check("the normalisation's gain", &norm.gain, [d_hidden], dtype);
        check("the normalisation's bias", &norm.bias, [d_hidden], dtype);
    }
    check(
        "the hidden state",
        &state.hidden,
        [batch_size, d_hidden],
        dtype,
    );
    let square = [batch_size, d_hidden, d_hidden];
    let (matrix, writes) = match &state.memory {
        Memory::Matrix(matrix) => (Some(matrix), None),
        Memory::History { start, writes } => (start.as_ref(), writes.as_ref()),
    };
    if let Some(matrix) = matrix {
        check("the memory", matrix, square, dtype);
    }
    if let Some(writes) = writes {
        let expected = [batch_size, writes.dims()[1], d_hidden];
        check("the history", writes, expected, dtype);
    }
}

/// The same with given instructions, which the machine must have, and chunks of a given length.
#[track_caller]
fn run(
    input: Input,
    state: State,
    weights: &Weights,
    options: &Options,
    form: Form,
    (arch, chunk): (Arch, usize),
) -> (Tensor<3>, State) {
    check_shapes(&input, &state, weights);
    let [batch_size, seq_length, _] = input.tensor().dims();
    let [_, d_hidden] = state.hidden.dims();
    let form = form.resolve(state.memory.written(), seq_length, d_hidden);
    let start = match state.memory {
        Memory::Matrix(start) => Some(start),
        Memory::History {
            start,
            writes: None,
        } => start,
        history => Some(history.into_matrix(&state.hidden, options)),
    };
    let plan = Plan {
        options: *options,
        epsilon: weights.norm.as_ref().map(|norm| norm.epsilon),
        has_start: start.is_some(),
        is_projected: matches!(input, Input::Projected(_)),
        arch,
        chunk,
        more: match (form, options.write) {
            (Form::Matrix, _) => More::Memory,
            (_, Write::Preliminary) => More::Writes,
            (_, Write::Final) => More::Nothing,
        },
    };
    let like = (input.tensor().device(), input.tensor().dtype());
    let nothing = || Tensor::<1>::empty([0], (&like.0, like.1)).into_dispatch();
    let (gain, norm_bias) = match &weights.norm {
        Some(norm) => (
            norm.gain.clone().into_dispatch(),
            norm.bias.clone().into_dispatch(),
        ),
        None => (nothing(), nothing()),
    };
    let (w_input, bias) = match &input {
        Input::Raw(_) => (
            weights.input.clone().into_dispatch(),
            weights.bias.clone().into_dispatch(),
        ),
        Input::Projected(_) => (nothing(), nothing()),
    };
    let inputs = Inputs {
        start: start.clone().map_or_else(nothing, Tensor::into_dispatch),
        hidden: state.hidden.into_dispatch(),
        w_input,
        bias,
        w_hidden: weights.hidden.clone().into_dispatch(),
        gain,
        norm_bias,
        input: input.into_tensor().into_dispatch(),
    };
    let results = <Dispatch as FusedFastWeights>::fast_weights(inputs, plan);

    let shape = [batch_size, seq_length, d_hidden];
    let numbers = batch_size * seq_length * d_hidden;
    let (output, memory) = match plan.more {
        More::Nothing => {
            let output = Tensor::<3>::from_dispatch(results);
            let writes = Some(output.clone());
            (output, Memory::History { start, writes })
        }
        More::Writes => {
            let [output, writes] = parts(results, numbers, shape, shape);
            let writes = Some(writes);
            (output, Memory::History { start, writes })
        }
        More::Memory => {
            let matrix = [batch_size, d_hidden, d_hidden];
            let [output, memory] = parts(results, numbers, shape, matrix);
            (output, Memory::Matrix(memory))
        }
    };
    let hidden = output
        .clone()
        .narrow(1, seq_length - 1, 1)
        .squeeze_dim::<2>(1);
    (output, State { hidden, memory })
}

/// The two tensors that an operation with one output has laid end to end.
fn parts(
    flat: burn::backend::DispatchTensor,
    first: usize,
    shape: [usize; 3],
    next: [usize; 3],
) -> [Tensor<3>; 2] {
    let flat = Tensor::<1>::from_dispatch(flat);
    let rest = flat.dims()[0] - first;
    [
        flat.clone().narrow(0, 0, first).reshape(shape),
        flat.narrow(0, first, rest).reshape(next),
    ]
}

/// What the operation is to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    options: Options,
    /// Of the normalisation, if there is one.
    epsilon: Option<f64>,
    has_start: bool,
    /// Whether the input is what the projection would yield.
    is_projected: bool,
    arch: Arch,
    chunk: usize,
    more: More,
}

/// What the operation yields after every h_t.
#[derive(Clone, Copy, Debug, PartialEq)]
enum More {
    Nothing,
    /// Every vector that was written.
    Writes,
    /// The last A.
    Memory,
}

/// The tensors that the operation reads; those that are not there have no elements.
#[derive(ExtensionType)]
pub struct Inputs<B: Backend> {
    input: FloatTensor<B>,
    hidden: FloatTensor<B>,
    start: FloatTensor<B>,
    w_input: FloatTensor<B>,
    bias: FloatTensor<B>,
    w_hidden: FloatTensor<B>,
    gain: FloatTensor<B>,
    norm_bias: FloatTensor<B>,
}

/// The operation, for each backend that has a kernel.
#[backend_extension(Autodiff, Flex)]
pub trait FusedFastWeights: Backend {
    /// Every h_t, `[batch_size, seq_length, d_hidden]`; if the plan asks for more, that in one row of numbers
    /// with what follows.
    fn fast_weights(#[extension_type] inputs: Inputs<Self>, plan: Plan) -> FloatTensor<Self>;
}

impl FusedFastWeights for Flex {
    fn fast_weights(inputs: Inputs<Self>, plan: Plan) -> FlexTensor {
        forward(&inputs.contiguous(), &plan, false).0
    }
}

impl<C: CheckpointStrategy> FusedFastWeights for Autodiff<Flex, C> {
    fn fast_weights(inputs: Inputs<Self>, plan: Plan) -> FloatTensor<Self> {
        let nodes = [
            inputs.input.node(),
            inputs.hidden.node(),
            inputs.start.node(),
            inputs.w_input.node(),
            inputs.bias.node(),
            inputs.w_hidden.node(),
            inputs.gain.node(),
            inputs.norm_bias.node(),
        ];
        let inputs = Inputs::<Flex> {
            input: inputs.input.into_primitive(),
            hidden: inputs.hidden.into_primitive(),
            start: inputs.start.into_primitive(),
            w_input: inputs.w_input.into_primitive(),
            bias: inputs.bias.into_primitive(),
            w_hidden: inputs.w_hidden.into_primitive(),
            gain: inputs.gain.into_primitive(),
            norm_bias: inputs.norm_bias.into_primitive(),
        }
        .contiguous();
        match FusedBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (output, tape) = forward(&inputs, &plan, true);
                let kept = Kept {
                    inputs: Arc::new(inputs),
                    plan,
                    output: output.clone(),
                    tape: Arc::new(tape.expect("a forward pass that keeps its tape has one")),
                };
                prep.finish(kept, output)
            }
            OpsKind::UnTracked(prep) => prep.finish(forward(&inputs, &plan, false).0),
        }
    }
}

/// The tape, in the type of the tensors.
#[derive(Debug)]
enum AnyTape {
    F32(Tape<f32>),
    F64(Tape<f64>),
}

/// What the backward pass reads.
#[derive(Clone, Debug)]
struct Kept {
    inputs: Arc<Inputs<Flex>>,
    plan: Plan,
    output: FlexTensor,
    tape: Arc<AnyTape>,
}

#[derive(Debug)]
struct FusedBackward;

impl Backward<Flex, 8> for FusedBackward {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 8>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let kept = ops.state;
        let wanted = Wanted {
            input: ops.parents[0].is_some(),
            start: kept.plan.has_start && ops.parents[2].is_some(),
        };
        let gradients = match &*kept.tape {
            AnyTape::F32(tape) => kept.backward(tape, &gradient, wanted),
            AnyTape::F64(tape) => kept.backward(tape, &gradient, wanted),
        };
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

impl Inputs<Flex> {
    fn contiguous(self) -> Self {
        Inputs {
            input: self.input.to_contiguous(),
            hidden: self.hidden.to_contiguous(),
            start: self.start.to_contiguous(),
            w_input: self.w_input.to_contiguous(),
            bias: self.bias.to_contiguous(),
            w_hidden: self.w_hidden.to_contiguous(),
            gain: self.gain.to_contiguous(),
            norm_bias: self.norm_bias.to_contiguous(),
        }
    }

    fn problem<'a, T: Real>(&'a self, plan: &'a Plan) -> Problem<'a, T> {
        let shape = self.input.shape();
        Problem {
            batch_size: shape[0],
            seq_length: shape[1],
            d_hidden: self.hidden.shape()[1],
            options: &plan.options,
            chunk: plan.chunk,
            input: numbers(&self.input),
            hidden: numbers(&self.hidden),
            start: plan.has_start.then(|| numbers(&self.start)),
            projection: (!plan.is_projected).then(|| (numbers(&self.w_input), numbers(&self.bias))),
            w_hidden: numbers(&self.w_hidden),
            norm: plan
                .epsilon
                .map(|epsilon| (numbers(&self.gain), numbers(&self.norm_bias), epsilon)),
        }
    }
}

impl core::fmt::Debug for Inputs<Flex> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_tuple("Inputs").field(&self.input).finish()
    }
}

fn numbers<T: Real>(tensor: &FlexTensor) -> &[T] {
    tensor
        .as_slice()
        .expect("made contiguous, and of the input's type")
}

fn forward(inputs: &Inputs<Flex>, plan: &Plan, keep: bool) -> (FlexTensor, Option<AnyTape>) {
    match inputs.input.dtype() {
        DType::F32 => {
            let (output, tape) = forward_as::<f32>(inputs, plan, keep);
            (output, tape.map(AnyTape::F32))
        }
        _ => {
            let (output, tape) = forward_as::<f64>(inputs, plan, keep);
            (output, tape.map(AnyTape::F64))
        }
    }
}

fn forward_as<T: Real>(
    inputs: &Inputs<Flex>,
    plan: &Plan,
    keep: bool,
) -> (FlexTensor, Option<Tape<T>>) {
    let problem = inputs.problem::<T>(plan);
    let Problem {
        batch_size,
        seq_length,
        d_hidden,
        ..
    } = problem;
    let states = batch_size * seq_length * d_hidden;
    let len = states
        + match plan.more {
            More::Nothing => 0,
            More::Writes => states,
            More::Memory => batch_size * d_hidden * d_hidden,
        };
    let mut results: Vec<T> = Vec::with_capacity(len);
    let hidden = SharedMut::new(results.as_mut_ptr());
    // SAFETY: within the capacity.
    let more = |kind| (plan.more == kind).then(|| SharedMut::new(unsafe { hidden.at(states) }));
    let outputs = Outputs {
        hidden,
        writes: more(More::Writes),
        memory: more(More::Memory),
    };
    // SAFETY: the architecture is one that the machine has; all of the results are written.
    let tape = unsafe {
        let tape = cpu::forward(plan.arch, &problem, outputs, keep);
        results.set_len(len);
        tape
    };
    let results = match plan.more {
        More::Nothing => TensorData::new(results, [batch_size, seq_length, d_hidden]),
        _ => TensorData::new(results, [len]),
    };
    (FlexTensor::from_data(results), tape)
}

impl Kept {
    /// The gradient for each input, in the order of [`Inputs`].
    fn backward<T: Real>(
        &self,
        tape: &Tape<T>,
        gradient: &FlexTensor,
        wanted: Wanted,
    ) -> [Option<FlexTensor>; 8] {
        let problem = self.inputs.problem::<T>(&self.plan);
        let states = problem.batch_size * problem.seq_length * problem.d_hidden;
        let (hidden, more) = numbers::<T>(gradient).split_at(states);
        let output = &numbers::<T>(&self.output)[..states];
        let cotangents = Cotangents {
            hidden,
            writes: (self.plan.more == More::Writes).then_some(more),
            memory: (self.plan.more == More::Memory).then_some(more),
        };
        let gradients = cpu::backward(&problem, tape, output, cotangents, wanted);
        let tensor = |gradient: Vec<T>, like: &FlexTensor| {
            // Those that were not wanted are empty.
            (!gradient.is_empty())
                .then(|| FlexTensor::from_data(TensorData::new(gradient, like.shape())))
        };
        let inputs = &*self.inputs;
        [
            tensor(gradients.input, &inputs.input),
            tensor(gradients.hidden, &inputs.hidden),
            tensor(gradients.start, &inputs.start),
            tensor(gradients.w_input, &inputs.w_input),
            tensor(gradients.bias, &inputs.bias),
            tensor(gradients.w_hidden, &inputs.w_hidden),
            tensor(gradients.gain, &inputs.gain),
            tensor(gradients.norm_bias, &inputs.norm_bias),
        ]
    }
}

#[cfg(test)]
mod tests;
