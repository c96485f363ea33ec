//! Tensors that kernels write.

use alloc::vec::Vec;

use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl::prelude::CubeElement;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

/// Room for numbers in f32, on the device of another tensor.
pub(crate) fn empty<const D: usize>(like: &CubeTensor, shape: [usize; D]) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, Shape::new(shape), DType::F32)
}

/// A row of numbers on the device of another tensor.
pub(crate) fn from_numbers(like: &CubeTensor, numbers: Vec<f32>) -> CubeTensor {
    let handle = like.client.create_from_slice(f32::as_bytes(&numbers));
    let (client, device) = (like.client.clone(), like.device.clone());
    CubeTensor::new_contiguous(
        client,
        device,
        Shape::new([numbers.len()]),
        handle,
        DType::F32,
    )
}
