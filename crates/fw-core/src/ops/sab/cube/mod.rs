//! The whole sequence in one launch on a GPU: CubeCL kernels, one source for wgpu and CUDA.

mod backward;
mod choice;
mod forward;
mod gradients;
mod launch;
mod plan;
mod scores;
mod steps;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use super::operation::{COUNT, Each, Inputs, InputsMetadata, Names, output_and_cell};
use super::{CellKind, FusedCell, Recall};
use crate::ops::Spans;
use crate::ops::cube::hardware;
use crate::ops::operation::{Place, on_cube};
use plan::{Lengths, Plan};

/// The sequence by the kernel: the output `[batch_size, seq_length, d_hidden or twice that]`, and the last c of an LSTM; nothing,
/// where there is no kernel, of an sLSTM, or for spans that are not those of a batch. Everything is computed in f32, and comes back in the input's type.
#[track_caller]
pub(crate) fn sequence(
    projected: &Tensor<3>,
    cell: &FusedCell,
    recall: Recall,
    spans: &Spans,
) -> Option<(Tensor<3>, Option<Tensor<2>>)> {
    if !spans.are_of_batch() || cell.kind == CellKind::SLstm {
        return None;
    }
    let dtype = projected.dtype();
    let [batch_size, seq_length, _] = projected.dims();
    let [d_hidden, _] = cell.w_hidden.dims();
    let hardware = hardware(&projected.device(), dtype, batch_size)?;
    let options = recall.options;
    let recall = Recall {
        scoring: recall.scoring.filter(|_| options.top_k != Some(0)),
        ..recall
    };
    let inputs = Inputs::new(projected, cell, recall, spans, Place::on_cube(projected));
    let attention = recall
        .scoring
        .map(|scoring| (scoring.query.dims()[1], scoring.score));
    let plan = Plan::new(
        cell.kind,
        d_hidden,
        attention,
        options,
        recall.yields_summary,
        &hardware,
    )?;
    let n_given = match recall.memories {
        Some(memories) if recall.scoring.is_some() => memories.dims()[1],
        _ => 0,
    };
    let stored = (1..=seq_length).filter(|t| options.is_stored_after(recall.first_step + t));
    let n_memories = n_given + stored.count();
    let request = Request {
        plan,
        n_given,
        n_memories,
        slots: match options.top_k {
            // And the one that may give the threshold.
            Some(top_k) => n_memories.min(top_k.saturating_add(1)),
            None => n_memories,
        },
        first_step: recall.first_step,
    };
    let results = Tensor::<1>::from_dispatch(<Dispatch as SabOnCube>::sab(inputs, request));
    let results = results.cast(dtype);
    Some(output_and_cell(results, spans, cell, recall.yields_summary))
}

/// What the operation is to do.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    plan: Plan,
    n_given: usize,
    n_memories: usize,
    slots: usize,
    first_step: usize,
}

impl Request {
    /// The same, keeping what the backward pass reads.
    fn keeping(mut self) -> Self {
        self.plan.keeps = true;
        self
    }

    fn lengths(&self, batch_size: usize, seq_length: usize) -> Lengths {
        Lengths {
            batch_size,
            seq_length,
            n_memories: self.n_memories,
            slots: self.slots,
        }
    }
}

on_cube! {
    /// Every output row, then the last c of an LSTM, in one row of numbers.
    SabOnCube::sab, SabPasses::{sab_forward, sab_backward}: Request;
    |request, [batch_size, seq_length] of projected|
    Tape {
        results: [request.plan.results(request.lengths(batch_size, seq_length))],
        /// `[batch_size, seq_length, width of a row]`.
        rows: request.plan.tape_shape(request.lengths(batch_size, seq_length)),
        /// `[batch_size, seq_length, 3 slots]`.
        chosen: request.plan.chosen_shape(request.lengths(batch_size, seq_length)),
        /// `[batch_size, n_memories, d_attention]`.
        keys: request.plan.keys_shape(request.lengths(batch_size, seq_length)),
    }
    Gradients {
        /// `[batch_size, seq_length, width of a row]`.
        rows: request.plan.slopes_shape(request.lengths(batch_size, seq_length)),
        /// `[batch_size, n_memories, d_hidden]`, and `[.., d_attention]`.
        memories: request.plan.memories_shape(request.lengths(batch_size, seq_length)),
        keys: request.plan.keys_shape(request.lengths(batch_size, seq_length)),
        /// `[batch_size, d_attention]`.
        v: request.plan.v_shape(request.lengths(batch_size, seq_length)),
        /// Of h and c, `[batch_size, 2 d_hidden]`.
        start: request.plan.start_shape(request.lengths(batch_size, seq_length)),
    }
}

#[cfg(all(test, any(feature = "wgpu", feature = "cuda")))]
mod tests;
