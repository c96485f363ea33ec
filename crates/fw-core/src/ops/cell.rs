//! The recurrent cells: their kinds, and the step of a long short-term memory from its gates on.

use burn::tensor::activation::{log_sigmoid, sigmoid};
use burn::tensor::{DType, Tensor};

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
    /// Gates i, f, z, o: see [`SLstm`](crate::SLstm). On the CPU alone.
    SLstm,
    /// One block, and no gate that opens or closes: see [`Elman`](crate::Elman), without layer normalisation.
    Elman(Activation),
}

impl CellKind {
    /// Blocks of d_hidden units that a step computes: its gates.
    pub fn n_gates(self) -> usize {
        match self {
            CellKind::Lstm | CellKind::SLstm => 4,
            CellKind::Gru => 3,
            CellKind::Elman(_) => 1,
        }
    }

    /// Blocks of d_hidden units that go from step to step beside h: c, and of an sLSTM n and m.
    pub fn n_carried(self) -> usize {
        match self {
            CellKind::Lstm => 1,
            CellKind::SLstm => 3,
            CellKind::Gru | CellKind::Elman(_) => 0,
        }
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

/// State of an sLSTM.
#[derive(Clone, Debug)]
pub struct SLstmState {
    /// h, `[batch_size, d_hidden]`.
    pub hidden: Tensor<2>,
    /// c, n and m side by side, `[batch_size, 3 d_hidden]`: c and n both times `exp(-m)`.
    pub carried: Tensor<2>,
}

impl SLstmState {
    /// An error unless both parts have the shapes for so many samples and units, and this type.
    pub(crate) fn check(
        &self,
        [batch_size, d_hidden]: [usize; 2],
        dtype: DType,
    ) -> Result<(), StateError> {
        fits(
            "the hidden state",
            &self.hidden,
            [batch_size, d_hidden],
            dtype,
        )?;
        let carried = [batch_size, 3 * d_hidden];
        fits("the cell's state", &self.carried, carried, dtype)
    }
}

/// ```text
/// m_t = max(log σ(f) + m_{t-1}, i)                 i alone, where n_{t-1} is 0: nothing was written yet
/// i'  = exp(i - m_t)     f' = exp(log σ(f) + m_{t-1} - m_t)
/// c_t = f' c_{t-1} + i' tanh(z)     n_t = f' n_{t-1} + i'     h_t = σ(o) c_t / n_t
/// ```
///
/// # Shapes
/// - gates: `[batch_size, 4 d_hidden]`, in the order i, f, z, o, before their nonlinearities
/// - prev: c, n and m, `[batch_size, 3 d_hidden]`
pub(crate) fn slstm_step(gates: Tensor<2>, prev: Tensor<2>) -> SLstmState {
    let [i, f, z, o] = split_gates(gates);
    let [c, n, m] = split_gates(prev);
    let is_empty = n.clone().equal_elem(0.0);
    let kept = (log_sigmoid(f) + m).mask_fill(is_empty, f32::NEG_INFINITY);
    let m = kept.clone().max_pair(i.clone());
    let (i, f) = ((i - m.clone()).exp(), (kept - m.clone()).exp());
    let c = f.clone() * c + i.clone() * z.tanh();
    let n = f * n + i;
    SLstmState {
        hidden: sigmoid(o) * c.clone() / n.clone(),
        carried: Tensor::cat(alloc::vec![c, n, m], 1),
    }
}

/// The N equal blocks of `[batch_size, N width]`.
fn split_gates<const N: usize>(gates: Tensor<2>) -> [Tensor<2>; N] {
    let width = gates.dims()[1] / N;
    core::array::from_fn(|gate| gates.clone().narrow(1, gate * width, width))
}
