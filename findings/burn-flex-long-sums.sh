#!/usr/bin/env bash
# burn 0.22.1, flex: sums over rows add row after row in single precision. Over a million rows of one sign the gradient of a linear map's
# bias is off by nearly a hundredth of itself: sums in blocks or pairs stay near 1e-7.
# Seen: of ones that are 0.1 (in f32), a million rows: the bias's gradient is 100958.34, not 100000.0.
source "$(dirname "$0")/burn.sh"

expect 'bias: off by more than 0.5 %: true; the same in f64: off by less than 1e-6: true' <<'RUST'
use burn::nn::LinearConfig;
use burn::tensor::{DType, Device, Tensor};

fn main() {
    let device = Device::flex().autodiff();
    let rows = 1_000_000;
    let off = |dtype: DType| {
        let linear = LinearConfig::new(1, 1).init(&device);
        let weight = linear.weight.val().cast(dtype).detach().require_grad();
        let bias = linear.bias.expect("a bias").val().cast(dtype).detach().require_grad();
        let input = Tensor::<2>::ones([rows, 1], (&device, dtype));
        let output = input.matmul(weight) + bias.clone().unsqueeze();
        let gradients = (output * 0.1).sum().backward();
        let gradient = bias.grad(&gradients).expect("a gradient");
        let gradient = gradient.cast(DType::F64).into_scalar::<f64>();
        eprintln!("{dtype:?}: {gradient}");
        (gradient / (0.1 * rows as f64) - 1.0).abs()
    };
    println!(
        "bias: off by more than 0.5 %: {}; the same in f64: off by less than 1e-6: {}",
        off(DType::F32) > 0.005,
        off(DType::F64) < 1e-6
    );
}
RUST
