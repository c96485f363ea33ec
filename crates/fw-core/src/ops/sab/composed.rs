//! One step of the equations in tensor operations: runs on every backend, and is the law.

use burn::tensor::Tensor;

use super::{Attended, Combination, Scoring, Sparsifier, attend};

/// The states that were stored, oldest first.
#[derive(Clone, Debug)]
pub struct Memories {
    /// m, `[batch_size, n, d_memory]`, n at least 1.
    pub values: Tensor<3>,
    /// What scores need of them, `[batch_size, n, d_attention]`, from [`Scoring::keys`].
    pub keys: Tensor<3>,
}

impl Memories {
    /// The given memories, with their keys. Without `replay`, no gradient goes back to them.
    pub fn new(values: Tensor<3>, scoring: &Scoring, replay: bool) -> Self {
        let values = match replay {
            true => values,
            false => values.detach(),
        };
        Memories {
            keys: scoring.keys(values.clone()),
            values,
        }
    }

    /// The number of memories.
    pub fn count(&self) -> usize {
        self.values.dims()[1]
    }

    /// The same with others behind them; of more than `most` the oldest are dropped.
    pub fn followed_by(self, others: Memories, most: Option<usize>) -> Self {
        let values = Tensor::cat(alloc::vec![self.values, others.values], 1);
        let keys = Tensor::cat(alloc::vec![self.keys, others.keys], 1);
        Memories { values, keys }.limited(most)
    }

    /// The newest `most` of them.
    pub fn limited(self, most: Option<usize>) -> Self {
        let n = self.count();
        match most {
            Some(most) if n > most => Memories {
                values: self.values.narrow(1, n - most, most),
                keys: self.keys.narrow(1, n - most, most),
            },
            _ => self,
        }
    }

    /// What a state recalls: see [`attend`].
    pub fn recalled_by(
        &self,
        state: Tensor<2>,
        scoring: &Scoring,
        top_k: Option<usize>,
        sparsifier: Sparsifier,
    ) -> Attended {
        let (keys, values) = (self.keys.clone(), self.values.clone());
        attend(
            scoring,
            scoring.query(state),
            keys,
            values,
            None,
            top_k,
            sparsifier,
        )
    }
}

/// `h_t`, from what the cell yields and what is recalled: see [`Combination`].
///
/// # Shapes
/// - both, and the result: `[batch_size, d_hidden]`
pub fn combine(hidden: Tensor<2>, summary: Tensor<2>, combination: Combination) -> Tensor<2> {
    match combination {
        Combination::Average => (hidden + summary) * 0.5,
        Combination::Add => hidden + summary,
        Combination::OutputOnly => hidden,
    }
}
