//! The kernel against the composed form, on every instruction set.

use burn::tensor::{DType, Device};

use super::super::composed;
use super::*;
use crate::ops::cpu::architectures;
use crate::ops::trials::{Random, assert_same, gradient_of, numbers_of};

#[test]
fn every_instruction_set_computes_what_the_composed_form_does() {
    let device = Device::flex().autodiff();
    // Batch, steps of the input, channels, size, channels without SiLU.
    for (batch_size, n, channels, size, n_linear) in [
        (3, 4, 5, 4, 0),
        (2, 9, 37, 4, 20),
        (2, 63, 16, 1, 16),
        (1, 64, 48, 2, 3),
        (2, 131, 7, 5, 7),
        (1, 200, 33, 70, 1),
    ] {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            let mut random = Random::new(1, &device, dtype);
            let steps = random.leaf([batch_size, n, channels], 1.0);
            let weight = random.leaf([size, channels], 1.0);
            let shape = [batch_size, n + 1 - size, channels];
            let probe = random.leaf(shape, 1.0).detach();
            let results = |output: Tensor<3>| {
                let gradients = (output.clone() * probe.clone()).sum().backward();
                [
                    numbers_of(output),
                    gradient_of(&steps, &gradients),
                    gradient_of(&weight, &gradients),
                ]
            };
            let expected = results(composed(steps.clone(), weight.clone(), n_linear));
            for arch in architectures() {
                let actual = results(run(arch, &steps, &weight, n_linear));
                let case = alloc::format!("{shape:?}, {size}, {n_linear}, {dtype:?}, {arch:?}");
                assert_same(&actual, &expected, tolerance, &case);
            }
        }
    }
}
