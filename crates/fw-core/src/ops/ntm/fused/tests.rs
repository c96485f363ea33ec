//! The kernel on every instruction set, what it keeps, and what it refuses.

use burn::tensor::{DType, Device, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::ops::Activation;
use crate::ops::cpu::architectures;
use crate::ops::ntm::LayerWeights;

const BATCH_SIZE: usize = 5;
const D_READS: usize = 2 * WORD_SIZE;
const D_INPUT: usize = 3;
/// Neither a whole vector nor less than one, for vectors of 2 to 8 numbers.
const D_HIDDEN: usize = 9;
const MEMORY_SIZE: usize = 11;
const WORD_SIZE: usize = 3;
const SHIFT_WIDTH: usize = 5;

/// Leaves of uniform values.
struct Leaves {
    rng: ChaCha8Rng,
    device: Device,
}

impl Leaves {
    fn leaf<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<D> {
        let count = shape.iter().product::<usize>();
        let values: Vec<f64> = (0..count)
            .map(|_| self.rng.random_range(-0.8..0.8))
            .collect();
        let tensor = Tensor::from_data(TensorData::new(values, shape), (&self.device, DType::F64));
        match self.device.is_autodiff() {
            true => tensor.require_grad(),
            false => tensor,
        }
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.try_into_vec_as().expect("floats convert to f64")
}

/// A projected input, a state and weights of a controller with two layers, two read heads and two write heads.
fn parts(
    leaves: &mut Leaves,
    activation: Option<Activation>,
    seq_length: usize,
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
        shift_width: SHIFT_WIDTH,
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
    let projected = leaves.leaf([BATCH_SIZE, seq_length, gates]);
    (projected, state, weights)
}

/// Outputs and the gradients of a fixed linear function of them, to the input, the memory and all weights of the heads.
fn results(arch: Arch, activation: Option<Activation>, seq_length: usize) -> Vec<Vec<f64>> {
    let mut leaves = Leaves {
        rng: ChaCha8Rng::seed_from_u64(3),
        device: Device::flex().autodiff(),
    };
    let (projected, mut state, weights) = parts(&mut leaves, activation, seq_length);
    // Weightings are not negative.
    state.weights = state.weights.abs().detach().require_grad();
    let matrices = [
        weights.read_head.0.clone(),
        weights.write_head.0.clone(),
        weights.layers[0].weight.clone(),
        weights.layers[1].weight.clone(),
    ];
    let (memory, prev) = (state.memory.clone(), state.weights.clone());
    let (output, last) = run_on(arch, Sequence::Projected(projected.clone()), state, weights);
    let probe = leaves.leaf(output.dims()).detach();
    let on_memory = leaves.leaf(memory.dims()).detach();
    let on_weights = leaves.leaf(prev.dims()).detach();
    let loss = (output.clone() * probe).sum()
        + (last.memory.clone() * on_memory).sum()
        + (last.weights.clone() * on_weights).sum();
    let gradients = loss.backward();
    let of = |leaf: &Tensor<3>| values(leaf.grad(&gradients).expect("a gradient"));
    let mut all = vec![
        values(output),
        values(last.memory),
        values(last.weights),
        of(&projected),
        of(&memory),
        of(&prev),
    ];
    all.extend(matrices.map(|matrix| values(matrix.grad(&gradients).expect("a gradient"))));
    all
}

#[test]
fn every_instruction_set_computes_the_same() {
    for activation in [None, Some(Activation::Tanh), Some(Activation::Relu)] {
        // Longer than from one kept memory to the next.
        for seq_length in [1, 37] {
            let expected = results(Arch::Scalar, activation, seq_length);
            for arch in architectures() {
                let actual = results(arch, activation, seq_length);
                for (tensor, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
                    let scale = expected.iter().fold(1e-3_f64, |most, v| most.max(v.abs()));
                    for (a, b) in actual.iter().zip(expected) {
                        assert!(
                            (a - b).abs() <= 1e-9 * scale,
                            "tensor {tensor} with {activation:?}, T = {seq_length}, on {arch:?}: {a} is not {b}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn the_tape_keeps_a_memory_for_every_sixteen_steps() {
    let bytes = |seq_length: usize| {
        let mut leaves = Leaves {
            rng: ChaCha8Rng::seed_from_u64(3),
            device: Device::flex(),
        };
        let (projected, state, weights) = parts(&mut leaves, None, seq_length);
        let (inputs, plan) = operands(
            Arch::detect(),
            Sequence::Projected(projected),
            state,
            weights,
        );
        let inputs = inputs.into_array().map(Tensor::<1>::from_dispatch);
        let inputs = inputs.map(|input| {
            let (shape, values) = (input.shape(), values(input));
            FlexTensor::from_data(TensorData::new(values, shape))
        });
        let (.., tape) = plan.forward::<f64>(inputs.each_ref().map(fused::input), true);
        tape.expect("a tape").bytes()
    };
    // In f64, widths rounded up to 16 numbers at most: of each step two layers of gates, c and h, what was read, what the heads
    // ask for, four rows of slots for each of four heads, and the norms of the slots.
    let (hidden, slots) = (16, 16);
    let step = 2 * 6 * hidden + 16 + (48 + 16 + 16) + (4 * 4 + 1) * slots;
    let memory = WORD_SIZE * slots;
    for seq_length in [16, 160, 1600] {
        let most = 8 * BATCH_SIZE * ((seq_length + 1) * step + (seq_length / 16 + 2) * memory);
        let actual = bytes(seq_length);
        assert!(
            actual <= most,
            "T = {seq_length}: {actual} bytes, not {most}"
        );
    }
    // A memory a step would be more than this.
    let of_a_step = (bytes(1600) - bytes(160)) / (BATCH_SIZE * 1440 * 8);
    assert!(
        of_a_step <= step + memory / 16,
        "{of_a_step} numbers a step"
    );
}

#[test]
fn wrong_shapes_are_refused_before_the_kernel_runs() {
    let mut leaves = Leaves {
        rng: ChaCha8Rng::seed_from_u64(3),
        device: Device::flex(),
    };
    let (projected, mut state, weights) = parts(&mut leaves, None, 2);
    state.weights = leaves.leaf([BATCH_SIZE, 3, MEMORY_SIZE]);
    let run =
        std::panic::AssertUnwindSafe(|| sequence(Sequence::Projected(projected), state, weights));
    let payload = std::panic::catch_unwind(run).expect_err("a weighting too few");
    let message = payload.downcast_ref::<alloc::string::String>();
    assert_eq!(
        message.map(|message| message.as_str()),
        Some("the weightings has shape [5, 3, 11]; it must be [5, 4, 11]")
    );
}
