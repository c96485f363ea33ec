//! The kernel on every instruction set, what it keeps, and what it refuses.

use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Device, TensorData};

use super::super::trials::{
    BATCH_SIZE, Leaves, MEMORY_SIZE, WORD_SIZE, assert_same, machine, results, values,
};
use super::*;
use crate::ops::Activation;
use crate::ops::cpu::architectures;
use crate::ops::operation::{Operands, view_of};

#[test]
fn every_instruction_set_computes_the_same() {
    let on = |arch, activation, seq_length| {
        let leaves = Leaves::new(Device::flex().autodiff(), DType::F64);
        results(
            leaves,
            activation,
            seq_length,
            |projected, state, weights| {
                run_on(arch, &Sequence::Projected(projected), &state, &weights)
            },
        )
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
        let (projected, state, weights) = machine(&mut leaves, None, seq_length);
        let (inputs, request) = operands(
            Arch::detect(),
            &Sequence::Projected(projected),
            &state,
            &weights,
        );
        let inputs = Names::listed(inputs.into()).map(Tensor::<1>::from_dispatch);
        let inputs = inputs.map(|input| {
            let (shape, values) = (input.shape(), values(input));
            FlexTensor::from_data(TensorData::new(values, shape))
        });
        let (.., tape) = request.forward::<f64>(Names::named(inputs.each_ref().map(view_of)), true);
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
    let (projected, mut state, weights) = machine(&mut leaves, None, 2);
    state.weights = leaves.leaf([BATCH_SIZE, 3, MEMORY_SIZE]);
    let run = std::panic::AssertUnwindSafe(|| {
        sequence(&Sequence::Projected(projected), &state, &weights)
    });
    let payload = std::panic::catch_unwind(run).expect_err("a weighting too few");
    let message = payload.downcast_ref::<alloc::string::String>();
    assert_eq!(
        message.map(|message| message.as_str()),
        Some("the weightings has shape [5, 3, 11]; it must be [5, 4, 11]")
    );
}
