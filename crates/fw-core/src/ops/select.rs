//! Rows of tensors.

use alloc::vec::Vec;

use burn::tensor::{Int, Tensor, TensorData};

/// Rows of a tensor, in the order in which they are named: a view, where they lie one after another.
pub(crate) fn rows<const D: usize>(tensor: Tensor<D>, indices: &[usize]) -> Tensor<D> {
    let mut shape = tensor.dims();
    let Some(first) = indices.first().copied() else {
        shape[0] = 0;
        return Tensor::zeros(shape, (&tensor.device(), tensor.dtype()));
    };
    let follows = |(at, index): (usize, &usize)| *index == first + at;
    if indices.iter().enumerate().all(follows) {
        return match indices.len() == shape[0] {
            true => tensor,
            false => tensor.narrow(0, first, indices.len()),
        };
    }
    let indices: Vec<i64> = indices.iter().map(|index| *index as i64).collect();
    let n = indices.len();
    let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [n]), &tensor.device());
    tensor.select(0, indices)
}
