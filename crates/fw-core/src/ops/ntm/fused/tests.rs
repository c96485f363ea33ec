//! The kernel on every instruction set, what it keeps, and what it refuses.

use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Device, TensorData};

use super::super::trials::{
    BATCH_SIZE, D_INPUT, Leaves, MEMORY_SIZE, WORD_SIZE, assert_same, machine, results, values,
};
use super::*;
use crate::RecurrentState;
use crate::ops::cpu::architectures;
use crate::ops::operation::{Operands, view_of};
use crate::ops::{Activation, Span};

#[test]
fn every_instruction_set_computes_the_same() {
    let on = |arch, activation, seq_length| {
        let leaves = Leaves::new(Device::flex().autodiff(), DType::F64);
        let spans = Spans::of_batch(BATCH_SIZE, seq_length);
        let shape = [BATCH_SIZE, seq_length];
        results(leaves, activation, shape, |projected, state, weights| {
            let input = Sequence::Projected(projected);
            run_on(arch, &input, &spans, &state, &weights)
        })
    };
    for activation in [None, Some(Activation::Tanh), Some(Activation::Relu)] {
        // Longer than from one kept memory to the next.
        for seq_length in [1, 37] {
            let expected = on(Arch::Scalar, activation, seq_length);
            for arch in architectures() {
                let case = alloc::format!("{activation:?}, T = {seq_length}, {arch:?}");
                let actual = on(arch, activation, seq_length);
                assert_same(&actual, &expected, 1e-9, &case);
            }
        }
    }
}

#[test]
fn the_tape_keeps_a_memory_for_every_sixteen_steps() {
    let bytes = |seq_length: usize| {
        let mut leaves = Leaves::new(Device::flex(), DType::F64);
        let shape = [BATCH_SIZE, seq_length];
        let (projected, state, weights) = machine(&mut leaves, None, shape);
        let (inputs, request) = operands(
            Arch::detect(),
            &Sequence::Projected(projected),
            &Spans::of_batch(BATCH_SIZE, seq_length),
            &state,
            &weights,
        );
        let inputs = Names::listed(inputs.into()).map(Tensor::<1>::from_dispatch);
        let inputs = inputs.map(|input| {
            let (shape, values) = (input.shape(), values(input));
            FlexTensor::from_data(TensorData::new(values, shape))
        });
        let Yield { tape, .. } =
            request.forward::<f64>(Names::named(inputs.each_ref().map(view_of)), true);
        tape.expect("a tape").bytes()
    };
    // In f64, widths rounded up to 16 numbers at most: of each step two layers of gates, c and h, what was read, what the heads
    // ask for, four rows of slots for each of four heads, and the norms of the slots.
    let (hidden, slots) = (16, 16);
    let step = 2 * 6 * hidden + 16 + (48 + 16 + 16) + (4 * 4 + 1) * slots;
    let memory = WORD_SIZE * slots;
    for seq_length in [16, 160, 1600] {
        let most = 8 * BATCH_SIZE * ((seq_length + 1) * step + (seq_length / 16 + 2) * memory);
        let actual = bytes(seq_length);
        assert!(
            actual <= most,
            "T = {seq_length}: {actual} bytes, not {most}"
        );
    }
    // A memory a step would be more than this.
    let of_a_step = (bytes(1600) - bytes(160)) / (BATCH_SIZE * 1440 * 8);
    assert!(
        of_a_step <= step + memory / 16,
        "{of_a_step} numbers a step"
    );
}

#[test]
fn wrong_shapes_are_refused_before_the_kernel_runs() {
    let mut leaves = Leaves::new(Device::flex(), DType::F64);
    let (projected, mut state, weights) = machine(&mut leaves, None, [BATCH_SIZE, 2]);
    let projected = Sequence::Projected(projected);
    let told = |spans: &Spans, state: &State| {
        let run = || sequence(&projected, spans, state, &weights);
        let run = std::panic::AssertUnwindSafe(run);
        let payload = std::panic::catch_unwind(run).expect_err("a shape that does not fit");
        let message = payload.downcast_ref::<alloc::string::String>();
        message.expect("a message").clone()
    };
    assert_eq!(
        told(&spans_of(&[7, 3], &[0, 1]), &state),
        "the input has 5 samples of 2 steps; the spans ask for 1 of 10"
    );
    state.weights = leaves.leaf([BATCH_SIZE, 3, MEMORY_SIZE]);
    assert_eq!(
        told(&Spans::of_batch(BATCH_SIZE, 2), &state),
        "the weightings has shape [5, 3, 11]; it must be [5, 4, 11]"
    );
}

/// Spans of such lengths, one behind the other, where the last states are asked for of those that `ending` names, in that order.
fn spans_of(lengths: &[usize], ending: &[usize]) -> Spans {
    let mut n_rows = 0;
    let spans = lengths.iter().enumerate().map(|(index, n_steps)| {
        let first = n_rows;
        n_rows += n_steps;
        Span {
            first,
            n_steps: *n_steps,
            end: ending.iter().position(|ending| *ending == index),
        }
    });
    Spans::new(&spans.collect::<Vec<Span>>()).0
}

/// How a machine is run: its controller, whether it projects the input itself, the type, and the instructions.
#[derive(Clone, Copy, Debug)]
struct Way {
    activation: Option<Activation>,
    is_raw: bool,
    dtype: DType,
    arch: Arch,
}

impl Way {
    fn all() -> Vec<Way> {
        let mut all = Vec::new();
        for activation in [None, Some(Activation::Tanh)] {
            for is_raw in [false, true] {
                for dtype in [DType::F32, DType::F64] {
                    all.extend(architectures().into_iter().map(|arch| Way {
                        activation,
                        is_raw,
                        dtype,
                        arch,
                    }));
                }
            }
        }
        all
    }

    /// [`results`] of a machine with an input of this shape.
    fn results(
        self,
        shape: [usize; 2],
        run: impl Fn(Tensor<3>, State, SlowWeights) -> (Tensor<3>, State),
    ) -> Vec<Vec<f64>> {
        let leaves = Leaves::new(Device::flex().autodiff(), self.dtype);
        results(leaves, self.activation, shape, run)
    }

    /// Runs the operation; a raw input are the first columns of a projected one.
    fn run(
        self,
        input: Tensor<3>,
        spans: &Spans,
        state: &State,
        weights: &SlowWeights,
    ) -> (Tensor<3>, State) {
        let input = match self.is_raw {
            true => Sequence::Raw(input.narrow(2, 0, D_INPUT)),
            false => Sequence::Projected(input),
        };
        run_on(self.arch, &input, spans, state, weights)
    }

    fn together(self, shape: [usize; 2], spans: &Spans) -> Vec<Vec<f64>> {
        self.results(shape, |input, state, weights| {
            self.run(input, spans, &state, &weights)
        })
    }

    /// The same, each sample by itself.
    fn one_by_one(self, spans: &Spans) -> Vec<Vec<f64>> {
        self.results([1, spans.n_rows()], |input, state, weights| {
            let (mut outputs, mut lasts) = (Vec::new(), Vec::new());
            for sample in 0..spans.n_samples() {
                let span = spans.of(sample);
                let input = input.clone().narrow(1, span.first, span.n_steps);
                let state = state.clone().select_samples(&[sample]);
                let alone = Spans::of_batch(1, span.n_steps);
                let (output, last) = self.run(input, &alone, &state, &weights);
                outputs.push((span.first, output));
                lasts.extend(span.end.map(|end| (end, last)));
            }
            outputs.sort_by_key(|(first, _)| *first);
            lasts.sort_by_key(|(end, _)| *end);
            let outputs = outputs.into_iter().map(|(_, output)| output).collect();
            let lasts: Vec<State> = lasts.into_iter().map(|(_, last)| last).collect();
            let last = match lasts.is_empty() {
                true => state.select_samples(&[]),
                false => State::cat_samples(lasts).expect("states of one machine"),
            };
            (Tensor::cat(outputs, 1), last)
        })
    }
}

#[test]
fn spans_of_unequal_lengths_are_what_each_is_alone() {
    // Two groups, of an LSTM in wide registers each a part of the batch; more and fewer steps than from one kept memory to the next.
    let lengths = [36, 3, 96, 57, 1];
    for ending in [&[4, 2, 0][..], &[1, 3], &[]] {
        let spans = spans_of(&lengths, ending);
        for way in Way::all() {
            let tolerance = match way.dtype {
                DType::F32 => 1e-4,
                _ => 1e-10,
            };
            let actual = way.together([1, spans.n_rows()], &spans);
            let expected = way.one_by_one(&spans);
            let case = alloc::format!("{ending:?} of {lengths:?}, {way:?}");
            assert_same(&actual, &expected, tolerance, &case);
        }
    }
}

#[test]
fn spans_of_equal_lengths_are_the_batch_to_the_bit() {
    const SEQ_LENGTH: usize = 35;
    let spans = spans_of(&[SEQ_LENGTH; BATCH_SIZE], &[0, 1, 2, 3, 4]);
    let batch = Spans::of_batch(BATCH_SIZE, SEQ_LENGTH);
    for way in Way::all() {
        let actual = way.together([1, spans.n_rows()], &spans);
        let expected = way.together([BATCH_SIZE, SEQ_LENGTH], &batch);
        assert!(actual == expected, "{way:?}");
    }
}
