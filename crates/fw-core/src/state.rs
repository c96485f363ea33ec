//! What recurrent layers carry from step to step.

use core::fmt::Debug;

use alloc::vec::Vec;

use alloc::format;

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::StateError;

/// A state as plain data, to be kept in a file or looked at: see [`RecurrentState::to_data`].
#[derive(Clone, Debug, PartialEq)]
pub enum StateData {
    /// A tensor's numbers, its shape and its type.
    Tensor(TensorData),
    /// A count, such as that of the steps so far.
    Number(usize),
    /// Parts, in the order of their fields; of an option one part or none.
    List(Vec<StateData>),
}

impl StateData {
    /// The parts of a state that has as many.
    ///
    /// # Errors
    /// If it has others.
    pub fn into_parts<const N: usize>(self) -> Result<[StateData; N], StateError> {
        let parts = match self {
            StateData::List(parts) => parts,
            other => alloc::vec![other],
        };
        let n = parts.len();
        let wrong = |_| StateError::new(format!("the state has {n} parts; it must have {N}"));
        parts.try_into().map_err(wrong)
    }

    /// The count that it is.
    ///
    /// # Errors
    /// If it is none.
    pub fn into_number(self) -> Result<usize, StateError> {
        match self {
            StateData::Number(number) => Ok(number),
            _ => Err(StateError::new(
                "a part of the state is no number; it must be one",
            )),
        }
    }
}

/// What a [recurrent layer](crate::Recurrent) carries from one step to the next: tensors, or a struct, list or option of such. For a
/// struct of states the macro [`recurrent_state`](crate::recurrent_state) implements it.
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

    /// An error unless every tensor of it is of this batch, its first dimension, and of this type.
    fn check_batch(&self, batch_size: usize, dtype: DType) -> Result<(), StateError>;

    /// The same numbers as plain data.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use fw_core::{LstmConfig, LstmState, Recurrent, RecurrentState};
    ///
    /// let device = Device::flex();
    /// let layer = LstmConfig::new(3, 8).init(&device);
    /// let (_, state) = layer.forward(Tensor::ones([2, 5, 3], &device), None);
    /// let kept = state.to_data();
    ///
    /// let again = LstmState::from_data(kept.clone(), &device)?;
    /// assert_eq!(again.to_data(), kept);
    /// # Ok::<(), fw_core::StateError>(())
    /// ```
    fn to_data(&self) -> StateData;

    /// The state of which [`to_data`](Self::to_data) is `data`. Whether it fits a layer,
    /// [`check_state`](crate::Recurrent::check_state) tells.
    ///
    /// # Errors
    /// If the data are of another kind of state.
    fn from_data(data: StateData, device: &Device) -> Result<Self, StateError>;
}

impl<const D: usize> RecurrentState for Tensor<D> {
    fn detach(self) -> Self {
        Tensor::detach(self)
    }

    fn to_device(self, device: &Device) -> Self {
        Tensor::to_device(self, device)
    }

    fn check_batch(&self, batch_size: usize, dtype: DType) -> Result<(), StateError> {
        let (given, own) = (self.dims()[0], self.dtype());
        if own != dtype {
            let problem = format!("the state is {own:?}; the input is {dtype:?}");
            return Err(StateError::new(problem));
        }
        match given == batch_size {
            true => Ok(()),
            false => Err(StateError::new(format!(
                "the state has batch_size {given}; the input has {batch_size}"
            ))),
        }
    }

    fn to_data(&self) -> StateData {
        StateData::Tensor(Tensor::to_data(self))
    }

    fn from_data(data: StateData, device: &Device) -> Result<Self, StateError> {
        let StateData::Tensor(data) = data else {
            return Err(StateError::new(
                "a part of the state is no tensor; it must be one",
            ));
        };
        let (rank, dtype) = (data.shape().len(), data.dtype());
        if rank != D || !dtype.is_float() {
            return Err(StateError::new(format!(
                "a part of the state is a tensor of {rank} dimensions and type {dtype:?}; it must have {D}, of floats"
            )));
        }
        Ok(Tensor::from_data(data, (device, dtype)))
    }
}

impl<S: RecurrentState> RecurrentState for Option<S> {
    fn detach(self) -> Self {
        self.map(S::detach)
    }

    fn to_device(self, device: &Device) -> Self {
        self.map(|state| state.to_device(device))
    }

    fn check_batch(&self, batch_size: usize, dtype: DType) -> Result<(), StateError> {
        let mut parts = self.iter();
        parts.try_for_each(|part| part.check_batch(batch_size, dtype))
    }

    fn to_data(&self) -> StateData {
        StateData::List(self.iter().map(S::to_data).collect())
    }

    fn from_data(data: StateData, device: &Device) -> Result<Self, StateError> {
        let mut parts = Vec::<S>::from_data(data, device)?;
        match parts.len() {
            0 | 1 => Ok(parts.pop()),
            n => Err(StateError::new(format!(
                "a part of the state is there {n} times; it must be there once, or not at all"
            ))),
        }
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

    fn check_batch(&self, batch_size: usize, dtype: DType) -> Result<(), StateError> {
        let mut parts = self.iter();
        parts.try_for_each(|part| part.check_batch(batch_size, dtype))
    }

    fn to_data(&self) -> StateData {
        StateData::List(self.iter().map(S::to_data).collect())
    }

    fn from_data(data: StateData, device: &Device) -> Result<Self, StateError> {
        let StateData::List(parts) = data else {
            return Err(StateError::new(
                "a part of the state is no list; it must be one",
            ));
        };
        let parts = parts.into_iter();
        parts.map(|part| S::from_data(part, device)).collect()
    }
}

macro_rules! tuples {
    ($(($($state:ident $index:tt),+)),+) => {$(
        /// Of layers of different types: see [`Stack`](crate::Stack).
        impl<$($state: RecurrentState),+> RecurrentState for ($($state,)+) {
            fn detach(self) -> Self {
                ($(self.$index.detach(),)+)
            }

            fn to_device(self, device: &Device) -> Self {
                ($(self.$index.to_device(device),)+)
            }

            fn check_batch(&self, batch_size: usize, dtype: DType) -> Result<(), StateError> {
                $(self.$index.check_batch(batch_size, dtype)?;)+
                Ok(())
            }

            fn to_data(&self) -> StateData {
                StateData::List([$(self.$index.to_data()),+].into_iter().collect())
            }

            fn from_data(data: StateData, device: &Device) -> Result<Self, StateError> {
                let mut parts = data.into_parts::<{ [$($index),+].len() }>()?.into_iter();
                let mut next = || parts.next().expect("as many parts as were asked for");
                Ok(($($state::from_data(next(), device)?,)+))
            }
        }
    )+};
}

tuples!((A 0, B 1), (A 0, B 1, C 2), (A 0, B 1, C 2, D 3));

/// Implements [`RecurrentState`] for a struct of states.
///
/// ```
/// use burn::tensor::Tensor;
/// use fw_core::{LstmState, recurrent_state};
///
/// #[derive(Clone, Debug)]
/// struct Both {
///     inner: LstmState,
///     mean: Tensor<2>,
/// }
/// recurrent_state!(Both { inner, mean });
/// ```
#[macro_export]
macro_rules! recurrent_state {
    ($state:ident { $($field:ident),+ $(,)? }) => {
        impl $crate::RecurrentState for $state {
            fn detach(self) -> Self {
                $state { $($field: $crate::RecurrentState::detach(self.$field)),+ }
            }

            fn to_device(self, device: &::burn::tensor::Device) -> Self {
                $state { $($field: $crate::RecurrentState::to_device(self.$field, device)),+ }
            }

            fn check_batch(
                &self,
                batch_size: usize,
                dtype: ::burn::tensor::DType,
            ) -> Result<(), $crate::StateError> {
                $($crate::RecurrentState::check_batch(&self.$field, batch_size, dtype)?;)+
                Ok(())
            }

            fn to_data(&self) -> $crate::StateData {
                $crate::StateData::List(
                    [$($crate::RecurrentState::to_data(&self.$field)),+].into_iter().collect(),
                )
            }

            fn from_data(
                data: $crate::StateData,
                device: &::burn::tensor::Device,
            ) -> Result<Self, $crate::StateError> {
                let [$($field),+] = data.into_parts()?;
                Ok($state { $($field: $crate::RecurrentState::from_data($field, device)?),+ })
            }
        }
    };
}
