//! One step alone, on the CPU and without a graph: what is remembered grows where it lies.

use burn::tensor::Tensor;

use super::{Sab, SabOutput, SabState};
use crate::ops::sab::{Recalling, Scoring};
use crate::recurrent::{check_width, expect_state, is_stepped_by_kernel};
use crate::{ExecutionPath, Recurrent, RecurrentCell};

impl<C: RecurrentCell> Sab<C> {
    /// Whether such a step is at hand: if so, whether its state is stored, of all samples or of none.
    pub(super) fn is_stepped_alone(
        &self,
        input_t: &Tensor<2>,
        state: &SabState<C::State>,
    ) -> Option<bool> {
        let mut stored = state
            .steps
            .iter()
            .map(|step| self.is_stored_after(step + 1));
        let is_stored = stored.next()?;
        let is_one = stored.all(|other| other == is_stored);
        let is_asked = self.config.path != ExecutionPath::Composed;
        (is_one && is_asked && is_stepped_by_kernel(input_t)).then_some(is_stored)
    }

    #[track_caller]
    pub(super) fn step_alone(
        &self,
        input_t: Tensor<2>,
        state: SabState<C::State>,
        scoring: &Scoring,
        is_stored: bool,
    ) -> (Tensor<2>, SabState<C::State>) {
        check_width(input_t.dims()[1], self.d_input());
        expect_state(self, &state, &input_t);
        let (candidate, cell) = self.cell.step(input_t, state.cell);
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
        (output, state)
    }
}
