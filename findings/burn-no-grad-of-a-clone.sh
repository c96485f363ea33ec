#!/usr/bin/env bash
# burn 0.22.1: `module.clone().no_grad()` also freezes the module that was cloned, if its parameters have not been read yet: they are drawn
# when they are first read, and clones share what is still to be drawn, with what was asked of it. Once they have been read, a clone has its
# own say.
# Seen: a linear map whose clone was frozen has no gradient if it is fresh, and one if it was read before.
source "$(dirname "$0")/burn.sh"

expect 'a clone was frozen; the original has a gradient, if it was read before: true, if it is fresh: false' <<'RUST'
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

fn has_gradient(linear: &Linear, device: &Device) -> bool {
    // Another that learns, so that there is something to go back for.
    let below = LinearConfig::new(2, 2).init(device);
    let output = linear.forward(below.forward(Tensor::<2>::ones([1, 2], device)));
    linear.weight.val().grad(&output.sum().backward()).is_some()
}

fn main() {
    let device = Device::flex().autodiff();
    let [read, fresh] = [true, false].map(|is_read| {
        let linear = LinearConfig::new(2, 2).init(&device);
        if is_read {
            linear.weight.val();
        }
        let _frozen = linear.clone().no_grad();
        has_gradient(&linear, &device)
    });
    println!(
        "a clone was frozen; the original has a gradient, if it was read before: {read}, if it is fresh: {fresh}"
    );
}
RUST
