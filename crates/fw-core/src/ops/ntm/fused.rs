//! The whole sequence as one operation with its own backward pass, on the backends that have a kernel.

use alloc::vec;
use alloc::vec::Vec;

use burn::backend::{Dispatch, ExtensionType};
use burn::tensor::Tensor;

use super::cpu::{self, LayerKind, Problem, Tape};
use super::{Addressing, SlowWeights, State, StateSizes, output_and_state};
use crate::error::expect_fits;
use crate::ops::cpu::{Arch, Real, SharedMut, arch};
use crate::ops::operation::{Input, Kernel, on_flex, operand, operands};
use crate::ops::shapes::check;
use crate::ops::{LstmState, Sequence};

/// The sequence by the kernel: every `[h_t ; r_t]`, and the state after the last step.
///
/// # Panics
/// If a shape does not fit.
#[track_caller]
pub(crate) fn sequence(input: Sequence, state: State, weights: SlowWeights) -> (Tensor<3>, State) {
    run_on(arch(), input, state, weights)
}

/// The same with given instructions, which the machine must have.
#[track_caller]
fn run_on(arch: Arch, input: Sequence, state: State, weights: SlowWeights) -> (Tensor<3>, State) {
    let [batch_size, seq_length, _] = input.tensor().dims();
    let like = state.clone();
    let (inputs, plan) = operands(arch, input, state, weights);
    let results = Tensor::<1>::from_dispatch(<Dispatch as FusedNtm>::run(inputs, plan));

    output_and_state(results, [batch_size, seq_length], &like, plan.d_hidden)
}

/// The tensors that the kernel reads, and what it is to do with them.
#[track_caller]
fn operands(
    arch: Arch,
    input: Sequence,
    state: State,
    weights: SlowWeights,
) -> (Inputs<Dispatch>, Plan) {
    let [.., word_size] = state.memory.dims();
    let d_hidden = weights.read_head.0.dims()[0];
    let n_read = state.reads.dims()[1];
    let addressing = weights.read_head.1.dims()[0] / n_read.max(1);
    let n_write = weights.write_head.1.dims()[0] / (addressing + 2 * word_size);
    let plan = Plan {
        controller: match weights.activation {
            None => LayerKind::Lstm,
            Some(activation) => LayerKind::FeedForward(activation),
        },
        d_hidden,
        n_layers: weights.layers.len(),
        n_write,
        shift_width: addressing.saturating_sub(Addressing::width(word_size, 0)),
        is_projected: matches!(input, Sequence::Projected(_)),
        arch,
    };
    check_shapes(&input, &state, &weights, &plan);

    let input = input.into_tensor();
    let like = (input.device(), input.dtype());
    // The first layer as it is, since most controllers have no other.
    let mut layers = weights.layers.into_iter();
    let first = layers.next().expect("a controller has a layer");
    let upper: Vec<Tensor<1>> = layers
        .flat_map(|layer| {
            let recurrent = layer.recurrent.map(|weight| weight.flatten(0, 1));
            let weight = layer.weight.flatten(0, 1);
            [Some(weight), recurrent, Some(layer.bias)]
        })
        .flatten()
        .collect();
    let upper = (!upper.is_empty()).then(|| Tensor::cat(upper, 0));
    let of_layers = |part: fn(&LstmState) -> Tensor<2>| match state.controller.as_slice() {
        [] => None,
        [layer] => Some(part(layer)),
        layers => Some(Tensor::cat(layers.iter().map(part).collect(), 1)),
    };
    let inputs = Inputs {
        hidden: operand(of_layers(|layer| layer.hidden.clone()), &like),
        cell: operand(of_layers(|layer| layer.cell.clone()), &like),
        input: input.into_dispatch(),
        first: first.weight.into_dispatch(),
        first_bias: operand((!plan.is_projected).then_some(first.bias), &like),
        recurrent: operand(first.recurrent, &like),
        upper: operand(upper, &like),
        read_weight: weights.read_head.0.into_dispatch(),
        read_bias: weights.read_head.1.into_dispatch(),
        write_weight: weights.write_head.0.into_dispatch(),
        write_bias: weights.write_head.1.into_dispatch(),
        memory: state.memory.into_dispatch(),
        reads: state.reads.into_dispatch(),
        weights: state.weights.into_dispatch(),
    };
    (inputs, plan)
}

/// Panics unless every tensor has the shape and the type that the kernel relies on.
#[track_caller]
fn check_shapes(input: &Sequence, state: &State, weights: &SlowWeights, plan: &Plan) {
    let [batch_size, seq_length, width] = input.tensor().dims();
    let [_, memory_size, word_size] = state.memory.dims();
    let n_read = state.reads.dims()[1];
    let (d_hidden, n_write, shift_width) = (plan.d_hidden, plan.n_write, plan.shift_width);
    let sizes = [
        batch_size,
        seq_length,
        d_hidden,
        memory_size,
        word_size,
        n_read,
        n_write,
    ];
    assert!(
        sizes.iter().all(|size| *size > 0),
        "batch_size, seq_length, d_controller, memory_size, word_size, n_read_heads and n_write_heads are {sizes:?}; each \
         must be at least 1"
    );
    assert!(
        shift_width % 2 == 1 && shift_width <= memory_size,
        "shift_width is {shift_width}; it must be odd and at most memory_size, {memory_size}"
    );
    assert!(width > 0, "the input is 0 wide; it must be at least 1");
    let dtype = input.tensor().dtype();
    let gates = plan.controller.n_gates() * d_hidden;
    if let Sequence::Projected(projected) = input {
        let expected = [batch_size, seq_length, gates];
        check("the projected input", projected, expected, dtype);
    }
    let d_reads = n_read * word_size;
    for (index, layer) in weights.layers.iter().enumerate() {
        let below = match (index, input) {
            (0, Sequence::Raw(_)) => width + d_reads,
            (0, Sequence::Projected(_)) => layer.weight.dims()[0].max(d_reads),
            _ => d_hidden,
        };
        check("a layer's weight", &layer.weight, [below, gates], dtype);
        check("a layer's bias", &layer.bias, [gates], dtype);
        if let Some(recurrent) = &layer.recurrent {
            check("a recurrent weight", recurrent, [d_hidden, gates], dtype);
        }
        assert!(
            layer.recurrent.is_some() == (plan.controller == LayerKind::Lstm),
            "the layers of an LSTM, and no others, have recurrent weights"
        );
    }
    let addressing = Addressing::width(word_size, shift_width);
    let heads = [
        ("read", &weights.read_head, n_read * addressing),
        (
            "write",
            &weights.write_head,
            n_write * (addressing + 2 * word_size),
        ),
    ];
    for (name, (weight, bias), width) in heads {
        check(
            format_args!("the {name} heads' weight"),
            weight,
            [d_hidden, width],
            dtype,
        );
        check(format_args!("the {name} heads' bias"), bias, [width], dtype);
    }
    let sizes = StateSizes {
        batch_size,
        d_hidden,
        n_states: plan.controller.n_states(plan.n_layers),
        memory_size,
        word_size,
        n_read,
        n_write,
    };
    expect_fits(state.check(sizes, dtype));
}

/// What the operation is to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    controller: LayerKind,
    d_hidden: usize,
    n_layers: usize,
    n_write: usize,
    shift_width: usize,
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
    FusedNtm: Plan
}

impl Plan {
    fn problem<'a, T: Real>(&self, inputs: &Each<Input<'a, T>>) -> Problem<'a, T> {
        Problem {
            batch_size: inputs.input.dim(0),
            seq_length: inputs.input.dim(1),
            d_input: if self.is_projected {
                0
            } else {
                inputs.input.dim(2)
            },
            d_hidden: self.d_hidden,
            n_layers: self.n_layers,
            memory_size: inputs.memory.dim(1),
            word_size: inputs.memory.dim(2),
            n_read: inputs.reads.dim(1),
            n_write: self.n_write,
            shift_width: self.shift_width,
            controller: self.controller,
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

impl Kernel<COUNT> for Plan {
    type Operands = Names;
    type Tape<T: Real> = Tape<T>;

    fn forward<T: Real>(
        &self,
        inputs: Each<Input<T>>,
        keep: bool,
    ) -> (Vec<T>, Vec<usize>, Option<Tape<T>>) {
        let problem = self.problem(&inputs);
        let [.., len] = problem.results();
        let mut results: Vec<T> = Vec::with_capacity(len);
        // SAFETY: the architecture is one that the machine has; all of the results are written.
        let tape = unsafe {
            let output = SharedMut::new(results.as_mut_ptr());
            let tape = cpu::forward(self.arch, &problem, output, keep);
            results.set_len(len);
            tape
        };
        (results, vec![len], tape)
    }

    fn backward<T: Real>(
        &self,
        inputs: Each<Input<T>>,
        tape: &Tape<T>,
        _output: Option<&[T]>,
        slopes: &[T],
        wanted: Each<bool>,
    ) -> Each<Vec<T>> {
        cpu::backward(&self.problem(&inputs), tape, slopes, wanted)
    }
}

#[cfg(test)]
mod tests;
