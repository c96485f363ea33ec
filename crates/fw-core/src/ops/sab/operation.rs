//! What the operation reads, and what it yields, on every backend that has a kernel.

use burn::backend::{Dispatch, ExtensionType};
use burn::tensor::Tensor;

use super::shapes::check_shapes;
use super::{FusedCell, Recall};
use crate::ops::Spans;
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
        spans: &Spans,
        place: Place,
    ) -> Self {
        let scoring = recall.scoring;
        let memories = recall.memories.filter(|_| scoring.is_some());
        check_shapes(projected, cell, memories, scoring, spans);
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

/// Every output row, and the last c (of an sLSTM with n and m behind it) that are asked for, from the numbers that a kernel lays end to end.
pub(super) fn output_and_cell(
    results: Tensor<1>,
    spans: &Spans,
    cell: &FusedCell,
    yields_summary: bool,
) -> (Tensor<3>, Option<Tensor<2>>) {
    let [d_hidden, _] = cell.w_hidden.dims();
    let [batch_size, seq_length] = spans.shape();
    let shape = [
        batch_size,
        seq_length,
        d_hidden * (1 + usize::from(yields_summary)),
    ];
    let carried = cell.kind.n_carried() * d_hidden;
    if carried == 0 {
        return (results.reshape(shape), None);
    }
    let numbers = shape.iter().product();
    let output = results.clone().narrow(0, 0, numbers).reshape(shape);
    let last = match spans.n_ends() {
        // There is no view of nothing.
        0 => Tensor::zeros([0, carried], (&output.device(), output.dtype())),
        n => {
            let last = results.narrow(0, numbers, n * carried);
            last.reshape([n, carried])
        }
    };
    (output, Some(last))
}
