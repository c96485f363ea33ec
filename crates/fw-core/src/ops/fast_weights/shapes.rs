//! What a sequence and a step rely on, on every path: Burn's products broadcast a batch of another size, or read beyond it.

use burn::tensor::{DType, Tensor};

use super::{FastMemory, MOST_INNER_STEPS, Options, State, Weights};
use crate::StateError;
use crate::error::expect_fits;
use crate::ops::shapes::{check, fits};
use crate::ops::{Sequence, Spans};

/// Panics unless every tensor of a sequence has the shape and the type that it must have. The spans are those of the input, if it is a batch; else
/// its rows are one behind the other, `[1, n_rows, width]`.
#[track_caller]
pub(super) fn check_sequence(
    input: &Sequence,
    spans: &Spans,
    state: &State,
    weights: &Weights,
    options: &Options,
) {
    let [batch_size, seq_length, width] = input.tensor().dims();
    let d_hidden = weights.hidden.dims()[0];
    assert!(
        batch_size > 0 && seq_length > 0 && d_hidden > 0,
        "batch_size, seq_length and d_hidden are {batch_size}, {seq_length} and {d_hidden}; each must be at least 1"
    );
    let n_rows = spans.n_rows();
    assert!(
        batch_size * seq_length == n_rows,
        "the input has {} steps; the spans have {n_rows}",
        batch_size * seq_length
    );
    let dtype = input.tensor().dtype();
    match input {
        Sequence::Raw(_) => check(
            "the input's weight",
            &weights.input,
            [width, d_hidden],
            dtype,
        ),
        Sequence::Projected(projected) => {
            let expected = [batch_size, seq_length, d_hidden];
            check("the projected input", projected, expected, dtype);
        }
    }
    check_rest(spans.n_samples(), dtype, state, weights, options);
}

/// Panics unless every tensor of a step has the shape and the type that it must have.
#[track_caller]
pub(super) fn check_step(
    projected_t: &Tensor<2>,
    state: &State,
    weights: &Weights,
    options: &Options,
) {
    let [batch_size, _] = projected_t.dims();
    let d_hidden = weights.hidden.dims()[0];
    let dtype = projected_t.dtype();
    let expected = [batch_size, d_hidden];
    check("the projected input", projected_t, expected, dtype);
    check_rest(batch_size, dtype, state, weights, options);
}

#[track_caller]
fn check_rest(
    batch_size: usize,
    dtype: DType,
    state: &State,
    weights: &Weights,
    options: &Options,
) {
    assert!(
        options.inner_steps <= MOST_INNER_STEPS,
        "inner_steps is {}; it must be at most {MOST_INNER_STEPS}",
        options.inner_steps
    );
    let d_hidden = weights.hidden.dims()[0];
    let square = [d_hidden, d_hidden];
    check("the recurrent weight", &weights.hidden, square, dtype);
    check("the bias", &weights.bias, [d_hidden], dtype);
    if let Some(norm) = &weights.norm {
        check("the normalisation's gain", &norm.gain, [d_hidden], dtype);
        check("the normalisation's bias", &norm.bias, [d_hidden], dtype);
    }
    expect_fits(state.check([batch_size, d_hidden], dtype));
}

impl State {
    /// An error unless every part is of this batch, this width and this type.
    pub(crate) fn check(
        &self,
        [batch_size, d_hidden]: [usize; 2],
        dtype: DType,
    ) -> Result<(), StateError> {
        let row = [batch_size, d_hidden];
        fits("the hidden state", &self.hidden, row, dtype)?;
        let (matrix, writes) = match &self.memory {
            FastMemory::Matrix(matrix) => (Some(matrix), None),
            FastMemory::History { start, writes } => (start.as_ref(), writes.as_ref()),
        };
        if let Some(matrix) = matrix {
            let expected = [batch_size, d_hidden, d_hidden];
            fits("the memory", matrix, expected, dtype)?;
        }
        if let Some(writes) = writes {
            let n = writes.dims()[1];
            fits("the history", writes, [batch_size, n, d_hidden], dtype)?;
            if n == 0 {
                let problem =
                    "the history has 0 writes; it must be none (`None`), or have at least one";
                return Err(StateError::new(problem));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use alloc::string::String;

    use burn::tensor::Device;

    use super::super::trials::{BATCH_SIZE, D_HIDDEN, Leaves, Start, options};
    use super::super::{ExecutionPath, MemoryForm, fast_weights_traced, sequence, step};
    use super::*;

    fn refusal(run: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("it is refused");
        *panic.downcast().expect("a panic with a message")
    }

    /// What a sequence on each path, a traced one and a step say of a state and options.
    fn assert_refused(state: &State, options: &Options, expected: &str) {
        let device = Device::flex();
        let Leaves { input, weights, .. } =
            Leaves::new(2, Start::Nothing, true, &device, DType::F64);
        for path in [ExecutionPath::Composed, ExecutionPath::Fused] {
            let (input, state) = (Sequence::Raw(input.clone()), state.clone());
            let run = || {
                drop(sequence(
                    input,
                    state,
                    &weights,
                    options,
                    MemoryForm::Auto,
                    path,
                ))
            };
            assert_eq!(refusal(run), expected, "{path:?}");
        }
        let run = || {
            drop(fast_weights_traced(
                input.clone(),
                state.clone(),
                &weights,
                options,
            ))
        };
        assert_eq!(refusal(run), expected, "traced");
        let projected_t = Tensor::zeros([BATCH_SIZE, D_HIDDEN], (&device, DType::F64));
        let run = || drop(step(projected_t, state.clone(), &weights, options));
        assert_eq!(refusal(run), expected, "a step");
    }

    fn zeros<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        Tensor::zeros(shape, (&Device::flex(), DType::F64))
    }

    fn state(hidden: [usize; 2], memory: FastMemory) -> State {
        let hidden = zeros(hidden);
        State { hidden, memory }
    }

    #[test]
    fn states_that_do_not_fit_are_refused_on_every_path() {
        let (b, h) = (BATCH_SIZE, D_HIDDEN);
        let matrix = |shape| FastMemory::Matrix(zeros(shape));
        let history = |shape| FastMemory::History {
            start: None,
            writes: Some(zeros(shape)),
        };
        for (state, expected) in [
            (
                state([b, 8], FastMemory::empty()),
                "the hidden state has shape [5, 8]; it must be [5, 9]",
            ),
            (
                state([1, h], matrix([1, h, h])),
                "the hidden state has shape [1, 9]; it must be [5, 9]",
            ),
            (
                state([b, h], matrix([3, h, h])),
                "the memory has shape [3, 9, 9]; it must be [5, 9, 9]",
            ),
            (
                state([b, h], history([1, 4, h])),
                "the history has shape [1, 4, 9]; it must be [5, 4, 9]",
            ),
        ] {
            assert_refused(&state, &options(1), expected);
        }
    }

    #[test]
    fn more_inner_steps_than_can_be_counted_are_refused_on_every_path() {
        let state = state([BATCH_SIZE, D_HIDDEN], FastMemory::empty());
        let expected = "inner_steps is 65537; it must be at most 65536";
        assert_refused(&state, &options(MOST_INNER_STEPS + 1), expected);
    }

    #[test]
    #[should_panic(expected = "the projected input has shape [5, 2, 3]; it must be [5, 2, 9]")]
    fn a_projected_input_of_another_width_is_refused() {
        let device = Device::flex();
        let Leaves { input, weights, .. } =
            Leaves::new(2, Start::Nothing, true, &device, DType::F64);
        let state = state([BATCH_SIZE, D_HIDDEN], FastMemory::empty());
        let input = Sequence::Projected(input);
        sequence(
            input,
            state,
            &weights,
            &options(1),
            MemoryForm::Auto,
            ExecutionPath::Auto,
        );
    }
}
