//! The equations in tensor operations, which run on every backend.

use alloc::vec;

use burn::tensor::Tensor;
use burn::tensor::activation::log_sigmoid;

use super::super::{LogDecay, Sequences, Sizes, WriteRule, composed, key_scale};
#[cfg(feature = "flex")]
use super::super::{Rule, alone};
use super::{MLstmSequences, MLstmState, MOST_NEGATIVE_SCALE, NORMALIZER_EPSILON};

/// What gates make of a memory: decays, write strengths and m of every step, `[batch_size, seq_length, n_heads]`.
struct Gates {
    log_decay: Tensor<3>,
    write_strength: Tensor<3>,
    log_scale: Tensor<3>,
}

impl Gates {
    /// From m before the first step, `[batch_size, n_heads]`.
    fn new(input: Tensor<3>, forget: Tensor<3>, before: Tensor<2>, d_key: usize) -> Self {
        let [_, seq_length, _] = input.dims();
        let log_forget = log_sigmoid(forget);
        let before = before.unsqueeze_dim::<3>(1);
        let log_scale = log_scales(log_forget.clone(), input.clone(), before.clone());
        let earlier = match seq_length {
            1 => before,
            _ => {
                let earlier = log_scale.clone().narrow(1, 0, seq_length - 1);
                Tensor::cat(vec![before, earlier], 1)
            }
        };
        Gates {
            log_decay: log_forget + earlier - log_scale.clone(),
            write_strength: (input - log_scale.clone()).exp() * key_scale(d_key),
            log_scale,
        }
    }
}

/// m of every step. Twice as many steps in every round: of those up to a step, how much is kept over them, and the largest of what they let in.
fn log_scales(log_forget: Tensor<3>, input: Tensor<3>, before: Tensor<3>) -> Tensor<3> {
    let [_, seq_length, _] = input.dims();
    let (mut kept, mut largest) = (log_forget, input);
    let mut reach = 1;
    while reach < seq_length {
        let n_later = seq_length - reach;
        let first = |all: &Tensor<3>, n| all.clone().narrow(1, 0, n);
        let later = |all: &Tensor<3>| all.clone().narrow(1, reach, n_later);
        let of_earlier = first(&largest, n_later) + later(&kept);
        let largest_later = of_earlier.max_pair(later(&largest));
        let kept_later = first(&kept, n_later) + later(&kept);
        largest = Tensor::cat(vec![first(&largest, reach), largest_later], 1);
        kept = Tensor::cat(vec![first(&kept, reach), kept_later], 1);
        reach *= 2;
    }
    (kept + before).max_pair(largest)
}

/// Values, with a 1 behind each.
fn with_ones(value: Tensor<4>) -> Tensor<4> {
    let [batch_size, seq_length, n_heads, _] = value.dims();
    let options = (&value.device(), value.dtype());
    let ones = Tensor::ones([batch_size, seq_length, n_heads, 1], options);
    Tensor::cat(vec![value, ones], 3)
}

/// h, of what the memory and the normaliser yield and m.
fn normalized(read: Tensor<4>, log_scale: Tensor<3>) -> Tensor<4> {
    let [_, _, _, columns] = read.dims();
    let normalizer = read.clone().narrow(3, columns - 1, 1);
    let floor = log_scale.neg().clamp_max(MOST_NEGATIVE_SCALE);
    let floor = floor.exp().unsqueeze_dim(3);
    read.narrow(3, 0, columns - 1) / (normalizer.abs().max_pair(floor) + NORMALIZER_EPSILON)
}

/// The equations in tensor operations, which run on every backend.
pub(super) fn sequence(
    sequences: MLstmSequences,
    state: Option<MLstmState>,
    sizes: Sizes,
) -> (Tensor<4>, MLstmState) {
    as_sums(sequences, state, sizes, |sums, memory, columns| {
        composed::sequence(sums, Some(memory), columns, WriteRule::Sum)
    })
}

/// One step alone, whose memory is written where it lies.
#[cfg(feature = "flex")]
pub(super) fn step_alone(
    sequences: MLstmSequences,
    state: Option<MLstmState>,
    sizes: Sizes,
) -> (Tensor<4>, MLstmState) {
    as_sums(sequences, state, sizes, |sums, memory, columns| {
        alone::step_alone(&sums.into(), Some(memory), columns, Rule::Gated)
    })
}

/// Sequences whose gates have been applied, and whose values have a column more, as `run` sums them up.
fn as_sums(
    sequences: MLstmSequences,
    state: Option<MLstmState>,
    sizes: Sizes,
    run: impl FnOnce(Sequences, Tensor<4>, Sizes) -> (Tensor<4>, Tensor<4>),
) -> (Tensor<4>, MLstmState) {
    let [_, seq_length, _, _] = sequences.query.dims();
    let options = (&sequences.query.device(), sequences.query.dtype());
    let state = state.unwrap_or_else(|| MLstmState::zeros(sizes.state(), options));
    let gates = Gates::new(
        sequences.input_gate,
        sequences.forget_gate,
        state.log_scale,
        sizes.d_key,
    );
    let columns = Sizes {
        d_value: sizes.d_value + 1,
        ..sizes
    };
    let sums = Sequences {
        query: sequences.query,
        key: sequences.key,
        value: with_ones(sequences.value),
        write_strength: gates.write_strength,
        log_decay: LogDecay::Head(gates.log_decay),
    };
    let (read, memory) = run(sums, state.memory, columns);
    let last = gates.log_scale.clone().narrow(1, seq_length - 1, 1);
    let state = MLstmState {
        memory,
        log_scale: last.squeeze_dim(1),
    };
    (normalized(read, gates.log_scale), state)
}
