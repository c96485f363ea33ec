//! The sequence loop.

use alloc::vec::Vec;

use burn::tensor::Tensor;

/// Runs `step` over the time axis of `input` and stacks its outputs.
///
/// ```text
/// y_t, s_t = step(x_t, s_{t-1})        t = 1..T
/// ```
///
/// # Shapes
/// - input: `[batch_size, seq_length, width]`
/// - output: `[batch_size, seq_length, width of step's output]`
///
/// # Panics
/// If `seq_length` is 0: a sequence needs at least one step.
#[track_caller]
pub fn scan<S>(
    input: Tensor<3>,
    mut state: S,
    mut step: impl FnMut(Tensor<2>, S) -> (Tensor<2>, S),
) -> (Tensor<3>, S) {
    let [_, seq_length, _] = input.dims();
    assert!(seq_length >= 1, "seq_length is 0; it must be at least 1");
    let mut outputs = Vec::with_capacity(seq_length);
    for input_t in unstack(input) {
        let (output_t, next) = step(input_t, state);
        outputs.push(output_t);
        state = next;
    }
    (Tensor::stack(outputs, 1), state)
}

/// The steps of `[B, T, D]` as T tensors `[B, D]`.
fn unstack(sequence: Tensor<3>) -> Vec<Tensor<2>> {
    let [_, seq_length, _] = sequence.dims();
    let steps = cut(sequence, 1, &alloc::vec![1; seq_length]).into_iter();
    steps.map(|step| step.squeeze_dim(1)).collect()
}

/// Pieces of these sizes along a dimension, one after another.
///
/// A tensor is cut in halves again and again: the gradient of a slice is a tensor of the size of what it was cut from, so that n slices of
/// the whole would cost n² in the backward pass; this costs n log n.
pub(crate) fn cut<const D: usize>(
    tensor: Tensor<D>,
    dimension: usize,
    sizes: &[usize],
) -> Vec<Tensor<D>> {
    if sizes.len() < 2 {
        return alloc::vec![tensor];
    }
    let (first, last) = sizes.split_at(sizes.len() / 2);
    let [n_first, n_last] = [first, last].map(|sizes| sizes.iter().sum());
    let mut pieces = cut(
        tensor.clone().narrow(dimension, 0, n_first),
        dimension,
        first,
    );
    pieces.extend(cut(
        tensor.narrow(dimension, n_first, n_last),
        dimension,
        last,
    ));
    pieces
}
