//! What Sparse Attentive Backtracking carries.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use burn::tensor::{DType, Device, Tensor};

use crate::ops::rows;
#[cfg(feature = "flex")]
use crate::ops::sab::MemoryStore;
use crate::{RecurrentState, StateData, StateError, StateMapper};

/// What [`Sab`](crate::Sab) carries from step to step. Each sample has a time of its own.
#[derive(Clone, Debug)]
pub struct SabState<S> {
    /// The cell's state, its hidden part being h.
    pub cell: S,
    /// The stored states, `[batch_size, n, d_hidden]`, oldest first; `None` while there is none. Where a sample has fewer than n, its own are the
    /// last ones.
    pub memories: Option<Tensor<3>>,
    /// How many memories each sample has.
    pub n_memories: Vec<usize>,
    /// Steps of each sample so far: they say where the cell is cut and when a state is stored.
    pub steps: Vec<usize>,
    /// Where the memories lie, if there is room for more behind them, and their keys.
    #[cfg(feature = "flex")]
    pub(super) store: Option<MemoryStore>,
}

/// A state whose samples are all at the same step, with as many memories.
pub(super) struct SameStep<S> {
    pub(super) cell: S,
    pub(super) memories: Option<Tensor<3>>,
    pub(super) step: usize,
}

impl<S> SabState<S> {
    /// A state of `batch_size` samples that have all taken `step` steps, and have all of the memories.
    pub fn new(cell: S, memories: Option<Tensor<3>>, step: usize, batch_size: usize) -> Self {
        let n = memories.as_ref().map_or(0, |memories| memories.dims()[1]);
        SabState {
            cell,
            memories,
            n_memories: vec![n; batch_size],
            steps: vec![step; batch_size],
            #[cfg(feature = "flex")]
            store: None,
        }
    }

    /// How many memories the sample that has most of them has.
    fn most_memories(&self) -> usize {
        self.memories
            .as_ref()
            .map_or(0, |memories| memories.dims()[1])
    }

    /// Of each sample the steps that it has taken and the memories that it has.
    pub(super) fn times(&self) -> impl Iterator<Item = (usize, usize)> {
        self.steps
            .iter()
            .copied()
            .zip(self.n_memories.iter().copied())
    }

    /// Whether they are the same of all samples.
    pub(super) fn is_of_one_time(&self) -> bool {
        let first = self.times().next();
        self.times().all(|time| Some(time) == first)
    }

    /// The step of the first sample, which must be that of all.
    pub(super) fn into_same_step(self) -> SameStep<S> {
        SameStep {
            cell: self.cell,
            memories: self.memories,
            step: self.steps.first().copied().unwrap_or(0),
        }
    }

    /// An error unless there are as many times and numbers of memories as samples, and as many memories as are said.
    pub(super) fn check_samples(&self, batch_size: usize) -> Result<(), StateError> {
        for (name, counts) in [("steps", &self.steps), ("n_memories", &self.n_memories)] {
            if counts.len() != batch_size {
                let n = counts.len();
                let problem =
                    format!("the state has {name} of {n} samples; the input has {batch_size}");
                return Err(StateError::new(problem));
            }
        }
        let (given, most) = (self.n_memories.iter().max(), self.most_memories());
        match given {
            Some(given) if *given != most => Err(StateError::new(format!(
                "the state has {most} memories; its n_memories is {given} at most, and must come to that"
            ))),
            _ => Ok(()),
        }
    }
}

impl<S> SameStep<S> {
    pub(super) fn into_state(self, batch_size: usize) -> SabState<S> {
        SabState::new(self.cell, self.memories, self.step, batch_size)
    }
}

/// The memories with room for older ones that are not there.
fn padded(memories: Tensor<3>, most: usize) -> Tensor<3> {
    let [batch_size, n, width] = memories.dims();
    if n == most {
        return memories;
    }
    let like = (&memories.device(), memories.dtype());
    Tensor::cat(
        vec![Tensor::zeros([batch_size, most - n, width], like), memories],
        1,
    )
}

impl<S: RecurrentState> RecurrentState for SabState<S> {
    fn detach(self) -> Self {
        SabState {
            cell: self.cell.detach(),
            memories: self.memories.detach(),
            ..self
        }
    }

    fn to_device(self, device: &Device) -> Self {
        SabState {
            cell: self.cell.to_device(device),
            memories: self.memories.to_device(device),
            ..self
        }
    }

    fn check_batch(&self, batch_size: usize, dtype: DType) -> Result<(), StateError> {
        self.cell.check_batch(batch_size, dtype)?;
        self.memories.check_batch(batch_size, dtype)?;
        self.check_samples(batch_size)
    }

    fn batch_size(&self) -> Option<usize> {
        Some(self.steps.len())
    }

    fn select_samples(self, samples: &[usize]) -> Self {
        let of = |counts: &[usize]| samples.iter().map(|sample| counts[*sample]).collect();
        let n_memories: Vec<usize> = of(&self.n_memories);
        let most = n_memories.iter().copied().max().unwrap_or(0);
        let memories = self.memories.filter(|_| most > 0).map(|memories| {
            let memories = rows(memories, samples);
            let n = memories.dims()[1];
            match n == most {
                true => memories,
                false => memories.narrow(1, n - most, most),
            }
        });
        SabState {
            cell: self.cell.select_samples(samples),
            memories,
            steps: of(&self.steps),
            n_memories,
            #[cfg(feature = "flex")]
            store: None,
        }
    }

    fn cat_samples(states: Vec<Self>) -> Result<Self, StateError> {
        let most = states.iter().map(SabState::most_memories).max();
        let most = most.expect("at least one state");
        let like = states.iter().find_map(|state| state.memories.clone());
        let memories = like.map(|like| {
            let [_, _, width] = like.dims();
            let of = |state: &SabState<S>| match &state.memories {
                Some(memories) => padded(memories.clone(), most),
                None => {
                    let shape = [state.steps.len(), most, width];
                    Tensor::zeros(shape, (&like.device(), like.dtype()))
                }
            };
            RecurrentState::cat_samples(states.iter().map(of).collect())
        });
        Ok(SabState {
            memories: memories.transpose()?,
            n_memories: states
                .iter()
                .flat_map(|state| state.n_memories.clone())
                .collect(),
            steps: states
                .iter()
                .flat_map(|state| state.steps.clone())
                .collect(),
            cell: S::cat_samples(states.into_iter().map(|state| state.cell).collect())?,
            #[cfg(feature = "flex")]
            store: None,
        })
    }

    fn map_tensors<M: StateMapper>(self, mapper: &mut M) -> Self {
        SabState {
            cell: self.cell.map_tensors(mapper),
            memories: self.memories.map_tensors(mapper),
            ..self
        }
    }

    /// The cell's, the memories, and the step, where it is that of all samples; else how many memories each sample has, and the step of each.
    fn to_data(&self) -> StateData {
        let mut parts = vec![self.cell.to_data(), self.memories.to_data()];
        let counts = |counts: &[usize]| {
            StateData::List(counts.iter().copied().map(StateData::Number).collect())
        };
        match self.steps.first() {
            Some(step) if self.is_of_one_time() => parts.push(StateData::Number(*step)),
            _ => parts.extend([counts(&self.n_memories), counts(&self.steps)]),
        }
        StateData::List(parts)
    }

    fn from_data(data: StateData, device: &Device) -> Result<Self, StateError> {
        if matches!(&data, StateData::List(parts) if parts.len() == 4) {
            let [cell, memories, n_memories, steps] = data.into_parts()?;
            return Ok(SabState {
                cell: S::from_data(cell, device)?,
                memories: RecurrentState::from_data(memories, device)?,
                n_memories: n_memories.into_numbers()?,
                steps: steps.into_numbers()?,
                #[cfg(feature = "flex")]
                store: None,
            });
        }
        let [cell, memories, step] = data.into_parts()?;
        let cell = S::from_data(cell, device)?;
        let memories: Option<Tensor<3>> = RecurrentState::from_data(memories, device)?;
        let batch_size = cell.batch_size().or(memories.batch_size()).unwrap_or(0);
        Ok(SabState::new(
            cell,
            memories,
            step.into_number()?,
            batch_size,
        ))
    }
}
