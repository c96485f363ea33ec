#!/usr/bin/env bash
# burn 0.22.1: the gradient of a slice is a tensor as large as what it was cut from, mostly zeros, and all of them are added up: a loop that
# takes T steps out of a sequence, one after another, takes time in T² in the backward pass. Cut in halves, again and again, it takes T log T.
# Seen: from 1,000 to 4,000 steps of 64 numbers the time of the backward pass grows by far more than eight; cut in halves by less.
source "$(dirname "$0")/burn.sh"

expect 'four times as many steps: more than eight times as long: one by one true, in halves false' <<'RUST'
use burn::tensor::{Device, Tensor};
use std::time::Instant;

fn one_by_one(sequence: Tensor<2>) -> Vec<Tensor<2>> {
    let [steps, _] = sequence.dims();
    (0..steps).map(|t| sequence.clone().narrow(0, t, 1)).collect()
}

fn in_halves(sequence: Tensor<2>) -> Vec<Tensor<2>> {
    let [steps, _] = sequence.dims();
    if steps == 1 {
        return vec![sequence];
    }
    let half = steps / 2;
    let mut all = in_halves(sequence.clone().narrow(0, 0, half));
    all.extend(in_halves(sequence.narrow(0, half, steps - half)));
    all
}

/// The quickest of three.
fn seconds(steps: usize, cut: fn(Tensor<2>) -> Vec<Tensor<2>>) -> f64 {
    let device = Device::flex().autodiff();
    let time = || {
        let sequence = Tensor::<2>::ones([steps, 64], &device).require_grad();
        let loss = Tensor::cat(cut(sequence.clone()), 0).sum();
        let started = Instant::now();
        let gradients = loss.backward();
        assert!(sequence.grad(&gradients).is_some());
        started.elapsed().as_secs_f64()
    };
    (0..3).map(|_| time()).fold(f64::INFINITY, f64::min)
}

fn main() {
    let grows = |cut| {
        let ratio = seconds(4000, cut) / seconds(1000, cut);
        eprintln!("{ratio:.1}");
        ratio > 8.0
    };
    println!(
        "four times as many steps: more than eight times as long: one by one {}, in halves {}",
        grows(one_by_one),
        grows(in_halves)
    );
}
RUST
