//! What the tests of kernels run: a sequence with everything that it depends on as a leaf.

use alloc::vec::Vec;

use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{FastMemory, MemoryForm, Norm, Options, State, Weights, WrittenState};
use crate::Activation;
use crate::ops::Spans;

pub(super) const BATCH_SIZE: usize = 5;
const D_INPUT: usize = 3;
/// Neither a whole vector nor less than one, for vectors of 2 to 8 numbers.
pub(super) const D_HIDDEN: usize = 9;

/// Leaves with uniform values in (-scale, scale).
struct Random<'a>(ChaCha8Rng, &'a Device, DType);

impl Random<'_> {
    fn leaf<const D: usize>(&mut self, shape: [usize; D], scale: f64) -> Tensor<D> {
        let count = shape.iter().product::<usize>();
        let values: Vec<f64> = (0..count)
            .map(|_| self.0.random_range(-scale..scale))
            .collect();
        let values = TensorData::new(values, shape);
        let is_autodiff = self.1.is_autodiff();
        Tensor::from_data(values, (self.1, self.2)).set_require_grad(is_autodiff)
    }
}

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
    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        tensor.try_into_vec_as().expect("floats convert to f64")
    }
    fn gradient<const D: usize>(leaf: &Tensor<D>, gradients: &Gradients) -> Vec<f64> {
        let gradient = leaf.grad(gradients);
        numbers(gradient.unwrap_or_else(|| leaf.clone().inner().zeros_like()))
    }
    let mut all = alloc::vec![numbers(output), numbers(hidden), numbers(memory)];
    all.push(gradient(&leaves.input, &gradients));
    all.push(gradient(&leaves.hidden, &gradients));
    all.extend(leaves.start.iter().map(|start| gradient(start, &gradients)));
    let weights = &leaves.weights;
    all.push(gradient(&weights.input, &gradients));
    all.push(gradient(&weights.hidden, &gradients));
    all.push(gradient(&weights.bias, &gradients));
    if let Some(norm) = &weights.norm {
        all.push(gradient(&norm.gain, &gradients));
        all.push(gradient(&norm.bias, &gradients));
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
        let rng = ChaCha8Rng::seed_from_u64(seq_length as u64);
        let mut random = Random(rng, device, dtype);
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

/// Panics if a result differs by more than a share of its length.
#[track_caller]
pub(super) fn assert_same(actual: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64, case: &str) {
    assert_eq!(actual.len(), expected.len());
    let length =
        |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert_eq!(actual.len(), expected.len());
        let difference = length(&mut actual.iter().zip(expected).map(|(a, b)| a - b));
        let scale = length(&mut expected.iter().copied());
        assert!(
            difference <= tolerance * scale,
            "result {index} of {case}: {difference:e} beside {scale:e}"
        );
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
