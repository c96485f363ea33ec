#!/usr/bin/env bash
# burn 0.22.1, wgpu with fusion: a product and a sum that wait to be computed are not, where a tensor without numbers was made after them: what is read is what
# the memory held before. Without that tensor the numbers are right.
# Seen: of 2 x [1, 2, 3] + [10, 10, 10] all three numbers are wrong. It needs a Vulkan driver; Debian's mesa-vulkan-drivers is enough. The first run compiles
# for some minutes.
lock=burn-wgpu.lock features='"fusion", "wgpu"' optimize=0
source "$(dirname "$0")/burn.sh"

expect 'alone right; beside a tensor without numbers wrong' <<'RUST'
use burn::tensor::{Device, DeviceKind, Tensor};

fn main() {
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    let numbers = |values: [f32; 3]| Tensor::<2>::from_data([values], &device);
    let told = |result: Tensor<2>, expected: [f32; 3]| {
        let result: Vec<f32> = result.into_data().try_into_vec().expect("numbers");
        eprintln!("{result:?}");
        if result == expected { "right" } else { "wrong" }
    };
    let expected = [12.0, 14.0, 16.0];

    let alone = numbers([1.0, 2.0, 3.0]) * 2.0 + numbers([10.0; 3]);
    let alone = told(alone, expected);

    let both = numbers([1.0, 2.0, 3.0]) * 2.0 + numbers([10.0; 3]);
    let nothing = Tensor::<2>::zeros([0, 3], &device);
    let beside = told(both, expected);
    drop(nothing);
    println!("alone {alone}; beside a tensor without numbers {beside}");
}
RUST
