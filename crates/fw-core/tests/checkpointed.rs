//! Gradient checkpointing: what is computed again in the backward pass is what was not kept.

mod common;

use burn::tensor::{DType, Device, Tensor};
use common::{FlatState, outcome, parameter_gradients, random, rng, values};
use fw_core::{Checkpointed, ElmanConfig, LstmConfig, Recurrent, Stack};

const D_INPUT: usize = 3;
const D_HIDDEN: usize = 4;
const DTYPE: DType = DType::F64;

/// Whole intervals, a shorter last one, and a sequence within one.
#[test]
fn every_layer_is_what_it_is_without() {
    fn check<L: FlatState + Sync + 'static>(name: &str, layer: L)
    where
        L::State: Sync + 'static,
    {
        let device = Device::flex().autodiff();
        for seq_length in [3, 6, 8] {
            let mut rng = rng(seq_length as u64);
            let input = random(&mut rng, [2, seq_length, D_INPUT], &device, DTYPE);
            let state = random(&mut rng, [2, layer.flat_width()], &device, DTYPE) * 0.5;
            let expected = outcome(&layer, &input, &state, |layer, input, state| {
                layer.forward(input, Some(layer.uniform(state)))
            });
            let actual = outcome(&layer, &input, &state, |layer, input, state| {
                Checkpointed::new(layer.clone(), 3).forward(input, Some(state))
            });
            let what = format!("{name}, {seq_length} steps");
            actual.assert_equals(&expected, &what, 1e-10, 1e-10);
        }
    }
    for_each_layer!(D_INPUT, D_HIDDEN, Device::flex().autodiff(), DTYPE, check);
}

/// A layer within another, checkpoints within checkpoints, no state given, one parameter frozen.
#[test]
fn it_is_a_layer_like_others() {
    let device = Device::flex().autodiff();
    let below = LstmConfig::new(D_INPUT, D_HIDDEN).init(&device);
    let above = LstmConfig::new(D_HIDDEN, D_HIDDEN).init(&device);
    let plain = Stack::new(vec![below.clone(), above.clone()]);
    let within = Stack::new(vec![
        Checkpointed::new(below, 2),
        Checkpointed::new(above, 5),
    ]);
    let input = random(&mut rng(1), [2, 11, D_INPUT], &device, DType::F32);
    let of = |output: Tensor<3>| (output.clone() * output).sum().backward();
    let expected = parameter_gradients(&plain, &of(plain.forward(input.clone(), None).0));
    let actual = parameter_gradients(&within, &of(within.forward(input.clone(), None).0));
    let outer = Checkpointed::new(within.clone(), 4);
    let nested = parameter_gradients(&outer, &of(outer.forward(input.clone(), None).0));
    assert_eq!(expected.len(), actual.len());
    for (index, expected) in expected.iter().enumerate() {
        common::assert_close("within a stack", &actual[index], expected, 1e-4);
        common::assert_close("around a stack", &nested[index], expected, 1e-4);
    }

    let mut layer = ElmanConfig::new(D_INPUT, D_HIDDEN).init(&device);
    layer.w_hidden = layer.w_hidden.set_require_grad(false);
    let expected = parameter_gradients(&layer, &of(layer.forward(input.clone(), None).0));
    let layer = Checkpointed::new(layer, 4);
    let gradients = of(layer.forward(input, None).0);
    assert!(layer.layer.w_hidden.val().grad(&gradients).is_none());
    for (actual, expected) in parameter_gradients(&layer, &gradients)
        .iter()
        .zip(&expected)
    {
        common::assert_close("a frozen weight", actual, expected, 1e-4);
    }
}

#[test]
fn without_autodiff_it_is_the_layer_itself() {
    let device = Device::flex();
    let layer = LstmConfig::new(D_INPUT, D_HIDDEN).init(&device);
    let input = random(&mut rng(2), [2, 9, D_INPUT], &device, DType::F32);
    let (expected, _) = layer.forward(input.clone(), None);
    let layer = Checkpointed::new(layer, 2);
    let (actual, state) = layer.forward(input.clone(), None);
    assert_eq!(values(actual), values(expected));
    let (next, _) = layer.step(input.narrow(1, 0, 1).squeeze_dim(1), state);
    assert_eq!(next.dims(), [2, D_HIDDEN]);
}

#[test]
#[should_panic = "interval is 0; it must be at least 1"]
fn an_interval_of_no_steps_is_refused() {
    let layer = LstmConfig::new(D_INPUT, D_HIDDEN).init(&Device::flex());
    Checkpointed::new(layer, 0);
}
