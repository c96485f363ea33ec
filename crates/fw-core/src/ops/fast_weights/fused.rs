//! The whole sequence as one operation with its own backward pass, on the backends that have a kernel.

use alloc::vec;
use alloc::vec::Vec;

use burn::backend::{Dispatch, DispatchTensor, ExtensionType};
use burn::tensor::Tensor;

use super::cpu::{self, Cotangents, Outputs, Problem, Tape};
use super::{FastMemory, MemoryForm, Options, State, Weights, WrittenState};
use crate::ops::cpu::{Arch, Real, SharedMut, Written, arch};
use crate::ops::operation::{self, Kernel, Place, on_flex, operands};
use crate::ops::{Sequence, Spans};

/// Fast weights over whole sequences by the kernel. The memories after spans that are not of a batch come back as matrices, whatever the form.
#[track_caller]
pub(super) fn fast_weights(
    input: &Sequence,
    spans: &Spans,
    state: &State,
    weights: &Weights,
    options: &Options,
    form: MemoryForm,
) -> (Tensor<3>, State) {
    let [_, d_hidden] = state.hidden.dims();
    let chunk = cpu::chunk_length(spans.longest(), d_hidden, options.inner_steps);
    let how = (arch(), chunk);
    run(input, spans, state, weights, options, form, how)
}

/// The same with given instructions, which the machine must have, and chunks of a given length.
#[track_caller]
fn run(
    input: &Sequence,
    spans: &Spans,
    state: &State,
    weights: &Weights,
    options: &Options,
    form: MemoryForm,
    (arch, chunk): (Arch, usize),
) -> (Tensor<3>, State) {
    let [_, d_hidden] = state.hidden.dims();
    let form = match spans.are_of_batch() {
        true => form.resolve(state.memory.written(), spans.longest(), d_hidden),
        // Histories of unequal lengths cannot be joined.
        false => MemoryForm::Matrix,
    };
    let start = state.memory.clone().into_start(&state.hidden, options);
    let more = More::new(form, options, spans);
    let request = Request {
        spans: spans.clone(),
        options: *options,
        epsilon: weights.norm.as_ref().map(|norm| norm.epsilon),
        has_start: start.is_some(),
        is_projected: matches!(input, Sequence::Projected(_)),
        arch,
        chunk,
        more,
    };
    let place = Place::on_flex(input.tensor());
    let norm = weights.norm.as_ref();
    let is_raw = !request.is_projected;
    let inputs = Inputs {
        input: place.put(input.tensor()),
        hidden: place.put(&state.hidden),
        start: place.put_any(start.as_ref()),
        w_input: place.put_any(is_raw.then_some(&weights.input)),
        bias: place.put_any(is_raw.then_some(&weights.bias)),
        w_hidden: place.put(&weights.hidden),
        gain: place.put_any(norm.map(|norm| &norm.gain)),
        norm_bias: place.put_any(norm.map(|norm| &norm.bias)),
    };
    let results = <Dispatch as FusedFastWeights>::run(inputs, request);

    let [batch_size, seq_length, _] = input.tensor().dims();
    let shape = [batch_size, seq_length, d_hidden];
    let numbers = spans.n_rows() * d_hidden;
    let matrix = [spans.n_ends(), d_hidden, d_hidden];
    let (output, memory) = match more {
        More::Nothing => {
            let output = Tensor::<3>::from_dispatch(results);
            let memory = match form {
                MemoryForm::Matrix => {
                    FastMemory::Matrix(Tensor::zeros(matrix, (&output.device(), output.dtype())))
                }
                _ => FastMemory::History {
                    start,
                    writes: Some(output.clone()),
                },
            };
            (output, memory)
        }
        More::Writes => {
            let [output, writes] = two_of(results, numbers, shape, shape);
            let writes = Some(writes);
            (output, FastMemory::History { start, writes })
        }
        More::Memory => {
            let [output, memory] = two_of(results, numbers, shape, matrix);
            (output, FastMemory::Matrix(memory))
        }
    };
    let hidden = spans.last_of(output.clone());
    (output, State { hidden, memory })
}

/// The two tensors that an operation with one output has laid end to end.
fn two_of(
    flat: DispatchTensor,
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
#[derive(Clone, Debug)]
pub struct Request {
    spans: Spans,
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
    /// The last A of each sample that has an end.
    Memory,
}

impl More {
    /// What makes a memory in the given form. Where no sample has an end there is no last A.
    fn new(form: MemoryForm, options: &Options, spans: &Spans) -> Self {
        match (form, options.write) {
            (MemoryForm::Matrix, _) if spans.n_ends() == 0 => More::Nothing,
            (MemoryForm::Matrix, _) => More::Memory,
            (_, WrittenState::Preliminary) => More::Writes,
            (_, WrittenState::Final) => More::Nothing,
        }
    }
}

operands! {
    /// The tensors that the operation reads; those that are not there have no elements.
    #[derive(ExtensionType)]
    pub struct Inputs { input, hidden, start, w_input, bias, w_hidden, gain, norm_bias }
}

on_flex! {
    /// Every h_t, in the shape of the input; if the request asks for more, that in one row of numbers with what follows.
    FusedFastWeights: Request
}

impl Request {
    fn problem<'a, T: Real>(&'a self, inputs: &Each<operation::View<'a, T>>) -> Problem<'a, T> {
        let projection = (inputs.w_input.numbers, inputs.bias.numbers);
        let norm = |epsilon| (inputs.gain.numbers, inputs.norm_bias.numbers, epsilon);
        Problem {
            spans: &self.spans,
            d_hidden: inputs.hidden.dim(1),
            options: &self.options,
            chunk: self.chunk,
            input: inputs.input.numbers,
            hidden: inputs.hidden.numbers,
            start: self.has_start.then_some(inputs.start.numbers),
            projection: (!self.is_projected).then_some(projection),
            w_hidden: inputs.w_hidden.numbers,
            norm: self.epsilon.map(norm),
        }
    }
}

impl Kernel<COUNT> for Request {
    type Operands = Names;
    type Tape<T: Real> = Tape<T>;

    fn reads_output(&self) -> bool {
        true
    }

    fn forward<T: Real>(
        &self,
        inputs: Each<operation::View<T>>,
        keep: bool,
    ) -> operation::Yield<T, Tape<T>> {
        let problem = self.problem(&inputs);
        let (spans, d_hidden) = (problem.spans, problem.d_hidden);
        let states = spans.n_rows() * d_hidden;
        let len = states
            + match self.more {
                More::Nothing => 0,
                More::Writes => states,
                More::Memory => spans.n_ends() * d_hidden * d_hidden,
            };
        let mut results = Written::new(len, true);
        let hidden = results.place();
        // SAFETY: within the capacity.
        let more = |kind| (self.more == kind).then(|| SharedMut::new(unsafe { hidden.at(states) }));
        let outputs = Outputs {
            hidden,
            writes: more(More::Writes),
            memory: more(More::Memory),
        };
        // SAFETY: the architecture is one that the machine has; all of the results are written.
        let (tape, results) = unsafe {
            let tape = cpu::forward(self.arch, &problem, outputs, keep);
            (tape, results.finish())
        };
        let shape = match self.more {
            More::Nothing => vec![inputs.input.dim(0), inputs.input.dim(1), d_hidden],
            _ => vec![len],
        };
        operation::Yield::one(results, shape, tape)
    }

    fn backward<T: Real>(
        &self,
        inputs: Each<operation::View<T>>,
        tape: &Tape<T>,
        output: Option<&[T]>,
        slopes: operation::Slopes<T>,
        wanted: Each<bool>,
    ) -> Each<Vec<T>> {
        let problem = self.problem(&inputs);
        let states = self.spans.n_rows() * problem.d_hidden;
        let (hidden, more) = slopes.output.split_at(states);
        let output = &output.expect("asked for")[..states];
        let cotangents = Cotangents {
            hidden,
            writes: (self.more == More::Writes).then_some(more),
            memory: (self.more == More::Memory).then_some(more),
        };
        let wanted = Each {
            start: self.has_start && wanted.start,
            ..wanted
        };
        cpu::backward(&problem, tape, output, cotangents, wanted)
    }
}

#[cfg(test)]
mod tests;
