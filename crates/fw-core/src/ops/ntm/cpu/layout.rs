//! Sizes, and where things lie.

use alloc::vec::Vec;
use core::ops::Range;

use super::super::shapes::Sizes;
use crate::ops::Spans;
use crate::ops::cpu::{Arch, Buffer, Offsets, Parts, Real, Row};

/// The most samples that a thread takes at a time.
const MOST_SAMPLES: usize = 8;

/// Steps from one memory on the tape to the next: of 1, 2, 4, 8 and 16 none stood out of a noise of a fifth at lengths 20 and 60,
/// and this keeps the least.
const INTERVAL: usize = 16;

/// A call: sizes and inputs, all contiguous and batch first. G is the number of gates, H `d_hidden`, L `n_layers`; states are in the
/// order of the spans.
#[derive(Clone, Copy)]
pub(in super::super) struct Problem<'a, T> {
    pub(in super::super) spans: &'a Spans,
    pub(in super::super) sizes: Sizes,
    /// Width of the input; 0 if it is what the first layer's projection yields.
    pub(in super::super) d_input: usize,
    /// `[n_rows, d_input]`, or `[n_rows, G H]` if it is projected.
    pub(in super::super) input: &'a [T],
    /// The first layer's weight, `[d_input + n_read word_size, G H]`: of a projected input only the rows of what is read count.
    pub(in super::super) first: &'a [T],
    /// The first layer's bias, `[G H]`; nothing if the input is projected.
    pub(in super::super) first_bias: &'a [T],
    /// The first layer's recurrent weight, `[H, G H]`; nothing in a feed-forward controller.
    pub(in super::super) recurrent: &'a [T],
    /// For each further layer its weight `[H, G H]`, its recurrent weight, if it has one, and its bias `[G H]`.
    pub(in super::super) upper: &'a [T],
    pub(in super::super) read_weight: &'a [T],
    pub(in super::super) read_bias: &'a [T],
    pub(in super::super) write_weight: &'a [T],
    pub(in super::super) write_bias: &'a [T],
    /// h and c of each layer, `[n_samples, L, H]`; nothing in a feed-forward controller.
    pub(in super::super) hidden: &'a [T],
    pub(in super::super) cell: &'a [T],
    /// `[n_samples, memory_size, word_size]`.
    pub(in super::super) memory: &'a [T],
    /// `[n_samples, n_read, word_size]`.
    pub(in super::super) reads: &'a [T],
    /// `[n_samples, n_heads, memory_size]`.
    pub(in super::super) weights: &'a [T],
}

impl<T> Problem<'_, T> {
    /// Numbers in a row of the output.
    pub(in super::super) fn output_width(&self) -> usize {
        self.sizes.d_hidden + self.sizes.n_read * self.sizes.word_size
    }

    /// The row of the input and of the output that is a sample's step `t`.
    #[inline(always)]
    pub(super) fn row(&self, sample: usize, t: usize) -> usize {
        self.spans.of(sample).first + t
    }

    /// Where the results lie: a last state for each that is asked for.
    pub(in super::super) fn results(&self) -> Results {
        let mut offsets = Offsets::default();
        offsets.take(self.spans.n_rows() * self.output_width());
        let (n_samples, n_ends) = (self.spans.n_samples(), self.spans.n_ends());
        let mut of_ends = |starts: &[T]| offsets.take(starts.len() / n_samples * n_ends);
        Results {
            memory: of_ends(self.memory),
            weights: of_ends(self.weights),
            hidden: of_ends(self.hidden),
            cell: of_ends(self.cell),
            numbers: offsets.end(),
        }
    }
}

/// Where each of the results begins; first come the output rows.
#[derive(Clone, Copy)]
pub(in super::super) struct Results {
    pub(super) memory: usize,
    pub(super) weights: usize,
    pub(super) hidden: usize,
    pub(super) cell: usize,
    /// Of all of them.
    pub(in super::super) numbers: usize,
}

/// Where the numbers of a call lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Those of the longest sample for which there is room.
    pub(super) n_steps: usize,
    pub(super) sizes: Sizes,
    pub(super) n_layers: usize,
    pub(super) n_read: usize,
    pub(super) n_write: usize,
    pub(super) word: usize,
    pub(super) shift_width: usize,
    /// Width of the input; 0 if it is projected.
    pub(super) d_input: usize,
    /// A row of hidden units; of what is read; of the memory's words.
    pub(super) hidden: Row,
    pub(super) reads: Row,
    pub(super) slots: Row,
    /// What the heads ask for: the addressing of all heads, then all erase vectors, then all add vectors.
    pub(super) asked: [Row; 3],
    /// Whether what each step computes is kept.
    keep: bool,
    /// Samples that a thread takes at a time.
    pub(super) group: usize,
    // Offsets within the record of a step, and the numbers of such a record: all that a step reads lies together, for the sake
    // of the cache.
    parameters: usize,
    weights: usize,
    logs: usize,
    contents: usize,
    cosines: usize,
    inverse_norms: usize,
    gates: usize,
    carries: usize,
    hiddens: usize,
    read: usize,
    record: usize,
    // Offsets within a sample's piece, which begins with the records.
    memories: usize,
    /// The memory as it is now.
    pub(super) memory: usize,
    /// Numbers of a sample's piece.
    pub(super) sample: usize,
}

impl Layout {
    /// For the longest sample of all.
    pub(super) fn new<T: Real>(problem: &Problem<T>, lanes: usize, keep: bool) -> Self {
        let sizes = problem.sizes;
        let (n_read, n_write, word) = (sizes.n_read, sizes.n_write, sizes.word_size);
        let n_heads = n_read + n_write;
        let row = |units| Row::new(units, lanes);
        let mut layout = Layout {
            n_steps: 0,
            sizes,
            n_layers: sizes.n_layers,
            n_read,
            n_write,
            word,
            shift_width: sizes.shift_width,
            d_input: problem.d_input,
            hidden: row(sizes.d_hidden),
            reads: row(n_read * word),
            slots: row(sizes.memory_size),
            asked: [
                row(n_heads * (word + 3 + sizes.shift_width)),
                row(n_write * word),
                row(n_write * word),
            ],
            keep,
            group: Parts::group(problem.spans.n_samples(), MOST_SAMPLES),
            parameters: 0,
            weights: 0,
            logs: 0,
            contents: 0,
            cosines: 0,
            inverse_norms: 0,
            gates: 0,
            carries: 0,
            hiddens: 0,
            read: 0,
            record: 0,
            memories: 0,
            memory: 0,
            sample: 0,
        };
        let with_state = sizes.n_states();
        let (hidden, slots) = (layout.hidden.width, layout.slots.width);
        let mut record = Offsets::default();
        layout.parameters = record.take(layout.asked_width());
        layout.weights = record.take(n_heads * slots);
        layout.logs = record.take(n_heads * slots);
        layout.contents = record.take(n_heads * slots);
        layout.cosines = record.take(n_heads * slots);
        layout.inverse_norms = record.take(slots);
        layout.gates = record.take(with_state * layout.gates_width());
        layout.carries = record.take(with_state * hidden);
        layout.hiddens = record.take(sizes.n_layers * hidden);
        layout.read = record.take(layout.reads.width);
        layout.record = record.end();
        layout.for_steps(problem.spans.longest())
    }

    /// The same for samples of at most so many steps.
    pub(super) fn for_steps(mut self, n_steps: usize) -> Self {
        let mut offsets = Offsets::default();
        let (records, kept) = match self.keep {
            // One more, for the state after the last step.
            true => (n_steps + 1, n_steps.div_ceil(INTERVAL)),
            false => (1, 0),
        };
        offsets.take(records * self.record);
        self.memories = offsets.take(kept * self.memory_numbers());
        self.memory = offsets.take(self.memory_numbers());
        self.sample = offsets.end();
        self.n_steps = n_steps;
        self
    }

    /// Where the samples of each group begin on the tape, and where the last ones end.
    pub(super) fn groups(&self, spans: &Spans) -> Vec<usize> {
        let starts = spans.group_starts(self.group, |n_steps| [self.for_steps(n_steps).sample]);
        starts.into_iter().flatten().collect()
    }

    pub(super) fn n_heads(&self) -> usize {
        self.n_read + self.n_write
    }

    /// Whether the controller's layers have a state.
    pub(super) fn has_state(&self) -> bool {
        self.sizes.activation.is_none()
    }

    /// Numbers in a row of gates: a padded row for each.
    pub(super) fn gates_width(&self) -> usize {
        self.sizes.n_gates() * self.hidden.width
    }

    /// Numbers in a row of what the heads ask for.
    pub(super) fn asked_width(&self) -> usize {
        self.asked.iter().map(|row| row.width).sum()
    }

    /// Such a row, padding and all.
    pub(super) fn asked_row(&self) -> Row {
        Row::new(self.asked_width(), self.hidden.lanes)
    }

    /// The row of the input that a layer reads; none if it is projected, or of another layer.
    pub(super) fn input_row(&self, layer: usize) -> Row {
        let units = if layer == 0 { self.d_input } else { 0 };
        Row::new(units, self.hidden.lanes)
    }

    /// The row of its own state that a layer reads; none without a state.
    pub(super) fn state_row(&self) -> Row {
        let units = if self.has_state() {
            self.hidden.units
        } else {
            0
        };
        Row::new(units, self.hidden.lanes)
    }

    /// Where the erase and the add vectors begin in such a row.
    #[inline(always)]
    pub(super) fn erase(&self) -> usize {
        self.asked[0].width
    }

    #[inline(always)]
    pub(super) fn add(&self) -> usize {
        self.asked[0].width + self.asked[1].width
    }

    /// Where a head's addressing begins in such a row: its key, then β, γ, g and s.
    #[inline(always)]
    pub(super) fn addressing(&self, head: usize) -> usize {
        head * (self.word + 3 + self.shift_width)
    }

    /// Numbers of a memory: a padded row for each place of a word.
    pub(super) fn memory_numbers(&self) -> usize {
        self.word * self.slots.width
    }

    /// The row below a layer, without its padding.
    pub(super) fn below(&self, layer: usize) -> Row {
        match layer {
            0 => self.reads,
            _ => self.hidden,
        }
    }

    /// The samples, shared among threads.
    pub(super) fn parts(&self, spans: &Spans) -> Parts {
        let (h, gates) = (self.hidden.width, self.gates_width());
        let layers = (self.d_input + self.reads.width + 2 * self.n_layers * h) * gates;
        let heads = h * self.asked_width();
        // Each head reads or writes the memory twice; a weighting costs some fifty multiply-adds for each slot.
        let memory = self.n_heads() * self.slots.width * (2 * self.word + 50);
        // Of a sample with as many steps as there are on average.
        let n_steps = spans.n_rows().div_ceil(spans.n_samples());
        Parts::new(
            spans.n_samples(),
            self.group,
            n_steps * (layers + heads + memory),
        )
    }

    /// Where the number at `offset` of step `t`'s record lies; where steps are not kept there is one record for all.
    #[inline(always)]
    fn at(&self, t: usize, offset: usize) -> usize {
        offset + if self.keep { t * self.record } else { 0 }
    }

    /// What was read before step `t`.
    #[inline(always)]
    pub(super) fn read(&self, t: usize) -> usize {
        self.at(t, self.read)
    }

    /// h of a layer before step `t`.
    #[inline(always)]
    pub(super) fn hidden(&self, layer: usize, t: usize) -> usize {
        self.at(t, self.hiddens + layer * self.hidden.width)
    }

    /// c of a layer before step `t`.
    #[inline(always)]
    pub(super) fn carry(&self, layer: usize, t: usize) -> usize {
        self.at(t, self.carries + layer * self.hidden.width)
    }

    /// The gates of a layer in step `t`.
    #[inline(always)]
    pub(super) fn gates(&self, layer: usize, t: usize) -> usize {
        self.at(t, self.gates + layer * self.gates_width())
    }

    /// The row below a layer in step `t`.
    #[inline(always)]
    pub(super) fn input(&self, layer: usize, t: usize) -> usize {
        match layer {
            0 => self.read(t),
            _ => self.hidden(layer - 1, t + 1),
        }
    }

    /// What the heads ask for in step `t`.
    #[inline(always)]
    pub(super) fn parameters(&self, t: usize) -> usize {
        self.at(t, self.parameters)
    }

    /// A head's weighting before step `t`.
    #[inline(always)]
    pub(super) fn weights(&self, t: usize, head: usize) -> usize {
        self.at(t, self.weights + head * self.slots.width)
    }

    /// wᶜ of step `t`.
    #[inline(always)]
    pub(super) fn content(&self, t: usize, head: usize) -> usize {
        self.at(t, self.contents + head * self.slots.width)
    }

    /// K of step `t`.
    #[inline(always)]
    pub(super) fn cosines(&self, t: usize, head: usize) -> usize {
        self.at(t, self.cosines + head * self.slots.width)
    }

    /// ln w̃ of step `t`.
    #[inline(always)]
    pub(super) fn logs(&self, t: usize, head: usize) -> usize {
        self.at(t, self.logs + head * self.slots.width)
    }

    /// `1 / |M(i)|` before step `t`.
    #[inline(always)]
    pub(super) fn inverse_norms(&self, t: usize) -> usize {
        self.at(t, self.inverse_norms)
    }

    /// Whether the memory before step `t` is kept.
    #[inline(always)]
    pub(super) fn keeps_memory(&self, t: usize) -> bool {
        self.keep && t.is_multiple_of(INTERVAL)
    }

    /// The first of the steps that are written again for step `t`: before it a memory is kept.
    #[inline(always)]
    pub(super) fn first_rewritten(&self, t: usize) -> usize {
        t - t % INTERVAL
    }

    /// Whether step `t` is the last of those of a sample that are written again at a time.
    #[inline(always)]
    pub(super) fn is_last_rewritten(&self, t: usize, n_steps: usize) -> bool {
        t + 1 == n_steps || (t + 1).is_multiple_of(INTERVAL)
    }

    /// Memories that are written again at a time.
    pub(super) fn rewritten(&self) -> usize {
        INTERVAL.min(self.n_steps) - 1
    }

    /// The memory before step `t`, a multiple of the interval.
    #[inline(always)]
    pub(super) fn kept_memory(&self, t: usize) -> usize {
        self.memories + t / INTERVAL * self.memory_numbers()
    }
}

/// What the forward pass leaves for the backward pass.
#[derive(Debug)]
pub(crate) struct Tape<T> {
    numbers: Buffer<T>,
    /// Where the samples of each group begin, and where the last ones end.
    groups: Vec<usize>,
    /// For the longest sample of all.
    pub(super) layout: Layout,
    pub(super) arch: Arch,
}

impl<T: Real> Tape<T> {
    /// Room for all samples; the numbers are any.
    pub(super) fn new(arch: Arch, layout: Layout, spans: &Spans) -> Self {
        let groups = layout.groups(spans);
        Tape {
            numbers: Buffer::new(groups[groups.len() - 1]),
            groups,
            layout,
            arch,
        }
    }

    /// Where the samples of a group begin.
    #[inline(always)]
    pub(super) fn group(&self, samples: &Range<usize>) -> *mut T {
        let start = self.groups[samples.start / self.layout.group];
        // SAFETY: every group begins within the numbers.
        unsafe { self.numbers.as_ptr().add(start) }
    }

    /// Bytes held.
    #[cfg(test)]
    pub(in super::super) fn bytes(&self) -> usize {
        self.numbers.bytes()
    }
}
