//! What the memories of a DeltaNet hold, step by step.

use alloc::vec;
use alloc::vec::Vec;

use burn::tensor::Tensor;

use super::{DeltaNet, DeltaNetState};
use crate::Recurrent;
use crate::ops::matrix_memory::{LogDecay, Sequences, step};
use crate::ops::precision::{in_type, widened};
use crate::recurrent::{check_input, empty_output, state_or_initial};

/// What [`DeltaNet::forward_traced`] yields. Writes are those of the sequence, the n of its first step first; those of the state that was given are not
/// among them.
#[derive(Clone, Debug)]
pub struct DeltaNetTrace {
    /// As of [`forward`](Recurrent::forward).
    pub output: Tensor<3>,
    /// The state after the last step.
    pub state: DeltaNetState,
    /// How well each write is still recalled after each step, `[batch_size, n_heads, seq_length, seq_length n]`: the cosine of what the memory yields
    /// for the write's key, `Sᵀ k`, with its value, from -1 to 1. It is 0 where the write comes later, and where one of the two has no length.
    pub recall: Tensor<4>,
    /// β of each write, `[batch_size, seq_length n, n_heads]`.
    pub write_strength: Tensor<3>,
    /// What each step leaves of the memory before it writes, `[batch_size, seq_length, n_heads]`, from 0 to 1: the mean over the key channels, where each
    /// has its own.
    pub decay: Tensor<3>,
}

/// Lengths whose product is below this are taken for none.
const LEAST: f64 = 1e-12;

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
            return self.trace_of_no_samples(&input, state);
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
            recall.push(self.recalled(&sequences, t, memory.clone()));
        }
        let read = Tensor::stack::<4>(reads, 1);
        DeltaNetTrace {
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

    /// How well the memory after step t recalls each write, `[batch_size, n_heads, 1, all writes]`.
    fn recalled(&self, sequences: &Sequences, t: usize, memory: Tensor<4>) -> Tensor<4> {
        let [batch_size, n_writes, n_heads, _] = sequences.key.dims();
        let n_done = (t + 1) * self.options.writes;
        let done = |rows: &Tensor<4>| rows.clone().narrow(1, 0, n_done).swap_dims(1, 2);
        let (key, value) = (done(&sequences.key), done(&sequences.value)); // [B, H, W, ..]
        let yielded = key.matmul(memory);
        let length = |rows: Tensor<4>| (rows.clone() * rows).sum_dim(3).sqrt();
        let lengths = length(yielded.clone()) * length(value.clone());
        let cosine = (yielded * value).sum_dim(3) / lengths.clamp_min(LEAST);
        let cosine: Tensor<4> = cosine.swap_dims(2, 3);
        if n_done == n_writes {
            return cosine;
        }
        let options = (&cosine.device(), cosine.dtype());
        let later = Tensor::zeros([batch_size, n_heads, 1, n_writes - n_done], options);
        Tensor::cat(vec![cosine, later], 3)
    }

    fn trace_of_no_samples(&self, input: &Tensor<3>, state: DeltaNetState) -> DeltaNetTrace {
        let [_, seq_length, _] = input.dims();
        let (n_heads, n_writes) = (self.options.n_heads, seq_length * self.options.writes);
        let options = (&input.device(), input.dtype());
        DeltaNetTrace {
            output: empty_output(self, input),
            state,
            recall: Tensor::zeros([0, n_heads, seq_length, n_writes], options),
            write_strength: Tensor::zeros([0, n_writes, n_heads], options),
            decay: Tensor::zeros([0, seq_length, n_heads], options),
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
