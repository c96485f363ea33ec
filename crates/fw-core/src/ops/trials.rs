//! What the tests of kernels have in common.

use alloc::vec::Vec;

use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Span, Spans};

/// Leaves with uniform values in (-scale, scale).
pub(crate) struct Random<'a>(ChaCha8Rng, &'a Device, DType);

impl<'a> Random<'a> {
    pub(crate) fn new(seed: u64, device: &'a Device, dtype: DType) -> Self {
        Random(ChaCha8Rng::seed_from_u64(seed), device, dtype)
    }

    pub(crate) fn leaf<const D: usize>(&mut self, shape: [usize; D], scale: f64) -> Tensor<D> {
        let count = shape.iter().product::<usize>();
        let values: Vec<f64> = (0..count)
            .map(|_| self.0.random_range(-scale..scale))
            .collect();
        let values = TensorData::new(values, shape);
        let is_autodiff = self.1.is_autodiff();
        Tensor::from_data(values, (self.1, self.2)).set_require_grad(is_autodiff)
    }
}

pub(crate) fn numbers_of<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.try_into_vec_as().expect("floats convert to f64")
}

/// Zeros, where the loss does not reach.
pub(crate) fn gradient_of<const D: usize>(leaf: &Tensor<D>, gradients: &Gradients) -> Vec<f64> {
    let gradient = leaf.grad(gradients);
    numbers_of(gradient.unwrap_or_else(|| leaf.clone().inner().zeros_like()))
}

/// Panics if a result differs by more than a share of its length.
#[track_caller]
pub(crate) fn assert_same(actual: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64, case: &str) {
    assert_eq!(actual.len(), expected.len());
    let length =
        |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert_eq!(actual.len(), expected.len());
        let difference = length(&mut actual.iter().zip(expected).map(|(a, b)| a - b));
        let scale = length(&mut expected.iter().copied());
        assert!(
            difference <= tolerance * scale,
            "result {index} of {case}: {difference:e} beside {scale:e}"
        );
    }
}

/// Spans of these lengths one behind the other; every third is not asked for its last state, and the ends are in the opposite order.
pub(crate) fn spans_of_lengths(lengths: &[usize]) -> Spans {
    let has_end = |index: usize| index % 3 != 1;
    let n_ends = (0..lengths.len()).filter(|index| has_end(*index)).count();
    let (mut first, mut n_ended) = (0, 0);
    let mut spans = Vec::new();
    for (index, n_steps) in lengths.iter().copied().enumerate() {
        n_ended += usize::from(has_end(index));
        spans.push(Span {
            first,
            n_steps,
            end: has_end(index).then(|| n_ends - n_ended),
        });
        first += n_steps;
    }
    Spans::new(&spans).0
}
