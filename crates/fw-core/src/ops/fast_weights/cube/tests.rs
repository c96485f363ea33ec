//! The kernels on a GPU against the composed form on the CPU, in f64.

use burn::tensor::{DType, Device};

use super::super::trials::{Leaves, Start, options, results};
use super::super::{ExecutionPath, fast_weights as sequence};
use super::*;
use crate::Activation;
use crate::ops::cube::gpu;
use crate::ops::trials::assert_same;

/// Single precision, over some twenty steps.
const TOLERANCE: f64 = 2e-5;

/// One variant of the options: one step; one chunk, longer than the sequence; several, with and without a start, and with and without room for the matrix
/// in what units share.
fn check(options: Options, is_normalised: bool) {
    let cpu = Device::flex().autodiff();
    let gpu = gpu();
    let cases = [
        (1, 1, Start::Nothing, MemoryForm::Attention, true),
        (21, 32, Start::Nothing, MemoryForm::Matrix, true),
        (21, 8, Start::Nothing, MemoryForm::Attention, false),
        (21, 8, Start::General, MemoryForm::Matrix, true),
    ];
    for (seq_length, chunk, start, form, shares_matrix) in cases {
        let on_cpu = Leaves::new(seq_length, start, is_normalised, &cpu, DType::F64);
        let on_gpu = Leaves::new(seq_length, start, is_normalised, &gpu, DType::F32);
        let expected = results(&on_cpu, &options, form, |input, state, weights| {
            sequence(
                input,
                state,
                weights,
                &options,
                form,
                ExecutionPath::Composed,
            )
        });
        let actual = results(&on_gpu, &options, form, |input, state, weights| {
            let mut hardware = hardware(&gpu, DType::F32, 1).expect("a GPU");
            if !shares_matrix {
                // 9 x 9 numbers do not fit beside the others.
                hardware.max_shared_memory_size = 6_000;
            }
            let (input, how) = (Sequence::Raw(input), (&hardware, Some(chunk)));
            run(&input, &state, weights, &options, form, how).expect("a kernel for the GPU")
        });
        let case =
            alloc::format!("{options:?}, {form:?}, {start:?}, T = {seq_length}, chunk {chunk}");
        assert_same(&actual, &expected, TOLERANCE, &case);
    }
}

#[test]
fn chunks_of_any_length_equal_the_composed_form() {
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
fn so_does_the_form_without_normalisation() {
    let options = Options {
        activation: Activation::Tanh,
        decay: 0.5,
        fast_learning_rate: 0.05,
        ..options(1)
    };
    check(options, false);
}
