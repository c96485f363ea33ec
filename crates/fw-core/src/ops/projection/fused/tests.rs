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

/// One row; rows that fill vectors, and that do not; whole groups, cut ones; several parts, several blocks of the weight, both.
#[test]
fn output_and_gradients_equal_the_composed_form_on_every_instruction_set() {
    for sizes in [
        [1, 1, 1],
        [7, 3, 16],
        [65, 16, 45],
        [130, 150, 64],
        [1_300, 70, 48],
        [2_500, 10, 130],
    ] {
        for has_bias in [true, false] {
            check(sizes, has_bias, DType::F64, 1e-12);
            check(sizes, has_bias, DType::F32, 1e-5);
        }
    }
}

/// Only what is wanted is computed.
#[test]
fn what_is_frozen_leaves_the_other_gradients_as_they_are() {
    let sizes @ [rows, d_input, d_output] = [70, 9, 20];
    let all = results(sizes, true, DType::F64, |input, weight, bias| {
        project_on(Arch::detect(), input, weight, bias)
    });
    let slopes = wave(1.7, [rows, d_output], DType::F64);
    let input = wave(0.7, [rows, d_input], DType::F64);
    let weight = wave(1.1, [d_input, d_output], DType::F64);
    let bias = wave(1.3, [d_output], DType::F64);
    let gradients = |output: Tensor<2>| (output * slopes.clone()).sum().backward();

    let output = project(&input, &weight.clone().detach(), Some(&bias)).expect("a kernel");
    let of_rest = gradients(output);
    assert_eq!(numbers(input.grad(&of_rest)), all[1]);
    assert_eq!(numbers(bias.grad(&of_rest)), all[3]);

    let output = project(&input.detach(), &weight, Some(&bias.detach())).expect("a kernel");
    assert_eq!(numbers(weight.grad(&gradients(output))), all[2]);
}

#[test]
fn few_rows_are_left_to_the_composed_form() {
    let weight = wave(1.1, [3, 2], DType::F32);
    for rows in [0, LEAST_ROWS - 1] {
        assert!(project(&wave(0.7, [rows, 3], DType::F32), &weight, None).is_none());
    }
    assert!(project(&wave(0.7, [LEAST_ROWS, 3], DType::F32), &weight, None).is_some());
}

/// A transposed weight lies in memory in another order than its dimensions, and so does a transposed input.
#[test]
fn views_are_read_in_the_order_of_their_dimensions() {
    let [input, weight] = [
        wave(0.7, [3, 40], DType::F64).transpose(),
        wave(1.1, [4, 3], DType::F64).transpose(),
    ];
    let expected = numbers(Some(composed(input.clone(), weight.clone(), None)));
    let actual = project(&input, &weight, None).expect("there is a kernel");
    for (actual, expected) in numbers(Some(actual)).iter().zip(expected) {
        assert!(
            (actual - expected).abs() < 1e-14,
            "{actual} is not {expected}"
        );
    }
}

#[test]
fn a_number_that_is_none_stays_in_its_row() {
    let input = wave(0.7, [40, 3], DType::F32);
    let input = input.slice_fill([7..8, 1..2], f32::NAN);
    let weight = wave(1.1, [3, 21], DType::F32);
    let output = project(&input, &weight, None).expect("there is a kernel");
    for (row, numbers) in numbers(Some(output)).chunks(21).enumerate() {
        assert_eq!(numbers.iter().all(|number| number.is_nan()), row == 7);
        assert_eq!(numbers.iter().any(|number| number.is_nan()), row == 7);
    }
}

#[test]
#[should_panic = "weight has shape [4, 2]; it must be [3, 2]"]
fn a_weight_that_does_not_fit_is_refused() {
    let weight = wave(1.1, [4, 2], DType::F32);
    crate::ops::project(wave(0.7, [8, 5, 3], DType::F32), weight, None);
}

#[test]
#[should_panic = "bias has shape [1]; it must be [2]"]
fn a_bias_that_does_not_fit_is_refused() {
    let weight = wave(1.1, [3, 2], DType::F32);
    let bias = wave(1.3, [1], DType::F32);
    crate::ops::project(wave(0.7, [8, 5, 3], DType::F32), weight, Some(bias));
}
