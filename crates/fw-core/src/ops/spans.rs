//! Where the samples of an operation lie in its sequences.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::ops::Range;

use burn::tensor::{DType, Device, Tensor};

use crate::ops::rows;

/// Consecutive steps that are one sample's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The row of its first step.
    pub first: usize,
    /// At least 1.
    pub n_steps: usize,
    /// Its place among the last states that are asked for; nothing, if its own is not.
    pub end: Option<usize>,
}

/// The samples of an operation over sequences: a batch of which all have the same number of steps, or spans of unequal lengths, one behind the
/// other in `[n_rows, width]`.
///
/// Spans are ordered by their lengths, the longest first: of a few neighbours those that are still there at some step are the first ones.
#[derive(Clone, Debug)]
pub struct Spans {
    /// Nothing, if they are those of a batch.
    list: Option<Arc<[Span]>>,
    n_samples: usize,
    longest: usize,
    n_rows: usize,
    n_ends: usize,
}

impl Spans {
    /// Spans, in any order; their states are those of the samples in the order that comes back with them, as indices into the list.
    ///
    /// # Panics
    /// Unless there is one, each has a step, together they have every row up to the last once, and their ends count from 0 without a gap.
    #[track_caller]
    pub fn new(spans: &[Span]) -> (Self, Vec<usize>) {
        let mut order: Vec<usize> = (0..spans.len()).collect();
        order.sort_by_key(|index| spans[*index].first);
        let n_rows = order.iter().fold(0, |rows, index| {
            let span = spans[*index];
            assert!(
                span.first == rows && span.n_steps > 0,
                "a span has {} steps from row {} on; it must have at least one, from row {rows} on, where the one before ends",
                span.n_steps,
                span.first
            );
            rows + span.n_steps
        });
        assert!(n_rows > 0, "there are no spans; there must be at least one");
        let mut ends: Vec<usize> = spans.iter().filter_map(|span| span.end).collect();
        ends.sort_unstable();
        assert!(
            ends.iter().copied().eq(0..ends.len()),
            "the ends are {ends:?}; they must count from 0 without a gap"
        );
        // Of the same length: as they lie in memory.
        order.sort_by_key(|index| Reverse(spans[*index].n_steps));
        let list: Arc<[Span]> = order.iter().map(|index| spans[*index]).collect();
        let spans = Spans {
            n_samples: list.len(),
            longest: list[0].n_steps,
            n_rows,
            n_ends: ends.len(),
            list: Some(list),
        };
        (spans, order)
    }

    /// A batch: each sample has all steps, and each last state is asked for.
    pub fn of_batch(batch_size: usize, seq_length: usize) -> Self {
        Spans {
            list: None,
            n_samples: batch_size,
            longest: seq_length,
            n_rows: batch_size * seq_length,
            n_ends: batch_size,
        }
    }

    /// Whether they are those of a batch.
    pub fn are_of_batch(&self) -> bool {
        self.list.is_none()
    }

    /// How many there are.
    pub fn n_samples(&self) -> usize {
        self.n_samples
    }

    /// Steps of the longest, which is the first.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Steps of all of them.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Last states that are asked for.
    pub fn n_ends(&self) -> usize {
        self.n_ends
    }

    /// A sample's span.
    #[inline]
    pub fn of(&self, sample: usize) -> Span {
        match &self.list {
            Some(list) => list[sample],
            None => Span {
                first: sample * self.longest,
                n_steps: self.longest,
                end: Some(sample),
            },
        }
    }

    /// How many of a few neighbours, the first ones, have a step `t`.
    #[inline]
    pub fn n_active(&self, samples: &Range<usize>, t: usize) -> usize {
        match &self.list {
            None => samples.len(),
            Some(list) => {
                let longer = |span: &&Span| span.n_steps > t;
                list[samples.clone()].iter().take_while(longer).count()
            }
        }
    }

    /// The samples whose last states are asked for, in the order of their ends.
    pub fn ending(&self) -> Vec<usize> {
        let mut samples = alloc::vec![0; self.n_ends];
        for sample in 0..self.n_samples {
            if let Some(end) = self.of(sample).end {
                samples[end] = sample;
            }
        }
        samples
    }

    /// The first two dimensions of a sequence tensor: those of a batch, or spans one behind the other in `[1, n_rows, ..]`.
    pub(crate) fn shape(&self) -> [usize; 2] {
        match self.are_of_batch() {
            true => [self.n_samples, self.longest],
            false => [1, self.n_rows],
        }
    }

    /// Where the numbers of each group of `group` neighbours begin, and behind them where the last ones end, if a sample needs as many as
    /// `numbers` says of the steps of its group's longest.
    #[cfg_attr(
        not(feature = "flex"),
        allow(dead_code, reason = "only kernels on a CPU have groups")
    )]
    pub(crate) fn group_starts<const N: usize>(
        &self,
        group: usize,
        numbers: impl Fn(usize) -> [usize; N],
    ) -> Vec<[usize; N]> {
        let mut end = [0; N];
        let mut starts = alloc::vec![end];
        for first in (0..self.n_samples).step_by(group) {
            let n_samples = group.min(self.n_samples - first);
            for (end, numbers) in end.iter_mut().zip(numbers(self.of(first).n_steps)) {
                *end += n_samples * numbers;
            }
            starts.push(end);
        }
        starts
    }

    /// What sequences of this [shape](Self::shape) yield in the last steps whose states are asked for, in the order of the ends.
    pub(crate) fn last_of(&self, sequences: Tensor<3>) -> Tensor<2> {
        match self.are_of_batch() {
            true => sequences.narrow(1, self.longest - 1, 1).squeeze_dim(1),
            false => rows(sequences.squeeze_dim::<2>(0), &self.last_rows()),
        }
    }

    /// The rows of the last steps whose states are asked for, in the order of their ends.
    pub fn last_rows(&self) -> Vec<usize> {
        let mut rows = alloc::vec![0; self.n_ends];
        for sample in 0..self.n_samples {
            let span = self.of(sample);
            if let Some(end) = span.end {
                rows[end] = span.first + span.n_steps - 1;
            }
        }
        rows
    }
}

/// Whether there are kernels for this device and type that take spans other than those of a batch.
#[allow(
    unused_variables,
    reason = "without a backend that has kernels there is none"
)]
pub(crate) fn takes_spans(device: &Device, dtype: DType) -> bool {
    #[cfg(feature = "flex")]
    if super::operation::is_available(device, dtype) {
        return true;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: usize, n_steps: usize, end: Option<usize>) -> Span {
        Span {
            first,
            n_steps,
            end,
        }
    }

    #[test]
    fn spans_are_ordered_by_their_lengths() {
        let given = [
            span(0, 2, None),
            span(2, 3, Some(0)),
            span(5, 1, Some(2)),
            span(6, 3, Some(1)),
        ];
        let (spans, order) = Spans::new(&given);
        assert_eq!(order, [1, 3, 0, 2]);
        assert_eq!(spans.of(1), given[3]);
        let sizes = [
            spans.n_samples(),
            spans.longest(),
            spans.n_rows(),
            spans.n_ends(),
        ];
        assert_eq!(sizes, [4, 3, 9, 3]);
        assert_eq!(spans.ending(), [0, 1, 3]);
        assert_eq!(spans.last_rows(), [4, 8, 5]);
        let active = [0, 1, 2, 3].map(|t| spans.n_active(&(0..4), t));
        assert_eq!(active, [4, 3, 2, 0]);
        assert_eq!(spans.n_active(&(2..4), 1), 1);
    }

    #[test]
    fn a_batch_is_spans_of_one_length() {
        let spans = Spans::of_batch(3, 5);
        let (listed, order) = Spans::new(&[0, 1, 2].map(|sample| spans.of(sample)));
        assert_eq!(order, [0, 1, 2]);
        for sample in 0..3 {
            assert_eq!(spans.of(sample), listed.of(sample));
        }
        assert_eq!(spans.last_rows(), listed.last_rows());
        assert_eq!(spans.n_active(&(1..3), 4), listed.n_active(&(1..3), 4));
    }

    #[test]
    #[should_panic(expected = "from row 3 on")]
    fn rows_between_spans_are_refused() {
        Spans::new(&[span(0, 3, None), span(4, 1, Some(0))]);
    }

    #[test]
    #[should_panic(expected = "count from 0 without a gap")]
    fn an_end_that_is_missing_is_refused() {
        Spans::new(&[span(0, 3, Some(1))]);
    }
}
