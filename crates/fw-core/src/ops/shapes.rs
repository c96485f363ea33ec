//! Checks of what kernels rely on.

use burn::tensor::{DType, Tensor};

/// Panics unless a tensor has the shape and the type that a kernel relies on.
#[track_caller]
pub(crate) fn check<const D: usize>(
    name: &str,
    tensor: &Tensor<D>,
    expected: [usize; D],
    dtype: DType,
) {
    let actual = tensor.dims();
    assert!(
        actual == expected,
        "{name} has shape {actual:?}; it must be {expected:?}"
    );
    let actual = tensor.dtype();
    assert!(
        actual == dtype,
        "{name} is {actual:?}; the input is {dtype:?}"
    );
}
