//! Every layer on a GPU device against the same layer on flex: outputs, last state and every gradient.
//!
//! Runs with `--features wgpu`; a software Vulkan driver (Debian's mesa-vulkan-drivers) is enough.
#![cfg(feature = "wgpu")]

mod common;

use burn::tensor::{DType, Device, DeviceKind, Tensor};
use common::{FlatState, Outcome, outcome, random, rng};

fn wgpu() -> Device {
    Device::wgpu(DeviceKind::DefaultDevice).autodiff()
}

fn run<L: FlatState>(layer: &L, device: &Device) -> Outcome {
    let mut rng = rng(12);
    let input: Tensor<3> = random(&mut rng, [3, 5, layer.d_input()], device, DType::F32);
    let state: Tensor<2> = random(&mut rng, [3, layer.flat_width()], device, DType::F32) * 0.5;
    outcome(layer, &input, &state, |layer, input, state| {
        layer.forward(input, Some(state))
    })
}

#[test]
fn every_layer_computes_the_same_on_wgpu_as_on_flex() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let flex = Device::flex().autodiff();
        let expected = run(&layer.clone().fork(&flex), &flex);
        run(&layer, &wgpu()).assert_equals(&expected, name, 1e-4, 1e-3);
    }
    for_each_layer!(5, 7, wgpu(), DType::F32, check);
}
