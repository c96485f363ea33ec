//! Sizes, where things lie, and what is prepared once a call.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::super::{CellKind, Combination, Options, Score};
use crate::ops::Spans;
use crate::ops::cpu::{Arch, Buffer, Offsets, Packed, Parts, Real, Row, padded};
use crate::ops::operation::Sources;

/// The most samples that a thread takes at a time: as many as the rows of two tiles of a product, the second of which finds
/// the weights in the nearest cache.
pub(super) const MOST_SAMPLES: usize = 8;

/// A call: sizes, options and inputs, all contiguous. States and memories are in the order of the samples.
#[derive(Clone, Copy)]
pub(in super::super) struct Problem<'a, T> {
    pub(in super::super) spans: &'a Spans,
    pub(in super::super) d_hidden: usize,
    /// 0 where nothing is attended to.
    pub(in super::super) d_attention: usize,
    pub(in super::super) kind: CellKind,
    pub(in super::super) score: Score,
    pub(in super::super) options: &'a Options,
    /// Steps before this call.
    pub(in super::super) first_step: usize,
    /// Whether an output row has s_t behind h_t.
    pub(in super::super) yields_summary: bool,
    /// What the cell's projection yields, `[n_rows, gates d_hidden]`.
    pub(in super::super) projected: &'a [T],
    /// h_0, `[n_samples, d_hidden]`.
    pub(in super::super) hidden: &'a [T],
    /// c_0 of an LSTM, `[n_samples, d_hidden]`; of an sLSTM c_0, n_0 and m_0, `[n_samples, 3 d_hidden]`; else nothing.
    pub(in super::super) cell: &'a [T],
    /// `[n_samples, n, d_hidden]`.
    pub(in super::super) memories: &'a [T],
    /// W, `[d_hidden, gates d_hidden]`.
    pub(in super::super) w_hidden: &'a [T],
    /// b' of a GRU, `[gates d_hidden]`; else nothing.
    pub(in super::super) bias: &'a [T],
    /// W_h and W_m, `[d_hidden, d_attention]`, and v, `[d_attention]`, of [`Score::Mlp`].
    pub(in super::super) w_query: &'a [T],
    pub(in super::super) w_key: &'a [T],
    pub(in super::super) v: &'a [T],
}

/// Where the numbers of a group of samples lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Steps that a sample's piece has room for: those of the longest of the group.
    pub(super) n_steps: usize,
    /// A row of hidden units, and one of attention units.
    pub(super) hidden: Row,
    pub(super) attention: Row,
    pub(super) kind: CellKind,
    pub(super) score: Score,
    pub(super) options: Options,
    pub(super) first_step: usize,
    pub(super) yields_summary: bool,
    /// Memories that were given.
    pub(super) given: usize,
    /// Whether what each step computes is kept.
    keep: bool,
    /// Samples that a thread takes at a time.
    pub(super) group: usize,
    // Offsets within a sample's piece.
    gates: usize,
    carries: usize,
    states: usize,
    candidates: usize,
    queries: usize,
    sums: usize,
    weights: usize,
    values: usize,
    keys: usize,
    /// Numbers of a sample's piece.
    pub(super) sample: usize,
    /// Memories that can take part in a step.
    pub(super) most: usize,
}

impl Layout {
    /// That of the group with the longest sample of all.
    pub(super) fn new<T: Real>(problem: &Problem<T>, lanes: usize, keep: bool) -> Self {
        let (spans, n_samples) = (problem.spans, problem.spans.n_samples());
        let hidden = Row::new(problem.d_hidden, lanes);
        let attention = Row::new(problem.d_attention, lanes);
        let layout = Layout {
            n_steps: spans.longest(),
            hidden,
            attention,
            kind: problem.kind,
            score: problem.score,
            options: *problem.options,
            first_step: problem.first_step,
            yields_summary: problem.yields_summary,
            given: problem.memories.len() / (n_samples * problem.d_hidden),
            keep,
            group: Parts::group(n_samples, MOST_SAMPLES),
            gates: 0,
            carries: 0,
            states: 0,
            candidates: 0,
            queries: 0,
            sums: 0,
            weights: 0,
            values: 0,
            keys: 0,
            sample: 0,
            most: 0,
        };
        layout.of_steps(spans.longest())
    }

    /// That of a group whose longest sample has so many steps.
    pub(super) fn of_steps(self, n_steps: usize) -> Self {
        let (hidden, attention) = (self.hidden, self.attention);
        let mut layout = Layout { n_steps, ..self };
        let last = layout.visible(n_steps - 1);
        layout.most = match layout.attends() {
            true => layout.options.n_selected(last.len()),
            false => 0,
        };
        let steps = if self.keep { n_steps } else { 1 };
        let states = if self.keep { steps + 1 } else { 1 };
        let memories = layout.n_memories(n_steps);
        let mut offsets = Offsets::default();
        layout.candidates = offsets.take(steps * hidden.width);
        layout.states = offsets.take(states * hidden.width);
        // What an Elman network yields is its only gate, and it carries nothing.
        (layout.gates, layout.carries) = match layout.kind {
            CellKind::Elman(_) => (layout.candidates, layout.candidates),
            CellKind::Lstm | CellKind::SLstm | CellKind::Gru => (
                offsets.take(steps * layout.gates_width()),
                offsets.take(states * layout.carry_width()),
            ),
        };
        layout.queries = offsets.take(steps * attention.width);
        layout.values = offsets.take(memories * hidden.width);
        layout.keys = offsets.take(memories * attention.width);
        layout.weights = offsets.take(steps * layout.most);
        layout.sums = offsets.take(steps);
        layout.sample = offsets.end().next_multiple_of(hidden.lanes);
        layout
    }

    /// Where the pieces of each group begin, among the numbers and among the indices, and behind them where the last ones end.
    pub(super) fn starts(&self, spans: &Spans) -> Vec<[usize; 2]> {
        spans.group_starts(self.group, |n_steps| {
            let layout = self.of_steps(n_steps);
            [layout.sample, layout.indices(1, 0)]
        })
    }

    /// Whether memories are stored and attended to.
    pub(super) fn attends(&self) -> bool {
        self.attention.units > 0
    }

    /// Numbers in a row of gates: a padded row for each.
    pub(super) fn gates_width(&self) -> usize {
        self.kind.n_gates() * self.hidden.width
    }

    /// Numbers in a row of what is carried beside h, or kept for the backward pass: a padded row for each.
    pub(super) fn carry_width(&self) -> usize {
        self.kind.n_carried().max(1) * self.hidden.width
    }

    /// Numbers of what is carried beside h, as a state has it.
    pub(super) fn carried(&self) -> usize {
        self.kind.n_carried() * self.hidden.units
    }

    /// Numbers in a row of the output.
    pub(super) fn output_width(&self) -> usize {
        self.hidden.units * (1 + usize::from(self.yields_summary))
    }

    /// Whether the cell is cut from the graph before a sample's step `t` of this call.
    pub(super) fn is_cut_before(&self, t: usize) -> bool {
        self.options.is_cut_after(self.first_step + t)
    }

    /// Whether the state of step `t` of this call is stored.
    pub(super) fn is_stored(&self, t: usize) -> bool {
        self.attends() && self.options.is_stored_after(self.first_step + t + 1)
    }

    /// The number of memories there were before step `t`, those that were dropped included.
    pub(super) fn n_memories(&self, t: usize) -> usize {
        let interval = self.options.attention_interval;
        let stored = (self.first_step + t) / interval - self.first_step / interval;
        self.given + if self.attends() { stored } else { 0 }
    }

    /// The memories that step `t` can see.
    pub(super) fn visible(&self, t: usize) -> Range<usize> {
        let n = self.n_memories(t);
        let most = self.options.max_memories.unwrap_or(n);
        n.saturating_sub(most)..n
    }

    /// How the samples are shared among threads.
    pub(super) fn parts(&self, spans: &Spans) -> Parts {
        let n_steps = spans.n_rows().div_ceil(spans.n_samples());
        let (h, a) = (self.hidden.width, self.attention.width);
        let cell = h * self.gates_width();
        // A hyperbolic tangent costs as much as some ten multiply-adds.
        let attention = a * (3 * h + 5 * self.visible(n_steps).len());
        Parts::new(spans.n_samples(), self.group, n_steps * (cell + attention))
    }

    /// The place of a row for step `t`, where steps are kept, else of the only one.
    #[inline(always)]
    fn at(&self, start: usize, t: usize, width: usize) -> usize {
        start + if self.keep { t * width } else { 0 }
    }

    /// The gates of step t after their nonlinearities.
    #[inline(always)]
    pub(super) fn gates(&self, t: usize) -> usize {
        self.at(self.gates, t, self.gates_width())
    }

    /// c after t steps of an LSTM, of an sLSTM with n and m behind it; of a GRU what step t - 1 has of the state in its new gate; of an Elman network not to be used.
    #[inline(always)]
    pub(super) fn carry(&self, t: usize) -> usize {
        self.at(self.carries, t, self.carry_width())
    }

    /// h after t steps.
    #[inline(always)]
    pub(super) fn state(&self, t: usize) -> usize {
        self.at(self.states, t, self.hidden.width)
    }

    /// ĥ of step t.
    #[inline(always)]
    pub(super) fn candidate(&self, t: usize) -> usize {
        self.at(self.candidates, t, self.hidden.width)
    }

    #[inline(always)]
    pub(super) fn query(&self, t: usize) -> usize {
        self.at(self.queries, t, self.attention.width)
    }

    /// The weights of the memories that take part in step t.
    #[inline(always)]
    pub(super) fn weights(&self, t: usize) -> usize {
        self.at(self.weights, t, self.most)
    }

    /// What the scores above the threshold of step t were divided by.
    #[inline(always)]
    pub(super) fn sum(&self, t: usize) -> usize {
        self.at(self.sums, t, 1)
    }

    /// Which memories take part in step t of the g-th sample of a group, among the group's indices.
    #[inline(always)]
    pub(super) fn indices(&self, g: usize, t: usize) -> usize {
        let steps = if self.keep { self.n_steps } else { 1 };
        self.at(g * steps * self.most, t, self.most)
    }

    #[inline(always)]
    pub(super) fn value(&self, memory: usize) -> usize {
        self.values + memory * self.hidden.width
    }

    #[inline(always)]
    pub(super) fn key(&self, memory: usize) -> usize {
        self.keys + memory * self.attention.width
    }
}

/// What the forward pass leaves for the backward pass.
#[derive(Debug)]
pub(crate) struct Tape<T> {
    pub(super) numbers: Buffer<T>,
    pub(super) indices: Buffer<u32>,
    /// Where each group's pieces begin: see [`Layout::starts`].
    pub(super) starts: Vec<[usize; 2]>,
    /// That of the group with the longest sample.
    pub(super) layout: Layout,
    pub(super) arch: Arch,
}

impl<T> Tape<T> {
    /// Bytes held.
    #[cfg(test)]
    pub(in super::super) fn bytes(&self) -> usize {
        self.numbers.bytes() + self.indices.bytes()
    }
}

/// The weights that all samples share, padded with zeros to whole vectors.
pub(super) struct Shared<T> {
    /// W, `[d_hidden, gates]`.
    pub(super) w_hidden: Packed<T>,
    pub(super) bias: Vec<T>,
    pub(super) w_query: Packed<T>,
    pub(super) w_key: Packed<T>,
    /// v; for [`Score::Released`] a 1, and zeros where the row is padded.
    pub(super) v: Vec<T>,
}

impl<T: Real> Shared<T> {
    /// Those that were made of the same weights before, if there are.
    pub(super) fn prepared(problem: &Problem<T>, layout: &Layout, sources: &Sources) -> Arc<Self> {
        // The score says whether the query's weight is scaled.
        let variant = layout.hidden.lanes as u64 | (layout.score as u64) << 32;
        sources.prepared(variant, || Shared::new(problem, layout))
    }

    fn new(problem: &Problem<T>, layout: &Layout) -> Self {
        let (hidden, attention) = (layout.hidden, layout.attention);
        Shared {
            // A gate is a row of its own.
            w_hidden: Packed::new(problem.w_hidden, hidden, layout.kind.n_gates()),
            bias: padded(problem.bias, hidden.units, hidden.width).into_owned(),
            w_query: Packed::new(&scaled_query(problem), attention, 1),
            w_key: Packed::new(problem.w_key, attention, 1),
            v: v(problem, layout),
        }
    }
}

/// The transposed weights, for the backward pass: rows of hidden units.
pub(super) struct Transposed<T> {
    /// `[gates, d_hidden]`, with rows of zeros between the gates where they are padded.
    pub(super) w_hidden: Packed<T>,
    pub(super) w_query: Packed<T>,
    pub(super) w_key: Packed<T>,
    /// As in [`Shared`].
    pub(super) v: Vec<T>,
}

impl<T: Real> Transposed<T> {
    pub(super) fn new(problem: &Problem<T>, layout: &Layout) -> Self {
        let (hidden, attention) = (layout.hidden, layout.attention);
        let gates = layout.kind.n_gates();
        Transposed {
            w_hidden: Packed::transposed(problem.w_hidden, hidden, gates, hidden),
            w_query: Packed::transposed(&scaled_query(problem), attention, 1, hidden),
            w_key: Packed::transposed(problem.w_key, attention, 1, hidden),
            v: v(problem, layout),
        }
    }
}

/// The factor of a scaled product, which W_h is multiplied by.
pub(super) fn query_scale<T: Real>(problem: &Problem<T>) -> T {
    match problem.score {
        Score::ScaledDot => T::of(1.0 / (problem.d_attention as f64).sqrt()),
        Score::Mlp | Score::Released => T::one(),
    }
}

fn scaled_query<T: Real>(problem: &Problem<T>) -> Vec<T> {
    let scale = query_scale(problem);
    problem.w_query.iter().map(|&w| w * scale).collect()
}

fn v<T: Real>(problem: &Problem<T>, layout: &Layout) -> Vec<T> {
    let mut v = match problem.score {
        Score::Released => alloc::vec![T::one()],
        Score::Mlp | Score::ScaledDot => problem.v.to_vec(),
    };
    v.resize(layout.attention.width, T::zero());
    v
}

/// The factors of ĥ_t and of s_t in h_t.
pub(super) fn state_share<T: Real>(combination: Combination) -> (T, T) {
    match combination {
        Combination::Average => (T::of(0.5), T::of(0.5)),
        Combination::Add => (T::one(), T::one()),
        Combination::OutputOnly => (T::one(), T::zero()),
    }
}
