//! Sizes that the benches share.

use serde::{Deserialize, Serialize};

/// The sizes of a bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Samples.
    pub batch_size: usize,
    /// Steps.
    pub seq_length: usize,
    /// Width of the input.
    pub d_input: usize,
    /// Width of the hidden state.
    pub d_hidden: usize,
    /// How often a step of fast weights reads its memory.
    pub inner_steps: usize,
}

impl Sizes {
    /// From batch, T, d_input, d_hidden, S.
    pub const fn new(sizes: [usize; 5]) -> Self {
        let [batch_size, seq_length, d_input, d_hidden, inner_steps] = sizes;
        Sizes {
            batch_size,
            seq_length,
            d_input,
            d_hidden,
            inner_steps,
        }
    }
}

/// The sizes that are measured unless others are asked for.
pub const GRID: [Sizes; 7] = [
    Sizes::new([128, 11, 100, 50, 1]),
    Sizes::new([128, 11, 100, 20, 1]),
    Sizes::new([128, 50, 64, 64, 1]),
    Sizes::new([64, 100, 64, 128, 1]),
    Sizes::new([32, 500, 64, 64, 1]),
    Sizes::new([8, 2000, 64, 64, 1]),
    Sizes::new([128, 50, 64, 64, 3]),
];
