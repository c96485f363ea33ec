//! The kernel against the composed form, on every instruction set.

use burn::tensor::{DType, Device, TensorData};

use super::super::composed;
use super::*;
use crate::ops::cpu::architectures;

/// Numbers between -1 and 1.
fn wave<const D: usize>(frequency: f64, shape: [usize; D], dtype: DType) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let numbers: Vec<f64> = (0..count).map(|i| (frequency * i as f64).sin()).collect();
    let device = Device::flex().autodiff();
    Tensor::from_data(TensorData::new(numbers, shape), (&device, dtype)).require_grad()
}

fn numbers<const D: usize>(tensor: Option<Tensor<D>>) -> Vec<f64> {
    let data = tensor.expect("it has a gradient").into_data();
    data.convert::<f64>().try_into_vec().expect("f64")
}

/// The output of a map, and the gradients of input, weight and bias.
fn results(
    [rows, d_input, d_output]: [usize; 3],
    has_bias: bool,
    dtype: DType,
    map: impl Fn(&Tensor<2>, &Tensor<2>, Option<&Tensor<1>>) -> Tensor<2>,
) -> Vec<Vec<f64>> {
    let input = wave(0.7, [rows, d_input], dtype);
    let weight = wave(1.1, [d_input, d_output], dtype);
    let bias = wave(1.3, [d_output], dtype);
    let output = map(&input, &weight, has_bias.then_some(&bias));
    let slopes = wave(1.7, [rows, d_output], dtype);
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

fn check(sizes: [usize; 3], has_bias: bool, dtype: DType, tolerance: f64) {
    let expected = results(sizes, has_bias, DType::F64, |input, weight, bias| {
        composed(input.clone(), weight.clone(), bias.cloned())
    });
    for arch in architectures() {
        let actual = results(sizes, has_bias, dtype, |input, weight, bias| {
            project_on(arch, input, weight, bias)
        });
        assert_eq!(actual.len(), expected.len());
        for (index, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
            assert_eq!(actual.len(), expected.len());
            let norm = |numbers: &mut dyn Iterator<Item = f64>| {
                numbers.map(|number| number * number).sum::<f64>().sqrt()
            };
            let difference = norm(&mut actual.iter().zip(expected).map(|(a, b)| a - b));
            let length = norm(&mut expected.iter().copied());
            assert!(
                difference <= tolerance * length,
                "{sizes:?}, bias {has_bias}, {arch:?}, result {index}: {difference} of {length}"
            );
        }
    }
}

/// One row; rows that fill vectors, and that do not; whole groups, cut ones, several parts.
#[test]
fn output_and_gradients_equal_the_composed_form_on_every_instruction_set() {
    for sizes in [
        [1, 1, 1],
        [7, 3, 16],
        [64, 16, 45],
        [1_300, 33, 8],
        [2_500, 10, 130],
    ] {
        for has_bias in [true, false] {
            check(sizes, has_bias, DType::F64, 1e-12);
            check(sizes, has_bias, DType::F32, 1e-5);
        }
    }
}

#[test]
fn an_empty_batch_is_left_to_the_composed_form() {
    let [input, weight] = [wave(0.7, [0, 3], DType::F32), wave(1.1, [3, 2], DType::F32)];
    assert!(project(&input, &weight, None).is_none());
    let output = composed(input, weight, None);
    assert_eq!(output.dims(), [0, 2]);
}

/// A transposed weight lies in memory in another order than its dimensions.
#[test]
fn views_are_read_in_the_order_of_their_dimensions() {
    let [input, weight] = [wave(0.7, [5, 3], DType::F64), wave(1.1, [4, 3], DType::F64)];
    let expected = numbers(Some(composed(
        input.clone(),
        weight.clone().transpose(),
        None,
    )));
    let actual = project(&input, &weight.transpose(), None).expect("there is a kernel");
    for (actual, expected) in numbers(Some(actual)).iter().zip(expected) {
        assert!(
            (actual - expected).abs() < 1e-14,
            "{actual} is not {expected}"
        );
    }
}
