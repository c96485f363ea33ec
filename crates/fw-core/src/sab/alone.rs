//! One step alone, on the CPU and without a graph: what is remembered grows where it lies.

use burn::tensor::Tensor;

use super::{Sab, SabOutput, SabState};
use crate::ops::sab::{Recalling, Scoring};
use crate::recurrent::is_stepped_by_kernel;
use crate::{ExecutionPath, RecurrentCell};

impl<C: RecurrentCell> Sab<C> {
    /// What a step alone scores with, and whether its state is stored, by all samples or by none; nothing, where it is composed, or a sequence's.
    /// The state must fit.
    pub(super) fn alone(
        &self,
        projected: &Tensor<3>,
        state: &SabState<C::State>,
    ) -> Option<(Scoring, bool)> {
        let [_, seq_length, _] = projected.dims();
        let is_asked = self.config.path != ExecutionPath::Composed && seq_length == 1;
        if !is_asked || !is_stepped_by_kernel(projected) {
            return None;
        }
        let scoring = self.attention.as_ref()?.scoring();
        let steps = state.steps.iter();
        let mut stored = steps.map(|step| self.is_stored_after(step + 1));
        let is_stored = stored.next()?;
        let is_one = stored.all(|other| other == is_stored);
        is_one.then_some((scoring, is_stored))
    }

    /// That step, from the projected input, `[batch_size, 1, any]`.
    #[track_caller]
    pub(super) fn step_alone(
        &self,
        projected: Tensor<3>,
        state: SabState<C::State>,
        scoring: &Scoring,
        is_stored: bool,
    ) -> (Tensor<3>, SabState<C::State>) {
        let (candidate, cell) = self.cell.forward_projected(projected, Some(state.cell));
        let candidate = candidate.squeeze_dim(1);
        let options = self.config.options();
        let recalled = Recalling {
            candidate,
            memories: state.memories,
            store: state.store,
            counts: &state.n_memories,
            scoring,
            options: &options,
            is_stored,
        }
        .run();
        let most = recalled
            .memories
            .as_ref()
            .map_or(0, |memories| memories.dims()[1]);
        let counts = state.n_memories.iter();
        let counts = counts.map(|count| (count + usize::from(is_stored)).min(most));
        let output = match self.config.output {
            SabOutput::HiddenAndSummary => {
                Tensor::cat(alloc::vec![recalled.hidden.clone(), recalled.summary], 1)
            }
            SabOutput::Hidden => recalled.hidden.clone(),
        };
        let state = SabState {
            cell: C::with_hidden(cell, recalled.hidden),
            memories: recalled.memories,
            n_memories: counts.collect(),
            steps: state.steps.iter().map(|step| step + 1).collect(),
            store: Some(recalled.store),
        };
        (output.unsqueeze_dim(1), state)
    }
}
