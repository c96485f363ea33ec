#!/usr/bin/env bash
# burn 0.22.1: a forward pass on a device with autodiff whose result is dropped stays in memory until the next backward pass, whatever that
# is of: evaluating a model on such a device, without `valid()`, takes more memory with every batch.
# Seen: each pass of a linear map of 256 over 256 rows and a tanh keeps a quarter of a MiB, its result; with a backward pass after every
# 200 it does not grow; with `valid()` it does not either.
source "$(dirname "$0")/burn.sh"

expect '800 dropped passes: grown by more than 150 MiB: true
800 more, a backward pass after each 200: by less than 75 MiB: true
800 more by valid(): by less than 75 MiB: true' <<'RUST'
use burn::module::Module;
use burn::nn::LinearConfig;
use burn::tensor::{Device, Tensor};

/// What the process holds, in MiB.
fn memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a line");
    let kib: f64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    kib / 1024.0
}

fn main() {
    let device = Device::flex().autodiff();
    let linear = LinearConfig::new(256, 256).init(&device);
    let input = Tensor::<2>::ones([256, 256], &device);
    let pass = || linear.forward(input.clone()).tanh();
    drop(pass().sum().backward());
    let grown = |passes: &dyn Fn()| {
        let before = memory();
        for _ in 0..4 {
            passes();
        }
        memory() - before
    };
    let dropped = grown(&|| (0..200).for_each(|_| drop(pass())));
    let gone_back = grown(&|| {
        (0..200).for_each(|_| drop(pass()));
        drop(pass().sum().backward());
    });
    let valid = linear.clone().valid();
    let plain = input.clone().inner();
    let by_valid = grown(&|| (0..200).for_each(|_| drop(valid.forward(plain.clone()).tanh())));
    eprintln!("{dropped:.0}, {gone_back:.0} and {by_valid:.0} MiB");
    println!("800 dropped passes: grown by more than 150 MiB: {}", dropped > 150.0);
    println!(
        "800 more, a backward pass after each 200: by less than 75 MiB: {}",
        gone_back < 75.0
    );
    println!("800 more by valid(): by less than 75 MiB: {}", by_valid < 75.0);
}
RUST
