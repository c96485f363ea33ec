#!/usr/bin/env bash
# burn 0.22.1: a module's parameters are drawn when they are first read, not when it is made: with the same seed two models differ if their
# parts are used in another order, or if anything else draws numbers in between.
# Seen: the first of two linear maps has other weights when the second is read first.
source "$(dirname "$0")/burn.sh"

expect 'the same seed and the same configuration, read in another order: the same weights: false' <<'RUST'
use burn::nn::LinearConfig;
use burn::tensor::Device;

fn main() {
    let device = Device::flex();
    let first_weights = |second_is_read_first: bool| {
        device.seed(7);
        let [first, second] = [0, 1].map(|_| LinearConfig::new(2, 2).init(&device));
        if second_is_read_first {
            second.weight.val();
        }
        first.weight.val().try_into_vec_as::<f32>().expect("numbers")
    };
    println!(
        "the same seed and the same configuration, read in another order: the same weights: {}",
        first_weights(false) == first_weights(true)
    );
}
RUST
