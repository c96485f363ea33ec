//! Sizes, and where things lie.

use alloc::vec::Vec;
use core::ops::Range;

use super::super::{Sizes, WriteRule};
use crate::ops::Spans;
use crate::ops::cpu::{Arch, Buffer, Parts, Real, Row};

/// The most writes of a chunk.
pub(in super::super) const MOST_WRITES: usize = 16;

/// The logarithms of the decays.
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
    pub(in super::super) rule: WriteRule,
    /// Steps of a chunk.
    pub(in super::super) chunk: usize,
    /// q, `[n_rows, n_heads, d_key]`.
    pub(in super::super) query: &'a [T],
    /// k, `[n_rows writes, n_heads, d_key]`.
    pub(in super::super) key: &'a [T],
    /// v, `[n_rows writes, n_heads, d_value]`.
    pub(in super::super) value: &'a [T],
    /// β, `[n_rows writes, n_heads]`.
    pub(in super::super) strength: &'a [T],
    /// g.
    pub(in super::super) decay: Decay<'a, T>,
    /// The first memories, `[n_samples, n_heads, d_key, d_value]`; `None` is 0.
    pub(in super::super) start: Option<&'a [T]>,
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
    /// A row of values.
    pub(super) value: Row,
    /// Writes in a step.
    pub(super) writes: usize,
    /// Steps of a chunk.
    pub(super) chunk: usize,
    /// A row with a number for each write of a chunk.
    pub(super) written: Row,
    /// Readers that are writes, as many as such a row is wide: the steps of a chunk follow them.
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
        Layout {
            n_heads,
            key: Row::new(d_key, lanes),
            value: Row::new(d_value, lanes),
            writes,
            chunk: problem.chunk,
            written,
            first_step: written.width,
            readers: written.width + problem.chunk,
            first_reader: match problem.rule {
                WriteRule::Delta => 0,
                WriteRule::Sum => written.width,
            },
            // Memories are kept as seldom as they have more numbers than the keys and values of a chunk.
            segment: (d_key * d_value).div_ceil(problem.chunk * writes * (d_key + d_value)),
        }
    }

    /// Numbers of a memory.
    pub(super) fn memory(&self) -> usize {
        self.key.units * self.value.width
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
            None => reader / self.writes,
        }
    }

    /// Numbers of every e of a unit.
    fn errors(&self, n_steps: usize) -> usize {
        n_steps * self.writes * self.value.width
    }

    /// Numbers that a unit leaves.
    fn of_unit(&self, n_steps: usize) -> usize {
        self.errors(n_steps) + (self.n_segments(n_steps) - 1) * self.memory()
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
}
