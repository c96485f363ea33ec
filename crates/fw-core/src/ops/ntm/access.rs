//! Reading and writing at a weighting.

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;

use crate::ops::shapes::expect_shape;

/// What each write head does to the words that it points at.
///
/// # Shapes
/// `[batch_size, n_heads, word_size]`
#[derive(Clone, Debug)]
pub struct Writing {
    /// e, each number in (0, 1): the share that is erased.
    pub erase: Tensor<3>,
    /// a: what is added.
    pub add: Tensor<3>,
}

impl Writing {
    /// From numbers of any size: the erase vectors of all heads (through σ), then their add vectors.
    ///
    /// # Shapes
    /// - raw: `[batch_size, 2 n_heads word_size]`
    pub(crate) fn from_raw(raw: Tensor<2>, n_heads: usize, word_size: usize) -> Self {
        let [batch_size, width] = raw.dims();
        let half = |start| {
            let half = raw.clone().narrow(1, start, width / 2);
            half.reshape([batch_size, n_heads, word_size])
        };
        Writing {
            erase: sigmoid(half(0)),
            add: half(width / 2),
        }
    }
}

/// What each head reads: the words of the memory, weighted.
///
/// ```text
/// r = Σ_i w(i) M(i)
/// ```
///
/// # Shapes
/// - memory: `[batch_size, memory_size, word_size]`
/// - weights (w): `[batch_size, n_heads, memory_size]`
/// - output: `[batch_size, n_heads, word_size]`
///
/// # Panics
/// If the shapes do not fit together.
#[track_caller]
pub fn read(memory: Tensor<3>, weights: Tensor<3>) -> Tensor<3> {
    let [batch_size, memory_size, _] = memory.dims();
    let n_heads = weights.dims()[1];
    expect_shape(
        "weights",
        weights.dims(),
        [batch_size, n_heads, memory_size],
    );
    weights.matmul(memory)
}

/// The memory after each head has erased and then added at its weighting. With several heads all erase first, then
/// all add, so that their order does not matter.
///
/// ```text
/// M(i) <- M(i) Π_h (1 - w_h(i) e_h) + Σ_h w_h(i) a_h
/// ```
///
/// # Shapes
/// - memory, output: `[batch_size, memory_size, word_size]`
/// - weights (w): `[batch_size, n_heads, memory_size]`
/// - erase (e), add (a): `[batch_size, n_heads, word_size]`
///
/// # Panics
/// If the shapes do not fit together.
#[track_caller]
pub fn write(memory: Tensor<3>, weights: Tensor<3>, erase: Tensor<3>, add: Tensor<3>) -> Tensor<3> {
    let [batch_size, memory_size, word_size] = memory.dims();
    let n_heads = weights.dims()[1];
    expect_shape(
        "weights",
        weights.dims(),
        [batch_size, n_heads, memory_size],
    );
    expect_shape("erase", erase.dims(), [batch_size, n_heads, word_size]);
    expect_shape("add", add.dims(), [batch_size, n_heads, word_size]);
    let by_row = weights.swap_dims(1, 2); // [B, N, n_heads]
    let mut kept = memory;
    for head in 0..n_heads {
        let erased = by_row
            .clone()
            .narrow(2, head, 1)
            .matmul(erase.clone().narrow(1, head, 1));
        kept = kept * (erased.neg() + 1.0);
    }
    kept + by_row.matmul(add)
}
