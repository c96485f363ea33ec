//! The whole sequence as one operation with its own backward pass, on the backends that have a kernel.

use alloc::vec;
use alloc::vec::Vec;

use burn::backend::autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType, Flex, backend_extension};
use burn::tensor::Tensor;

use super::cpu::{self, Cotangents, Outputs, Problem, Tape, Wanted};
use super::{Form, Input, Memory, Options, State, Weights, Write};
use crate::ops::cpu::{Arch, Real, SharedMut, arch};
use crate::ops::fused::{self, Kernel};

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
    run(input, state, weights, options, form, (arch(), chunk))
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
        fused::run(&plan, inputs.into_array())
    }
}

impl<C: CheckpointStrategy> FusedFastWeights for Autodiff<Flex, C> {
    fn fast_weights(inputs: Inputs<Self>, plan: Plan) -> FloatTensor<Self> {
        fused::run_tracked::<_, C, 8>(plan, inputs.into_array())
    }
}

impl<B: Backend> Inputs<B> {
    fn into_array(self) -> [FloatTensor<B>; 8] {
        [
            self.input,
            self.hidden,
            self.start,
            self.w_input,
            self.bias,
            self.w_hidden,
            self.gain,
            self.norm_bias,
        ]
    }
}

impl Plan {
    fn problem<'a, T: Real>(&'a self, inputs: [fused::Input<'a, T>; 8]) -> Problem<'a, T> {
        let [batch_size, seq_length] = [0, 1].map(|dimension| inputs[0].dim(dimension));
        let d_hidden = inputs[1].dim(1);
        let [
            input,
            hidden,
            start,
            w_input,
            bias,
            w_hidden,
            gain,
            norm_bias,
        ] = inputs.map(|input| input.numbers);
        Problem {
            batch_size,
            seq_length,
            d_hidden,
            options: &self.options,
            chunk: self.chunk,
            input,
            hidden,
            start: self.has_start.then_some(start),
            projection: (!self.is_projected).then_some((w_input, bias)),
            w_hidden,
            norm: self.epsilon.map(|epsilon| (gain, norm_bias, epsilon)),
        }
    }
}

impl Kernel<8> for Plan {
    const READS_OUTPUT: bool = true;
    type Tape<T: Real> = Tape<T>;

    fn forward<T: Real>(
        &self,
        inputs: [fused::Input<T>; 8],
        keep: bool,
    ) -> (Vec<T>, Vec<usize>, Option<Tape<T>>) {
        let problem = self.problem(inputs);
        let Problem {
            batch_size,
            seq_length,
            d_hidden,
            ..
        } = problem;
        let states = batch_size * seq_length * d_hidden;
        let len = states
            + match self.more {
                More::Nothing => 0,
                More::Writes => states,
                More::Memory => batch_size * d_hidden * d_hidden,
            };
        let mut results: Vec<T> = Vec::with_capacity(len);
        let hidden = SharedMut::new(results.as_mut_ptr());
        // SAFETY: within the capacity.
        let more = |kind| (self.more == kind).then(|| SharedMut::new(unsafe { hidden.at(states) }));
        let outputs = Outputs {
            hidden,
            writes: more(More::Writes),
            memory: more(More::Memory),
        };
        // SAFETY: the architecture is one that the machine has; all of the results are written.
        let tape = unsafe {
            let tape = cpu::forward(self.arch, &problem, outputs, keep);
            results.set_len(len);
            tape
        };
        let shape = match self.more {
            More::Nothing => vec![batch_size, seq_length, d_hidden],
            _ => vec![len],
        };
        (results, shape, tape)
    }

    fn backward<T: Real>(
        &self,
        inputs: [fused::Input<T>; 8],
        tape: &Tape<T>,
        output: Option<&[T]>,
        slopes: &[T],
        is_wanted: [bool; 8],
    ) -> [Vec<T>; 8] {
        let problem = self.problem(inputs);
        let states = problem.batch_size * problem.seq_length * problem.d_hidden;
        let (hidden, more) = slopes.split_at(states);
        let output = &output.expect("asked for")[..states];
        let cotangents = Cotangents {
            hidden,
            writes: (self.more == More::Writes).then_some(more),
            memory: (self.more == More::Memory).then_some(more),
        };
        let wanted = Wanted {
            input: is_wanted[0],
            start: self.has_start && is_wanted[2],
        };
        let gradients = cpu::backward(&problem, tape, output, cotangents, wanted);
        [
            gradients.input,
            gradients.hidden,
            gradients.start,
            gradients.w_input,
            gradients.bias,
            gradients.w_hidden,
            gradients.gain,
            gradients.norm_bias,
        ]
    }
}

#[cfg(test)]
mod tests;
