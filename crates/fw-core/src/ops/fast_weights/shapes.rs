//! What every kernel of the mechanism relies on.

use super::{Input, Memory, State, Weights};
use crate::ops::shapes::check;

/// Panics unless every tensor has the shape and the type that the kernel relies on.
#[track_caller]
pub(super) fn check_shapes(input: &Input, state: &State, weights: &Weights) {
    let [batch_size, seq_length, width] = input.tensor().dims();
    let d_hidden = weights.hidden.dims()[0];
    assert!(
        batch_size > 0 && seq_length > 0 && d_hidden > 0,
        "batch_size, seq_length and d_hidden are {batch_size}, {seq_length} and {d_hidden}; each must be at least 1"
    );
    let dtype = input.tensor().dtype();
    match input {
        Input::Raw(_) => {
            check(
                "the input's weight",
                &weights.input,
                [width, d_hidden],
                dtype,
            );
            check("the bias", &weights.bias, [d_hidden], dtype);
        }
        Input::Projected(projected) => {
            let expected = [batch_size, seq_length, d_hidden];
            check("the projected input", projected, expected, dtype);
        }
    }
    check(
        "the recurrent weight",
        &weights.hidden,
        [d_hidden, d_hidden],
        dtype,
    );
    if let Some(norm) = &weights.norm {
        check("the normalisation's gain", &norm.gain, [d_hidden], dtype);
        check("the normalisation's bias", &norm.bias, [d_hidden], dtype);
    }
    check(
        "the hidden state",
        &state.hidden,
        [batch_size, d_hidden],
        dtype,
    );
    let square = [batch_size, d_hidden, d_hidden];
    let (matrix, writes) = match &state.memory {
        Memory::Matrix(matrix) => (Some(matrix), None),
        Memory::History { start, writes } => (start.as_ref(), writes.as_ref()),
    };
    if let Some(matrix) = matrix {
        check("the memory", matrix, square, dtype);
    }
    if let Some(writes) = writes {
        let expected = [batch_size, writes.dims()[1], d_hidden];
        check("the history", writes, expected, dtype);
    }
}
