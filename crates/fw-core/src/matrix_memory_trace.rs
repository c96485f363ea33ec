//! What matrix memories hold, step by step.

use alloc::vec;

use burn::tensor::Tensor;

use crate::recurrent::empty_output;
use crate::{DeltaNetState, MLstmState, Recurrent, Rwkv7State};

/// What a layer with matrix memories and a state S tells of a sequence. Writes are those of the sequence, the n of its first step first; those of the state that
/// was given are not among them.
#[derive(Clone, Debug)]
pub struct MatrixMemoryTrace<S> {
    /// As of [`forward`](Recurrent::forward).
    pub output: Tensor<3>,
    /// The state after the last step.
    pub state: S,
    /// How well each write is still recalled after each step, `[batch_size, n_heads, seq_length, seq_length n]`: the cosine of what the memory yields
    /// for the write's key, `Sᵀ k`, with its value, from -1 to 1. It is 0 where the write comes later, and where one of the two has no length.
    pub recall: Tensor<4>,
    /// How strong each write is, `[batch_size, seq_length n, n_heads]`: β of a DeltaNet, `exp(i - m)` of an mLSTM, the length of `κ a` of RWKV-7, which is what it removes.
    pub write_strength: Tensor<3>,
    /// What each step leaves of the memory before it writes, `[batch_size, seq_length, n_heads]`, from 0 to 1: the mean over the key channels, where each
    /// has its own.
    pub decay: Tensor<3>,
}

/// What [`DeltaNet::forward_traced`](crate::DeltaNet::forward_traced) yields.
pub type DeltaNetTrace = MatrixMemoryTrace<DeltaNetState>;

/// What [`MLstm::forward_traced`](crate::MLstm::forward_traced) yields.
pub type MLstmTrace = MatrixMemoryTrace<MLstmState>;

/// What [`Rwkv7::forward_traced`](crate::Rwkv7::forward_traced) yields.
pub type Rwkv7Trace = MatrixMemoryTrace<Rwkv7State>;

impl<S> MatrixMemoryTrace<S> {
    /// Of a layer with so many heads and writes a step.
    pub(crate) fn of_no_samples<R: Recurrent<State = S>>(
        layer: &R,
        input: &Tensor<3>,
        state: S,
        [n_heads, writes]: [usize; 2],
    ) -> Self {
        let [_, seq_length, _] = input.dims();
        let n_writes = seq_length * writes;
        let options = (&input.device(), input.dtype());
        MatrixMemoryTrace {
            output: empty_output(layer, input),
            state,
            recall: Tensor::zeros([0, n_heads, seq_length, n_writes], options),
            write_strength: Tensor::zeros([0, n_writes, n_heads], options),
            decay: Tensor::zeros([0, seq_length, n_heads], options),
        }
    }
}

/// Lengths whose product is below this are taken for none.
const LEAST: f64 = 1e-12;

/// How well a memory `[batch_size, n_heads, d_key, d_value]` recalls each of the first `n_done` writes, 0 for the later ones: `[batch_size, n_heads, 1, all writes]`.
/// Keys and values are `[batch_size, all writes, n_heads, ..]`.
pub(crate) fn recalled(
    key: &Tensor<4>,
    value: &Tensor<4>,
    n_done: usize,
    memory: Tensor<4>,
) -> Tensor<4> {
    let [batch_size, n_writes, n_heads, _] = key.dims();
    let done = |rows: &Tensor<4>| rows.clone().narrow(1, 0, n_done).swap_dims(1, 2);
    let (key, value) = (done(key), done(value)); // [B, H, W, ..]
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
