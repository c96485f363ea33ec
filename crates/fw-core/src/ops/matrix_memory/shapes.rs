//! What a sequence relies on, on every path.

use burn::tensor::Tensor;

use super::{LogDecay, Sequences, Sizes, key_scale};
use crate::ops::Spans;
use crate::ops::shapes::check;

/// The sizes of sequences and of the state that they begin with.
///
/// # Panics
/// Unless every tensor has the shape and the type that it must have.
#[track_caller]
pub(super) fn check_sequence(
    sequences: &Sequences,
    spans: &Spans,
    state: Option<&Tensor<4>>,
) -> Sizes {
    let Sequences {
        query,
        key,
        value,
        write_strength,
        log_decay,
    } = sequences;
    let [batch_size, seq_length, n_heads, d_key] = query.dims();
    let [_, n_writes, _, d_value] = value.dims();
    expect_sizes([batch_size, seq_length, n_heads, d_key, d_value]);
    assert!(
        n_writes > 0 && n_writes.is_multiple_of(seq_length),
        "there are {n_writes} values for {seq_length} steps; there must be a whole number of writes a step, at least 1"
    );
    let dtype = query.dtype();
    check(
        "the keys",
        key,
        [batch_size, n_writes, n_heads, d_key],
        dtype,
    );
    check(
        "the values",
        value,
        [batch_size, n_writes, n_heads, d_value],
        dtype,
    );
    check(
        "the write strengths",
        write_strength,
        [batch_size, n_writes, n_heads],
        dtype,
    );
    match log_decay {
        LogDecay::None => {}
        LogDecay::Head(decay) => check(
            "the log decay",
            decay,
            [batch_size, seq_length, n_heads],
            dtype,
        ),
        LogDecay::Channel(decay) => check("the log decay", decay, query.dims(), dtype),
    }
    expect_rows("the queries", batch_size * seq_length, spans);
    let sizes = Sizes {
        n_samples: spans.n_samples(),
        n_heads,
        d_key,
        d_value,
        writes: n_writes / seq_length,
        read_scale: key_scale(d_key),
    };
    if let Some(state) = state {
        check("the memory", state, sizes.state(), dtype);
    }
    sizes
}

/// Panics unless there is something of everything.
#[track_caller]
pub(super) fn expect_sizes(sizes: [usize; 5]) {
    let [batch_size, seq_length, n_heads, d_key, d_value] = sizes;
    assert!(
        sizes.iter().all(|size| *size > 0),
        "batch_size, seq_length, n_heads, d_key and d_value are {batch_size}, {seq_length}, {n_heads}, {d_key} and {d_value}; each must be at \
         least 1"
    );
}

/// Panics unless sequences have as many steps as the spans of their samples.
#[track_caller]
pub(super) fn expect_rows(what: &str, steps: usize, spans: &Spans) {
    let n_rows = spans.n_rows();
    assert!(
        steps == n_rows,
        "{what} have {steps} steps; the spans have {n_rows}"
    );
}
