//! What a layer of any type carries.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt::{Debug, Formatter};

use burn::tensor::{DType, Device, Tensor};

use crate::{RecurrentState, StateData, StateError, StateMapper};

/// What an [`AnyLayer`](crate::AnyLayer) carries: the state of the layer within.
///
/// Which type of state some [data](RecurrentState::to_data) are of is known to the layer alone: they are read with
/// [`Recurrent::state_from_data`](crate::Recurrent::state_from_data), and [`from_data`](RecurrentState::from_data) is an error.
pub struct AnyState(Box<dyn State>);

impl AnyState {
    /// A state of a type that is no longer to be seen.
    pub fn new<S: RecurrentState + 'static>(state: S) -> Self {
        AnyState(Box::new(state))
    }

    /// The state, if it is of this type.
    pub fn downcast_ref<S: 'static>(&self) -> Option<&S> {
        self.0.as_any().downcast_ref()
    }

    /// The state, if it is of this type, and else the whole again.
    ///
    /// # Errors
    /// The state itself, if it is of another type.
    pub fn downcast<S: 'static>(self) -> Result<S, Self> {
        match self.downcast_ref::<S>().is_some() {
            true => Ok(*self.0.into_any().downcast().expect("it was looked at")),
            false => Err(self),
        }
    }

    pub(super) fn of_another_layer() -> StateError {
        StateError::new("the state is of a layer of another type")
    }
}

impl Clone for AnyState {
    fn clone(&self) -> Self {
        AnyState(self.0.copy())
    }
}

impl Debug for AnyState {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A [`RecurrentState`] whose type is not known.
trait State: Debug + Send {
    fn copy(&self) -> Box<dyn State>;
    fn as_any(&self) -> &dyn Any;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
    fn detach(self: Box<Self>) -> Box<dyn State>;
    fn to_device(self: Box<Self>, device: &Device) -> Box<dyn State>;
    fn check_batch(&self, batch_size: usize, dtype: DType) -> Result<(), StateError>;
    fn batch_size(&self) -> Option<usize>;
    fn select_samples(self: Box<Self>, samples: &[usize]) -> Box<dyn State>;
    fn with_samples(self: Box<Self>, others: Vec<AnyState>) -> Result<Box<dyn State>, StateError>;
    fn repeat_samples(self: Box<Self>, times: usize) -> Box<dyn State>;
    fn map_tensors(self: Box<Self>, mapper: &mut dyn AnyStateMapper) -> Box<dyn State>;
    fn to_data(&self) -> StateData;
}

impl<S: RecurrentState + 'static> State for S {
    fn copy(&self) -> Box<dyn State> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }

    fn detach(self: Box<Self>) -> Box<dyn State> {
        Box::new((*self).detach())
    }

    fn to_device(self: Box<Self>, device: &Device) -> Box<dyn State> {
        Box::new((*self).to_device(device))
    }

    fn check_batch(&self, batch_size: usize, dtype: DType) -> Result<(), StateError> {
        self.check_batch(batch_size, dtype)
    }

    fn batch_size(&self) -> Option<usize> {
        self.batch_size()
    }

    fn select_samples(self: Box<Self>, samples: &[usize]) -> Box<dyn State> {
        Box::new((*self).select_samples(samples))
    }

    fn with_samples(self: Box<Self>, others: Vec<AnyState>) -> Result<Box<dyn State>, StateError> {
        let mut states = alloc::vec![*self];
        for other in others {
            let state = other.downcast::<S>();
            states.push(state.map_err(|_| AnyState::of_another_layer())?);
        }
        Ok(Box::new(S::cat_samples(states)?))
    }

    fn repeat_samples(self: Box<Self>, times: usize) -> Box<dyn State> {
        Box::new((*self).repeat_samples(times))
    }

    fn map_tensors(self: Box<Self>, mapper: &mut dyn AnyStateMapper) -> Box<dyn State> {
        Box::new((*self).map_tensors(&mut Mapper(mapper)))
    }

    fn to_data(&self) -> StateData {
        self.to_data()
    }
}

impl RecurrentState for AnyState {
    fn detach(self) -> Self {
        AnyState(self.0.detach())
    }

    fn to_device(self, device: &Device) -> Self {
        AnyState(self.0.to_device(device))
    }

    fn check_batch(&self, batch_size: usize, dtype: DType) -> Result<(), StateError> {
        self.0.check_batch(batch_size, dtype)
    }

    fn batch_size(&self) -> Option<usize> {
        self.0.batch_size()
    }

    fn select_samples(self, samples: &[usize]) -> Self {
        AnyState(self.0.select_samples(samples))
    }

    fn cat_samples(states: Vec<Self>) -> Result<Self, StateError> {
        let mut states = states.into_iter();
        let first = states.next();
        let first = first.ok_or_else(|| StateError::new("there are no states to join"))?;
        first.0.with_samples(states.collect()).map(AnyState)
    }

    fn repeat_samples(self, times: usize) -> Self {
        AnyState(self.0.repeat_samples(times))
    }

    fn map_tensors<M: StateMapper>(self, mapper: &mut M) -> Self {
        AnyState(self.0.map_tensors(mapper))
    }

    fn to_data(&self) -> StateData {
        self.0.to_data()
    }

    fn from_data(_data: StateData, _device: &Device) -> Result<Self, StateError> {
        Err(StateError::new(
            "of which type a state is, is known to its layer: read it with Recurrent::state_from_data",
        ))
    }
}

/// A [`StateMapper`] whose type is not known.
trait AnyStateMapper {
    fn map_any(&mut self, tensor: Box<dyn Any>) -> Box<dyn Any>;
}

impl<M: StateMapper> AnyStateMapper for M {
    fn map_any(&mut self, tensor: Box<dyn Any>) -> Box<dyn Any> {
        macro_rules! by_rank {
            ($($rank:literal),*) => {$(
                let tensor = match tensor.downcast::<Tensor<$rank>>() {
                    Ok(tensor) => return Box::new(self.map(*tensor)),
                    Err(other) => other,
                };
            )*
            drop(tensor);
            };
        }
        by_rank!(1, 2, 3, 4, 5);
        panic!("a tensor of an AnyState must have between 1 and 5 dimensions")
    }
}

struct Mapper<'a>(&'a mut dyn AnyStateMapper);

impl StateMapper for Mapper<'_> {
    fn map<const D: usize>(&mut self, tensor: Tensor<D>) -> Tensor<D> {
        let mapped = self.0.map_any(Box::new(tensor));
        *mapped.downcast().expect("a mapper keeps the rank")
    }
}
