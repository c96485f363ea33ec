//! Checks of what operations rely on.

use burn::tensor::{DType, Tensor};

/// Panics unless a shape is the one that an operation relies on.
#[track_caller]
pub(crate) fn expect_shape<const D: usize>(name: &str, actual: [usize; D], expected: [usize; D]) {
    assert!(
        actual == expected,
        "{name} has shape {actual:?}; it must be {expected:?}"
    );
}

/// Panics unless a tensor has the shape and the type that an operation relies on.
#[track_caller]
pub(crate) fn check<const D: usize>(
    name: &str,
    tensor: &Tensor<D>,
    expected: [usize; D],
    dtype: DType,
) {
    expect_shape(name, tensor.dims(), expected);
    let actual = tensor.dtype();
    assert!(
        actual == dtype,
        "{name} is {actual:?}; the input is {dtype:?}"
    );
}
