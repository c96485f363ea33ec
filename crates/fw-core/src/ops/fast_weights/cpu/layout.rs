//! Sizes, where things lie, and what is prepared once a call.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::ops::Range;

use super::super::{Options, WrittenState};
use crate::ops::cpu::{Arch, Buffer, Parts, Real, Row, padded};
use crate::ops::{Span, Spans};

/// A call: sizes, options and inputs, all contiguous.
#[derive(Clone, Copy)]
pub(in super::super) struct Problem<'a, T> {
    /// Where the samples lie in the input and in what is made of it.
    pub(in super::super) spans: &'a Spans,
    pub(in super::super) d_hidden: usize,
    pub(in super::super) options: &'a Options,
    /// Steps of a chunk.
    pub(in super::super) chunk: usize,
    /// x, `[n_rows, d_input]`; without a projection what it would yield, `[n_rows, d_hidden]`.
    pub(in super::super) input: &'a [T],
    /// C, `[d_input, d_hidden]`, and b, `[d_hidden]`.
    pub(in super::super) projection: Option<(&'a [T], &'a [T])>,
    /// h_0, `[n_samples, d_hidden]`.
    pub(in super::super) hidden: &'a [T],
    /// A_0, `[n_samples, d_hidden, d_hidden]`; `None` is 0.
    pub(in super::super) start: Option<&'a [T]>,
    /// W, `[d_hidden, d_hidden]`.
    pub(in super::super) w_hidden: &'a [T],
    /// Gain, bias and epsilon of the normalisation.
    pub(in super::super) norm: Option<(&'a [T], &'a [T], f64)>,
}

/// The number of steps in a chunk that costs least.
///
/// By count of multiply-adds for a step and a read, forward and backward: 3 T H for attention over the whole
/// sequence (half of the steps, on average, are there to be read), and 3 L H + 5 H² with chunks. A chunk's own
/// overhead argues for long ones.
pub(in super::super) fn chunk_length(
    seq_length: usize,
    d_hidden: usize,
    inner_steps: usize,
) -> usize {
    const SHORTEST: usize = 16;
    const LONGEST: usize = 64;
    if seq_length <= SHORTEST + 2 * d_hidden || inner_steps == 0 {
        return seq_length.min(LONGEST + 2 * d_hidden);
    }
    (d_hidden / 2).next_multiple_of(16).clamp(SHORTEST, LONGEST)
}

/// Where the numbers of a call lie, for registers of `lanes` numbers. The samples of a group have the layout of their longest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Steps of the longest sample.
    pub(super) n_steps: usize,
    /// Rows of C; 0 where the input is projected already.
    pub(super) d_input: usize,
    pub(super) d_hidden: usize,
    pub(super) inner_steps: usize,
    pub(super) chunk: usize,
    /// d_input, d_hidden and chunk, rounded up to whole vectors.
    pub(super) input_width: usize,
    pub(super) width: usize,
    pub(super) chunk_width: usize,
    pub(super) lanes: usize,
    /// Normalisations in a step.
    pub(super) norms: usize,
    pub(super) write: WrittenState,
    pub(super) has_start: bool,
}

impl Layout {
    pub(super) fn new<T: Real>(problem: &Problem<T>, lanes: usize) -> Self {
        let options = problem.options;
        let norms = options.inner_steps + usize::from(options.normalize_preliminary);
        let d_input = problem
            .projection
            .map_or(0, |(c, _)| c.len() / problem.d_hidden);
        Layout {
            n_steps: problem.spans.longest(),
            d_input,
            d_hidden: problem.d_hidden,
            inner_steps: options.inner_steps,
            chunk: problem.chunk,
            input_width: d_input.next_multiple_of(lanes),
            width: problem.d_hidden.next_multiple_of(lanes),
            chunk_width: problem.chunk.next_multiple_of(lanes),
            lanes,
            norms: if problem.norm.is_some() { norms } else { 0 },
            write: options.write,
            has_start: problem.start.is_some(),
        }
    }

    /// The layout of samples of which the longest has so many steps.
    pub(super) fn of_steps(&self, n_steps: usize) -> Self {
        Layout { n_steps, ..*self }
    }

    /// The size of a row of hidden units.
    #[inline(always)]
    pub(super) fn row(&self) -> Row {
        Row {
            units: self.d_hidden,
            width: self.width,
            lanes: self.lanes,
        }
    }

    pub(super) fn n_chunks(&self) -> usize {
        self.n_steps.div_ceil(self.chunk)
    }

    /// The steps of a chunk, as far as the longest sample has them.
    pub(super) fn steps(&self, chunk: usize) -> Range<usize> {
        let start = self.start(chunk);
        start..(start + self.chunk).min(self.n_steps)
    }

    /// The first step of a chunk.
    pub(super) fn start(&self, chunk: usize) -> usize {
        chunk * self.chunk
    }

    /// How many steps of a chunk a sample has that is there when it starts.
    pub(super) fn n_steps_of(&self, span: Span, chunk: usize) -> usize {
        (span.n_steps - self.start(chunk)).min(self.chunk)
    }

    /// Whether a sample ends with a chunk.
    pub(super) fn is_last(&self, span: Span, chunk: usize) -> bool {
        self.start(chunk + 1) >= span.n_steps
    }

    /// Whether a chunk starts with a memory that is not 0.
    pub(super) fn has_memory(&self, chunk: usize) -> bool {
        chunk > 0 || self.has_start
    }

    /// Numbers in a matrix of the memory.
    pub(super) fn matrix(&self) -> usize {
        self.d_hidden * self.width
    }

    /// The writes of its chunk that step `t` of the chunk reads.
    pub(super) fn visible(&self, t: usize) -> usize {
        t + usize::from(self.write == WrittenState::Preliminary)
    }

    /// The samples that a thread takes at a time: two, so that a row of W is read once for both, and up to four
    /// where what they read is small.
    pub(super) fn group<T>(&self, n_samples: usize) -> usize {
        const MOST_READ: usize = 64 << 10;
        let rows = 2 * self.chunk.min(self.n_steps) + self.rows_of_memory();
        let sample = rows * self.width * size_of::<T>();
        (MOST_READ / sample.max(1))
            .clamp(2, 4)
            .min(n_samples.max(1))
    }

    /// How the samples are shared among threads.
    pub(super) fn parts<T>(&self, spans: &Spans) -> Parts {
        let n_samples = spans.n_samples();
        let history = self.inner_steps * self.width * (self.chunk + self.rows_of_memory());
        let step = 3 * self.width * (self.d_input + self.d_hidden) + 3 * history;
        Parts::new(
            n_samples,
            self.group::<T>(n_samples),
            spans.n_rows().div_ceil(n_samples) * step,
        )
    }

    /// Rows of the matrix that reads go through.
    fn rows_of_memory(&self) -> usize {
        if self.n_chunks() > 1 || self.has_start {
            self.d_hidden
        } else {
            0
        }
    }

    /// Where the tapes of each group of `group` samples begin, and where the last ones end.
    fn places(&self, spans: &Spans, group: usize) -> Vec<usize> {
        let starts = spans.group_starts(group, |n_steps| [self.of_steps(n_steps).tape()]);
        starts.into_iter().flatten().collect()
    }

    // Offsets within a sample's tape.

    /// s_i of step t, the query of read i + 1.
    pub(super) fn query(&self, t: usize, i: usize) -> usize {
        (t * self.inner_steps + i) * self.width
    }

    fn queries(&self) -> usize {
        self.n_steps * self.inner_steps * self.width
    }

    /// The normalised pre-activation of the i-th normalisation of step t.
    pub(super) fn normalised(&self, t: usize, i: usize) -> usize {
        self.queries() + (t * self.norms + i) * self.width
    }

    /// What it was divided by, inverted.
    pub(super) fn inverse_deviation(&self, t: usize, i: usize) -> usize {
        self.queries() + self.n_steps * self.norms * self.width + t * self.norms + i
    }

    fn attentions(&self) -> usize {
        let deviations = (self.n_steps * self.norms).next_multiple_of(self.lanes);
        self.queries() + self.n_steps * self.norms * self.width + deviations
    }

    /// The coefficients of the writes in read i + 1 of step t.
    pub(super) fn attention(&self, t: usize, i: usize) -> usize {
        self.attentions() + (t * self.inner_steps + i) * self.chunk_width
    }

    /// Aᵀ at the start of a chunk.
    pub(super) fn memory(&self, chunk: usize) -> usize {
        let attentions = self.n_steps * self.inner_steps * self.chunk_width;
        let before = chunk - usize::from(!self.has_start);
        self.attentions() + attentions + before * self.matrix()
    }

    /// Numbers of a sample's tape.
    pub(super) fn tape(&self) -> usize {
        let attentions = self.n_steps * self.inner_steps * self.chunk_width;
        let kept = self.n_chunks() - usize::from(!self.has_start);
        self.attentions() + attentions + kept * self.matrix()
    }
}

/// What the forward pass leaves for the backward pass.
#[derive(Debug)]
pub(crate) struct Tape<T> {
    numbers: Buffer<T>,
    /// Where the tapes of each group's samples begin.
    places: Vec<usize>,
    /// Samples of a group.
    group: usize,
    /// Of all groups together.
    pub(super) layout: Layout,
    pub(super) arch: Arch,
}

impl<T> Tape<T> {
    pub(super) fn new(layout: Layout, spans: &Spans, arch: Arch) -> Self {
        let group = layout.group::<T>(spans.n_samples());
        let places = layout.places(spans, group);
        Tape {
            numbers: Buffer::new(places[places.len() - 1]),
            places,
            group,
            layout,
            arch,
        }
    }

    /// The tapes of the group that begins with a sample, one behind the other.
    pub(super) fn of_group(&self, first: usize) -> *mut T {
        // SAFETY: within the numbers.
        unsafe { self.numbers.as_ptr().add(self.places[first / self.group]) }
    }

    /// Bytes held.
    #[cfg(test)]
    pub(in super::super) fn bytes(&self) -> usize {
        self.numbers.bytes()
    }
}

/// The numbers of the equations that all samples share, padded with zeros to whole vectors.
pub(super) struct Shared<'a, T: Real> {
    /// `η λ^age` from the oldest to the youngest, then zeros.
    rates: Vec<T>,
    /// `λⁿ`.
    pub(super) decays: Vec<T>,
    chunk: usize,
    /// 1 for each hidden unit, 0 for the padding.
    pub(super) units: Vec<T>,
    pub(super) bias: Vec<T>,
    pub(super) gain: Vec<T>,
    pub(super) norm_bias: Vec<T>,
    pub(super) epsilon: T,
    pub(super) per_unit: T,
    /// C and W with padded rows, for the forward pass.
    pub(super) w_input: Cow<'a, [T]>,
    pub(super) w_hidden: Cow<'a, [T]>,
}

impl<'a, T: Real> Shared<'a, T> {
    pub(super) fn new(problem: &Problem<'a, T>, layout: &Layout) -> Self {
        let options = problem.options;
        let most = layout.chunk + 1;
        let powers = |first: f64| {
            core::iter::successors(Some(first), |power| Some(power * options.decay)).take(most)
        };
        let mut rates: Vec<T> = powers(options.fast_learning_rate).map(T::of).collect();
        rates.reverse();
        rates.resize(most + layout.lanes, T::zero());
        let row = |row: &[T]| padded(row, row.len(), layout.width).into_owned();
        let (w_input, bias) = problem.projection.unwrap_or((&[], &[]));
        let (gain, norm_bias, epsilon) = problem.norm.unwrap_or((&[], &[], 0.0));
        Shared {
            rates,
            decays: powers(1.0).map(T::of).collect(),
            chunk: layout.chunk,
            units: row(&alloc::vec![T::one(); layout.d_hidden]),
            bias: row(bias),
            gain: row(gain),
            norm_bias: row(norm_bias),
            epsilon: T::of(epsilon),
            per_unit: T::one() / T::of(layout.d_hidden as f64),
            w_input: padded(w_input, layout.d_hidden, layout.width),
            w_hidden: padded(problem.w_hidden, layout.d_hidden, layout.width),
        }
    }

    /// `η λ^{n-1-j}` for the n writes j, then at least a vector of numbers that do not matter.
    #[inline(always)]
    pub(super) fn rates(&self, n: usize) -> *const T {
        self.rates[self.chunk + 1 - n..].as_ptr()
    }
}
