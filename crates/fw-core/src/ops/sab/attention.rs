//! Scores, selection, weights, summary.

use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Bool, FloatDType, Int, Tensor};
#[cfg(not(feature = "std"))]
#[allow(
    unused_imports,
    reason = "shadowed by std's own methods where another crate brings std in"
)]
use num_traits::Float as _;

use super::{SPARSIFIER_EPSILON, Score, Sparsifier, n_selected};
use crate::ops::project;
use crate::ops::shapes::expect_shape;

/// What memories are scored with.
#[derive(Clone, Debug)]
pub struct Scoring {
    /// The function.
    pub score: Score,
    /// W_h, `[d_query, d_attention]`; d_attention is 1 for [`Score::Released`].
    pub query: Tensor<2>,
    /// W_m, `[d_memory, d_attention]`.
    pub key: Tensor<2>,
    /// v, `[d_attention]`, of [`Score::Mlp`].
    pub v: Option<Tensor<1>>,
}

impl Scoring {
    /// What a memory's score needs of the memory, once for all steps that will look at it:
    /// `[batch_size, n, d_memory]` to `[batch_size, n, d_attention]`.
    pub fn keys(&self, memories: Tensor<3>) -> Tensor<3> {
        let memories = match self.score {
            Score::Mlp | Score::ScaledDot => memories,
            Score::Released => memories.tanh(),
        };
        project(memories, self.key.clone(), None)
    }

    /// What a score needs of the present state: `[batch_size, d_query]` to `[batch_size, d_attention]`.
    pub fn query(&self, state: Tensor<2>) -> Tensor<2> {
        match self.score {
            Score::Mlp => state.matmul(self.query.clone()),
            Score::ScaledDot => {
                let d_attention = self.query.dims()[1];
                // Not a division: Burn 0.22.1 inverts the divisor in single precision for its gradient.
                state.matmul(self.query.clone()) * (1.0 / (d_attention as f64).sqrt())
            }
            Score::Released => state.tanh().matmul(self.query.clone()),
        }
    }

    /// The score of each key: query `[batch_size, d_attention]`, keys `[batch_size, n, d_attention]`, scores
    /// `[batch_size, n]`.
    pub fn scores(&self, query: Tensor<2>, keys: Tensor<3>) -> Tensor<2> {
        let query = query.unsqueeze_dim::<3>(1); // [B, 1, A]
        match self.score {
            Score::Mlp => {
                let v = self.v.clone().expect("a multilayer perceptron has a v");
                let [_, d_attention] = self.query.dims();
                ((keys + query).tanh() * v.reshape([1, 1, d_attention]))
                    .sum_dim(2)
                    .squeeze_dim(2)
            }
            Score::ScaledDot => (keys * query).sum_dim(2).squeeze_dim(2),
            Score::Released => (keys + query).squeeze_dim(2),
        }
    }

    /// The same without gradients.
    fn inner(&self) -> Self {
        Scoring {
            score: self.score,
            query: self.query.clone().inner(),
            key: self.key.clone().inner(),
            v: self.v.clone().map(Tensor::inner),
        }
    }
}

/// What [`attend`] yields.
#[derive(Clone, Debug)]
pub struct Attended {
    /// s, `[batch_size, d_memory]`: the weighted sum of the selected memories.
    pub summary: Tensor<2>,
    /// Which memories took part, `[batch_size, n_selected]`: best score first, or oldest first where all did.
    pub indices: Tensor<2, Int>,
    /// Their weights, in the same shape.
    pub weights: Tensor<2>,
}

/// Attends to the `top_k` memories that score best, or to all if it is `None`.
///
/// ```text
/// a_i = score(query, key_i)      s = Σ_i w_i m_i        w = sparsify(the best a)
/// ```
///
/// Gradients reach the memories that take part, and no others: the rest is scored outside the graph.
///
/// # Shapes
/// - query: `[batch_size, d_attention]`, from [`Scoring::query`]
/// - keys: `[batch_size, n, d_attention]`, from [`Scoring::keys`]
/// - memories: `[batch_size, n, d_memory]`
/// - mask: `[batch_size, n]`, true where a sample must not see a memory: its weight is 0
///
/// # Panics
/// If there is no memory or `top_k` is 0, since there is nothing to attend to, or if a shape does not fit.
#[track_caller]
pub fn attend(
    scoring: &Scoring,
    query: Tensor<2>,
    keys: Tensor<3>,
    memories: Tensor<3>,
    mask: Option<Tensor<2, Bool>>,
    top_k: Option<usize>,
    sparsifier: Sparsifier,
) -> Attended {
    let [batch_size, n, _] = memories.dims();
    let d_attention = scoring.query.dims()[1];
    expect_shape("query", query.dims(), [batch_size, d_attention]);
    expect_shape("keys", keys.dims(), [batch_size, n, d_attention]);
    if let Some(mask) = &mask {
        expect_shape("mask", mask.dims(), [batch_size, n]);
    }
    let n_selected = n_selected(n, top_k, sparsifier);
    assert!(
        n_selected > 0,
        "there are {n} memories and top_k is {top_k:?}; attention needs at least one of each"
    );
    let is_crowded = top_k.is_some_and(|top_k| n > top_k);
    if !is_crowded {
        let indices = Tensor::<1, Int>::arange(0..n as i64, &memories.device().inner());
        let scores = scoring.scores(query, keys);
        let weights = match mask {
            None => sparsify(scores, false, sparsifier),
            Some(mask) => sparsify_visible(scores, mask, None, sparsifier),
        };
        return Attended {
            summary: weighted_sum(weights.clone(), memories),
            indices: indices.unsqueeze::<2>().repeat_dim(0, batch_size),
            weights,
        };
    }
    let all = scoring
        .inner()
        .scores(query.clone().inner(), keys.clone().inner());
    let all = match &mask {
        // Above what is taken already: a masked memory is selected last, but no memory twice.
        Some(mask) => {
            let smallest = smallest(&all);
            all.mask_fill(mask.clone(), smallest)
        }
        None => all,
    };
    let indices = select_top_k(all, n_selected);
    let pick = |from: Tensor<3>| {
        let width = from.dims()[2];
        let rows = indices.clone().unsqueeze_dim::<3>(2);
        from.gather(1, rows.repeat_dim(2, width))
    };
    let scores = scoring.scores(query, pick(keys));
    let weights = match mask {
        None => sparsify(scores, true, sparsifier),
        Some(mask) => {
            let n_masked = mask.clone().int().sum_dim(1);
            let most_masked = n as i64 - top_k.unwrap_or(n) as i64;
            let is_crowded = n_masked.lower_elem(most_masked);
            let mask = mask.gather(1, indices.clone());
            sparsify_visible(scores, mask, Some(is_crowded), sparsifier)
        }
    };
    Attended {
        summary: weighted_sum(weights.clone(), pick(memories)),
        indices,
        weights,
    }
}

/// `Σ_i w_i m_i`.
fn weighted_sum(weights: Tensor<2>, memories: Tensor<3>) -> Tensor<2> {
    (memories * weights.unsqueeze_dim::<3>(2))
        .sum_dim(1)
        .squeeze_dim(1)
}

/// Which `k` scores are best, from the best on; of equal ones the first: `[batch_size, n]` to `[batch_size, k]`.
///
/// # Panics
/// If `k` is 0 or more than `n`.
#[track_caller]
pub fn select_top_k(scores: Tensor<2>, k: usize) -> Tensor<2, Int> {
    let [_, n] = scores.dims();
    assert!(
        (1..=n).contains(&k),
        "k is {k}; it must lie between 1 and the number of scores, {n}"
    );
    let positions = Tensor::<1, Int>::arange(0..n as i64, &scores.device()).unsqueeze::<2>();
    // Not a sort: what that does with equal scores differs between backends, and some of them sort on the host.
    let mut left = scores;
    let best = (0..k).map(|_| {
        let best = left.clone().argmax(1); // [B, 1]
        let is_taken = positions.clone().equal(best.clone());
        left = left.clone().mask_fill(is_taken, f64::NEG_INFINITY);
        best
    });
    Tensor::cat(best.collect(), 1)
}

/// The weights of scores, which are sorted from the best on if there are more memories than `top_k` (`is_crowded`), and are those
/// of all memories if not: `[batch_size, n_selected]`.
pub fn sparsify(scores: Tensor<2>, is_crowded: bool, sparsifier: Sparsifier) -> Tensor<2> {
    match (sparsifier, is_crowded) {
        (Sparsifier::Softmax, _) | (Sparsifier::Threshold, false) => softmax(scores, 1),
        (Sparsifier::Threshold, true) => above_last(scores, 0.0),
        (Sparsifier::Released, false) => scores,
        (Sparsifier::Released, true) => above_last(scores, SPARSIFIER_EPSILON),
    }
}

/// [`sparsify`] where each sample sees memories of its own; `is_crowded`, `[batch_size, 1]`, says for which samples these are
/// more than `top_k`, if any can have so many.
fn sparsify_visible(
    scores: Tensor<2>,
    mask: Tensor<2, Bool>,
    is_crowded: Option<Tensor<2, Bool>>,
    sparsifier: Sparsifier,
) -> Tensor<2> {
    let masked = match sparsifier {
        Sparsifier::Released => scores.clone(),
        _ => scores.clone().mask_fill(mask.clone(), smallest(&scores)),
    };
    let all_kept = sparsify(masked, false, sparsifier);
    let weights = match is_crowded {
        Some(is_crowded) if sparsifier != Sparsifier::Softmax => {
            let [_, n] = scores.dims();
            let selected = sparsify(scores, true, sparsifier);
            all_kept.mask_where(is_crowded.repeat_dim(1, n), selected)
        }
        _ => all_kept,
    };
    weights.mask_fill(mask, 0.0)
}

/// The smallest finite number of a tensor's type: in half precision that of f32 would be -∞.
fn smallest(scores: &Tensor<2>) -> f64 {
    FloatDType::from(scores.dtype()).finfo().min
}

/// `w_i ∝ max(0, a_i - a_last - margin)`.
fn above_last(scores: Tensor<2>, margin: f64) -> Tensor<2> {
    let [_, n] = scores.dims();
    let last = scores.clone().narrow(1, n - 1, 1);
    let above = relu(scores - (last + margin));
    above.clone() / (above.sum_dim(1) + SPARSIFIER_EPSILON)
}
