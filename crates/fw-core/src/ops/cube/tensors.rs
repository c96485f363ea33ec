//! Tensors around the kernels.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::{DType, Shape, Slice};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::prelude::CubeElement;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

/// The shape of what a kernel yields, or of what stands for nothing.
pub(crate) fn wanted<const D: usize>(is_wanted: bool, shape: [usize; D]) -> [usize; D] {
    match is_wanted && !shape.contains(&0) {
        true => shape,
        false => [1; D],
    }
}

/// What a kernel yields, in single precision.
pub(crate) fn spec<const D: usize>(shape: [usize; D]) -> TensorSpec {
    TensorSpec::new(Shape::new(shape), DType::F32)
}

/// Room for numbers, on the device of another tensor.
pub(crate) fn empty<const D: usize>(like: &CubeTensor, shape: [usize; D]) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, Shape::new(shape), DType::F32)
}

/// A row of numbers on the device of another tensor.
pub(crate) fn from_numbers(like: &CubeTensor, numbers: Vec<f32>) -> CubeTensor {
    let handle = like.client.create_from_slice(f32::as_bytes(&numbers));
    let (client, device) = (like.client.clone(), like.device.clone());
    let shape = Shape::new([numbers.len()]);
    CubeTensor::new_contiguous(client, device, shape, handle, DType::F32)
}

/// The tensor with a dimension and the next exchanged, laid out anew.
pub(crate) fn transposed(tensor: CubeTensor, dimension: usize) -> CubeTensor {
    into_contiguous(CubeBackend::float_swap_dims(
        tensor,
        dimension,
        dimension + 1,
    ))
}

/// `[batch_size, seq_length, width]` a step later, with what precedes the first.
pub(crate) fn before(start: FloatTensor<Cube>, steps: FloatTensor<Cube>) -> FloatTensor<Cube> {
    let [batch_size, seq_length, width] = steps.shape().dims();
    let start = Cube::float_reshape(start, Shape::new([batch_size, 1, width]));
    if seq_length == 1 {
        return start;
    }
    let others = [0..batch_size, 0..seq_length - 1, 0..width];
    let others = Cube::float_slice(steps, &others.map(Slice::from));
    Cube::float_cat(vec![start, others], 1)
}

/// Some columns: a range of the last dimension.
pub(crate) fn columns(tensor: &FloatTensor<Cube>, range: Range<usize>) -> FloatTensor<Cube> {
    let shape = tensor.shape();
    let last = shape.num_dims() - 1;
    let slices: Vec<Slice> = (0..=last)
        .map(|dimension| match dimension == last {
            true => Slice::from(range.clone()),
            false => Slice::from(0..shape[dimension]),
        })
        .collect();
    Cube::float_slice(tensor.clone(), &slices)
}
