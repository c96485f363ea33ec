#!/usr/bin/env bash
# burn 0.22.1: the gradient of a division by a number is computed with the number's reciprocal in single precision, also where the tensors
# are in double precision: it is off by 1e-8, where a product with the reciprocal is exact to the last digits.
# Seen: of x / 3 and x * (1 / 3) in f64 the first has a gradient off by more than 1e-9.
source "$(dirname "$0")/burn.sh"

expect 'off by more than 1e-9: x / 3: true, x * (1 / 3): false' <<'RUST'
use burn::tensor::{DType, Device, Tensor};

fn off(apply: fn(Tensor<1>) -> Tensor<1>) -> f64 {
    let device = Device::flex().autodiff();
    let x = Tensor::<1>::ones([1], (&device, DType::F64)).require_grad();
    let gradients = apply(x.clone()).sum().backward();
    let gradient = x.grad(&gradients).expect("a gradient").into_scalar::<f64>();
    (3.0 * gradient - 1.0).abs()
}

fn main() {
    let (division, product) = (off(|x| x / 3.0), off(|x| x * (1.0 / 3.0)));
    eprintln!("{division:e} {product:e}");
    println!(
        "off by more than 1e-9: x / 3: {}, x * (1 / 3): {}",
        division > 1e-9,
        product > 1e-9
    );
}
RUST
