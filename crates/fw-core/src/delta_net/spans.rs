//! DeltaNet over sequences of unequal lengths, by the kernel.

use burn::tensor::Tensor;

use super::convolution::PaddedSpans;
use super::{DeltaNet, DeltaNetState};
use crate::error::expect_fits;
use crate::ops::matrix_memory::{Sequences, of_spans};
use crate::ops::precision::{in_type, widened};
use crate::ops::{Spans, takes_spans};
use crate::{ExecutionPath, Recurrent};

impl DeltaNet {
    /// [`Recurrent::forward_spans`].
    #[track_caller]
    pub(super) fn spans_by_kernel(
        &self,
        input: &Tensor<2>,
        state: Option<DeltaNetState>,
        spans: &Spans,
    ) -> Option<(Tensor<2>, DeltaNetState)> {
        let is_composed = self.options.path == ExecutionPath::Composed;
        if is_composed || !takes_spans(&input.device(), input.dtype()) {
            return None;
        }
        let rule = self.options.rule;
        self.over_spans(input, state, spans, |sequences, memory| {
            of_spans(sequences, spans, memory, rule)
        })
    }

    /// Spans whose memories `run` computes: from what is written and read, `[1, n_rows, ..]`, and the memory of each span what is read,
    /// `[1, n_rows, n_heads, d_value]`, and the last memories that are asked for.
    #[track_caller]
    pub(super) fn over_spans(
        &self,
        input: &Tensor<2>,
        state: Option<DeltaNetState>,
        spans: &Spans,
        run: impl FnOnce(Sequences, Option<Tensor<4>>) -> Option<(Tensor<4>, Tensor<4>)>,
    ) -> Option<(Tensor<2>, DeltaNetState)> {
        let dtype = input.dtype();
        if let Some(state) = &state {
            expect_fits(self.check_state(state, spans.n_samples(), dtype));
        }
        let parts = self.parts(self.project(input.clone().unsqueeze_dim(0)));
        let (memory, before) = match state {
            Some(state) => (Some(widened(state.memory)), state.recent),
            None => (None, None),
        };
        let n_before = self.options.n_before();
        let (mixed, recent) = match self.convolutions() {
            Some(weights) if n_before > 0 => {
                let padded = PaddedSpans::new(spans, n_before, before.is_some());
                let rows = parts.mixed.squeeze_dim(0);
                let convolve = |rows| self.convolve(rows, weights, self.options.path);
                let (mixed, recent) = padded.convolve(rows, before, convolve);
                (mixed, Some(recent))
            }
            // It does not see beyond a step.
            _ => self.convolved(parts.mixed, None, self.options.path),
        };
        let sequences = self.sequences(mixed, parts.strength, parts.decay);
        let (read, memory) = run(sequences, memory)?;
        let output = self.outputs(read, parts.gate, dtype);
        let state = DeltaNetState {
            memory: in_type(memory, dtype),
            recent,
        };
        Some((output.squeeze_dim(0), state))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use burn::tensor::{Device, Distribution};

    use super::*;
    use crate::ops::matrix_memory::matrix_memory;
    use crate::ops::{Span, rows};
    use crate::{DeltaNetConfig, RecurrentState, WriteRule};

    fn span(first: usize, n_steps: usize, end: Option<usize>) -> Span {
        Span {
            first,
            n_steps,
            end,
        }
    }

    fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
        Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device)
    }

    /// What a kernel for spans computes, span by span.
    fn one_by_one(
        sequences: Sequences,
        memory: Option<Tensor<4>>,
        spans: &Spans,
        rule: WriteRule,
    ) -> (Tensor<4>, Tensor<4>) {
        let mut samples: Vec<usize> = (0..spans.n_samples()).collect();
        samples.sort_by_key(|sample| spans.of(*sample).first);
        let length = |sample: &usize| spans.of(*sample).n_steps;
        let lengths: Vec<usize> = samples.iter().map(length).collect();
        let (mut outputs, mut memories) = (Vec::new(), Vec::new());
        for (sample, own) in samples.into_iter().zip(sequences.cut(&lengths)) {
            let memory = memory.clone().map(|memory| memory.narrow(0, sample, 1));
            let (output, last) = matrix_memory(own, memory, rule, ExecutionPath::Composed);
            outputs.push(output);
            memories.push((sample, last));
        }
        memories.sort_by_key(|(sample, _)| *sample);
        let memories = memories.into_iter().map(|(_, memory)| memory).collect();
        let memories = rows(Tensor::cat(memories, 0), &spans.ending());
        (Tensor::cat(outputs, 1), memories)
    }

    #[track_caller]
    fn assert_close<const D: usize>(what: &str, actual: Tensor<D>, expected: Tensor<D>) {
        assert_eq!(actual.dims(), expected.dims(), "{what}");
        let difference = (actual - expected).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-5, "{what}: {difference}");
    }

    /// Spans that are shorter than what the convolution sees among them.
    #[test]
    fn every_span_is_what_it_is_alone() {
        let device = Device::flex();
        device.seed(6);
        let given = [
            span(0, 2, Some(1)),
            span(2, 5, None),
            span(7, 1, Some(0)),
            span(8, 3, Some(2)),
            span(11, 5, Some(3)),
        ];
        let (spans, _) = Spans::new(&given);
        let kimi = DeltaNetConfig::kimi(3, 2, 4);
        for config in [
            DeltaNetConfig::new(3, 2, 4),
            DeltaNetConfig::product(3, 2, 4),
            kimi.clone().with_convolution(None),
            kimi.clone().with_convolution(Some(1)),
            kimi.with_convolution(Some(2)),
        ] {
            let layer = config.init(&device);
            let rule = layer.options.rule;
            let input = random([spans.n_rows(), 3], &device);
            let state = layer.initial_state(spans.n_samples(), &device);
            let state = DeltaNetState {
                memory: random(state.memory.dims(), &device),
                recent: state.recent.map(|recent| random(recent.dims(), &device)),
            };
            for state in [None, Some(state)] {
                let run = |sequences: Sequences, memory| {
                    Some(one_by_one(sequences, memory, &spans, rule))
                };
                let (output, last) = layer
                    .over_spans(&input, state.clone(), &spans, run)
                    .expect("it is computed");
                for sample in 0..spans.n_samples() {
                    let span = spans.of(sample);
                    let own = |rows: &Tensor<2>| rows.clone().narrow(0, span.first, span.n_steps);
                    let before = state.clone().map(|state| state.select_samples(&[sample]));
                    let (expected, after) = layer.forward(own(&input).unsqueeze_dim(0), before);
                    let expected = expected.squeeze_dim(0);
                    assert_close("output", own(&output), expected);
                    if let Some(end) = span.end {
                        let last = last.clone().select_samples(&[end]);
                        assert_close("memory", last.memory, after.memory);
                        if let Some((last, after)) = last.recent.zip(after.recent) {
                            assert_close("recent", last, after);
                        }
                    }
                }
                let n_before = layer.options.n_before();
                assert_eq!(last.recent.is_some(), n_before > 0);
            }

            // Spans of which no last state is asked for.
            let (spans, _) = Spans::new(&given.map(|span| Span { end: None, ..span }));
            let run =
                |sequences: Sequences, memory| Some(one_by_one(sequences, memory, &spans, rule));
            let (output, last) = layer
                .over_spans(&input, None, &spans, run)
                .expect("it is computed");
            assert_eq!(output.dims(), [16, 3]);
            assert_eq!(last.memory.dims()[0], 0);
        }
    }
}
