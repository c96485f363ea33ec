//! What Sparse Attentive Backtracking carries.

use burn::tensor::{DType, Device, Tensor};

use crate::{RecurrentState, StateData, StateError};

/// What [`Sab`](crate::Sab) carries from step to step.
#[derive(Clone, Debug)]
pub struct SabState<S> {
    /// The cell's state, its hidden part being h.
    pub cell: S,
    /// The stored states, `[batch_size, n, d_hidden]`, oldest first; `None` while there is none.
    pub memories: Option<Tensor<3>>,
    /// Steps so far: they say where the cell is cut and when a state is stored.
    pub step: usize,
}

impl<S: RecurrentState> RecurrentState for SabState<S> {
    fn detach(self) -> Self {
        SabState {
            cell: self.cell.detach(),
            memories: self.memories.detach(),
            step: self.step,
        }
    }

    fn to_device(self, device: &Device) -> Self {
        SabState {
            cell: self.cell.to_device(device),
            memories: self.memories.to_device(device),
            step: self.step,
        }
    }

    fn check_batch(&self, batch_size: usize, dtype: DType) -> Result<(), StateError> {
        self.cell.check_batch(batch_size, dtype)?;
        self.memories.check_batch(batch_size, dtype)
    }

    fn to_data(&self) -> StateData {
        StateData::List(alloc::vec![
            self.cell.to_data(),
            self.memories.to_data(),
            StateData::Number(self.step),
        ])
    }

    fn from_data(data: StateData, device: &Device) -> Result<Self, StateError> {
        let [cell, memories, step] = data.into_parts()?;
        Ok(SabState {
            cell: S::from_data(cell, device)?,
            memories: RecurrentState::from_data(memories, device)?,
            step: step.into_number()?,
        })
    }
}
