//! What a DeltaNet carries from step to step.

use burn::tensor::{DType, Tensor};

use crate::StateError;
use crate::ops::shapes::fits;

/// State of [`DeltaNet`](super::DeltaNet).
#[derive(Clone, Debug)]
pub struct DeltaNetState {
    /// S, `[batch_size, n_heads, d_key, d_value]`.
    pub memory: Tensor<4>,
    /// What the convolution still sees of the last steps: the projections of queries, keys and values, side by side, `[batch_size, size - 1, width]`,
    /// the oldest first. `None` without a convolution, or with one that sees one step.
    pub recent: Option<Tensor<3>>,
}

impl DeltaNetState {
    /// An error unless it has these shapes and this type.
    pub(super) fn check(
        &self,
        memory: [usize; 4],
        recent: Option<[usize; 3]>,
        dtype: DType,
    ) -> Result<(), StateError> {
        fits("the memory", &self.memory, memory, dtype)?;
        match (&self.recent, recent) {
            (Some(given), Some(expected)) => fits("the recent steps", given, expected, dtype),
            (None, None) => Ok(()),
            (Some(_), None) => Err(StateError::new(
                "the state has recent steps; without a convolution over steps it must have none (`None`)",
            )),
            (None, Some(_)) => Err(StateError::new(
                "the state has no recent steps; with a convolution over steps it must have them",
            )),
        }
    }
}

crate::recurrent_state!(DeltaNetState { memory, recent });
