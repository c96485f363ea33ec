//! The kernel against the composed form: on every instruction set, in chunks of every length.

use burn::tensor::{DType, Device};

use super::super::ExecutionPath;
use super::super::trials::{Leaves, Start, assert_same, options, results};
use super::*;
use crate::Activation;
use crate::ops::cpu::architectures;

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
                            let input = Sequence::Raw(input);
                            run(&input, &state, weights, &options, form, (arch, chunk))
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
    let problem = Problem {
        batch_size: 1,
        seq_length: SEQ_LENGTH,
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
                run(
                    &Sequence::Raw(input),
                    &state,
                    weights,
                    &options,
                    MemoryForm::Matrix,
                    how,
                )
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
        let (output, _) = fast_weights(&input, &state, &leaves.weights, &options, MemoryForm::Auto);
        assert!(output.is_nan().all().into_scalar::<bool>());
    }
}
