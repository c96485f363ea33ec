//! What a pair of kernels is compiled for, within what the device allows, and where numbers lie.

use burn_cubecl::cubecl::ir::HardwareProperties;

use crate::ops::Activation;
use crate::ops::cube::{SHARERS, Workgroup, shared_limit, wanted};
use crate::ops::ntm::Addressing;
use crate::ops::ntm::shapes::Sizes;

/// Steps between two memories that the forward pass keeps; the backward pass writes the others again.
const INTERVAL: usize = 16;

/// What a pair of kernels is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    pub(super) sizes: Sizes,
    /// Whether the forward pass keeps what the backward pass reads.
    pub(super) keeps: bool,
    /// Whether the memory, and in the backward pass its gradient, lies in what units share.
    pub(super) memory_is_shared: bool,
    /// For the controller's gates, the heads' map, what a layer reads, what is read or written, and h.
    pub(super) gates: Workgroup,
    pub(super) heads: Workgroup,
    pub(super) below: Workgroup,
    pub(super) words: Workgroup,
    pub(super) hidden: Workgroup,
}

/// Where a step's numbers lie in its row of the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TapeRow {
    /// i, f, g, o of each layer of an LSTM.
    pub(super) gates: usize,
    /// c of each layer of an LSTM.
    pub(super) cells: usize,
    /// h of each layer.
    pub(super) hidden: usize,
    /// What the heads' map yields.
    pub(super) raw: usize,
    /// The largest ln w̃ of each head.
    pub(super) largest: usize,
    /// K, wᶜ and w of each head.
    pub(super) similarity: usize,
    pub(super) content: usize,
    pub(super) weights: usize,
    pub(super) width: usize,
}

impl Sizes {
    pub(super) fn is_lstm(&self) -> bool {
        self.activation.is_none()
    }

    /// The nonlinearity of a feed-forward controller, and any of another.
    pub(super) fn nonlinearity(&self) -> Activation {
        self.activation.unwrap_or_default()
    }

    pub(super) fn n_heads(&self) -> usize {
        self.n_read + self.n_write
    }

    /// Numbers that a layer's product yields.
    pub(super) fn d_gates(&self) -> usize {
        self.n_gates() * self.d_hidden
    }

    /// Numbers of what all heads read.
    pub(super) fn d_reads(&self) -> usize {
        self.n_read * self.word_size
    }

    /// Numbers that a layer reads from below; the first does not count its input.
    pub(super) fn d_below(&self, layer: usize) -> usize {
        match layer {
            0 => self.d_reads(),
            _ => self.d_hidden,
        }
    }

    /// The same with its own state.
    pub(super) fn d_layer(&self, layer: usize) -> usize {
        match self.is_lstm() {
            true => self.d_below(layer) + self.d_hidden,
            false => self.d_below(layer),
        }
    }

    pub(super) fn widest_layer(&self) -> usize {
        let layers = 0..self.n_layers;
        layers.map(|layer| self.d_layer(layer)).max().unwrap_or(1)
    }

    /// Where the weights of a layer begin, in those of all layers.
    pub(super) fn layer_at(&self, layer: usize) -> usize {
        let before = (0..layer).map(|layer| self.d_layer(layer));
        before.sum::<usize>() * self.d_gates()
    }

    /// Numbers of what addresses a head.
    pub(super) fn d_addressing(&self) -> usize {
        Addressing::width(self.word_size, self.shift_width)
    }

    /// Numbers of all erase vectors.
    pub(super) fn d_erase(&self) -> usize {
        self.n_write * self.word_size
    }

    /// Where the erase vectors begin in what the heads' map yields.
    pub(super) fn erase_at(&self) -> usize {
        self.n_heads() * self.d_addressing()
    }

    /// Where the add vectors begin.
    pub(super) fn add_at(&self) -> usize {
        self.erase_at() + self.d_erase()
    }

    /// Numbers that the heads' map yields.
    pub(super) fn d_raw(&self) -> usize {
        self.add_at() + self.d_erase()
    }

    /// Weights of all heads.
    pub(super) fn n_weights(&self) -> usize {
        self.n_heads() * self.memory_size
    }

    pub(super) fn memory_numbers(&self) -> usize {
        self.memory_size * self.word_size
    }

    /// Numbers of the hidden states of an LSTM; none of another controller.
    pub(super) fn d_states(&self) -> usize {
        self.n_states() * self.d_hidden
    }

    /// `[h_t ; r_t]`.
    pub(super) fn d_output(&self) -> usize {
        self.d_hidden + self.d_reads()
    }

    /// Numbers of a state of a sample: memory, weightings, h and c.
    pub(super) fn d_state(&self) -> usize {
        self.memory_numbers() + self.n_weights() + 2 * self.d_states()
    }

    pub(super) fn tape_row(&self) -> TapeRow {
        let gates = 0;
        let cells = gates + 4 * self.d_states();
        let hidden = cells + self.d_states();
        let raw = hidden + self.n_layers * self.d_hidden;
        let largest = raw + self.d_raw();
        let similarity = largest + self.n_heads();
        let content = similarity + self.n_weights();
        let weights = content + self.n_weights();
        TapeRow {
            gates,
            cells,
            hidden,
            raw,
            largest,
            similarity,
            content,
            weights,
            width: weights + self.n_weights(),
        }
    }

    /// A step's numbers in what the backward kernel yields: the gradients of each layer's product, then of the heads' map.
    pub(super) fn d_row(&self) -> usize {
        self.n_layers * self.d_gates() + self.d_raw()
    }

    /// Numbers of the gradient of what precedes the sequence: memory, weightings, what was read, h and c.
    pub(super) fn d_start(&self) -> usize {
        self.d_state() + self.d_reads()
    }
}

impl Plan {
    /// The same, keeping what the backward pass reads.
    pub(super) fn keeping(mut self) -> Self {
        self.keeps = true;
        self
    }

    /// The plan for a device; nothing, if its cubes share too little memory, or see too few buffers.
    pub(super) fn new(sizes: Sizes, hardware: &HardwareProperties) -> Option<Plan> {
        let workgroup = |width| Workgroup::new(width, hardware);
        let mut plan = Plan {
            sizes,
            keeps: false,
            memory_is_shared: true,
            gates: workgroup(sizes.d_gates()),
            heads: workgroup(sizes.d_raw()),
            below: workgroup(sizes.widest_layer()),
            words: workgroup(sizes.d_reads().max(2 * sizes.d_erase())),
            hidden: workgroup(sizes.d_hidden),
        };
        let room = shared_limit(hardware, BUFFERS)?;
        if plan.shared_numbers() > room {
            plan.memory_is_shared = false;
        }
        (plan.shared_numbers() <= room).then_some(plan)
    }

    /// The numbers that units share in the backward pass, which takes more of them.
    fn shared_numbers(&self) -> usize {
        let sizes = &self.sizes;
        let vectors = 2 * sizes.n_layers * sizes.d_hidden
            + sizes.d_gates()
            + 2 * sizes.d_raw()
            + sizes.widest_layer()
            + 2 * sizes.d_reads()
            + sizes.d_erase()
            + sizes.n_heads() * (sizes.shift_width + SCALARS);
        let statistics = sizes.n_heads() * SHARERS * (6 + sizes.shift_width);
        vectors
            + statistics
            + 4 * sizes.n_weights()
            + sizes.memory_size
            + self.shares()
            + self.shared_memory()
    }

    /// Room for the memory in what units share.
    pub(super) fn shared_memory(&self) -> usize {
        match self.memory_is_shared {
            true => self.sizes.memory_size * (self.sizes.word_size + 1),
            false => 1,
        }
    }

    /// Room for the shares of any product.
    pub(super) fn shares(&self) -> usize {
        let sizes = &self.sizes;
        [
            self.gates.shares * sizes.d_gates(),
            self.heads.shares * sizes.d_raw(),
            self.below.shares * sizes.widest_layer(),
            self.words.shares * sizes.d_reads().max(2 * sizes.d_erase()),
            self.words.shares * sizes.n_heads() * sizes.word_size,
            self.hidden.shares * sizes.d_hidden,
        ]
        .into_iter()
        .max()
        .unwrap_or(1)
    }

    pub(super) fn units(&self) -> usize {
        self.gates.units()
    }

    pub(super) fn interval(&self) -> usize {
        INTERVAL
    }

    /// Numbers of what the operation yields: every `[h_t ; r_t]`, then the memory, the weightings, h and c after the last step.
    pub(super) fn results(&self, batch_size: usize, seq_length: usize) -> usize {
        batch_size * (seq_length * self.sizes.d_output() + self.sizes.d_state())
    }

    pub(super) fn tape_shape(&self, batch_size: usize, seq_length: usize) -> [usize; 3] {
        let width = self.sizes.tape_row().width;
        wanted(self.keeps, [batch_size, seq_length, width])
    }

    pub(super) fn checkpoints_shape(&self, batch_size: usize, seq_length: usize) -> [usize; 3] {
        let checkpoints = seq_length.div_ceil(INTERVAL);
        wanted(
            self.keeps,
            [batch_size, checkpoints, self.sizes.memory_numbers()],
        )
    }
}

/// Numbers of a head beside its vectors: β, γ, g and the square of the key's norm.
pub(super) const SCALARS: usize = 4;

/// Buffers that the forward kernel sees, which sees the most.
const BUFFERS: u32 = 13;
