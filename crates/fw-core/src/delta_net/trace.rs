//! What the memories of a DeltaNet hold, step by step.

use alloc::vec;
use alloc::vec::Vec;

use burn::tensor::Tensor;

use super::{DeltaNet, DeltaNetState};
use crate::matrix_memory_trace::recalled;
use crate::ops::matrix_memory::{LogDecay, Sequences, step};
use crate::ops::precision::{in_type, widened};
use crate::recurrent::{check_input, state_or_initial};
use crate::{DeltaNetTrace, MatrixMemoryTrace, Recurrent};

impl DeltaNet {
    /// [`forward`](Recurrent::forward) that also tells what the memories hold after each step: for heat maps.
    ///
    /// It takes the steps one after another, and gives the same numbers.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use fw_core::{DeltaNetConfig, WriteStrength};
    ///
    /// let device = Device::flex();
    /// device.seed(1);
    /// let config = DeltaNetConfig::new(3, 1, 4).with_write_strength(WriteStrength::One);
    /// let trace = config.init(&device).forward_traced(Tensor::ones([1, 2, 3], &device), None);
    /// let recall: Vec<f32> = trace.recall.try_into_vec_as().unwrap();
    /// // A whole write is there after its step; after the first step nothing of the second is.
    /// assert!(recall[0] > 0.99 && recall[1] == 0.0 && recall[3] > 0.99);
    /// ```
    ///
    /// # Panics
    /// As [`forward`](Recurrent::forward).
    #[track_caller]
    pub fn forward_traced(&self, input: Tensor<3>, state: Option<DeltaNetState>) -> DeltaNetTrace {
        check_input(&input, self.d_input());
        let state = state_or_initial(self, &input, state);
        if input.dims()[0] == 0 {
            let sizes = [self.options.n_heads, self.options.writes];
            return MatrixMemoryTrace::of_no_samples(self, &input, state, sizes);
        }
        let dtype = input.dtype();
        let parts = self.parts(self.project(input));
        let (mixed, recent) = self.convolved(parts.mixed, state.recent, self.options.path);
        let sequences = self.sequences(mixed, parts.strength, parts.decay);
        let write_strength = sequences.write_strength.clone();
        let decay = decay_of(&sequences);

        let [_, seq_length, _, _] = sequences.query.dims();
        let mut memory = widened(state.memory);
        let (mut reads, mut recall) = (Vec::new(), Vec::new());
        let steps = sequences.clone().cut(&vec![1; seq_length]);
        for (t, of_step) in steps.into_iter().enumerate() {
            let (read, next) = step(of_step, memory, self.options.rule);
            memory = next;
            reads.push(read);
            let n_done = (t + 1) * self.options.writes;
            recall.push(recalled(
                &sequences.key,
                &sequences.value,
                n_done,
                memory.clone(),
            ));
        }
        let read = Tensor::stack::<4>(reads, 1);
        MatrixMemoryTrace {
            output: self.outputs(read, parts.gate, dtype),
            state: DeltaNetState {
                memory: in_type(memory, dtype),
                recent,
            },
            recall: in_type(Tensor::cat(recall, 2), dtype),
            write_strength: in_type(write_strength, dtype),
            decay: in_type(decay, dtype),
        }
    }
}

/// What each step leaves of each head's memory.
fn decay_of(sequences: &Sequences) -> Tensor<3> {
    let [batch_size, seq_length, n_heads, _] = sequences.query.dims();
    match &sequences.log_decay {
        LogDecay::None => {
            let options = (&sequences.query.device(), sequences.query.dtype());
            Tensor::ones([batch_size, seq_length, n_heads], options)
        }
        LogDecay::Head(log) => log.clone().exp(),
        LogDecay::Channel(log) => log.clone().exp().mean_dim(3).squeeze_dim(3),
    }
}
