//! What recurrent layers carry from step to step.

use core::fmt::Debug;

use alloc::vec::Vec;

use alloc::format;

use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::StateError;
use crate::ops::rows;

/// A state as plain data, to be kept in a file or looked at: see [`RecurrentState::to_data`]. It can be written in any format of
/// [serde](https://serde.rs).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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

    /// The parts of a list, however many.
    ///
    /// # Errors
    /// If it is no list.
    pub fn into_list(self) -> Result<Vec<StateData>, StateError> {
        match self {
            StateData::List(parts) => Ok(parts),
            _ => Err(StateError::new(
                "a part of the state is no list; it must be one",
            )),
        }
    }

    /// The counts that it is a list of.
    ///
    /// # Errors
    /// If it is none of counts.
    pub fn into_numbers(self) -> Result<Vec<usize>, StateError> {
        match self {
            StateData::List(parts) => parts.into_iter().map(StateData::into_number).collect(),
            _ => Err(StateError::new(
                "a part of the state is no list; it must be one of numbers",
            )),
        }
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

    /// How many samples it is of; `None`, if it has no tensor that would tell.
    fn batch_size(&self) -> Option<usize>;

    /// The state of chosen samples, in the order in which they are named. A sample may be chosen once, several times or not at all.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use fw_core::{LstmConfig, LstmState, Recurrent, RecurrentState};
    ///
    /// let device = Device::flex();
    /// let layer = LstmConfig::new(1, 4).init(&device);
    /// let input = Tensor::<3>::from_data([[[1.0]], [[2.0]], [[3.0]]], &device); // three samples of one step
    /// let (_, state) = layer.forward(input, None);
    ///
    /// let of_two = state.clone().select_samples(&[2, 0]);
    /// assert_eq!(of_two.batch_size(), Some(2));
    /// let again = LstmState::cat_samples(vec![state.select_samples(&[2]), of_two.clone().select_samples(&[1])])?;
    /// assert_eq!(again.to_data(), of_two.to_data());
    /// # Ok::<(), fw_core::StateError>(())
    /// ```
    ///
    /// # Panics
    /// If there is no such sample.
    #[track_caller]
    fn select_samples(self, samples: &[usize]) -> Self;

    /// The samples of all states, one state after another.
    ///
    /// # Errors
    /// If the states cannot be joined, such as where one has a part that another has not. States of one layer can be, once
    /// [`Recurrent::uniform`](crate::Recurrent::uniform) has brought them into one form.
    ///
    /// # Panics
    /// If there is no state at all.
    #[track_caller]
    fn cat_samples(states: Vec<Self>) -> Result<Self, StateError>;

    /// Every sample `times` times, one after another: as many beginnings for a search, or for several answers. A state without tensors stays
    /// what it is.
    fn repeat_samples(self, times: usize) -> Self {
        let Some(batch_size) = self.batch_size() else {
            return self;
        };
        let samples = (0..batch_size).flat_map(|sample| core::iter::repeat_n(sample, times));
        let samples: Vec<usize> = samples.collect();
        self.select_samples(&samples)
    }

    /// The state with each of its tensors replaced, in the order in which [`to_data`](Self::to_data) lists them.
    fn map_tensors<M: StateMapper>(self, mapper: &mut M) -> Self;

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

/// What [`RecurrentState::map_tensors`] does with each tensor of a state.
pub trait StateMapper {
    /// The tensor that takes the place of another.
    fn map<const D: usize>(&mut self, tensor: Tensor<D>) -> Tensor<D>;
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

    fn batch_size(&self) -> Option<usize> {
        Some(self.dims()[0])
    }

    fn select_samples(self, samples: &[usize]) -> Self {
        let n = self.dims()[0];
        if let Some(sample) = samples.iter().find(|sample| **sample >= n) {
            panic!("sample {sample} is asked for; the state has {n}");
        }
        rows(self, samples)
    }

    fn cat_samples(states: Vec<Self>) -> Result<Self, StateError> {
        let first = states.first().expect("at least one state").dims();
        for state in &states {
            let dims = state.dims();
            if dims[1..] != first[1..] {
                return Err(StateError::new(format!(
                    "a part of the states has shape {first:?} in one and {dims:?} in another; all but the first number must be the same"
                )));
            }
        }
        Ok(Tensor::cat(states, 0))
    }

    fn map_tensors<M: StateMapper>(self, mapper: &mut M) -> Self {
        mapper.map(self)
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

    fn batch_size(&self) -> Option<usize> {
        self.as_ref().and_then(S::batch_size)
    }

    fn select_samples(self, samples: &[usize]) -> Self {
        self.map(|state| state.select_samples(samples))
    }

    fn cat_samples(states: Vec<Self>) -> Result<Self, StateError> {
        let n_states = states.len();
        let states: Vec<S> = states.into_iter().flatten().collect();
        match states.len() {
            0 => Ok(None),
            n if n == n_states => S::cat_samples(states).map(Some),
            n => Err(StateError::new(format!(
                "{n} of {n_states} states have a part that the others have not"
            ))),
        }
    }

    fn map_tensors<M: StateMapper>(self, mapper: &mut M) -> Self {
        self.map(|state| state.map_tensors(mapper))
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

    fn batch_size(&self) -> Option<usize> {
        self.first().and_then(S::batch_size)
    }

    fn select_samples(self, samples: &[usize]) -> Self {
        let states = self.into_iter();
        states.map(|state| state.select_samples(samples)).collect()
    }

    fn cat_samples(states: Vec<Self>) -> Result<Self, StateError> {
        let n = states.first().expect("at least one state").len();
        if let Some(other) = states.iter().map(Vec::len).find(|other| *other != n) {
            return Err(StateError::new(format!(
                "there are {n} states of layers in one and {other} in another; there must be as many"
            )));
        }
        let mut of_states: Vec<_> = states.into_iter().map(Vec::into_iter).collect();
        let layers = (0..n).map(|_| of_states.iter_mut().filter_map(Iterator::next).collect());
        layers.map(S::cat_samples).collect()
    }

    fn map_tensors<M: StateMapper>(self, mapper: &mut M) -> Self {
        let states = self.into_iter();
        states.map(|state| state.map_tensors(mapper)).collect()
    }

    fn to_data(&self) -> StateData {
        StateData::List(self.iter().map(S::to_data).collect())
    }

    fn from_data(data: StateData, device: &Device) -> Result<Self, StateError> {
        let parts = data.into_list()?.into_iter();
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

            fn batch_size(&self) -> Option<usize> {
                [$(self.$index.batch_size()),+].into_iter().flatten().next()
            }

            fn select_samples(self, samples: &[usize]) -> Self {
                ($(self.$index.select_samples(samples),)+)
            }

            fn cat_samples(states: Vec<Self>) -> Result<Self, StateError> {
                Ok(($($state::cat_samples(states.iter().map(|state| state.$index.clone()).collect())?,)+))
            }

            fn map_tensors<M: StateMapper>(self, mapper: &mut M) -> Self {
                ($(self.$index.map_tensors(mapper),)+)
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

            fn batch_size(&self) -> Option<usize> {
                [$($crate::RecurrentState::batch_size(&self.$field)),+].into_iter().flatten().next()
            }

            fn select_samples(self, samples: &[usize]) -> Self {
                $state { $($field: $crate::RecurrentState::select_samples(self.$field, samples)),+ }
            }

            fn cat_samples(
                states: $crate::private::Vec<Self>,
            ) -> Result<Self, $crate::StateError> {
                Ok($state {
                    $($field: $crate::RecurrentState::cat_samples(
                        states.iter().map(|state| state.$field.clone()).collect(),
                    )?),+
                })
            }

            fn map_tensors<M: $crate::StateMapper>(self, mapper: &mut M) -> Self {
                $state { $($field: $crate::RecurrentState::map_tensors(self.$field, mapper)),+ }
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
