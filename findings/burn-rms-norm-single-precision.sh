#!/usr/bin/env bash
# burn-nn 0.22.1: `RmsNorm` takes the mean of squares of double precision in single precision, though input, gain and output are doubles: the
# output has eight right digits of sixteen, and numbers above 1.8e19, whose squares a double holds easily, come out as 0. `LayerNorm` beside it keeps double precision.
# Seen: of 0.1, 0.2 and 0.4 the root mean square of the outputs is off from 1 by 6e-8; of 1e30, 2e30 and 4e30 all outputs are 0.
source "$(dirname "$0")/burn.sh"

expect 'small: keeps double precision: false; large: all zero: true; layer norm keeps double precision: true' <<'RUST'
use burn::nn::{LayerNormConfig, RmsNormConfig};
use burn::tensor::{DType, Device, Tensor, TensorData};

fn main() {
    let device = Device::flex();
    let tensor = |numbers: [f64; 3]| -> Tensor<2> {
        Tensor::from_data(TensorData::new(numbers.to_vec(), [1, 3]), (&device, DType::F64))
    };
    let mut rms = RmsNormConfig::new(3).with_epsilon(1e-300).init(&device);
    rms.gamma = rms.gamma.map(|gamma| gamma.cast(DType::F64));
    let mut layer = LayerNormConfig::new(3).with_epsilon(1e-300).init(&device);
    layer.gamma = layer.gamma.map(|gamma| gamma.cast(DType::F64));
    layer.beta = layer.beta.map(|beta| beta.map(|beta| beta.cast(DType::F64)));
    let numbers = |tensor: Tensor<2>| tensor.into_data().try_to_vec::<f64>().unwrap();
    let off = |numbers: &[f64]| (numbers.iter().map(|x| x * x).sum::<f64>() / 3.0 - 1.0).abs();
    let small = off(&numbers(rms.forward(tensor([0.1, 0.2, 0.4]))));
    let large = numbers(rms.forward(tensor([1e30, 2e30, 4e30])));
    let of_layer = off(&numbers(layer.forward(tensor([0.1, 0.2, 0.4]))));
    eprintln!("off by {small:e}; {large:?}; layer norm off by {of_layer:e}");
    println!(
        "small: keeps double precision: {}; large: all zero: {}; layer norm keeps double precision: {}",
        small < 1e-12,
        large.iter().all(|x| *x == 0.0),
        of_layer < 1e-12
    );
}
RUST
