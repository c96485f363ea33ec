//! The recurrent cells: their kinds, and the step of a long short-term memory from its gates on.

use burn::tensor::{DType, Tensor, activation::sigmoid};

use super::Activation;
use super::shapes::fits;
use crate::StateError;

/// A recurrent cell that the kernels know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CellKind {
    /// Gates i, f, g, o: see [`Lstm`](crate::Lstm).
    Lstm,
    /// Gates u, r, n: see [`Gru`](crate::Gru), without layer normalisation.
    Gru,
    /// One block, and no gate that opens or closes: see [`Elman`](crate::Elman), without layer normalisation.
    Elman(Activation),
}

impl CellKind {
    /// Blocks of d_hidden units that a step computes: its gates.
    pub fn n_gates(self) -> usize {
        match self {
            CellKind::Lstm => 4,
            CellKind::Gru => 3,
            CellKind::Elman(_) => 1,
        }
    }

    /// Whether a c goes from step to step beside h.
    pub fn has_cell(self) -> bool {
        self == CellKind::Lstm
    }

    /// Whether what the state gives to the gates has a bias of its own.
    pub fn has_bias(self) -> bool {
        self == CellKind::Gru
    }
}

/// State of a long short-term memory.
#[derive(Clone, Debug)]
pub struct LstmState {
    /// h, `[batch_size, d_hidden]`.
    pub hidden: Tensor<2>,
    /// c, `[batch_size, d_hidden]`.
    pub cell: Tensor<2>,
}

impl LstmState {
    /// An error unless both parts have this shape and this type.
    pub(crate) fn check(&self, shape: [usize; 2], dtype: DType) -> Result<(), StateError> {
        fits("the hidden state", &self.hidden, shape, dtype)?;
        fits("the cell's state", &self.cell, shape, dtype)
    }
}

/// ```text
/// c_t = σ(f) c_{t-1} + σ(i) tanh(g)        h_t = σ(o) tanh(c_t)
/// ```
///
/// # Shapes
/// - gates: `[batch_size, 4 d_hidden]`, in the order i, f, g, o, before their nonlinearities
/// - prev_cell: `[batch_size, d_hidden]`
pub(crate) fn lstm_step(gates: Tensor<2>, prev_cell: Tensor<2>) -> LstmState {
    let [i, f, g, o] = split_gates(gates);
    let cell = sigmoid(f) * prev_cell + sigmoid(i) * g.tanh();
    let hidden = sigmoid(o) * cell.clone().tanh();
    LstmState { hidden, cell }
}

/// The N equal blocks of `[batch_size, N width]`.
fn split_gates<const N: usize>(gates: Tensor<2>) -> [Tensor<2>; N] {
    let width = gates.dims()[1] / N;
    core::array::from_fn(|gate| gates.clone().narrow(1, gate * width, width))
}
