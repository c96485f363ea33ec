//! Checks of what operations rely on.

use core::fmt::Display;

use alloc::format;

use burn::tensor::{DType, Tensor};

use crate::StateError;
use crate::error::expect_fits;

/// Panics unless a shape is the one that an operation relies on.
#[track_caller]
pub(crate) fn expect_shape<const D: usize>(name: &str, actual: [usize; D], expected: [usize; D]) {
    expect_fits(has_shape(name, actual, expected));
}

/// Panics unless a tensor has the shape and the type that an operation relies on.
#[track_caller]
pub(crate) fn check<const D: usize>(
    name: impl Display,
    tensor: &Tensor<D>,
    expected: [usize; D],
    dtype: DType,
) {
    expect_fits(fits(name, tensor, expected, dtype));
}

/// An error unless a part of a state has the shape and the type that it must have.
pub(crate) fn fits<const D: usize>(
    name: impl Display,
    tensor: &Tensor<D>,
    expected: [usize; D],
    dtype: DType,
) -> Result<(), StateError> {
    let actual = tensor.dtype();
    if actual != dtype {
        let problem = format!("{name} is {actual:?}; the input is {dtype:?}");
        return Err(StateError::new(problem));
    }
    has_shape(name, tensor.dims(), expected)
}

fn has_shape<const D: usize>(
    name: impl Display,
    actual: [usize; D],
    expected: [usize; D],
) -> Result<(), StateError> {
    match actual == expected {
        true => Ok(()),
        false => Err(StateError::new(format!(
            "{name} has shape {actual:?}; it must be {expected:?}"
        ))),
    }
}
