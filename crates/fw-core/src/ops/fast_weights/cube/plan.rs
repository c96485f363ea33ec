//! What a kernel is compiled for, within what the device allows.

use burn_cubecl::cubecl::ir::HardwareProperties;

use crate::ops::Activation;
use crate::ops::cube::{SHARERS, Workgroup, shared_limit, wanted};
use crate::ops::fast_weights::{Options, WrittenState};

/// What a pair of kernels is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    pub(super) d_hidden: usize,
    pub(super) inner_steps: usize,
    pub(super) write: WrittenState,
    pub(super) activation: Activation,
    pub(super) is_normalized: bool,
    pub(super) normalizes_preliminary: bool,
    pub(super) has_start: bool,
    /// Whether the forward pass keeps what the backward pass reads.
    pub(super) keeps: bool,
    /// Steps between which the memory is read by attention.
    pub(super) chunk: usize,
    /// Whether a whole matrix lies in the memory that units share.
    pub(super) matrix_is_shared: bool,
    pub(super) workgroup: Workgroup,
}

impl Plan {
    /// The plan for a device; nothing, if its cubes share too little memory, or see too few buffers. A chunk that is too long for it is halved.
    pub(super) fn new(
        options: &Options,
        is_normalized: bool,
        has_start: bool,
        [seq_length, d_hidden]: [usize; 2],
        chunk: Option<usize>,
        hardware: &HardwareProperties,
    ) -> Option<Plan> {
        let chunk = chunk.unwrap_or_else(|| chunk_length(seq_length, d_hidden));
        let mut plan = Plan {
            d_hidden,
            inner_steps: options.inner_steps,
            write: options.write,
            activation: options.activation,
            is_normalized,
            normalizes_preliminary: is_normalized && options.normalize_preliminary,
            has_start,
            keeps: false,
            chunk,
            matrix_is_shared: false,
            workgroup: Workgroup::new(d_hidden, hardware),
        };
        let room = shared_limit(hardware, BUFFERS)?;
        while plan.shared_numbers() > room {
            if plan.chunk == 1 {
                return None;
            }
            plan.chunk = plan.chunk.div_ceil(2);
        }
        plan.matrix_is_shared = plan.shared_numbers() + d_hidden * d_hidden <= room;
        Some(plan)
    }

    /// The numbers that units share in the backward pass, which takes more of them, but for a matrix.
    fn shared_numbers(&self) -> usize {
        let Plan {
            d_hidden,
            chunk,
            workgroup,
            ..
        } = *self;
        let vectors = 7 * d_hidden + 2 * self.read_numbers();
        let shares = workgroup.shares * (self.width() + d_hidden);
        vectors + shares + chunk * self.written_row() + chunk + 2 * SHARERS + 1
    }

    /// Numbers in a row of shares.
    pub(super) fn width(&self) -> usize {
        self.d_hidden.max(self.chunk)
    }

    /// Numbers from a written vector to the next: units that read a column find them in different banks.
    pub(super) fn written_row(&self) -> usize {
        self.d_hidden + 1
    }

    /// Room for a vector of each inner step.
    pub(super) fn read_numbers(&self) -> usize {
        (self.inner_steps * self.d_hidden).max(1)
    }

    /// Room for a matrix in the memory that units share.
    pub(super) fn matrix_numbers(&self) -> usize {
        match self.matrix_is_shared {
            true => self.d_hidden * self.d_hidden,
            false => 1,
        }
    }

    /// Normalisations in a step.
    pub(super) fn n_norms(&self) -> usize {
        match self.is_normalized {
            true => self.inner_steps + usize::from(self.normalizes_preliminary),
            false => 0,
        }
    }

    /// Matrices that the forward pass keeps of each sample.
    pub(super) fn n_matrices(&self, seq_length: usize) -> usize {
        let n_chunks = seq_length.div_ceil(self.chunk);
        match (self.has_start || n_chunks > 1, self.keeps) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => n_chunks,
        }
    }
}

/// Buffers that the backward kernel sees, which sees the most.
const BUFFERS: u32 = 15;

/// The shapes of what the passes leave.
impl Plan {
    pub(super) fn outputs_shape(&self, batch_size: usize, seq_length: usize) -> [usize; 4] {
        let n_outputs = match self.write {
            WrittenState::Final => 1,
            WrittenState::Preliminary => 2,
        };
        [n_outputs, batch_size, seq_length, self.d_hidden]
    }

    pub(super) fn states_shape(&self, batch_size: usize, seq_length: usize) -> [usize; 4] {
        let shape = [batch_size, seq_length, self.inner_steps, self.d_hidden];
        wanted(self.keeps, shape)
    }

    pub(super) fn normalized_shape(&self, batch_size: usize, seq_length: usize) -> [usize; 4] {
        let shape = [batch_size, seq_length, self.n_norms(), self.d_hidden];
        wanted(self.keeps, shape)
    }

    pub(super) fn scales_shape(&self, batch_size: usize, seq_length: usize) -> [usize; 3] {
        wanted(self.keeps, [batch_size, seq_length, self.n_norms()])
    }

    pub(super) fn matrices_shape(&self, batch_size: usize, seq_length: usize) -> [usize; 4] {
        let n_matrices = self.n_matrices(seq_length);
        wanted(true, [batch_size, n_matrices, self.d_hidden, self.d_hidden])
    }

    pub(super) fn reads_shape(&self, batch_size: usize, seq_length: usize) -> [usize; 4] {
        let shape = [batch_size, seq_length, self.inner_steps, self.d_hidden];
        wanted(self.has_start, shape)
    }

    pub(super) fn of_norm_shape(&self, batch_size: usize) -> [usize; 2] {
        wanted(self.is_normalized, [batch_size, self.d_hidden])
    }
}

/// The whole sequence while its history is no longer than two matrices' width, with room up to a power of two: a kernel is compiled
/// for a chunk's length, and serves all shorter sequences. Else half a width.
fn chunk_length(seq_length: usize, d_hidden: usize) -> usize {
    match seq_length <= 16 + 2 * d_hidden {
        true => seq_length.next_power_of_two(),
        false => (d_hidden / 2).clamp(16, 64),
    }
}
