//! What recurrent layers carry from step to step.

use core::fmt::Debug;

use alloc::vec::Vec;

use burn::tensor::{Device, Tensor};

use crate::{AssociativeLstmState, FastWeightsState, LstmState, Memory, NtmState, SabState};

/// What a [recurrent layer](crate::Recurrent) carries from one step to the next: tensors, or a struct, list or option of such.
///
/// A sequence that is too long for one backward pass is learned from piece by piece, by truncated backpropagation through time:
/// each piece begins with the state that the last one left, cut from its graph.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{NtmConfig, Recurrent, RecurrentState};
///
/// let device = Device::flex().autodiff();
/// let layer = NtmConfig::new(3, 8).with_memory_size(16).with_word_size(4).init(&device);
/// let mut state = None;
/// for _ in 0..3 {
///     let piece = Tensor::ones([2, 5, 3], &device);
///     let (output, last) = layer.forward(piece, state);
///     let gradients = output.sum().backward(); // of this piece alone
///     # let _ = gradients;
///     state = Some(last.detach());
/// }
/// ```
pub trait RecurrentState: Clone + Debug + Send {
    /// The same numbers, cut from the graph that made them.
    fn detach(self) -> Self;

    /// The same numbers on another device.
    fn to_device(self, device: &Device) -> Self;
}

impl<const D: usize> RecurrentState for Tensor<D> {
    fn detach(self) -> Self {
        Tensor::detach(self)
    }

    fn to_device(self, device: &Device) -> Self {
        Tensor::to_device(self, device)
    }
}

impl<S: RecurrentState> RecurrentState for Option<S> {
    fn detach(self) -> Self {
        self.map(S::detach)
    }

    fn to_device(self, device: &Device) -> Self {
        self.map(|state| state.to_device(device))
    }
}

impl<S: RecurrentState> RecurrentState for Vec<S> {
    fn detach(self) -> Self {
        self.into_iter().map(S::detach).collect()
    }

    fn to_device(self, device: &Device) -> Self {
        let states = self.into_iter();
        states.map(|state| state.to_device(device)).collect()
    }
}

/// A struct of states.
macro_rules! struct_of_states {
    ($state:ident { $($field:ident),+ }) => {
        impl RecurrentState for $state {
            fn detach(self) -> Self {
                $state { $($field: self.$field.detach()),+ }
            }

            fn to_device(self, device: &Device) -> Self {
                $state { $($field: self.$field.to_device(device)),+ }
            }
        }
    };
}

struct_of_states!(LstmState { hidden, cell });
struct_of_states!(AssociativeLstmState { hidden, memory });
struct_of_states!(FastWeightsState { hidden, memory });
struct_of_states!(NtmState {
    controller,
    memory,
    reads,
    weights
});

impl RecurrentState for Memory {
    fn detach(self) -> Self {
        match self {
            Memory::Matrix(matrix) => Memory::Matrix(matrix.detach()),
            Memory::History { start, writes } => Memory::History {
                start: start.detach(),
                writes: writes.detach(),
            },
        }
    }

    fn to_device(self, device: &Device) -> Self {
        match self {
            Memory::Matrix(matrix) => Memory::Matrix(matrix.to_device(device)),
            Memory::History { start, writes } => Memory::History {
                start: start.to_device(device),
                writes: writes.to_device(device),
            },
        }
    }
}

/// Without the keys: they are computed anew from parameters that may have changed.
impl<S: RecurrentState> RecurrentState for SabState<S> {
    fn detach(self) -> Self {
        SabState {
            cell: self.cell.detach(),
            memories: self.memories.detach(),
            keys: None,
            step: self.step,
        }
    }

    fn to_device(self, device: &Device) -> Self {
        SabState {
            cell: self.cell.to_device(device),
            memories: self.memories.to_device(device),
            keys: None,
            step: self.step,
        }
    }
}
