//! What the operation reads, and what it yields, on every backend that has a kernel.

use burn::backend::{Dispatch, ExtensionType};
use burn::tensor::Tensor;

use super::shapes::check_shapes;
use super::{FusedCell, Recall};
use crate::ops::operation::{Place, operands};

operands! {
    /// The tensors that the operation reads.
    #[derive(Clone, Debug, ExtensionType)]
    #[cfg_attr(feature = "cube", extension_type(fusion))]
    pub struct Inputs { projected, hidden, cell, memories, w_hidden, bias, w_query, w_key, v }
}

impl Inputs<Dispatch> {
    /// # Panics
    /// If a shape does not fit.
    #[track_caller]
    pub(super) fn new(
        projected: &Tensor<3>,
        cell: &FusedCell,
        recall: Recall,
        place: Place,
    ) -> Self {
        let scoring = recall.scoring;
        let memories = recall.memories.filter(|_| scoring.is_some());
        check_shapes(projected, cell, memories, scoring);
        Inputs {
            projected: place.put(projected),
            hidden: place.put(&cell.hidden),
            cell: place.put_any(cell.cell.as_ref()),
            memories: place.put_any(memories),
            w_hidden: place.put(&cell.w_hidden),
            bias: place.put_any(cell.bias.as_ref()),
            w_query: place.put_any(scoring.map(|scoring| &scoring.query)),
            w_key: place.put_any(scoring.map(|scoring| &scoring.key)),
            v: place.put_any(scoring.and_then(|scoring| scoring.v.as_ref())),
        }
    }
}

/// Every output row, and the last c of an LSTM, from the numbers that a kernel lays end to end.
pub(super) fn output_and_cell(
    results: Tensor<1>,
    [batch_size, seq_length]: [usize; 2],
    cell: &FusedCell,
    yields_summary: bool,
) -> (Tensor<3>, Option<Tensor<2>>) {
    let [d_hidden, _] = cell.w_hidden.dims();
    let shape = [
        batch_size,
        seq_length,
        d_hidden * (1 + usize::from(yields_summary)),
    ];
    if !cell.kind.has_cell() {
        return (results.reshape(shape), None);
    }
    let numbers = shape.iter().product();
    let output = results.clone().narrow(0, 0, numbers).reshape(shape);
    let last = results.narrow(0, numbers, batch_size * d_hidden);
    (output, Some(last.reshape([batch_size, d_hidden])))
}
