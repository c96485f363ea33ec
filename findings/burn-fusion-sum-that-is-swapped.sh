#!/usr/bin/env bash
# burn 0.22.1, wgpu with fusion: a sum over the last dimension whose dimensions are then swapped, times a tensor that another operation computed from one that lives
# on, is wrong: the rows of the sum are taken in another order. Where that tensor is given away to the operation, the same product is right.
# Seen: sums [[6, 15], [24, 33]] times ones are [[6, 15], [15, 24]]. It needs a Vulkan driver; Debian's mesa-vulkan-drivers is enough. The first run compiles for
# some minutes.
lock=burn-wgpu.lock features='"fusion", "wgpu"' optimize=0
source "$(dirname "$0")/burn.sh"

expect 'given away right; kept wrong' <<'RUST'
use burn::tensor::{Device, DeviceKind, Tensor};

fn main() {
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    let rows = || {
        let numbers = [[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[7.0, 8.0, 9.0], [10.0, 11.0, 12.0]]];
        Tensor::<3>::from_data(numbers, &device)
    };
    let told = |result: Tensor<3>| {
        let result: Vec<f32> = result.into_data().try_into_vec().expect("numbers");
        eprintln!("{result:?}");
        if result == [6.0, 15.0, 24.0, 33.0] { "right" } else { "wrong" }
    };

    let zeros = Tensor::<3>::zeros([2, 1, 2], &device) + 0.0;
    let ones = zeros + 1.0;
    let given = told(rows().sum_dim(2).swap_dims(1, 2) * ones);

    let zeros = Tensor::<3>::from_data([[[0.0, 0.0]], [[0.0, 0.0]]], &device);
    let ones = zeros.clone() + 1.0;
    let kept = told(rows().sum_dim(2).swap_dims(1, 2) * ones);
    drop(zeros);
    println!("given away {given}; kept {kept}");
}
RUST
