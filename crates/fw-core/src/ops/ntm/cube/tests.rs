//! The kernels on a GPU against the composed form on the CPU, in f64.

use burn::tensor::{DType, Device};

use super::super::trials::{BATCH_SIZE, Leaves, assert_same, results};
use super::super::{SlowWeights, step};
use super::*;
use crate::ops::cube::gpu;
use crate::ops::{Activation, scan};

/// Single precision, over some forty steps.
const TOLERANCE: f64 = 1e-4;

/// Two read heads of words of three numbers, and two write heads.
fn laid_out(weights: SlowWeights) -> Weights {
    Weights::lay_out(weights, 6, 2)
}

fn check(activation: Option<Activation>) {
    // One step; longer than from one kept memory to the next; without room for the memory in what units share.
    for (seq_length, shares_memory) in [(1, true), (37, true), (19, false)] {
        let cpu = Leaves::new(Device::flex().autodiff(), DType::F64);
        let shape = [BATCH_SIZE, seq_length];
        let expected = results(cpu, activation, shape, |projected, state, weights| {
            let weights = laid_out(weights);
            scan(projected, state, |projected_t, state| {
                let step = step(projected_t, state, &weights);
                (step.output, step.state)
            })
        });
        let gpu = gpu();
        let gpu = Leaves::new(gpu, DType::F32);
        let actual = results(gpu, activation, shape, |projected, state, weights| {
            let hardware = hardware(&projected.device(), DType::F32, 1).expect("a GPU");
            let input = Sequence::Projected(projected.clone());
            let spans = Spans::of_batch(BATCH_SIZE, seq_length);
            let sizes = Sizes::new(&input, &spans, &state, &weights);
            let plan = Plan::new(sizes, &hardware).expect("room for the machine");
            assert!(plan.memory_is_shared);
            let memory_is_shared = shares_memory;
            let plan = Plan {
                memory_is_shared,
                ..plan
            };
            run(&projected, &state, weights, plan)
        });
        let case = alloc::format!("{activation:?}, T = {seq_length}");
        assert_same(&actual, &expected, TOLERANCE, &case);
    }
}

#[test]
fn a_machine_with_an_lstm_equals_the_composed_form() {
    check(None);
}

#[test]
fn so_does_one_with_a_feed_forward_controller() {
    check(Some(Activation::Tanh));
    check(Some(Activation::Relu));
}
