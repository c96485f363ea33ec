//! What the tests of kernels run: a sequence with everything that it depends on as a leaf.

use alloc::vec::Vec;

use burn::tensor::{DType, Device, Tensor};

use super::{FastMemory, MemoryForm, Norm, Options, State, Weights, WrittenState};
use crate::Activation;
use crate::ops::Spans;
use crate::ops::trials::{Random, gradient_of, numbers_of};

pub(super) const BATCH_SIZE: usize = 5;
const D_INPUT: usize = 3;
/// Neither a whole vector nor less than one, for vectors of 2 to 8 numbers.
pub(super) const D_HIDDEN: usize = 9;

#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    Nothing,
    Symmetric,
    General,
}

/// All outputs and all gradients of a linear function of them, for a run.
pub(super) fn results(
    leaves: &Leaves,
    options: &Options,
    form: MemoryForm,
    run: impl Fn(Tensor<3>, State, &Weights) -> (Tensor<3>, State),
) -> Vec<Vec<f64>> {
    let state = State {
        hidden: leaves.hidden.clone(),
        memory: match &leaves.start {
            Some(start) => FastMemory::Matrix(start.clone()),
            None => FastMemory::empty(),
        },
    };
    let (output, state) = run(leaves.input.clone(), state, &leaves.weights);
    assert_eq!(
        matches!(state.memory, FastMemory::Matrix(_)),
        form == MemoryForm::Matrix
    );
    let hidden = state.hidden.clone();
    let memory = state.memory.into_matrix(&hidden, options);
    let loss = (output.clone() * leaves.on_output.clone()).sum()
        + (memory.clone() * leaves.on_memory.clone()).sum()
        + hidden.clone().sum();
    let gradients = loss.backward();
    let mut all = alloc::vec![numbers_of(output), numbers_of(hidden), numbers_of(memory)];
    all.push(gradient_of(&leaves.input, &gradients));
    all.push(gradient_of(&leaves.hidden, &gradients));
    all.extend(
        leaves
            .start
            .iter()
            .map(|start| gradient_of(start, &gradients)),
    );
    let weights = &leaves.weights;
    all.push(gradient_of(&weights.input, &gradients));
    all.push(gradient_of(&weights.hidden, &gradients));
    all.push(gradient_of(&weights.bias, &gradients));
    if let Some(norm) = &weights.norm {
        all.push(gradient_of(&norm.gain, &gradients));
        all.push(gradient_of(&norm.bias, &gradients));
    }
    all
}

pub(super) struct Leaves {
    pub(super) input: Tensor<3>,
    pub(super) hidden: Tensor<2>,
    start: Option<Tensor<3>>,
    pub(super) weights: Weights,
    on_output: Tensor<3>,
    on_memory: Tensor<3>,
}

impl Leaves {
    pub(super) fn new(
        seq_length: usize,
        start: Start,
        is_normalised: bool,
        device: &Device,
        dtype: DType,
    ) -> Self {
        let spans = Spans::of_batch(BATCH_SIZE, seq_length);
        let batch = [BATCH_SIZE, seq_length];
        Self::of_spans(batch, &spans, start, is_normalised, (device, dtype))
    }

    /// For spans of a tensor with so many sequences of so many steps.
    pub(super) fn of_spans(
        [n_sequences, seq_length]: [usize; 2],
        spans: &Spans,
        start: Start,
        is_normalised: bool,
        (device, dtype): (&Device, DType),
    ) -> Self {
        let n_samples = spans.n_samples();
        let square = [n_samples, D_HIDDEN, D_HIDDEN];
        let mut random = Random::new(seq_length as u64, device, dtype);
        let general = random.leaf(square, 0.5).detach();
        let start = match start {
            Start::Nothing => None,
            Start::General => Some(general.require_grad()),
            Start::Symmetric => Some(
                (general.clone() + general.swap_dims(1, 2))
                    .detach()
                    .require_grad(),
            ),
        };
        Leaves {
            input: random.leaf([n_sequences, seq_length, D_INPUT], 1.0),
            hidden: random.leaf([n_samples, D_HIDDEN], 1.0),
            start,
            weights: Weights {
                input: random.leaf([D_INPUT, D_HIDDEN], 1.0),
                hidden: random.leaf([D_HIDDEN, D_HIDDEN], 0.2),
                bias: random.leaf([D_HIDDEN], 1.0),
                norm: is_normalised.then(|| Norm {
                    gain: random.leaf([D_HIDDEN], 1.0),
                    bias: random.leaf([D_HIDDEN], 1.0),
                    epsilon: 1e-5,
                }),
            },
            on_output: random
                .leaf([n_sequences, seq_length, D_HIDDEN], 1.0)
                .detach(),
            on_memory: random
                .leaf([spans.n_ends(), D_HIDDEN, D_HIDDEN], 1.0)
                .detach(),
        }
    }
}

pub(super) fn options(inner_steps: usize) -> Options {
    Options {
        decay: 0.9,
        fast_learning_rate: 0.2,
        inner_steps,
        write: WrittenState::Final,
        activation: Activation::Relu,
        normalize_preliminary: false,
    }
}
