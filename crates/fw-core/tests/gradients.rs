//! Gradients against central differences, in f64: every input, state and parameter of every layer.

mod common;

use burn::tensor::{DType, Device};
use common::{FlatState, nudge, nudged, outcome, random, rng, values, weighted_sum};
use fw_core::ops::holographic::{bound, complex_product};

/// Half of the distance between the two points of a difference.
const DELTA: f64 = 1e-6;
/// What rounding and the third derivative leave of a central difference, relative to the largest gradient.
const TOLERANCE: f64 = 1e-6;

#[test]
fn gradients_of_every_layer_are_the_slopes_of_its_function() {
    fn check<L: FlatState>(name: &str, layer: L) {
        // A gradient that is cut off is not the slope: `sab.rs` holds it to what it should be.
        if name.contains("truncated") {
            return;
        }
        let plain = Device::flex().autodiff();
        let mut rng = rng(23);
        let input = random(&mut rng, [2, 4, layer.d_input()], &plain, DType::F64);
        let state = random(&mut rng, [2, layer.flat_width()], &plain, DType::F64) * 0.5;
        let function = |layer: &L, input, state| {
            let (output, last) = layer.forward(input, Some(layer.state_from(state)));
            let last = layer.state_to(&last);
            values(weighted_sum(output, last))[0]
        };
        let slope = |at: &dyn Fn(f64) -> f64| (at(DELTA) - at(-DELTA)) / (2.0 * DELTA);

        let actual = outcome(&layer, &input, &state, |layer, input, state| {
            layer.forward(input, Some(state))
        });
        for (index, gradient) in actual.gradients.iter().enumerate() {
            let expected: Vec<f64> = (0..gradient.len())
                .map(|element| {
                    slope(&|delta| match index {
                        0 => function(&layer, nudge(input.clone(), element, delta), state.clone()),
                        1 => function(&layer, input.clone(), nudge(state.clone(), element, delta)),
                        _ => {
                            let layer = nudged(layer.clone(), index - 2, element, delta);
                            function(&layer, input.clone(), state.clone())
                        }
                    })
                })
                .collect();
            common::assert_close(
                &format!("{name}, gradient {index}"),
                gradient,
                &expected,
                TOLERANCE,
            );
        }
    }
    for_each_layer!(3, 4, Device::flex().autodiff(), DType::F64, check);
}

#[test]
fn gradients_of_the_holographic_operations_are_the_slopes_of_their_functions() {
    let device = Device::flex().autodiff();
    let mut rng = rng(31);
    // Moduli on both sides of 1.
    let left = random(&mut rng, [2, 6], &device, DType::F64) * 1.5;
    let right = random(&mut rng, [2, 6], &device, DType::F64);
    let weights = random(&mut rng, [2, 6], &device, DType::F64);
    let function = |left, right| (complex_product(bound(left), right) * weights.clone()).sum();
    let leaf = left.clone().require_grad();
    let gradients = function(leaf.clone(), right.clone()).backward();
    let actual = values(leaf.grad(&gradients).expect("a gradient"));
    let at =
        |element, delta| values(function(nudge(left.clone(), element, delta), right.clone()))[0];
    let expected: Vec<f64> = (0..12)
        .map(|element| (at(element, DELTA) - at(element, -DELTA)) / (2.0 * DELTA))
        .collect();
    common::assert_close("bound and product", &actual, &expected, TOLERANCE);
}
