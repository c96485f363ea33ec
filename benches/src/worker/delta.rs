//! A matrix memory that learns by the delta rule: forward and backward, to the gradients of all that it is given.

use std::hint::black_box;

use burn::tensor::{Device, Tensor, TensorData};
use fw_core::ExecutionPath;
use fw_core::ops::matrix_memory::{LogDecay, Sequences, WriteRule, matrix_memory};
use serde::Deserialize;

use crate::Work;
use crate::numbers::{fingerprint, scattered, wave};

/// Sizes of the operation.
#[derive(Clone, Copy, Deserialize)]
pub struct DeltaSizes {
    batch_size: usize,
    seq_length: usize,
    n_heads: usize,
    d_key: usize,
    d_value: usize,
    /// Log decays that a head has at each step: 0, 1, or one for each key channel.
    decays: usize,
    /// Writes in a step.
    writes: usize,
}

/// The work of a variant, if it is one of these.
pub fn work(variant: &str, sizes: DeltaSizes, device: &Device) -> Option<Box<dyn Work>> {
    let path = match variant {
        "delta" => ExecutionPath::Fused,
        "delta-composed" => ExecutionPath::Composed,
        _ => return None,
    };
    let DeltaSizes {
        batch_size,
        seq_length,
        n_heads,
        d_key,
        d_value,
        decays,
        writes,
    } = sizes;
    let written = seq_length * writes;
    let key = scattered(1.1, batch_size * written * n_heads * d_key);
    let key = TensorData::new(key, [batch_size, written, n_heads, d_key]);
    let key = Tensor::<4>::from_data(key, device);
    let length = key.clone().square().sum_dim(3).sqrt();
    let log_decay = |width| {
        let shape = [batch_size, seq_length, n_heads, width];
        waves(0.2, 1.9, shape, device) - 0.25
    };
    Some(Box::new(Delta {
        sequences: Sequences {
            query: waves(1.0, 0.9, [batch_size, seq_length, n_heads, d_key], device),
            key: key / length,
            value: waves(1.0, 1.3, [batch_size, written, n_heads, d_value], device),
            write_strength: waves(0.4, 1.7, [batch_size, written, n_heads], device) + 0.5,
            log_decay: match decays {
                0 => LogDecay::None,
                1 => LogDecay::Head(log_decay(1).squeeze_dim(3)),
                _ => LogDecay::Channel(log_decay(decays)),
            },
        },
        state: waves(0.1, 2.3, [batch_size, n_heads, d_key, d_value], device),
        path,
    }))
}

fn waves<const D: usize>(
    scale: f64,
    frequency: f64,
    shape: [usize; D],
    device: &Device,
) -> Tensor<D> {
    let values = TensorData::new(wave(frequency, shape.iter().product()), shape);
    Tensor::<D>::from_data(values, device) * scale
}

struct Delta {
    sequences: Sequences,
    state: Tensor<4>,
    path: ExecutionPath,
}

impl Delta {
    /// The outputs, and the gradients of q, k, v, β, the log decays and the start state when that of the outputs is ones.
    fn call(&self) -> (Tensor<4>, Vec<Tensor<1>>) {
        let sequences = Sequences {
            query: self.sequences.query.clone().require_grad(),
            key: self.sequences.key.clone().require_grad(),
            value: self.sequences.value.clone().require_grad(),
            write_strength: self.sequences.write_strength.clone().require_grad(),
            log_decay: match self.sequences.log_decay.clone() {
                LogDecay::None => LogDecay::None,
                LogDecay::Head(decay) => LogDecay::Head(decay.require_grad()),
                LogDecay::Channel(decay) => LogDecay::Channel(decay.require_grad()),
            },
        };
        let state = self.state.clone().require_grad();
        let (output, _) = matrix_memory(
            sequences.clone(),
            Some(state.clone()),
            WriteRule::Delta,
            self.path,
        );
        let gradients = output.backward();
        let of = |leaf: &Tensor<4>| {
            let gradient = leaf.grad(&gradients).expect("a leaf");
            gradient.flatten(0, 3)
        };
        let of_heads = |leaf: &Tensor<3>| {
            let gradient = leaf.grad(&gradients).expect("a leaf");
            gradient.flatten(0, 2)
        };
        let mut all = vec![
            of(&sequences.query),
            of(&sequences.key),
            of(&sequences.value),
            of_heads(&sequences.write_strength),
        ];
        match &sequences.log_decay {
            LogDecay::None => {}
            LogDecay::Head(decay) => all.push(of_heads(decay)),
            LogDecay::Channel(decay) => all.push(of(decay)),
        }
        all.push(of(&state));
        (output.inner(), all)
    }
}

impl Work for Delta {
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
