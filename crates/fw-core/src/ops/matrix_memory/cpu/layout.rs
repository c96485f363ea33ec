//! Sizes, and where things lie.

use alloc::vec::Vec;
use core::ops::Range;

use super::super::{Rule, Sizes};
use crate::ops::Spans;
use crate::ops::cpu::{Arch, Buffer, Parts, Real, Row};

/// The most writes of a chunk.
pub(in super::super) const MOST_WRITES: usize = 16;

/// The logarithms of the decays; of what is [gated](Rule::Gated) the forget gates.
#[derive(Clone, Copy)]
pub(in super::super) enum Decay<'a, T> {
    None,
    /// `[n_rows, n_heads]`.
    Head(&'a [T]),
    /// `[n_rows, n_heads, d_key]`.
    Channel(&'a [T]),
}

/// A call: sizes, options and inputs, all contiguous.
#[derive(Clone, Copy)]
pub(in super::super) struct Problem<'a, T> {
    /// Where the samples lie in the sequences.
    pub(in super::super) spans: &'a Spans,
    pub(in super::super) sizes: Sizes,
    pub(in super::super) rule: Rule,
    /// Steps of a chunk.
    pub(in super::super) chunk: usize,
    /// q, `[n_rows, n_heads, d_key]`.
    pub(in super::super) query: &'a [T],
    /// k, `[n_rows writes, n_heads, d_key]`; of a transition `[n_rows, n_heads, d_key]`.
    pub(in super::super) key: &'a [T],
    /// v, with as many rows, `d_value` wide.
    pub(in super::super) value: &'a [T],
    /// β, `[n_rows writes, n_heads]`; of what is gated the input gates, of a transition nothing.
    pub(in super::super) strength: &'a [T],
    /// g.
    pub(in super::super) decay: Decay<'a, T>,
    /// Of a transition a and b, `[n_rows, n_heads, d_key]`.
    pub(in super::super) transition: [&'a [T]; 2],
    /// The first memories, `[n_samples, n_heads, d_key, d_value]`, with a column more if they are gated; `None` is 0.
    pub(in super::super) start: Option<&'a [T]>,
    /// Of what is gated m before the first step, `[n_samples, n_heads]`; `None` is 0.
    pub(in super::super) start_scale: Option<&'a [T]>,
}

/// The number of steps in a chunk: as many as have [`MOST_WRITES`] writes, but no more than there are.
pub(in super::super) fn chunk_length(seq_length: usize, writes: usize) -> usize {
    (MOST_WRITES / writes).clamp(1, seq_length)
}

/// The sizes of a call, for registers of `lanes` numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) n_heads: usize,
    /// A row of key channels.
    pub(super) key: Row,
    /// A row of values, as the memory has it: with a column for the normaliser, if it is gated.
    pub(super) value: Row,
    /// A row of values as they are given.
    pub(super) given: Row,
    pub(super) rule: Rule,
    /// Writes in a step.
    pub(super) writes: usize,
    /// Steps of a chunk.
    pub(super) chunk: usize,
    /// A row with a number for each write of a chunk.
    pub(super) written: Row,
    /// Readers that are writes: as many as such a row is wide, or one for each step of a transition. The steps of a chunk follow them.
    pub(super) first_step: usize,
    /// Readers of a chunk, those that are not there included.
    pub(super) readers: usize,
    /// The first reader that reads: a sum's writes do not.
    pub(super) first_reader: usize,
    /// Chunks of a segment.
    pub(super) segment: usize,
}

/// A few steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    /// The first one, in its sample.
    pub(super) first: usize,
    pub(super) n_steps: usize,
    pub(super) n_writes: usize,
}

impl Layout {
    pub(super) fn new<T: Real>(problem: &Problem<T>, lanes: usize) -> Self {
        let Sizes {
            n_heads,
            d_key,
            d_value,
            writes,
            ..
        } = problem.sizes;
        let written = Row::new(problem.chunk * writes, lanes);
        let rule = problem.rule;
        let first_step = match rule {
            Rule::Transition => problem.chunk,
            _ => written.width,
        };
        Layout {
            n_heads,
            key: Row::new(d_key, lanes),
            value: Row::new(d_value + usize::from(rule == Rule::Gated), lanes),
            given: Row::new(d_value, lanes),
            rule,
            writes,
            chunk: problem.chunk,
            written,
            first_step,
            readers: first_step + problem.chunk,
            first_reader: match rule {
                Rule::Delta | Rule::Transition => 0,
                Rule::Sum | Rule::Gated => first_step,
            },
            // Memories are kept as seldom as they have more numbers than the keys and values of a chunk.
            segment: (d_key * d_value).div_ceil(problem.chunk * writes * (d_key + d_value)),
        }
    }

    /// Numbers of a memory.
    pub(super) fn memory(&self) -> usize {
        self.key.units * self.value.width
    }

    /// Numbers of a memory as it is given.
    pub(super) fn given_memory(&self) -> usize {
        self.key.units * self.value.units
    }

    /// Numbers of a unit's last state: the memory, and m, if it is gated.
    pub(super) fn last_state(&self) -> usize {
        self.given_memory() + usize::from(self.rule == Rule::Gated)
    }

    pub(super) fn n_chunks(&self, n_steps: usize) -> usize {
        n_steps.div_ceil(self.chunk)
    }

    pub(super) fn n_segments(&self, n_steps: usize) -> usize {
        self.n_chunks(n_steps).div_ceil(self.segment)
    }

    /// The chunks of a segment of a sample with so many steps.
    pub(super) fn chunks(&self, segment: usize, n_steps: usize) -> Range<usize> {
        let first = segment * self.segment;
        first..(first + self.segment).min(self.n_chunks(n_steps))
    }

    /// Memories that a segment has room for, in a call whose longest sample has so many steps.
    pub(super) fn memories(&self, longest: usize) -> usize {
        self.segment.min(self.n_chunks(longest))
    }

    pub(super) fn chunk(&self, index: usize, n_steps: usize) -> Chunk {
        let first = index * self.chunk;
        let n_steps = self.chunk.min(n_steps - first);
        Chunk {
            first,
            n_steps,
            n_writes: n_steps * self.writes,
        }
    }

    /// The step of a chunk that a reader belongs to.
    #[inline(always)]
    pub(super) fn step_of(&self, reader: usize) -> usize {
        match reader.checked_sub(self.first_step) {
            Some(step) => step,
            None if self.rule == Rule::Transition => reader,
            None => reader / self.writes,
        }
    }

    /// The steps of a chunk that have faded, where a reader reads: a transition reads before its own step fades.
    #[inline(always)]
    pub(super) fn faded_before(&self, reader: usize) -> usize {
        let reads_early = self.rule == Rule::Transition && reader < self.first_step;
        self.step_of(reader) + usize::from(!reads_early)
    }

    /// Readers that are writes, of those that are there.
    #[inline(always)]
    pub(super) fn n_write_readers(&self, chunk: &Chunk) -> usize {
        match self.rule {
            Rule::Transition => chunk.n_steps,
            _ => chunk.n_writes,
        }
    }

    /// Numbers of every e of a unit.
    fn errors(&self, n_steps: usize) -> usize {
        n_steps * self.writes * self.value.width
    }

    /// Numbers that a unit leaves.
    fn of_unit(&self, n_steps: usize) -> usize {
        let of_gates = match self.rule {
            Rule::Gated => 2 * n_steps,
            _ => 0,
        };
        self.errors(n_steps) + (self.n_segments(n_steps) - 1) * self.memory() + of_gates
    }

    /// The units, cut into parts.
    pub(super) fn parts(&self, spans: &Spans) -> Parts {
        let steps = spans.n_rows() / spans.n_samples();
        let work = 12 * steps * self.writes * self.memory();
        Parts::new(spans.n_samples() * self.n_heads, 1, work)
    }
}

impl<T> Problem<'_, T> {
    /// Where the rows of a head begin in sequences of `[n_rows n, n_heads, ..]`, in rows of the last dimension.
    #[inline(always)]
    pub(super) fn row(&self, row: usize, n: usize, head: usize) -> usize {
        row * n * self.sizes.n_heads + head
    }

    /// m before the first step of a unit that is gated.
    #[inline(always)]
    pub(super) fn scale_before(&self, sample: usize, head: usize) -> T
    where
        T: Real,
    {
        let at = sample * self.sizes.n_heads + head;
        self.start_scale.map_or(T::zero(), |scales| scales[at])
    }
}

/// What the forward pass leaves for the backward pass.
#[derive(Debug)]
pub(crate) struct Tape<T> {
    numbers: Buffer<T>,
    /// Where each sample's begin.
    starts: Vec<[usize; 1]>,
    pub(super) layout: Layout,
    pub(super) arch: Arch,
}

impl<T: Real> Tape<T> {
    pub(super) fn new(layout: Layout, spans: &Spans, arch: Arch) -> Self {
        let starts = spans.group_starts(1, |n_steps| [layout.n_heads * layout.of_unit(n_steps)]);
        let numbers = starts.last().map_or(0, |[end]| *end);
        Tape {
            numbers: Buffer::new(numbers),
            starts,
            layout,
            arch,
        }
    }

    /// Bytes kept.
    #[cfg(test)]
    pub(in super::super) fn bytes(&self) -> usize {
        self.numbers.bytes()
    }

    /// Every e of a unit, rows of values.
    pub(super) fn errors(&self, sample: usize, head: usize, n_steps: usize) -> *mut T {
        let [start] = self.starts[sample];
        let offset = start + head * self.layout.of_unit(n_steps);
        // SAFETY: within the buffer, whose size is the sum of all.
        unsafe { self.numbers.as_ptr().add(offset) }
    }

    /// The memory at the beginning of a unit's segment, which is not the first.
    pub(super) fn memory(
        &self,
        sample: usize,
        head: usize,
        n_steps: usize,
        segment: usize,
    ) -> *mut T {
        let layout = &self.layout;
        let offset = layout.errors(n_steps) + (segment - 1) * layout.memory();
        // SAFETY: as above.
        unsafe { self.errors(sample, head, n_steps).add(offset) }
    }

    /// Of a unit that is gated, m of every step, and behind these nᵀq of every step.
    pub(super) fn scales(&self, sample: usize, head: usize, n_steps: usize) -> *mut T {
        let segments = self.layout.n_segments(n_steps);
        self.memory(sample, head, n_steps, segments)
    }
}
