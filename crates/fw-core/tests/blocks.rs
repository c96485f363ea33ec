//! Attention, the gated convolution and blocks are what their pages say, number by number.

#![cfg(feature = "flex")]

mod common;

use burn::nn::Linear;
use burn::tensor::{DType, Device, Tensor, TensorData};
use fw_core::{
    AttentionConfig, Blocks, BlocksConfig, GatedConvolution, GatedConvolutionConfig, GruConfig,
    Norm, NormKind, Recurrent,
};

const BATCH_SIZE: usize = 2;
const SEQ_LENGTH: usize = 6;
const EPSILON: f64 = 1e-5;

type Steps = Vec<Vec<Vec<f64>>>;

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.try_into_vec_as().expect("numbers")
}

/// `[batch_size][seq_length][width]`
fn steps(tensor: Tensor<3>) -> Steps {
    let [_, seq_length, width] = tensor.dims();
    let rows: Vec<Vec<f64>> = numbers(tensor).chunks(width).map(<[f64]>::to_vec).collect();
    rows.chunks(seq_length).map(<[Vec<f64>]>::to_vec).collect()
}

fn tensor(steps: &Steps) -> Tensor<3> {
    let shape = [steps.len(), steps[0].len(), steps[0][0].len()];
    let flat: Vec<f64> = steps.iter().flatten().flatten().copied().collect();
    Tensor::from_data(TensorData::new(flat, shape), (&Device::flex(), DType::F64))
}

fn input(width: usize) -> Tensor<3> {
    let shape = [BATCH_SIZE, SEQ_LENGTH, width];
    common::random(&mut common::rng(5), shape, &Device::flex(), DType::F64)
}

/// `x W + b` of one step.
fn map(linear: &Linear, x: &[f64]) -> Vec<f64> {
    let [d_input, d_output] = linear.weight.val().dims();
    assert_eq!(x.len(), d_input);
    let weight = numbers(linear.weight.val());
    let bias = linear.bias.as_ref().map(|bias| numbers(bias.val()));
    let column = |j: usize| {
        let products = x
            .iter()
            .enumerate()
            .map(|(i, x)| x * weight[i * d_output + j]);
        products.sum::<f64>() + bias.as_ref().map_or(0.0, |bias| bias[j])
    };
    (0..d_output).map(column).collect()
}

fn assert_same(name: &str, actual: Tensor<3>, expected: &Steps) {
    let expected: Vec<f64> = expected.iter().flatten().flatten().copied().collect();
    common::assert_close(name, &numbers(actual), &expected, 1e-12);
}

/// The pair i of the first numbers is turned by `t · 10000^(-2i / d_rotary)`.
fn turned(vector: &[f64], t: usize, d_rotary: usize) -> Vec<f64> {
    let mut turned = vector.to_vec();
    let half = d_rotary / 2;
    for i in 0..half {
        let angle = t as f64 * 10_000_f64.powf(-2.0 * i as f64 / d_rotary as f64);
        let (one, other) = (vector[i], vector[half + i]);
        turned[i] = one * angle.cos() - other * angle.sin();
        turned[half + i] = one * angle.sin() + other * angle.cos();
    }
    turned
}

#[test]
fn attention_is_the_weighted_sum_of_all_steps_up_to_the_present_one() {
    let (n_heads, d_key) = (2, 5);
    for d_rotary in [0, 4] {
        let config = AttentionConfig::new(3, n_heads, d_key)
            .with_d_output(Some(4))
            .with_d_rotary(d_rotary);
        let layer = config.init(&Device::flex());
        let layer = common::randomized(layer, &mut common::rng(1), DType::F64);
        let input = input(3);
        let of_sample = |sample: &Vec<Vec<f64>>| -> Vec<Vec<f64>> {
            let maps = |linear| sample.iter().map(|x| map(linear, x)).collect::<Vec<_>>();
            let [queries, keys, values] = [&layer.q_proj, &layer.k_proj, &layer.v_proj].map(maps);
            let step = |t: usize| {
                let head = |h: usize| {
                    let part = h * d_key..(h + 1) * d_key;
                    let query = turned(&queries[t][part.clone()], t, d_rotary);
                    let score = |j: usize| {
                        let key = turned(&keys[j][part.clone()], j, d_rotary);
                        let products = query.iter().zip(&key).map(|(q, k)| q * k);
                        (products.sum::<f64>() / (d_key as f64).sqrt()).exp()
                    };
                    let weights: Vec<f64> = (0..=t).map(score).collect();
                    let total: f64 = weights.iter().sum();
                    let value = |channel: usize| {
                        let parts = weights.iter().zip(&values);
                        parts.map(|(w, v)| w * v[h * d_key + channel]).sum::<f64>() / total
                    };
                    (0..d_key).map(value).collect::<Vec<f64>>()
                };
                let heads: Vec<f64> = (0..n_heads).flat_map(head).collect();
                map(&layer.o_proj, &heads)
            };
            (0..sample.len()).map(step).collect()
        };
        let expected: Steps = steps(input.clone()).iter().map(of_sample).collect();
        let (output, _) = layer.forward(input, None);
        assert_same(&format!("{d_rotary} turned"), output, &expected);
    }
}

fn convolved(layer: &GatedConvolution, sample: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let weight = numbers(layer.convolution.weight.val());
    let bias = numbers(layer.bias.val());
    let size = weight.len() / bias.len();
    let step = |t: usize| {
        let gate = map(&layer.gate, &sample[t]);
        let channel = |c: usize| {
            let taps = (0..size).filter(|j| t + 1 + j >= size);
            let sum: f64 = taps
                .map(|j| weight[c * size + j] * sample[t + 1 + j - size][c])
                .sum();
            (sum + bias[c]) * gate[c] + sample[t][c]
        };
        (0..bias.len()).map(channel).collect()
    };
    (0..sample.len()).map(step).collect()
}

#[test]
fn a_gated_convolution_is_the_sum_over_its_last_steps_times_the_gate() {
    for size in [2, 3, 5] {
        let layer = GatedConvolutionConfig::new(4)
            .with_size(size)
            .init(&Device::flex());
        let layer = common::randomized(layer, &mut common::rng(3), DType::F64);
        let input = input(4);
        let samples = steps(input.clone());
        let expected: Steps = samples
            .iter()
            .map(|sample| convolved(&layer, sample))
            .collect();
        assert_same(
            &format!("{size} steps"),
            layer.forward(input, None).0,
            &expected,
        );
    }
}

fn normed(norm: &Norm, x: &[f64]) -> Vec<f64> {
    let n = x.len() as f64;
    match norm {
        Norm::Layer(norm) => {
            let mean = x.iter().sum::<f64>() / n;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let (gain, bias) = (numbers(norm.gamma.val()), norm.beta.as_ref());
            let bias = numbers(bias.expect("a bias").val());
            let scale = (variance + EPSILON).sqrt();
            let terms = x.iter().zip(gain).zip(bias);
            terms
                .map(|((x, gain), bias)| (x - mean) / scale * gain + bias)
                .collect()
        }
        Norm::Rms(norm) => {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / n;
            let terms = x.iter().zip(numbers(norm.gamma.val()));
            terms
                .map(|(x, gain)| x / (mean + EPSILON).sqrt() * gain)
                .collect()
        }
    }
}

fn each(steps: &Steps, change: impl Fn(&[f64]) -> Vec<f64>) -> Steps {
    let samples = steps.iter();
    samples
        .map(|sample| sample.iter().map(|step| change(step)).collect())
        .collect()
}

fn sum(one: &Steps, other: &Steps) -> Steps {
    let samples = one.iter().zip(other);
    let step = |(one, other): (&Vec<f64>, &Vec<f64>)| {
        one.iter()
            .zip(other)
            .map(|(one, other)| one + other)
            .collect()
    };
    samples
        .map(|(one, other)| one.iter().zip(other).map(step).collect())
        .collect()
}

#[test]
fn blocks_add_what_a_layer_and_a_perceptron_make_of_what_is_normalised() {
    for (d_layer, d_mlp, norm) in [
        (4, None, NormKind::Layer),
        (5, Some(7), NormKind::Layer),
        (4, Some(3), NormKind::Rms),
    ] {
        let device = Device::flex();
        let layers = (0..2).map(|_| GruConfig::new(4, d_layer).init(&device));
        let config = BlocksConfig::new(3, 4).with_d_mlp(d_mlp).with_norm(norm);
        let blocks: Blocks<_> = config.init(layers.collect(), &device);
        let blocks = common::randomized(blocks, &mut common::rng(4), DType::F64);
        let input = input(3);

        let before = blocks.input.as_ref().expect("three numbers become four");
        let mut signal = each(&steps(input.clone()), |x| map(before, x));
        for block in &blocks.blocks {
            let (of_layer, _) = block
                .layer
                .forward(tensor(&each(&signal, |x| normed(&block.norm, x))), None);
            let of_layer = steps(of_layer);
            signal = match &block.output {
                Some(output) => sum(&signal, &each(&of_layer, |y| map(output, y))),
                None => sum(&signal, &of_layer),
            };
            assert_eq!(block.output.is_some(), d_layer != 4);
            assert_eq!(block.mlp.is_some(), d_mlp.is_some());
            let Some(mlp) = &block.mlp else { continue };
            let of_mlp = each(&signal, |x| {
                let normed = normed(&mlp.norm, x);
                let gate = map(&mlp.gate, &normed).into_iter();
                let inside = gate.zip(map(&mlp.up, &normed));
                let inside = inside.map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up);
                map(&mlp.down, &inside.collect::<Vec<f64>>())
            });
            signal = sum(&signal, &of_mlp);
        }
        let expected = each(&signal, |x| normed(&blocks.norm, x));
        assert_same(
            &format!("{d_layer} {d_mlp:?} {norm:?}"),
            blocks.forward(input, None).0,
            &expected,
        );
    }
}

/// What is given for each block is looked at: one too few would leave a block out.
#[test]
#[should_panic(expected = "1 are given; there are 2 blocks")]
fn as_much_must_be_given_as_there_are_blocks() {
    let device = Device::flex();
    let layers = (0..2).map(|_| GruConfig::new(4, 4).init(&device));
    let blocks = BlocksConfig::new(4, 4).init(layers.collect(), &device);
    let input = Tensor::ones([1, 2, 4], &device);
    blocks.through(input, [()], |layer, signal, ()| layer.forward(signal, None));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    for (error, message) in [
        (
            AttentionConfig::new(3, 0, 4).validate(),
            "n_heads is 0; it must be at least 1",
        ),
        (
            AttentionConfig::new(3, 2, 4).with_d_rotary(3).validate(),
            "d_rotary is 3; it must be even and at most d_key",
        ),
        (
            AttentionConfig::new(3, 2, 4).with_d_rotary(6).validate(),
            "d_rotary is 6; it must be even and at most d_key",
        ),
        (
            GatedConvolutionConfig::new(3).with_size(1).validate(),
            "size is 1; it must lie between 2 and 1024",
        ),
        (
            BlocksConfig::new(3, 4).with_d_mlp(Some(0)).validate(),
            "d_mlp is 0; it must be at least 1",
        ),
    ] {
        assert_eq!(error.expect_err(message).to_string(), message);
    }
    let device = Device::flex();
    let layers = vec![
        GruConfig::new(4, 4).init(&device),
        GruConfig::new(5, 4).init(&device),
    ];
    let error = BlocksConfig::new(4, 4)
        .try_init(layers, &device)
        .expect_err("another width");
    assert_eq!(
        error.to_string(),
        "d_input is 5 in layer 2, and d_model 4; it must be d_model"
    );
    let none: Vec<fw_core::Gru> = Vec::new();
    let error = BlocksConfig::new(4, 4)
        .try_init(none, &device)
        .expect_err("no layer");
    assert_eq!(
        error.to_string(),
        "layers is empty; it must hold at least one"
    );
}
