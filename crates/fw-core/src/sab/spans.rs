//! Sparse Attentive Backtracking over sequences of unequal lengths, by the kernel.

use alloc::vec;
use alloc::vec::Vec;
use core::iter::repeat_n;

use burn::tensor::Tensor;

use super::state::SameStep;
use super::{Sab, SabState, SparseAttention};
use crate::cell::{RecurrentCell, start_of_spans};
use crate::ops::{Spans, rows, takes_spans};
use crate::{ExecutionPath, Recurrent};

impl<C: RecurrentCell> Sab<C> {
    /// [`Recurrent::forward_spans`], for samples that are all at the same step and have as many memories.
    #[track_caller]
    pub(super) fn spans_by_kernel(
        &self,
        input: &Tensor<2>,
        state: Option<SabState<C::State>>,
        spans: &Spans,
    ) -> Option<(Tensor<2>, SabState<C::State>)> {
        let is_composed = self.config.path == ExecutionPath::Composed;
        if is_composed || !takes_spans(&input.device(), input.dtype()) {
            return None;
        }
        let state = start_of_spans(self, input, state, spans);
        if !state.is_of_one_time() {
            return None;
        }
        let mut state = state.into_same_step();
        state.memories = state.memories.map(|memories| self.newest(memories));
        let start = self.cell.fused(&state.cell)?;
        let scoring = self.attention.as_ref().map(SparseAttention::scoring);
        let projected = self.project(input.clone().unsqueeze_dim(0));
        let sequences = self.run_kernel(&projected, &start, &state, scoring.as_ref(), spans)?;
        let hidden = sequences.hidden.squeeze_dim(0);
        let (memories, n_memories) = self.memories_after_spans(&state, hidden, spans);
        let ending = spans.ending().into_iter();
        let state = SabState {
            cell: sequences.cell,
            memories,
            n_memories,
            steps: ending
                .map(|sample| state.step + spans.of(sample).n_steps)
                .collect(),
            #[cfg(feature = "flex")]
            store: None,
        };
        Some((sequences.output.squeeze_dim(0), self.uniform(state)))
    }

    /// The memories after spans with the hidden states `[n_rows, d_hidden]`, and how many each sample has, of those samples of which they are
    /// asked for.
    fn memories_after_spans(
        &self,
        state: &SameStep<C::State>,
        hidden: Tensor<2>,
        spans: &Spans,
    ) -> (Option<Tensor<3>>, Vec<usize>) {
        let [n_rows, d_hidden] = hidden.dims();
        let given = state.memories.clone();
        let n_given = given.as_ref().map_or(0, |given| given.dims()[1]);
        // Rows of the hidden states, then of the given memories, then one of zeros.
        let n_all_given = spans.n_samples() * n_given;
        let kept_of = |sample: usize| {
            let span = spans.of(sample);
            let is_stored = |t: &usize| self.is_stored_after(state.step + t + 1);
            let stored = (0..span.n_steps).filter(is_stored).map(|t| span.first + t);
            let given = n_rows + sample * n_given;
            let mut kept: Vec<usize> = (given..given + n_given).chain(stored).collect();
            let most = self.config.max_memories.unwrap_or(kept.len());
            kept.split_off(kept.len().saturating_sub(most))
        };
        let kept: Vec<Vec<usize>> = spans.ending().into_iter().map(kept_of).collect();
        let n_memories: Vec<usize> = kept.iter().map(Vec::len).collect();
        let most = n_memories.iter().copied().max().unwrap_or(0);
        if most == 0 {
            return (None, n_memories);
        }

        let mut all = vec![hidden];
        all.extend(given.map(|given| given.reshape([n_all_given, d_hidden])));
        if n_memories.iter().any(|n| *n < most) {
            let like = (&all[0].device(), all[0].dtype());
            all.push(Tensor::zeros([1, d_hidden], like));
        }
        let all = match all.len() {
            1 => all.remove(0),
            _ => Tensor::cat(all, 0),
        };
        let right_aligned = |kept: &Vec<usize>| {
            let absent = repeat_n(n_rows + n_all_given, most - kept.len());
            absent.chain(kept.clone())
        };
        let indices: Vec<usize> = kept.iter().flat_map(right_aligned).collect();
        let memories = rows(all, &indices).reshape([kept.len(), most, d_hidden]);
        let memories = match self.config.replay {
            true => memories,
            false => memories.detach(),
        };
        (Some(memories), n_memories)
    }
}
