//! What Sparse Attentive Backtracking recalled, and where its gradients go.

use alloc::vec::Vec;

use burn::tensor::{Int, Tensor, TensorData};

use super::state::SameStep;
use super::{Combination, Sab, SabOutput, SabState, SparseAttention};
use crate::ops::sab::Memories;
use crate::ops::scan;
use crate::recurrent::{check_input, empty_output, state_or_initial};
use crate::{Recurrent, RecurrentCell};

/// What [`Sab::forward_traced`] yields.
#[derive(Clone, Debug)]
pub struct SabTrace<S> {
    /// As of [`forward`](Recurrent::forward).
    pub output: Tensor<3>,
    /// The state after the last step.
    pub state: SabState<S>,
    /// The memories that took part in each step, by number: `[batch_size, seq_length, most that took part (at least 1)]`, -1 where
    /// fewer did. Memories are numbered from 0 in the order in which they were stored, those of the given state first.
    pub indices: Tensor<3, Int>,
    /// Their weights, in the same shape.
    pub weights: Tensor<3>,
    /// The step of this sequence, from 0, whose state each memory is; `None` for those of the given state.
    pub stored_at: Vec<Option<usize>>,
    paths: Paths,
}

/// On which ways gradients go.
#[derive(Clone, Debug)]
struct Paths {
    /// Whether the cell is cut before each step.
    is_cut: Vec<bool>,
    replay: bool,
    /// Whether an output, and whether a state, depends on what its step recalled.
    output_recalls: bool,
    state_recalls: bool,
}

impl<C: RecurrentCell> Sab<C> {
    /// [`forward`](Recurrent::forward) that also tells what each step recalled.
    ///
    /// # Panics
    /// As [`forward`](Recurrent::forward), and unless all samples of the state have taken as many steps and have as many memories.
    #[track_caller]
    pub fn forward_traced(
        &self,
        input: Tensor<3>,
        state: Option<SabState<C::State>>,
    ) -> SabTrace<C::State> {
        check_input(&input, self.d_input());
        let [batch_size, seq_length, _] = input.dims();
        let state = state_or_initial(self, &input, state);
        if batch_size == 0 {
            return self.trace_of_no_samples(&input, state);
        }
        assert!(
            state.is_of_one_time(),
            "the samples of the state have taken {:?} steps and have {:?} memories; a trace is of samples that have the same",
            state.steps,
            state.n_memories
        );
        let scoring = self.attention.as_ref().map(SparseAttention::scoring);
        let walk = self.walk_from(state.into_same_step(), scoring.as_ref());
        let given = walk.memories.as_ref().map_or(0, Memories::count);
        let mut stored_at = alloc::vec![None; given];
        let mut is_cut = Vec::with_capacity(seq_length);
        let mut steps = Vec::with_capacity(seq_length);
        let like = input.clone().inner();
        let (output, walk) = scan(self.project(input), walk, |projected_t, walk| {
            is_cut.push(self.config.options().is_cut_after(walk.step));
            let held = walk.memories.as_ref().map_or(0, Memories::count);
            let dropped = stored_at.len() - held;
            let step = self.step_traced(projected_t, walk, scoring.as_ref());
            steps.push(step.attended.map(|attended| {
                let numbers = attended.indices + dropped as i64;
                (numbers, attended.weights.inner())
            }));
            if self.is_stored_after(step.walk.step) {
                stored_at.push(Some(is_cut.len() - 1));
            }
            (step.output, step.walk)
        });
        let widths = steps.iter().flatten().map(|(_, weights)| weights.dims()[1]);
        let most = widths.max().unwrap_or(0).max(1);
        let (indices, weights) = steps
            .into_iter()
            .map(|step| padded(step, batch_size, most, &like))
            .unzip();
        SabTrace {
            output,
            state: SameStep::from(walk).into_state(batch_size),
            indices: Tensor::stack(indices, 1),
            weights: Tensor::stack(weights, 1),
            stored_at,
            paths: self.paths(is_cut),
        }
    }

    fn paths(&self, is_cut: Vec<bool>) -> Paths {
        let state_recalls = self.config.combination != Combination::OutputOnly;
        let output_recalls = self.config.output == SabOutput::HiddenAndSummary;
        Paths {
            is_cut,
            replay: self.config.replay,
            output_recalls: state_recalls || output_recalls,
            state_recalls,
        }
    }

    /// What there is to say of no samples: no memory takes part, and no sample can be asked for.
    fn trace_of_no_samples(
        &self,
        input: &Tensor<3>,
        state: SabState<C::State>,
    ) -> SabTrace<C::State> {
        let [_, seq_length, _] = input.dims();
        let (device, dtype) = (input.device(), input.dtype());
        SabTrace {
            output: empty_output(self, input),
            state,
            indices: Tensor::zeros([0, seq_length, 1], &device),
            weights: Tensor::zeros([0, seq_length, 1], (&device, dtype)),
            stored_at: Vec::new(),
            paths: self.paths(alloc::vec![false; seq_length]),
        }
    }
}

/// Indices and weights of a step, followed by -1 and 0 up to `most`.
fn padded(
    step: Option<(Tensor<2, Int>, Tensor<2>)>,
    batch_size: usize,
    most: usize,
    like: &Tensor<3>,
) -> (Tensor<2, Int>, Tensor<2>) {
    let (device, dtype) = (like.device(), like.dtype());
    let taken = step.as_ref().map_or(0, |(_, weights)| weights.dims()[1]);
    let rest = [batch_size, most - taken];
    let nothing = TensorData::new(alloc::vec![-1_i64; rest[0] * rest[1]], rest);
    let nothing = Tensor::from_data(nothing, &device);
    let zeros = Tensor::zeros(rest, (&device, dtype));
    match step {
        None => (nothing, zeros),
        Some(step) if taken == most => step,
        Some((indices, weights)) => (
            Tensor::cat(alloc::vec![indices, nothing], 1),
            Tensor::cat(alloc::vec![weights, zeros], 1),
        ),
    }
}

impl<S> SabTrace<S> {
    /// The weight of each memory at each step of a sample, `[seq_length][number of memories]`, 0 where it did not take part.
    ///
    /// # Panics
    /// If there is no such sample.
    #[track_caller]
    pub fn attention_map(&self, sample: usize) -> Vec<Vec<f32>> {
        let weights: Vec<f32> = self
            .weights
            .clone()
            .narrow(0, sample, 1)
            .try_into_vec_as()
            .expect("a tensor that was computed can be read");
        let numbers = self.numbers(sample);
        let width = self.weights.dims()[2];
        let mut map = alloc::vec![alloc::vec![0.0; self.stored_at.len()]; numbers.len()];
        for ((row, numbers), weights) in map.iter_mut().zip(&numbers).zip(weights.chunks(width)) {
            for (number, weight) in numbers.iter().zip(weights) {
                row[*number] = *weight;
            }
        }
        map
    }

    /// Which steps' inputs receive gradient from the output of step `from` of a sample: along the cell up to a cut, and
    /// through the memories that took part, from whose steps it goes on. A memory whose weight is cut to 0 counts where its
    /// score is the threshold of the others.
    ///
    /// # Panics
    /// If there is no such sample or step.
    #[track_caller]
    pub fn gradient_reaches(&self, sample: usize, from: usize) -> Vec<bool> {
        self.reached(&self.numbers(sample), from)
    }

    /// [`gradient_reaches`](Self::gradient_reaches) for the output of every step: `[seq_length][seq_length]`, the replay map.
    ///
    /// # Panics
    /// If there is no such sample.
    #[track_caller]
    pub fn replay_map(&self, sample: usize) -> Vec<Vec<bool>> {
        let numbers = self.numbers(sample);
        let steps = 0..numbers.len();
        steps.map(|from| self.reached(&numbers, from)).collect()
    }

    fn reached(&self, numbers: &[Vec<usize>], from: usize) -> Vec<bool> {
        let paths = &self.paths;
        let mut reached = alloc::vec![false; numbers.len()];
        reached[from] = true;
        for step in (0..=from).rev() {
            if !reached[step] {
                continue;
            }
            let recalls = match step == from {
                true => paths.output_recalls,
                false => paths.state_recalls,
            };
            if recalls && paths.replay {
                let stored = numbers[step].iter().map(|number| self.stored_at[*number]);
                for origin in stored.flatten() {
                    reached[origin] = true;
                }
            }
            if step > 0 && !paths.is_cut[step] {
                reached[step - 1] = true;
            }
        }
        reached
    }

    /// The memories that took part in each step of a sample.
    #[track_caller]
    fn numbers(&self, sample: usize) -> Vec<Vec<usize>> {
        let [_, seq_length, width] = self.indices.dims();
        let numbers: Vec<i64> = self
            .indices
            .clone()
            .narrow(0, sample, 1)
            .try_into_vec_as()
            .expect("a tensor that was computed can be read");
        let of_step = |step: usize| {
            let numbers = numbers[step * width..][..width].iter();
            numbers
                .filter_map(|number| usize::try_from(*number).ok())
                .collect()
        };
        (0..seq_length).map(of_step).collect()
    }
}
