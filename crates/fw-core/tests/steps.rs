//! One step at a time without a graph: by kernels that keep what they make of the weights, and write memories where they lie.

mod common;

use burn::module::{ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor};
use common::configs::sab_configs;
use common::{FlatState, assert_close, random, randomized, rng, values};
use fw_core::{LstmConfig, Recurrent, RecurrentState, Sab, SabConfig};

const D_INPUT: usize = 3;
const D_HIDDEN: usize = 5;
const N_STEPS: usize = 40;
const TOLERANCE: f64 = 1e-10;

/// A step, composed of tensor operations.
fn composed<L: Recurrent>(
    layer: &L,
    input_t: &Tensor<2>,
    state: L::State,
) -> (Tensor<2>, L::State) {
    let projected = layer.project(input_t.clone().unsqueeze_dim(1));
    layer.advance(projected.squeeze_dim(1), state)
}

#[track_caller]
fn assert_same<L: FlatState>(name: &str, layer: &L, one: &L::State, other: &L::State) {
    let flat = |state: &L::State| values(layer.state_to(&layer.uniform(state.clone())));
    assert_close(name, &flat(one), &flat(other), TOLERANCE);
}

#[test]
fn a_step_alone_is_the_composed_one() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let device = Device::flex();
        for batch_size in [1, 3] {
            let shape = [batch_size, layer.d_input()];
            let mut rng = rng(4);
            let first = layer.initial_state(shape[0], &device);
            let (mut alone, mut expected) = (first.clone(), first);
            let mut kept = None;
            for step in 0..N_STEPS {
                let input_t = random(&mut rng, shape, &device, DType::F64);
                let (expected_output, expected_next) = composed(&layer, &input_t, expected);
                // By turns as a step and as a sequence of one.
                let (output, next) = match step % 3 {
                    0 => {
                        let sequence = input_t.clone().unsqueeze_dim(1);
                        let (output, next) = layer.forward(sequence, Some(alone));
                        (output.squeeze_dim(1), next)
                    }
                    _ => layer.step(input_t.clone(), alone),
                };
                let what = format!("{name}, step {step}");
                assert_close(&what, &values(output), &values(expected_output), TOLERANCE);
                assert_same(&what, &layer, &next, &expected_next);
                (alone, expected) = (next, expected_next);
                // A state that is kept stays what it was, while another goes on from it.
                if step == N_STEPS / 2 {
                    kept = Some((alone.clone(), alone.to_data(), expected.clone()));
                }
            }
            let (kept, data, expected) = kept.expect("it was kept");
            assert_eq!(kept.to_data(), data, "{name}");
            let input_t = random(&mut rng, shape, &device, DType::F64);
            let (_, again) = layer.step(input_t.clone(), kept.clone());
            assert_same(
                name,
                &layer,
                &again,
                &composed(&layer, &input_t, expected).1,
            );
            assert_eq!(kept.to_data(), data, "{name}");
        }
    }
    for_each_layer!(D_INPUT, D_HIDDEN, Device::flex(), DType::F64, check);
}

#[test]
fn every_kind_of_recall_is_the_composed_one() {
    let device = Device::flex();
    for (index, config) in sab_configs().into_iter().enumerate() {
        for max_memories in [config.max_memories, Some(3)] {
            let config = config.clone().with_max_memories(max_memories);
            let cell = LstmConfig::new(D_INPUT, D_HIDDEN).init(&device);
            let layer = randomized(config.init(cell, &device), &mut rng(6), DType::F64);
            let first = layer.initial_state(2, &device);
            let (mut alone, mut expected) = (first.clone(), first);
            let mut rng = rng(7);
            for step in 0..N_STEPS {
                let input_t = random(&mut rng, [2, D_INPUT], &device, DType::F64);
                let (output, next) = layer.step(input_t.clone(), alone);
                let (expected_output, expected_next) = composed(&layer, &input_t, expected);
                let what = format!("configuration {index}, step {step}");
                assert_close(&what, &values(output), &values(expected_output), TOLERANCE);
                assert_eq!(next.n_memories, expected_next.n_memories, "{what}");
                assert_eq!(next.steps, expected_next.steps, "{what}");
                (alone, expected) = (next, expected_next);
            }
            assert_same("the end", &layer, &alone, &expected);
        }
    }
}

/// Every number of every parameter a little larger.
struct Nudged;

impl ModuleMapper for Nudged {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor + 0.1)
    }
}

/// Prepared weights and keys are those of the weights as they are.
#[test]
fn weights_that_change_between_two_steps_are_seen() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let device = Device::flex();
        let input_t = random(&mut rng(8), [2, layer.d_input()], &device, DType::F64);
        let mut state = layer.initial_state(2, &device);
        for _ in 0..4 {
            state = layer.step(input_t.clone(), state).1;
        }
        // The old layer is gone before the next step: its memory may be taken again.
        let layer = layer.map(&mut Nudged);
        let (output, next) = layer.step(input_t.clone(), state.clone());
        let (expected, expected_next) = composed(&layer, &input_t, state);
        assert_close(name, &values(output), &values(expected), TOLERANCE);
        assert_same(name, &layer, &next, &expected_next);
    }
    for_each_layer!(D_INPUT, D_HIDDEN, Device::flex(), DType::F64, check);
}

/// Memories that a caller puts into a state are the ones that are recalled.
#[test]
fn memories_that_are_exchanged_are_seen() {
    let device = Device::flex();
    let cell = LstmConfig::new(D_INPUT, D_HIDDEN).init(&device);
    let layer: Sab<_> = randomized(
        SabConfig::new().init(cell, &device),
        &mut rng(9),
        DType::F64,
    );
    let input_t = random(&mut rng(10), [2, D_INPUT], &device, DType::F64);
    let mut state = layer.initial_state(2, &device);
    for _ in 0..3 {
        state = layer.step(input_t.clone(), state).1;
    }
    state.memories = state.memories.map(|memories| memories * 2.0);
    let (expected, _) = composed(&layer, &input_t, state.clone());
    let (output, _) = layer.step(input_t, state);
    assert_close("exchanged", &values(output), &values(expected), TOLERANCE);
}

/// Samples that begin anew in between keep their places in what grows.
#[test]
fn samples_of_different_numbers_of_memories_are_stepped_together() {
    let device = Device::flex();
    let cell = LstmConfig::new(D_INPUT, D_HIDDEN).init(&device);
    let config = SabConfig::new()
        .with_top_k(Some(2))
        .with_max_memories(Some(6));
    let layer = randomized(config.init(cell, &device), &mut rng(11), DType::F64);
    let mut rng = rng(12);
    let first = layer.initial_state(3, &device);
    let (mut alone, mut expected) = (first.clone(), first);
    for step in 0..30 {
        let input_t = random(&mut rng, [3, D_INPUT], &device, DType::F64);
        let (output, next) = layer.step(input_t.clone(), alone);
        let (expected_output, expected_next) = composed(&layer, &input_t, expected);
        let what = format!("step {step}");
        assert_close(&what, &values(output), &values(expected_output), TOLERANCE);
        let reset = [0, 1, 2].map(|sample| step % 7 == 2 * sample);
        alone = layer.reset_samples(next, &reset);
        expected = layer.reset_samples(expected_next, &reset);
        assert_same(&what, &layer, &alone, &expected);
    }
}
