//! What the tests run: sequences with everything that they depend on as a leaf.

use alloc::vec::Vec;

use burn::tensor::{DType, Device, Tensor, activation};

use super::{LogDecay, Sequences, WriteRule};
use crate::ops::Spans;
use crate::ops::trials::{Random, gradient_of, numbers_of};

/// A kind of memory, and its sizes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) rule: WriteRule,
    /// Numbers of a log decay: none, one a head, or one a channel.
    pub(super) decays: usize,
    pub(super) writes: usize,
    pub(super) n_heads: usize,
    pub(super) d_key: usize,
    pub(super) d_value: usize,
    pub(super) has_start: bool,
}

/// Odd sizes, neither whole vectors nor less than one.
pub(super) const PLAIN: Kind = Kind {
    rule: WriteRule::Delta,
    decays: 0,
    writes: 1,
    n_heads: 3,
    d_key: 9,
    d_value: 5,
    has_start: true,
};

pub(super) fn kinds() -> Vec<Kind> {
    let sum = WriteRule::Sum;
    alloc::vec![
        PLAIN,
        Kind { decays: 1, ..PLAIN },
        Kind {
            decays: PLAIN.d_key,
            ..PLAIN
        },
        Kind {
            writes: 2,
            decays: 1,
            has_start: false,
            ..PLAIN
        },
        Kind {
            writes: 3,
            decays: PLAIN.d_key,
            ..PLAIN
        },
        Kind { rule: sum, ..PLAIN },
        Kind {
            rule: sum,
            decays: 1,
            writes: 2,
            ..PLAIN
        },
        Kind {
            rule: sum,
            decays: PLAIN.d_key,
            has_start: false,
            ..PLAIN
        },
        Kind {
            n_heads: 1,
            d_key: 1,
            d_value: 1,
            decays: 1,
            ..PLAIN
        },
        Kind {
            n_heads: 2,
            d_key: 16,
            d_value: 32,
            decays: 1,
            ..PLAIN
        },
    ]
}

/// Leaves, and weights of the results.
pub(super) struct Leaves {
    kind: Kind,
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    strength: Tensor<3>,
    decay: Tensor<4>,
    start: Tensor<4>,
    on_output: Tensor<4>,
    on_memory: Tensor<4>,
}

impl Leaves {
    /// For spans of tensors with so many sequences of so many steps.
    pub(super) fn new(
        kind: Kind,
        [n_sequences, seq_length]: [usize; 2],
        spans: &Spans,
        (device, dtype): (&Device, DType),
    ) -> Self {
        let mut random = Random::new(seq_length as u64, device, dtype);
        let Kind {
            writes,
            n_heads,
            d_key,
            d_value,
            ..
        } = kind;
        let n_writes = seq_length * writes;
        let memory = |n_samples| [n_samples, n_heads, d_key, d_value];
        Leaves {
            kind,
            query: random.leaf([n_sequences, seq_length, n_heads, d_key], 1.0),
            key: random.leaf([n_sequences, n_writes, n_heads, d_key], 1.0),
            value: random.leaf([n_sequences, n_writes, n_heads, d_value], 1.0),
            strength: random.leaf([n_sequences, n_writes, n_heads], 1.0),
            decay: random.leaf([n_sequences, seq_length, n_heads, kind.decays.max(1)], 2.0),
            start: random.leaf(memory(spans.n_samples()), 1.0),
            on_output: random
                .leaf([n_sequences, seq_length, n_heads, d_value], 1.0)
                .detach(),
            on_memory: random.leaf(memory(spans.n_ends()), 1.0).detach(),
        }
    }

    pub(super) fn of_batch(kind: Kind, batch: [usize; 2], place: (&Device, DType)) -> Self {
        Self::new(kind, batch, &Spans::of_batch(batch[0], batch[1]), place)
    }

    /// What the leaves mean: keys and queries shorter than 1, strengths in (0, 1), log decays below 0.
    fn sequences(&self) -> Sequences {
        let short = |rows: &Tensor<4>| {
            let length = rows.clone().square().sum_dim(3).sqrt();
            rows.clone() / (length + 0.1)
        };
        let decay = activation::log_sigmoid(self.decay.clone());
        Sequences {
            query: short(&self.query),
            key: short(&self.key),
            value: self.value.clone(),
            write_strength: activation::sigmoid(self.strength.clone()),
            log_decay: match self.kind.decays {
                0 => LogDecay::None,
                1 => LogDecay::Head(decay.squeeze_dim(3)),
                _ => LogDecay::Channel(decay),
            },
        }
    }

    /// The sequences, and the memory that they begin with.
    pub(super) fn parts(&self) -> (Sequences, Option<Tensor<4>>) {
        let start = self.kind.has_start.then(|| self.start.clone());
        (self.sequences(), start)
    }

    /// Outputs, last memories and all gradients of a linear function of them, for a run.
    pub(super) fn results(
        &self,
        run: impl Fn(Sequences, Option<Tensor<4>>) -> (Tensor<4>, Tensor<4>),
    ) -> Vec<Vec<f64>> {
        let (sequences, start) = self.parts();
        let (output, memory) = run(sequences, start);
        let loss = (output.clone() * self.on_output.clone()).sum()
            + (memory.clone() * self.on_memory.clone()).sum();
        let gradients = loss.backward();
        let mut all = alloc::vec![numbers_of(output), numbers_of(memory)];
        for leaf in [
            &self.query,
            &self.key,
            &self.value,
            &self.decay,
            &self.start,
        ] {
            all.push(gradient_of(leaf, &gradients));
        }
        all.push(gradient_of(&self.strength, &gradients));
        all
    }
}
