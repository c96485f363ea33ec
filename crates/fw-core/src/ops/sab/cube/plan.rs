//! What a pair of kernels is compiled for, within what the device allows, and where numbers lie.

use burn_cubecl::cubecl::ir::HardwareProperties;

use crate::ops::CellKind;
use crate::ops::cube::{SHARERS, Workgroup, shared_limit, wanted};
use crate::ops::sab::{Combination, Options, Score, Sparsifier};

/// Shares of a score, which [`SHARERS`] units sum up, and a place more: rows begin in different banks.
pub(super) const SCORE_ROW: usize = SHARERS + 1;

/// What a pair of kernels is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    pub(super) kind: CellKind,
    pub(super) d_hidden: usize,
    /// Whether there is attention at all.
    pub(super) recalls: bool,
    pub(super) attention: Attention,
    pub(super) truncation_length: Option<usize>,
    pub(super) yields_summary: bool,
    /// Whether the forward pass keeps what the backward pass reads.
    pub(super) keeps: bool,
    /// For the gates, for h, and for what attention makes of it.
    pub(super) gates: Workgroup,
    pub(super) hidden: Workgroup,
    pub(super) query: Workgroup,
}

/// How the past is attended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attention {
    /// At least 1.
    pub(super) d_attention: usize,
    pub(super) score: Score,
    pub(super) sparsifier: Sparsifier,
    pub(super) combination: Combination,
    pub(super) top_k: Option<usize>,
    pub(super) interval: usize,
    pub(super) replay: bool,
    pub(super) max_memories: Option<usize>,
}

/// The lengths of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    pub(super) batch_size: usize,
    pub(super) seq_length: usize,
    /// Memories that are given, and what the sequence stores.
    pub(super) n_memories: usize,
    /// The most memories that take part in a step.
    pub(super) slots: usize,
}

/// Where a step's numbers lie in its row of the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TapeRow {
    /// c of an LSTM; of a GRU what the state gives to the new gate; of an Elman network not used.
    pub(super) carry: usize,
    /// ĥ, which is all that there is of an Elman network.
    pub(super) candidate: usize,
    pub(super) query: usize,
    pub(super) width: usize,
}

/// Where a step's numbers lie in its row of what the backward kernel yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SlopeRow {
    /// Of what the state gives to each gate; first comes that of what the input gives.
    pub(super) from_hidden: usize,
    /// Of `ĥ W_h`.
    pub(super) query: usize,
    pub(super) width: usize,
}

impl Plan {
    /// The plan for a device; nothing, if its cubes share too little memory, or see too few buffers.
    pub(super) fn new(
        kind: CellKind,
        d_hidden: usize,
        attention: Option<(usize, Score)>,
        options: &Options,
        yields_summary: bool,
        hardware: &HardwareProperties,
    ) -> Option<Plan> {
        let recalls = attention.is_some();
        let (d_attention, score) = attention.unwrap_or((1, Score::Mlp));
        let attention = Attention {
            d_attention,
            score,
            sparsifier: options.sparsifier,
            combination: options.combination,
            top_k: options.top_k.map(|top_k| top_k.min(MOST)),
            interval: options.attention_interval,
            replay: options.replay,
            max_memories: options.max_memories.map(|most| most.min(MOST)),
        };
        let workgroup = |width| Workgroup::new(width, hardware);
        let plan = Plan {
            kind,
            d_hidden,
            recalls,
            attention,
            truncation_length: options.truncation_length,
            yields_summary,
            keeps: false,
            gates: workgroup(kind.n_gates() * d_hidden),
            hidden: workgroup(d_hidden),
            query: workgroup(d_attention),
        };
        (plan.shared_numbers() <= shared_limit(hardware, BUFFERS)?).then_some(plan)
    }

    /// The numbers that units share, in the pass that takes more of them.
    fn shared_numbers(&self) -> usize {
        let both = 4 * self.d_hidden + self.d_attention() + self.shares() + 2 * SHARERS;
        let forward = 3 * self.units();
        let backward = self.d_gates() + self.d_attention() + self.query_shares() + SHARERS;
        both + forward.max(backward)
    }

    /// Room for the shares of any product.
    pub(super) fn shares(&self) -> usize {
        let scores = match self.recalls {
            true => self.scored() * SCORE_ROW,
            false => 0,
        };
        [
            self.gates.shares * self.d_gates(),
            self.hidden.shares * self.d_hidden,
            self.query_shares(),
            scores,
        ]
        .into_iter()
        .max()
        .unwrap_or(1)
    }

    pub(super) fn units(&self) -> usize {
        self.hidden.units()
    }

    /// Room for the shares of what attention makes of h.
    pub(super) fn query_shares(&self) -> usize {
        self.query.shares * self.d_attention()
    }

    /// Scores that are computed between two barriers.
    pub(super) fn scored(&self) -> usize {
        self.units().div_ceil(4)
    }

    pub(super) fn d_gates(&self) -> usize {
        self.kind.n_gates() * self.d_hidden
    }

    pub(super) fn d_attention(&self) -> usize {
        self.attention.d_attention
    }

    pub(super) fn d_output(&self) -> usize {
        self.d_hidden * (1 + usize::from(self.yields_summary))
    }

    /// Numbers of what the operation yields: every output row, then the last c of an LSTM.
    pub(super) fn results(&self, lengths: Lengths) -> usize {
        let carried = match self.kind.n_carried() > 0 {
            true => self.d_hidden,
            false => 0,
        };
        lengths.batch_size * (lengths.seq_length * self.d_output() + carried)
    }

    pub(super) fn tape_row(&self) -> TapeRow {
        let (carry, candidate) = match self.kind {
            CellKind::Elman(_) => (0, 0),
            CellKind::Lstm | CellKind::SLstm | CellKind::Gru => {
                (self.d_gates(), self.d_gates() + self.d_hidden)
            }
        };
        let query = candidate + self.d_hidden;
        TapeRow {
            carry,
            candidate,
            query,
            width: query + self.d_attention(),
        }
    }

    pub(super) fn slope_row(&self) -> SlopeRow {
        // The same for both but in a GRU.
        let from_hidden = match self.kind {
            CellKind::Gru => self.d_gates(),
            CellKind::Lstm | CellKind::SLstm | CellKind::Elman(_) => 0,
        };
        let query = from_hidden + self.d_gates();
        SlopeRow {
            from_hidden,
            query,
            width: query + self.d_attention(),
        }
    }

    pub(super) fn tape_shape(&self, lengths: Lengths) -> [usize; 3] {
        let Lengths {
            batch_size,
            seq_length,
            ..
        } = lengths;
        let width = self.tape_row().width;
        wanted(self.keeps, [batch_size, seq_length, width])
    }

    /// Which memories took part, their weights and their scores.
    pub(super) fn chosen_shape(&self, lengths: Lengths) -> [usize; 3] {
        let steps = match self.keeps {
            true => lengths.seq_length,
            false => 1,
        };
        let shape = [lengths.batch_size, steps, 3 * lengths.slots];
        wanted(self.recalls, shape)
    }

    pub(super) fn keys_shape(&self, lengths: Lengths) -> [usize; 3] {
        let shape = [lengths.batch_size, lengths.n_memories, self.d_attention()];
        wanted(self.recalls, shape)
    }

    pub(super) fn memories_shape(&self, lengths: Lengths) -> [usize; 3] {
        let shape = [lengths.batch_size, lengths.n_memories, self.d_hidden];
        wanted(self.recalls, shape)
    }

    pub(super) fn slopes_shape(&self, lengths: Lengths) -> [usize; 3] {
        [
            lengths.batch_size,
            lengths.seq_length,
            self.slope_row().width,
        ]
    }

    /// Of v, for each sample.
    pub(super) fn v_shape(&self, lengths: Lengths) -> [usize; 2] {
        [lengths.batch_size, self.d_attention()]
    }

    /// Of h and c before the sequence.
    pub(super) fn start_shape(&self, lengths: Lengths) -> [usize; 2] {
        [lengths.batch_size, 2 * self.d_hidden]
    }
}

/// Buffers that the backward kernel sees, which sees the most.
const BUFFERS: u32 = 18;

/// More memories than any sequence has: what a kernel counts with is smaller than the CPU's numbers.
const MOST: usize = u32::MAX as usize / 2;
