//! What every kernel of the mechanism relies on.

use burn::tensor::Tensor;

use super::{FusedCell, Score, Scoring};
use crate::ops::Spans;
use crate::ops::shapes::check;

/// Panics unless every tensor has the shape and the type that a kernel relies on.
#[track_caller]
pub(super) fn check_shapes(
    projected: &Tensor<3>,
    cell: &FusedCell,
    memories: Option<&Tensor<3>>,
    scoring: Option<&Scoring>,
    spans: &Spans,
) {
    let (n_samples, [batch_size, seq_length]) = (spans.n_samples(), spans.shape());
    let [d_hidden, _] = cell.w_hidden.dims();
    assert!(
        batch_size > 0 && seq_length > 0 && d_hidden > 0,
        "batch_size, seq_length and d_hidden are {batch_size}, {seq_length} and {d_hidden}; each must be at least 1"
    );
    let dtype = projected.dtype();
    let gates = cell.kind.n_gates() * d_hidden;
    check(
        "the projected input",
        projected,
        [batch_size, seq_length, gates],
        dtype,
    );
    check(
        "the recurrent weight",
        &cell.w_hidden,
        [d_hidden, gates],
        dtype,
    );
    let row = [n_samples, d_hidden];
    check("the hidden state", &cell.hidden, row, dtype);
    let (kind, a_or_no) = (cell.kind, |is_there| if is_there { "a" } else { "no" });
    assert!(
        cell.cell.is_some() == (kind.n_carried() > 0) && cell.bias.is_some() == kind.has_bias(),
        "the cell is {kind:?}, with {} c and {} recurrent bias; an LSTM or an sLSTM alone has a c, and a GRU alone a recurrent bias",
        a_or_no(cell.cell.is_some()),
        a_or_no(cell.bias.is_some()),
    );
    if let Some(carried) = &cell.cell {
        let row = [n_samples, kind.n_carried() * d_hidden];
        check("the cell's state", carried, row, dtype);
    }
    if let Some(bias) = &cell.bias {
        check("the recurrent bias", bias, [gates], dtype);
    }
    let d_attention = scoring.map_or(0, |scoring| scoring.query.dims()[1]);
    if let Some(scoring) = scoring {
        let fits = match scoring.score {
            Score::Released => d_attention == 1,
            Score::Mlp | Score::ScaledDot => d_attention >= 1,
        };
        assert!(
            fits && scoring.v.is_some() == (scoring.score == Score::Mlp),
            "the score is {:?}, with d_attention {d_attention} and {} v; as released it is 1 wide, and the multilayer perceptron \
             alone has a v",
            scoring.score,
            if scoring.v.is_some() { "a" } else { "no" }
        );
        let shape = [d_hidden, d_attention];
        check("the query's weight", &scoring.query, shape, dtype);
        check("the key's weight", &scoring.key, shape, dtype);
        if let Some(v) = &scoring.v {
            check("v", v, [d_attention], dtype);
        }
    }
    if let Some(memories) = memories {
        let n = memories.dims()[1];
        check("the memories", memories, [n_samples, n, d_hidden], dtype);
    }
}
