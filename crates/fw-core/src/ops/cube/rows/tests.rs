//! Sums over rows on a GPU against those of the CPU, in f64.

use alloc::vec::Vec;

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::ops::cube::gpu;
use crate::ops::project;

/// In single precision, over up to twelve thousand rows.
const TOLERANCE: f64 = 1e-5;

fn wave<const D: usize>(
    frequency: f64,
    shape: [usize; D],
    device: &Device,
    dtype: DType,
) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let numbers: Vec<f64> = (0..count).map(|i| (frequency * i as f64).sin()).collect();
    Tensor::from_data(TensorData::new(numbers, shape), (device, dtype)).require_grad()
}

fn numbers<const D: usize>(tensor: Option<Tensor<D>>) -> Vec<f64> {
    let data = tensor.expect("it has a gradient").into_data();
    data.convert::<f64>().try_into_vec().expect("f64")
}

/// The output of a projection, and the gradients of input, weight and bias.
fn results(
    [batch_size, seq_length, d_input, d_output]: [usize; 4],
    has_bias: bool,
    device: &Device,
    dtype: DType,
) -> Vec<Vec<f64>> {
    let input = wave(0.7, [batch_size, seq_length, d_input], device, dtype);
    let weight = wave(1.1, [d_input, d_output], device, dtype);
    let bias = wave(1.3, [d_output], device, dtype);
    let slopes = wave(1.7, [batch_size, seq_length, d_output], device, dtype);
    let output = project(
        input.clone(),
        weight.clone(),
        has_bias.then(|| bias.clone()),
    );
    let gradients = (output.clone() * slopes).sum().backward();
    let mut results = alloc::vec![
        numbers(Some(output)),
        numbers(input.grad(&gradients)),
        numbers(weight.grad(&gradients)),
    ];
    if has_bias {
        results.push(numbers(bias.grad(&gradients)));
    }
    results
}

/// A constant of which row after row many digits are lost, over several blocks, blocks of blocks and parts.
#[test]
fn sums_over_many_rows_keep_their_digits() {
    let constant = |value: f32, shape: [usize; 3]| Tensor::<3>::full(shape, value, &gpu());
    for [rows, d_input, d_output] in [[10_000, 3, 5], [300_000, 1, 1]] {
        let weight = Tensor::<2>::zeros([d_input, d_output], &gpu()).require_grad();
        let bias = Tensor::<1>::zeros([d_output], &gpu()).require_grad();
        let input = constant(1.1, [1, rows, d_input]);
        let output = project(input, weight.clone(), Some(bias.clone()));
        let slopes = constant(1.9953, [1, rows, d_output]);
        let gradients = (output * slopes).sum().backward();
        let expected = rows as f64 * f64::from(1.9953_f32);
        for (gradients, expected) in [
            (numbers(bias.grad(&gradients)), expected),
            (
                numbers(weight.grad(&gradients)),
                expected * f64::from(1.1_f32),
            ),
        ] {
            for gradient in gradients {
                let off = (gradient / expected - 1.0).abs();
                assert!(off < TOLERANCE, "{rows} rows: {gradient}, not {expected}");
            }
        }
    }
}

/// One row; tiles that are full, and that are cut; several parts.
#[test]
fn gradients_of_a_projection_are_those_of_the_cpu() {
    for sizes in [
        [1, 1, 3, 2],
        [2, 32, 64, 128],
        [5, 150, 9, 70],
        [3, 4_000, 130, 1],
    ] {
        for has_bias in [true, false] {
            let expected = results(sizes, has_bias, &Device::flex().autodiff(), DType::F64);
            let actual = results(sizes, has_bias, &gpu(), DType::F32);
            for (index, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
                let norm = |numbers: &mut dyn Iterator<Item = f64>| {
                    numbers.map(|number| number * number).sum::<f64>().sqrt()
                };
                let difference = norm(&mut actual.iter().zip(expected).map(|(a, b)| a - b));
                let length = norm(&mut expected.iter().copied());
                assert!(
                    actual.len() == expected.len() && difference <= TOLERANCE * length,
                    "{sizes:?}, bias {has_bias}, result {index}: {difference} of {length}"
                );
            }
        }
    }
}
