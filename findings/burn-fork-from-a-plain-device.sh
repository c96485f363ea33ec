#!/usr/bin/env bash
# burn 0.22.1: parameters that are made on a device without autodiff and then brought to one with it by `Module::fork` do not require
# gradients: such a model trains without an error and learns nothing.
# Seen: after `fork` the weight has no gradient; made on the device with autodiff it has one.
source "$(dirname "$0")/burn.sh"

expect 'a gradient, made with autodiff: true, forked to it: false' <<'RUST'
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

fn main() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let made = LinearConfig::new(2, 2).init(&device);
    let other = LinearConfig::new(2, 2).init(&plain);
    // Parameters are drawn when they are first read.
    other.weight.val();
    let forked = other.fork(&device);
    // One upon the other, as layers of a model are.
    let output = forked.forward(made.forward(Tensor::<2>::ones([1, 2], &device)));
    let gradients = output.sum().backward();
    let has_gradient = |linear: &Linear| linear.weight.val().grad(&gradients).is_some();
    println!(
        "a gradient, made with autodiff: {}, forked to it: {}",
        has_gradient(&made),
        has_gradient(&forked)
    );
}
RUST
