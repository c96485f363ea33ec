//! The delta rule of a net that sees its own last output.

use alloc::vec::Vec;

use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{DType, Device, Tensor};

use crate::StateError;
use crate::error::expect_fits;
use crate::ops::cut;
use crate::ops::precision::{in_type, widened};
use crate::ops::shapes::{check, fits};

/// What a [`recurrent_delta`] carries from step to step.
#[derive(Clone, Debug)]
pub struct RecurrentDeltaState {
    /// S, `[batch_size, n_heads, d_key, d_key]`.
    pub memory: Tensor<4>,
    /// o of the step before, `[batch_size, n_heads, d_key]`.
    pub output: Tensor<3>,
}

crate::recurrent_state!(RecurrentDeltaState { memory, output });

impl RecurrentDeltaState {
    /// Zeros, for so many samples, heads and numbers in a head.
    pub(crate) fn zeros(
        [batch_size, n_heads, d_key]: [usize; 3],
        options: (&Device, DType),
    ) -> Self {
        RecurrentDeltaState {
            memory: Tensor::zeros([batch_size, n_heads, d_key, d_key], options),
            output: Tensor::zeros([batch_size, n_heads, d_key], options),
        }
    }

    /// An error unless it has the shapes for so many samples, heads and numbers in a head, and this type.
    pub(crate) fn check(
        &self,
        [batch_size, n_heads, d_key]: [usize; 3],
        dtype: DType,
    ) -> Result<(), StateError> {
        let memory = [batch_size, n_heads, d_key, d_key];
        fits("the memory", &self.memory, memory, dtype)?;
        let output = [batch_size, n_heads, d_key];
        fits("the last output", &self.output, output, dtype)
    }
}

/// Matrix memories written by the delta rule, where keys, values, queries and write strengths depend on the last output as well (Irie, Schlag, Csordás,
/// Schmidhuber 2021, "Going Beyond Linear Transformers with Recurrent Fast Weight Programmers").
///
/// ```text
/// q, k, v, b = x_t + tanh(o_{t-1}) R                        each head, from its own output
/// k = softmax(k)     q = softmax(q)     β = σ(b)
/// S <- S + β k (v - Sᵀ k)ᵀ
/// o_t = Sᵀ q
/// ```
///
/// where `x_t` is what the input gives, and R a matrix for each head. What is written depends on what was read before, so that the steps are taken one after another.
///
/// # Shapes
/// - given, x: `[batch_size, seq_length, n_heads, 3 d_key + 1]`, in the order q, k, v, b
/// - recurrent, R: `[n_heads, d_key, 3 d_key + 1]`, in the same order
/// - outputs: `[batch_size, seq_length, n_heads, d_key]`
///
/// Numbers in half precision are computed with in single precision, and the outputs and the state come back in half precision.
///
/// # Panics
/// If there are no samples, no steps, or a size is 0; or a shape or a type does not fit.
#[track_caller]
pub fn recurrent_delta(
    given: Tensor<4>,
    recurrent: Tensor<3>,
    state: RecurrentDeltaState,
) -> (Tensor<4>, RecurrentDeltaState) {
    let [batch_size, seq_length, n_heads, width] = given.dims();
    let [_, d_key, _] = recurrent.dims();
    assert!(
        batch_size > 0 && seq_length > 0 && n_heads > 0 && d_key > 0,
        "batch_size, seq_length, n_heads and d_key are {batch_size}, {seq_length}, {n_heads} and {d_key}; each must be at least 1"
    );
    assert!(
        width == 3 * d_key + 1,
        "the input gives {width} numbers a head; heads of {d_key} take {}",
        3 * d_key + 1
    );
    let dtype = given.dtype();
    check(
        "the recurrent weight",
        &recurrent,
        [n_heads, d_key, width],
        dtype,
    );
    expect_fits(state.check([batch_size, n_heads, d_key], dtype));

    let recurrent: Tensor<4> = widened(recurrent).unsqueeze_dim(0);
    let mut memory = widened(state.memory);
    let mut output: Tensor<4> = widened(state.output).unsqueeze_dim(2); // [B, H, 1, D]
    let mut outputs = Vec::with_capacity(seq_length);
    for step in cut(widened(given), 1, &alloc::vec![1; seq_length]) {
        let step = step.reshape([batch_size, n_heads, 1, width]);
        let all = step + output.tanh().matmul(recurrent.clone());
        let part = |index: usize, width| all.clone().narrow(3, index * d_key, width);
        let (query, key) = (softmax(part(0, d_key), 3), softmax(part(1, d_key), 3));
        let strength = sigmoid(part(3, 1));
        let error = part(2, d_key) - key.clone().matmul(memory.clone());
        // Of one row, dimensions change their places for nothing.
        let column = key.reshape([batch_size, n_heads, d_key, 1]);
        memory = memory + column.matmul(error * strength);
        output = query.matmul(memory.clone());
        outputs.push(output.clone().reshape([batch_size, 1, n_heads, d_key]));
    }
    let state = RecurrentDeltaState {
        memory: in_type(memory, dtype),
        output: in_type(output.squeeze_dim(2), dtype),
    };
    (in_type(Tensor::cat(outputs, 1), dtype), state)
}
