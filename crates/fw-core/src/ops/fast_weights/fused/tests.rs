//! The kernel against the composed form: on every instruction set, in chunks of every length.

use burn::tensor::{DType, Device};

use super::super::trials::{BATCH_SIZE, Leaves, Start, options, results};
use super::super::{ExecutionPath, of_spans};
use super::*;
use crate::Activation;
use crate::RecurrentState;
use crate::ops::Span;
use crate::ops::cpu::architectures;
use crate::ops::trials::{assert_same, spans_of_lengths};

/// A batch in chunks of a given length.
fn in_chunks(
    input: Tensor<3>,
    state: &State,
    weights: &Weights,
    options: &Options,
    form: MemoryForm,
    how: (Arch, usize),
) -> (Tensor<3>, State) {
    let [batch_size, seq_length, _] = input.dims();
    let (input, spans) = (
        Sequence::Raw(input),
        Spans::of_batch(batch_size, seq_length),
    );
    run(&input, &spans, state, weights, options, form, how)
}

/// One variant of the options against the composed form, on every instruction set in chunks of every length.
fn check(options: Options, is_normalised: bool) {
    let device = Device::flex().autodiff();
    for (seq_length, chunks) in [(1, &[1][..]), (7, &[1, 2, 7]), (21, &[4, 16, 21])] {
        for start in [Start::Nothing, Start::Symmetric, Start::General] {
            let leaves = Leaves::new(seq_length, start, is_normalised, &device, DType::F64);
            for form in [MemoryForm::Matrix, MemoryForm::Attention] {
                let expected = results(&leaves, &options, form, |input, state, weights| {
                    let path = ExecutionPath::Composed;
                    super::super::fast_weights(input, state, weights, &options, form, path)
                });
                for arch in architectures() {
                    for &chunk in chunks {
                        let actual = results(&leaves, &options, form, |input, state, weights| {
                            in_chunks(input, &state, weights, &options, form, (arch, chunk))
                        });
                        let case = alloc::format!(
                            "{options:?}, {form:?}, {start:?}, T = {seq_length}, {arch:?}, chunk {chunk}"
                        );
                        assert_same(&actual, &expected, 1e-10, &case);
                    }
                }
            }
        }
    }
}

#[test]
fn chunks_of_any_length_equal_the_composed_form_on_every_instruction_set() {
    check(options(1), true);
}

#[test]
fn so_do_several_inner_steps_and_none() {
    check(options(3), true);
    check(options(0), true);
}

#[test]
fn so_does_the_early_write_with_both_states_normalised() {
    let options = Options {
        write: WrittenState::Preliminary,
        normalize_preliminary: true,
        ..options(2)
    };
    check(options, true);
}

#[test]
fn so_does_the_early_write_without_inner_steps() {
    let options = Options {
        write: WrittenState::Preliminary,
        ..options(0)
    };
    check(options, true);
}

#[test]
fn so_does_the_form_without_normalisation() {
    let options = Options {
        activation: Activation::Tanh,
        decay: 0.5,
        fast_learning_rate: 0.05,
        ..options(1)
    };
    check(options, false);
}

#[test]
fn a_projected_input_gives_what_the_input_gives() {
    let device = Device::flex().autodiff();
    let options = options(1);
    let leaves = Leaves::new(7, Start::Nothing, true, &device, DType::F64);
    for path in [ExecutionPath::Composed, ExecutionPath::Fused] {
        let expected = results(
            &leaves,
            &options,
            MemoryForm::Attention,
            |input, state, weights| {
                super::super::fast_weights(
                    input,
                    state,
                    weights,
                    &options,
                    MemoryForm::Attention,
                    path,
                )
            },
        );
        let actual = results(
            &leaves,
            &options,
            MemoryForm::Attention,
            |input, state, weights| {
                let projected = weights.project(input);
                super::super::fast_weights_projected(
                    projected,
                    state,
                    weights,
                    &options,
                    MemoryForm::Attention,
                    path,
                )
            },
        );
        assert_same(&actual, &expected, 1e-10, &alloc::format!("{path:?}"));
    }
}

/// The documentation of `cpu` states what is kept; the composed form keeps a matrix a step.
#[test]
fn the_tape_of_5000_steps_holds_what_is_stated_and_no_more() {
    const SEQ_LENGTH: usize = 5_000;
    const WIDTH: usize = 64;
    let zeros = alloc::vec![0.0_f32; SEQ_LENGTH * WIDTH];
    let options = options(1);
    let chunk = cpu::chunk_length(SEQ_LENGTH, WIDTH, 1);
    let square = &zeros[..WIDTH * WIDTH];
    let spans = Spans::of_batch(1, SEQ_LENGTH);
    let problem = Problem {
        spans: &spans,
        d_hidden: WIDTH,
        options: &options,
        chunk,
        input: &zeros,
        projection: None,
        hidden: &zeros[..WIDTH],
        start: None,
        w_hidden: square,
        norm: Some((&zeros[..WIDTH], &zeros[..WIDTH], 1e-5)),
    };
    let mut output = zeros.clone();
    let outputs = Outputs {
        hidden: SharedMut::new(output.as_mut_ptr()),
        writes: None,
        memory: None,
    };
    // SAFETY: the output has room for every state.
    let tape = unsafe { cpu::forward(Arch::detect(), &problem, outputs, true) };
    let bytes = tape.expect("it was to be kept").bytes();
    let a_step = WIDTH + (WIDTH + 1) + chunk;
    let stated = SEQ_LENGTH * a_step + SEQ_LENGTH.div_ceil(chunk) * WIDTH * WIDTH;
    assert!(
        bytes <= 4 * stated,
        "{bytes} bytes; {} are stated",
        4 * stated
    );
    assert!(bytes * 10 < 4 * SEQ_LENGTH * WIDTH * WIDTH);
}

#[test]
fn sequences_of_5000_steps_have_the_same_gradients_in_chunks_of_other_lengths() {
    let device = Device::flex().autodiff();
    let options = options(1);
    let leaves = Leaves::new(5_000, Start::General, true, &device, DType::F64);
    let [first, second] = [32, 100].map(|chunk| {
        results(
            &leaves,
            &options,
            MemoryForm::Matrix,
            |input, state, weights| {
                let how = (Arch::detect(), chunk);
                in_chunks(input, &state, weights, &options, MemoryForm::Matrix, how)
            },
        )
    });
    assert_same(&first, &second, 1e-10, "5,000 steps");
    assert!(first.iter().all(|result| {
        let largest = result.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        largest.is_finite() && largest > 0.0
    }));
}

#[test]
fn a_nan_in_the_input_is_a_nan_in_the_output() {
    let device = Device::flex();
    for activation in [Activation::Relu, Activation::Tanh] {
        let options = Options {
            activation,
            ..options(0)
        };
        let leaves = Leaves::new(1, Start::Nothing, false, &device, DType::F64);
        let state = State {
            hidden: leaves.hidden,
            memory: FastMemory::empty(),
        };
        let input = Sequence::Raw(leaves.input * f64::NAN);
        let spans = Spans::of_batch(BATCH_SIZE, 1);
        let form = MemoryForm::Auto;
        let (output, _) = fast_weights(&input, &spans, &state, &leaves.weights, &options, form);
        assert!(output.is_nan().all().into_scalar::<bool>());
    }
}

/// The samples of spans, each run alone.
fn alone(
    input: &Tensor<3>,
    spans: &Spans,
    state: &State,
    weights: &Weights,
    options: &Options,
    how: (Arch, usize),
) -> (Tensor<3>, State) {
    let (mut outputs, mut states) = (Vec::new(), Vec::new());
    for sample in 0..spans.n_samples() {
        let span = spans.of(sample);
        let input = input.clone().narrow(1, span.first, span.n_steps);
        let state = state.clone().select_samples(&[sample]);
        let (output, last) = in_chunks(input, &state, weights, options, MemoryForm::Matrix, how);
        outputs.push((span.first, output));
        states.extend(span.end.map(|end| (end, last)));
    }
    outputs.sort_by_key(|(first, _)| *first);
    states.sort_by_key(|(end, _)| *end);
    let outputs = outputs.into_iter().map(|(_, output)| output).collect();
    let states = states.into_iter().map(|(_, state)| state).collect();
    let state = State::cat_samples(states).expect("states of one form");
    (Tensor::cat(outputs, 1), state)
}

/// Samples of these lengths at once against each alone.
fn check_spans(
    lengths: &[usize],
    options: &Options,
    start: Start,
    (dtype, tolerance): (DType, f64),
    hows: &[(Arch, usize)],
) {
    let device = Device::flex().autodiff();
    let spans = spans_of_lengths(lengths);
    let rows = [1, spans.n_rows()];
    let leaves = Leaves::of_spans(rows, &spans, start, true, (&device, dtype));
    let form = MemoryForm::Matrix;
    for how in hows {
        let expected = results(&leaves, options, form, |input, state, weights| {
            alone(&input, &spans, &state, weights, options, *how)
        });
        let actual = results(&leaves, options, form, |input, state, weights| {
            let input = Sequence::Raw(input);
            // The form counts for nothing.
            let form = MemoryForm::Attention;
            run(&input, &spans, &state, weights, options, form, *how)
        });
        let case = alloc::format!("{options:?}, {start:?}, {dtype:?}, {how:?}");
        assert_same(&actual, &expected, tolerance, &case);
    }
}

#[test]
fn spans_of_unequal_lengths_equal_each_sample_alone_on_every_instruction_set() {
    let lengths = [3, 21, 1, 9, 8, 17, 1, 21, 5, 4, 12];
    let early = Options {
        write: WrittenState::Preliminary,
        normalize_preliminary: true,
        ..options(2)
    };
    let hows: Vec<(Arch, usize)> = architectures()
        .into_iter()
        .flat_map(|arch| [1, 4, 16, 21].map(|chunk| (arch, chunk)))
        .collect();
    for options in [options(1), options(0), early] {
        for start in [Start::Nothing, Start::Symmetric, Start::General] {
            for precision in [(DType::F64, 1e-10), (DType::F32, 1e-4)] {
                check_spans(&lengths, &options, start, precision, &hows);
            }
        }
    }
}

/// More samples than one thread takes.
#[test]
fn so_do_many_spans() {
    let lengths: Vec<usize> = (0..300).map(|index| 1 + index * index % 41).collect();
    let how = [(Arch::detect(), 16)];
    check_spans(
        &lengths,
        &options(1),
        Start::General,
        (DType::F64, 1e-10),
        &how,
    );
}

#[test]
fn spans_of_one_length_are_a_batch_to_the_bit() {
    let device = Device::flex().autodiff();
    let (options, form) = (options(1), MemoryForm::Matrix);
    let leaves = Leaves::new(21, Start::General, true, &device, DType::F32);
    let batch = Spans::of_batch(BATCH_SIZE, 21);
    let list: Vec<Span> = (0..BATCH_SIZE).map(|sample| batch.of(sample)).collect();
    let (spans, _) = Spans::new(&list);
    for arch in architectures() {
        for how in [(arch, 4), (arch, 21)] {
            let expected = results(&leaves, &options, form, |input, state, weights| {
                in_chunks(input, &state, weights, &options, form, how)
            });
            let actual = results(&leaves, &options, form, |input, state, weights| {
                let (shape, n_rows) = (input.dims(), spans.n_rows());
                let input = Sequence::Raw(input.reshape([1, n_rows, shape[2]]));
                let (output, state) = run(&input, &spans, &state, weights, &options, form, how);
                let [_, _, width] = output.dims();
                (output.reshape([shape[0], shape[1], width]), state)
            });
            assert_eq!(actual, expected, "{how:?}");
        }
    }
}

#[test]
fn spans_of_which_no_last_state_is_asked_for_have_none() {
    let device = Device::flex().autodiff();
    let options = options(1);
    let [first, second] = [(0, 3), (3, 5)].map(|(first, n_steps)| Span {
        first,
        n_steps,
        end: None,
    });
    let (spans, _) = Spans::new(&[first, second]);
    let leaves = Leaves::of_spans([1, 8], &spans, Start::Nothing, true, (&device, DType::F64));
    let state = State {
        hidden: leaves.hidden.clone(),
        memory: FastMemory::empty(),
    };
    let (output, state) = of_spans(
        &leaves.input.squeeze_dim(0),
        &spans,
        &state,
        &leaves.weights,
        &options,
    )
    .expect("there is a kernel");
    assert_eq!(state.batch_size(), Some(0));
    let gradients = output.sum().backward();
    let gradient = leaves.hidden.grad(&gradients).expect("a gradient");
    let numbers: Vec<f64> = gradient.try_into_vec_as().expect("floats");
    assert!(numbers.iter().any(|slope| *slope != 0.0));
}
