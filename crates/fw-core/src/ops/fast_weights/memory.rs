//! The fast memory A, as a matrix or as the history of what was written.

use burn::tensor::{Tensor, TensorData};

use super::{Options, coefficients_by_age};

/// The fast memory A of each sample.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a state holds one, and moves it by value once a step"
)]
pub enum FastMemory {
    /// A itself, `[batch_size, d_hidden, d_hidden]`.
    Matrix(Tensor<3>),
    /// A as a sum: `A = λ^n start + η Σ_i λ^{n-1-i} w_i w_iᵀ` over the n written vectors `w_i`.
    History {
        /// What A was before the first write, `[batch_size, d_hidden, d_hidden]`; `None` is 0.
        start: Option<Tensor<3>>,
        /// The written vectors, `[batch_size, n, d_hidden]`; `None` before the first write.
        writes: Option<Tensor<3>>,
    },
}

impl FastMemory {
    /// The empty memory, A = 0, as a history.
    pub fn empty() -> Self {
        FastMemory::History {
            start: None,
            writes: None,
        }
    }

    /// The number of writes in the history; 0 for a matrix.
    pub fn written(&self) -> usize {
        match self {
            FastMemory::History {
                writes: Some(writes),
                ..
            } => writes.dims()[1],
            _ => 0,
        }
    }

    /// A as a matrix to begin a sequence with; `None` stands for 0.
    #[cfg(any(feature = "flex", feature = "cube"))]
    pub(super) fn into_start(self, hidden: &Tensor<2>, options: &Options) -> Option<Tensor<3>> {
        match self {
            FastMemory::Matrix(start) => Some(start),
            FastMemory::History {
                start,
                writes: None,
            } => start,
            history => Some(history.into_matrix(hidden, options)),
        }
    }

    /// `A s`: `[batch_size, d_hidden]`; `None` stands for 0.
    pub(super) fn read(&self, query: Tensor<2>, options: &Options) -> Option<Tensor<2>> {
        match self {
            FastMemory::Matrix(matrix) => Some(matrix_read(matrix, query)),
            FastMemory::History { start, writes } => {
                let recalled = writes
                    .as_ref()
                    .map(|writes| attention_read(writes, query.clone(), options));
                let from_start = start.as_ref().map(|start| {
                    matrix_read(start, query).mul_scalar(decay_power(options, self.written()))
                });
                match (recalled, from_start) {
                    (Some(recalled), Some(from_start)) => Some(recalled + from_start),
                    (recalled, from_start) => recalled.or(from_start),
                }
            }
        }
    }

    /// `λ A + η w wᵀ` for the written vectors `w`, `[batch_size, d_hidden]`.
    pub(super) fn write(self, vector: Tensor<2>, options: &Options) -> Self {
        match self {
            FastMemory::Matrix(matrix) => {
                let column = vector.unsqueeze_dim::<3>(2); // [B, H, 1]
                let row = column.clone().swap_dims(1, 2) * options.fast_learning_rate; // [B, 1, H]
                FastMemory::Matrix(matrix * options.decay + column * row)
            }
            FastMemory::History { start, writes } => {
                let vector = vector.unsqueeze_dim::<3>(1); // [B, 1, H]
                let writes = match writes {
                    Some(writes) => Tensor::cat(alloc::vec![writes, vector], 1),
                    None => vector,
                };
                FastMemory::History {
                    start,
                    writes: Some(writes),
                }
            }
        }
    }

    /// A itself, `[batch_size, d_hidden, d_hidden]`. `like`, a `[batch_size, d_hidden]` tensor, gives
    /// the shape, type and device of a memory that holds nothing yet.
    pub fn into_matrix(self, like: &Tensor<2>, options: &Options) -> Tensor<3> {
        let n = self.written();
        match self {
            FastMemory::Matrix(matrix) => matrix,
            FastMemory::History { start, writes } => {
                let start = start.map(|start| start * decay_power(options, n));
                let written = writes.map(|writes| {
                    let scaled = writes.clone() * write_coefficients(&writes, options);
                    writes.swap_dims(1, 2).matmul(scaled) // [B, H, H]
                });
                match (start, written) {
                    (Some(start), Some(written)) => start + written,
                    (Some(matrix), None) | (None, Some(matrix)) => matrix,
                    (None, None) => {
                        let [batch_size, d_hidden] = like.dims();
                        Tensor::zeros(
                            [batch_size, d_hidden, d_hidden],
                            (&like.device(), like.dtype()),
                        )
                    }
                }
            }
        }
    }

    /// The same memory as a history: a matrix becomes its start.
    pub fn into_history(self) -> Self {
        match self {
            FastMemory::Matrix(matrix) => FastMemory::History {
                start: Some(matrix),
                writes: None,
            },
            history => history,
        }
    }
}

fn matrix_read(matrix: &Tensor<3>, query: Tensor<2>) -> Tensor<2> {
    matrix.clone().matmul(query.unsqueeze_dim(2)).squeeze_dim(2)
}

/// `η Σ_i λ^{n-1-i} w_i (w_i · s)`.
fn attention_read(writes: &Tensor<3>, query: Tensor<2>, options: &Options) -> Tensor<2> {
    let scores = writes.clone().matmul(query.unsqueeze_dim(2)); // [B, n, 1]
    let scores = scores * write_coefficients(writes, options);
    scores
        .swap_dims(1, 2) // [B, 1, n]
        .matmul(writes.clone())
        .squeeze_dim(1)
}

/// `η λ^{n-1-i}` for each write, `[1, n, 1]`.
fn write_coefficients(writes: &Tensor<3>, options: &Options) -> Tensor<3> {
    let n = writes.dims()[1];
    let mut coefficients = coefficients_by_age(n, options);
    coefficients.reverse();
    Tensor::from_data(
        TensorData::new(coefficients, [1, n, 1]),
        (&writes.device(), writes.dtype()),
    )
}

/// `λ^n`.
fn decay_power(options: &Options, n: usize) -> f64 {
    (0..n).fold(1.0, |power, _| power * options.decay)
}
