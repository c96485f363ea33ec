//! Matrix memories: forward and backward, to the gradients of all that they are given.

use std::hint::black_box;

use burn::tensor::{Device, Tensor, TensorData};
use fw_core::ExecutionPath;
use fw_core::ops::matrix_memory::{
    LogDecay, MLstmSequences, MLstmState, Rwkv7Sequences, Sequences, WriteRule, matrix_memory,
    mlstm, rwkv7,
};
use serde::Deserialize;

use crate::Work;
use crate::numbers::{fingerprint, scattered, wave};

/// Sizes of the operation.
#[derive(Clone, Copy, Deserialize)]
pub struct MemorySizes {
    batch_size: usize,
    seq_length: usize,
    n_heads: usize,
    d_key: usize,
    d_value: usize,
    /// Of the delta rule log decays that a head has at each step: 0, 1, or one for each key channel.
    #[serde(default)]
    decays: usize,
    /// Of the delta rule writes in a step.
    #[serde(default)]
    writes: usize,
}

/// The work of a variant, if it is one of these.
pub fn work(variant: &str, sizes: MemorySizes, device: &Device) -> Option<Box<dyn Work>> {
    let (name, path) = match variant.strip_suffix("-composed") {
        Some(name) => (name, ExecutionPath::Composed),
        None => (variant, ExecutionPath::Fused),
    };
    let memory = match name {
        "delta" => delta(sizes, path, device),
        "mlstm" => of_mlstm(sizes, path, device),
        "rwkv7" => of_rwkv7(sizes, path, device),
        _ => return None,
    };
    Some(Box::new(memory))
}

/// An operation of several leaves.
struct Memory {
    leaves: Vec<Tensor<4>>,
    forward: Box<dyn Fn(Vec<Tensor<4>>) -> Tensor<4>>,
}

impl Memory {
    /// The outputs, and the gradients of all leaves when that of the outputs is ones.
    fn call(&self) -> (Tensor<4>, Vec<Tensor<1>>) {
        let leaves = self.leaves.iter().cloned();
        let leaves: Vec<Tensor<4>> = leaves.map(Tensor::require_grad).collect();
        let output = (self.forward)(leaves.clone());
        let gradients = output.backward();
        let of = |leaf: &Tensor<4>| leaf.grad(&gradients).expect("a leaf").flatten(0, 3);
        (output.inner(), leaves.iter().map(of).collect())
    }
}

impl Work for Memory {
    fn run(&mut self) {
        black_box(self.call());
    }

    fn fingerprint(&mut self) -> [f64; 2] {
        let (output, gradients) = self.call();
        [
            fingerprint(output),
            fingerprint(Tensor::<1>::cat(gradients, 0)),
        ]
    }
}

fn waves(scale: f64, frequency: f64, shape: [usize; 4], device: &Device) -> Tensor<4> {
    let values = TensorData::new(wave(frequency, shape.iter().product()), shape);
    Tensor::<4>::from_data(values, device) * scale
}

/// Rows of length 1.
fn unit_rows(frequency: f64, shape: [usize; 4], device: &Device) -> Tensor<4> {
    let rows = TensorData::new(scattered(frequency, shape.iter().product()), shape);
    let rows = Tensor::<4>::from_data(rows, device);
    rows.clone() / rows.square().sum_dim(3).sqrt()
}

/// q, k, v, β, the log decays if there are any, and the start state.
fn delta(sizes: MemorySizes, path: ExecutionPath, device: &Device) -> Memory {
    let MemorySizes {
        batch_size,
        seq_length,
        n_heads,
        d_key,
        d_value,
        decays,
        writes,
    } = sizes;
    let written = seq_length * writes;
    let mut leaves = vec![
        waves(1.0, 0.9, [batch_size, seq_length, n_heads, d_key], device),
        unit_rows(1.1, [batch_size, written, n_heads, d_key], device),
        waves(1.0, 1.3, [batch_size, written, n_heads, d_value], device),
        waves(0.4, 1.7, [batch_size, written, n_heads, 1], device) + 0.5,
    ];
    if decays > 0 {
        let shape = [batch_size, seq_length, n_heads, decays];
        leaves.push(waves(0.2, 1.9, shape, device) - 0.25);
    }
    leaves.push(waves(
        0.1,
        2.3,
        [batch_size, n_heads, d_key, d_value],
        device,
    ));
    let forward = move |leaves: Vec<Tensor<4>>| {
        let mut leaves = leaves.into_iter();
        let mut next = || leaves.next().expect("as many as were made");
        let sequences = Sequences {
            query: next(),
            key: next(),
            value: next(),
            write_strength: next().squeeze_dim(3),
            log_decay: match decays {
                0 => LogDecay::None,
                1 => LogDecay::Head(next().squeeze_dim(3)),
                _ => LogDecay::Channel(next()),
            },
        };
        matrix_memory(sequences, Some(next()), WriteRule::Delta, path).0
    };
    Memory {
        leaves,
        forward: Box::new(forward),
    }
}

/// q, k, v, the gates before their functions, and C with n as its last column.
fn of_mlstm(sizes: MemorySizes, path: ExecutionPath, device: &Device) -> Memory {
    let MemorySizes {
        batch_size,
        seq_length,
        n_heads,
        d_key,
        d_value,
        ..
    } = sizes;
    let rows = |width| [batch_size, seq_length, n_heads, width];
    let leaves = vec![
        waves(1.0, 0.9, rows(d_key), device),
        waves(1.0, 1.1, rows(d_key), device),
        waves(1.0, 1.3, rows(d_value), device),
        waves(2.0, 1.7, rows(1), device),
        waves(1.0, 1.9, rows(1), device) + 3.0,
        waves(0.1, 2.3, [batch_size, n_heads, d_key, d_value + 1], device),
    ];
    let forward = move |leaves: Vec<Tensor<4>>| {
        let [query, key, value, input_gate, forget_gate, memory]: [Tensor<4>; 6] =
            leaves.try_into().expect("as many as were made");
        let sequences = MLstmSequences {
            query,
            key,
            value,
            input_gate: input_gate.squeeze_dim(3),
            forget_gate: forget_gate.squeeze_dim(3),
        };
        let log_scale = Tensor::zeros([batch_size, n_heads], &memory.device());
        let state = MLstmState { memory, log_scale };
        mlstm(sequences, Some(state), path).0
    };
    Memory {
        leaves,
        forward: Box::new(forward),
    }
}

/// r, w, k, v, a, b and the start state.
fn of_rwkv7(sizes: MemorySizes, path: ExecutionPath, device: &Device) -> Memory {
    let MemorySizes {
        batch_size,
        seq_length,
        n_heads,
        d_key,
        d_value,
        ..
    } = sizes;
    let rows = |width| [batch_size, seq_length, n_heads, width];
    let removal = unit_rows(1.1, rows(d_key), device);
    let rate = waves(0.4, 1.7, rows(d_key), device) + 0.5;
    let leaves = vec![
        waves(1.0, 0.9, rows(d_key), device),
        waves(0.2, 1.9, rows(d_key), device) - 0.25,
        waves(0.2, 1.5, rows(d_key), device),
        waves(1.0, 1.3, rows(d_value), device),
        removal.clone().neg(),
        removal * rate,
        waves(0.1, 2.3, [batch_size, n_heads, d_key, d_value], device),
    ];
    let forward = move |leaves: Vec<Tensor<4>>| {
        let [
            receptance,
            log_decay,
            key,
            value,
            transition_read,
            transition_write,
            state,
        ]: [Tensor<4>; 7] = leaves.try_into().expect("as many as were made");
        let sequences = Rwkv7Sequences {
            receptance,
            log_decay,
            key,
            value,
            transition_read,
            transition_write,
        };
        rwkv7(sequences, Some(state), path).0
    };
    Memory {
        leaves,
        forward: Box::new(forward),
    }
}
