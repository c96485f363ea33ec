//! The whole sequence as one operation with its own backward pass, on the backends that have a kernel.

use alloc::vec;
use alloc::vec::Vec;

use burn::backend::{Dispatch, ExtensionType};
use burn::tensor::Tensor;

use super::cpu::{self, Problem, Tape};
use super::results::{joined, output_and_state};
use super::shapes::Sizes;
use super::{SlowWeights, State};
use crate::ops::cpu::{Arch, Real, Written, arch};
use crate::ops::operation::{Kernel, Place, Slopes, Sources, View, Yield, on_flex, operands};
use crate::ops::{Sequence, Spans};

/// The sequences by the kernel: every `[h_t ; r_t]`, and the last states that are asked for.
///
/// # Shapes
/// - input: `[batch_size, seq_length, width]`, or `[1, n_rows, width]` for spans that are not those of a batch
/// - state: a sample for each span, in their order
/// - output: as the input, and a state with a sample for each end, in the order of the ends
///
/// # Panics
/// If a shape does not fit.
#[track_caller]
pub(crate) fn sequence(
    input: &Sequence,
    spans: &Spans,
    state: &State,
    weights: &SlowWeights,
) -> (Tensor<3>, State) {
    run_on(arch(), input, spans, state, weights)
}

/// The same with given instructions, which the machine must have.
#[track_caller]
fn run_on(
    arch: Arch,
    input: &Sequence,
    spans: &Spans,
    state: &State,
    weights: &SlowWeights,
) -> (Tensor<3>, State) {
    let (inputs, request) = operands(arch, input, spans, state, weights);
    let d_hidden = request.sizes.d_hidden;
    let results = Tensor::<1>::from_dispatch(<Dispatch as FusedNtm>::run(inputs, request));
    output_and_state(results, spans, state, d_hidden)
}

/// The tensors that the kernel reads, and what it is to do with them.
#[track_caller]
fn operands(
    arch: Arch,
    input: &Sequence,
    spans: &Spans,
    state: &State,
    weights: &SlowWeights,
) -> (Inputs<Dispatch>, Request) {
    let request = Request {
        sizes: Sizes::new(input, spans, state, weights),
        spans: spans.clone(),
        is_projected: matches!(input, Sequence::Projected(_)),
        arch,
    };
    let place = Place::on_flex(input.tensor());
    // The first layer as it is, since most controllers have no other.
    let (first, upper) = weights
        .layers
        .split_first()
        .expect("a controller has a layer");
    let upper: Vec<Tensor<1>> = upper
        .iter()
        .flat_map(|layer| {
            let recurrent = layer.recurrent.clone().map(|weight| weight.flatten(0, 1));
            let weight = layer.weight.clone().flatten(0, 1);
            [Some(weight), recurrent, Some(layer.bias.clone())]
        })
        .flatten()
        .collect();
    let inputs = Inputs {
        input: place.put(input.tensor()),
        first: place.put(&first.weight),
        first_bias: place.put_any((!request.is_projected).then_some(&first.bias)),
        recurrent: place.put_any(first.recurrent.as_ref()),
        upper: place.put_any(joined(upper, 0).as_ref()),
        read_weight: place.put(&weights.read_head.0),
        read_bias: place.put(&weights.read_head.1),
        write_weight: place.put(&weights.write_head.0),
        write_bias: place.put(&weights.write_head.1),
        hidden: place.put_any(state.of_layers(|layer| &layer.hidden).as_ref()),
        cell: place.put_any(state.of_layers(|layer| &layer.cell).as_ref()),
        memory: place.put(&state.memory),
        reads: place.put(&state.reads),
        weights: place.put(&state.weights),
    };
    (inputs, request)
}

/// What the operation is to do.
#[derive(Clone, Debug)]
pub struct Request {
    sizes: Sizes,
    spans: Spans,
    is_projected: bool,
    arch: Arch,
}

operands! {
    /// The tensors that the operation reads; those that are not there have no elements.
    #[derive(ExtensionType)]
    pub struct Inputs {
        input, first, first_bias, recurrent, upper, read_weight, read_bias, write_weight, write_bias,
        hidden, cell, memory, reads, weights,
    }
}

on_flex! {
    /// Every output row, the memory, the weightings, and h and c of the controller, in one row of numbers.
    FusedNtm: Request
}

impl Request {
    fn problem<'a, T: Real>(&'a self, inputs: &Each<View<'a, T>>) -> Problem<'a, T> {
        Problem {
            spans: &self.spans,
            d_input: if self.is_projected {
                0
            } else {
                inputs.input.dim(2)
            },
            sizes: self.sizes,
            input: inputs.input.numbers,
            first: inputs.first.numbers,
            first_bias: inputs.first_bias.numbers,
            recurrent: inputs.recurrent.numbers,
            upper: inputs.upper.numbers,
            read_weight: inputs.read_weight.numbers,
            read_bias: inputs.read_bias.numbers,
            write_weight: inputs.write_weight.numbers,
            write_bias: inputs.write_bias.numbers,
            hidden: inputs.hidden.numbers,
            cell: inputs.cell.numbers,
            memory: inputs.memory.numbers,
            reads: inputs.reads.numbers,
            weights: inputs.weights.numbers,
        }
    }
}

impl Kernel<COUNT> for Request {
    type Operands = Names;
    type Tape<T: Real> = Tape<T>;

    fn forward<T: Real>(&self, inputs: Each<View<T>>, keep: bool) -> Yield<T, Tape<T>> {
        let problem = self.problem(&inputs);
        let weights = [
            inputs.first,
            inputs.first_bias,
            inputs.recurrent,
            inputs.upper,
            inputs.read_weight,
            inputs.read_bias,
            inputs.write_weight,
            inputs.write_bias,
        ];
        let sources = Sources::new(&weights, !keep);
        let len = problem.results().numbers;
        let mut results = Written::new(len, true);
        // SAFETY: the architecture is one that the machine has; all of the results are written.
        let (tape, results) = unsafe {
            let tape = cpu::forward(self.arch, &problem, &sources, results.place(), keep);
            (tape, results.finish())
        };
        Yield::one(results, vec![len], tape)
    }

    fn backward<T: Real>(
        &self,
        inputs: Each<View<T>>,
        tape: &Tape<T>,
        _output: Option<&[T]>,
        slopes: Slopes<T>,
        wanted: Each<bool>,
    ) -> Each<Vec<T>> {
        cpu::backward(&self.problem(&inputs), tape, slopes.output, wanted)
    }
}

#[cfg(test)]
mod tests;
