#!/usr/bin/env bash
# burn 0.22.1: `GradientClippingConfig::Norm(most)` of an optimiser limits the norm of each parameter's gradient by itself, not the norm of
# all gradients together, which is what "clip the gradient norm" means in papers and in PyTorch's `clip_grad_norm_`. A model of several
# parameters keeps a total norm of up to `most` times the root of their number, and the direction of the whole gradient changes.
# Seen: two parameters whose gradients have the norms 3 and 4 (5 together), clipped to 1: both become 1, 1.414 together, where clipping
# together gives 0.6 and 0.8.
source "$(dirname "$0")/burn.sh"

expect 'steps of SGD with rate 1: 1.000 and 1.000, together 1.414' <<'RUST'
use burn::grad_clipping::GradientClippingConfig;
use burn::module::{Module, Param};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor};

#[derive(Module, Debug)]
struct Two {
    a: Param<Tensor<1>>,
    b: Param<Tensor<1>>,
}

fn main() {
    let device = Device::flex().autodiff();
    let zeros = || Param::from_tensor(Tensor::<1>::zeros([1], &device));
    let model = Two { a: zeros(), b: zeros() };
    let loss = model.a.val() * 3.0 + model.b.val() * 4.0;
    let gradients = GradientsParams::from_grads(loss.sum().backward(), &model);
    let config = SgdConfig::new().with_gradient_clipping(Some(GradientClippingConfig::Norm(1.0)));
    let model = config.init().step(1.0, model, gradients);
    let step = |param: &Param<Tensor<1>>| param.val().into_scalar::<f32>().abs();
    let (a, b) = (step(&model.a), step(&model.b));
    println!("steps of SGD with rate 1: {a:.3} and {b:.3}, together {:.3}", a.hypot(b));
}
RUST
