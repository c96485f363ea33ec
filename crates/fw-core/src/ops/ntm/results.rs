//! From a state to what a kernel reads, and back from what it yields.

use alloc::vec::Vec;

use burn::tensor::Tensor;

use super::State;
use crate::ops::{LstmState, Spans};

impl State {
    /// A part of the state of each layer of the controller, side by side; nothing, if none carries one.
    pub(super) fn of_layers(&self, part: fn(&LstmState) -> &Tensor<2>) -> Option<Tensor<2>> {
        joined(self.controller.iter().map(part).cloned().collect(), 1)
    }
}

/// Tensors one after another; nothing, if there is none.
pub(super) fn joined<const D: usize>(
    mut tensors: Vec<Tensor<D>>,
    dimension: usize,
) -> Option<Tensor<D>> {
    match tensors.len() {
        0 | 1 => tensors.pop(),
        _ => Some(Tensor::cat(tensors, dimension)),
    }
}

/// Every output row and the last states that are asked for, from the numbers that a kernel lays end to end: outputs, memory,
/// weightings, then h and c of all layers. `like` is a state of the same machine.
pub(super) fn output_and_state(
    results: Tensor<1>,
    spans: &Spans,
    like: &State,
    d_hidden: usize,
) -> (Tensor<3>, State) {
    let n_ends = spans.n_ends();
    let [_, memory_size, word_size] = like.memory.dims();
    let (n_read, n_heads) = (like.reads.dims()[1], like.weights.dims()[1]);
    let n_states = like.controller.len();
    let mut first = 0;
    let mut take = |numbers: usize| {
        // Burn cannot narrow to nothing.
        if numbers == 0 {
            return Tensor::zeros([0], (&results.device(), results.dtype()));
        }
        let taken = results.clone().narrow(0, first, numbers);
        first += numbers;
        taken
    };
    let d_reads = n_read * word_size;
    let width = d_hidden + d_reads;
    let [batch_size, seq_length] = spans.shape();
    let output = take(spans.n_rows() * width).reshape([batch_size, seq_length, width]);
    let memory = take(n_ends * memory_size * word_size);
    let weights = take(n_ends * n_heads * memory_size);
    let mut of_layers = || -> Vec<Tensor<2>> {
        let all = match n_states {
            0 => return Vec::new(),
            _ => take(n_ends * n_states * d_hidden),
        };
        let all = all.reshape([n_ends, n_states * d_hidden]);
        let layers = 0..n_states;
        layers
            .map(|layer| all.clone().narrow(1, layer * d_hidden, d_hidden))
            .collect()
    };
    let (hidden, cell) = (of_layers(), of_layers());
    let layers = hidden.into_iter().zip(cell);
    let last = spans.last_of(output.clone());
    let state = State {
        controller: layers
            .map(|(hidden, cell)| LstmState { hidden, cell })
            .collect(),
        memory: memory.reshape([n_ends, memory_size, word_size]),
        reads: last
            .narrow(1, d_hidden, d_reads)
            .reshape([n_ends, n_read, word_size]),
        weights: weights.reshape([n_ends, n_heads, memory_size]),
    };
    (output, state)
}
