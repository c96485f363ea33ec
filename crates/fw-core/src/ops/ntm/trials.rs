//! What the tests of kernels run: a machine with everything that it depends on as a leaf.

use alloc::vec;
use alloc::vec::Vec;

use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Addressing, LayerWeights, SlowWeights, State};
use crate::ops::{Activation, LstmState};

pub(super) const BATCH_SIZE: usize = 5;
const D_READS: usize = 2 * WORD_SIZE;
pub(super) const D_INPUT: usize = 3;
/// Neither a whole vector nor less than one, for vectors of 2 to 8 numbers.
const D_HIDDEN: usize = 9;
pub(super) const MEMORY_SIZE: usize = 11;
pub(super) const WORD_SIZE: usize = 3;
const SHIFT_WIDTH: usize = 5;

/// Leaves of uniform values.
pub(super) struct Leaves {
    rng: ChaCha8Rng,
    device: Device,
    dtype: DType,
}

impl Leaves {
    pub(super) fn new(device: Device, dtype: DType) -> Self {
        Leaves {
            rng: ChaCha8Rng::seed_from_u64(3),
            device,
            dtype,
        }
    }

    pub(super) fn leaf<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<D> {
        let count = shape.iter().product::<usize>();
        let values: Vec<f64> = (0..count)
            .map(|_| self.rng.random_range(-0.8..0.8))
            .collect();
        let tensor = Tensor::from_data(TensorData::new(values, shape), (&self.device, self.dtype));
        match self.device.is_autodiff() {
            true => tensor.require_grad(),
            false => tensor,
        }
    }
}

pub(super) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.try_into_vec_as().expect("floats convert to f64")
}

/// A projected input, `shape` before its width, a state and weights of a controller with two layers, two read heads and two write heads.
pub(super) fn machine(
    leaves: &mut Leaves,
    activation: Option<Activation>,
    shape: [usize; 2],
) -> (Tensor<3>, State, SlowWeights) {
    let n_gates = if activation.is_none() { 4 } else { 1 };
    let gates = n_gates * D_HIDDEN;
    let mut layer = |below: usize| LayerWeights {
        weight: leaves.leaf([below, gates]),
        recurrent: activation.is_none().then(|| leaves.leaf([D_HIDDEN, gates])),
        bias: leaves.leaf([gates]),
    };
    let layers = vec![layer(D_INPUT + D_READS), layer(D_HIDDEN)];
    let n_states = if activation.is_none() {
        layers.len()
    } else {
        0
    };
    let addressing = 2 * Addressing::width(WORD_SIZE, SHIFT_WIDTH);
    let mut head = |width: usize| (leaves.leaf([D_HIDDEN, width]), leaves.leaf([width]));
    let weights = SlowWeights {
        layers,
        activation,
        read_head: head(addressing),
        write_head: head(addressing + 4 * WORD_SIZE),
    };
    let mut states = |_| LstmState {
        hidden: leaves.leaf([BATCH_SIZE, D_HIDDEN]),
        cell: leaves.leaf([BATCH_SIZE, D_HIDDEN]),
    };
    let state = State {
        controller: (0..n_states).map(&mut states).collect(),
        memory: leaves.leaf([BATCH_SIZE, MEMORY_SIZE, WORD_SIZE]),
        reads: leaves.leaf([BATCH_SIZE, 2, WORD_SIZE]),
        weights: leaves.leaf([BATCH_SIZE, 4, MEMORY_SIZE]),
    };
    let projected = leaves.leaf([shape[0], shape[1], gates]);
    (projected, state, weights)
}

/// Outputs, the last state, and the gradients of a fixed linear function of them, to everything that they depend on.
pub(super) fn results(
    mut leaves: Leaves,
    activation: Option<Activation>,
    shape: [usize; 2],
    run: impl Fn(Tensor<3>, State, SlowWeights) -> (Tensor<3>, State),
) -> Vec<Vec<f64>> {
    let (projected, mut state, weights) = machine(&mut leaves, activation, shape);
    // Weightings are not negative.
    state.weights = state.weights.abs().detach().require_grad();
    let cubes = [&projected, &state.memory, &state.reads, &state.weights].map(Tensor::clone);
    let mut matrices = vec![weights.read_head.0.clone(), weights.write_head.0.clone()];
    let mut vectors = vec![weights.read_head.1.clone(), weights.write_head.1.clone()];
    for layer in &weights.layers {
        matrices.push(layer.weight.clone());
        matrices.extend(layer.recurrent.clone());
    }
    let first_bias = weights.layers[0].bias.clone();
    vectors.extend(weights.layers[1..].iter().map(|layer| layer.bias.clone()));
    for layer in &state.controller {
        matrices.extend([layer.hidden.clone(), layer.cell.clone()]);
    }

    let (output, last) = run(projected, state, weights);
    let mut yielded = vec![output, last.memory, last.weights, last.reads];
    let states = last.controller.into_iter();
    let as_cube = |part: Tensor<2>| {
        let [n, width] = part.dims();
        part.reshape([n, 1, width])
    };
    yielded.extend(states.flat_map(|layer| [layer.hidden, layer.cell].map(as_cube)));
    let probes = yielded
        .iter()
        .map(|output| leaves.leaf(output.dims()).detach());
    let probed = yielded.iter().zip(probes.collect::<Vec<_>>());
    let loss = probed
        .map(|(output, probe)| (output.clone() * probe).sum())
        .reduce(|sum, part| sum + part)
        .expect("outputs");
    let gradients = loss.backward();
    fn of<const D: usize>(leaf: &Tensor<D>, gradients: &Gradients) -> Vec<f64> {
        values(leaf.grad(gradients).expect("a gradient"))
    }
    let mut all: Vec<Vec<f64>> = yielded.into_iter().map(values).collect();
    all.extend(cubes.iter().map(|leaf| of(leaf, &gradients)));
    all.extend(matrices.iter().map(|leaf| of(leaf, &gradients)));
    all.extend(vectors.iter().map(|leaf| of(leaf, &gradients)));
    // Of a projected input it is in the projection.
    all.push(first_bias.grad(&gradients).map(values).unwrap_or_default());
    all
}

/// Panics if a number differs by more than a share of the largest of its tensor.
#[track_caller]
pub(super) fn assert_same(actual: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64, case: &str) {
    assert_eq!(actual.len(), expected.len());
    for (tensor, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let scale = expected.iter().fold(1e-3_f64, |most, v| most.max(v.abs()));
        assert_eq!(actual.len(), expected.len());
        for (a, b) in actual.iter().zip(expected) {
            assert!(
                (a - b).abs() <= tolerance * scale,
                "tensor {tensor} of {case}: {a} is not {b}, beside {scale}"
            );
        }
    }
}
