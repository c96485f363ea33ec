//! A transition of rank one: the memory of RWKV-7.

use burn::tensor::activation::log_sigmoid;

use super::*;
use crate::ops::matrix_memory::rwkv7::by_kernel_in;
use crate::ops::matrix_memory::{Rwkv7Sequences, rwkv7, rwkv7_of_spans};
use crate::ops::trials::{Random, gradient_of};

/// H, K, V.
const SIZES: [[usize; 3]; 3] = [[3, 9, 5], [1, 1, 1], [2, 16, 32]];

struct Leaves {
    /// r, w before it is made a decay, k, v, a and b.
    rows: [Tensor<4>; 6],
    start: Option<Tensor<4>>,
    on_output: Tensor<4>,
    on_memory: Tensor<4>,
}

impl Leaves {
    fn new(
        [n_heads, d_key, d_value]: [usize; 3],
        [n_sequences, seq_length]: [usize; 2],
        spans: &Spans,
        has_start: bool,
        (device, dtype): (&Device, DType),
    ) -> Self {
        let mut random = Random::new(seq_length as u64, device, dtype);
        let rows = |width| [n_sequences, seq_length, n_heads, width];
        let size = 1.0 / (d_key as f64).sqrt();
        Leaves {
            rows: [
                random.leaf(rows(d_key), 1.0),
                random.leaf(rows(d_key), 3.0),
                random.leaf(rows(d_key), 1.0),
                random.leaf(rows(d_value), 1.0),
                random.leaf(rows(d_key), size),
                random.leaf(rows(d_key), size),
            ],
            start: has_start
                .then(|| random.leaf([spans.n_samples(), n_heads, d_key, d_value], 1.0)),
            on_output: random.leaf(rows(d_value), 1.0).detach(),
            on_memory: random
                .leaf([spans.n_ends(), n_heads, d_key, d_value], 1.0)
                .detach(),
        }
    }

    fn sequences(&self) -> Rwkv7Sequences {
        let [
            receptance,
            decay,
            key,
            value,
            transition_read,
            transition_write,
        ] = self.rows.clone();
        Rwkv7Sequences {
            receptance,
            log_decay: log_sigmoid(decay),
            key,
            value,
            transition_read,
            transition_write,
        }
    }

    fn results(
        &self,
        run: impl Fn(Rwkv7Sequences, Option<Tensor<4>>) -> (Tensor<4>, Tensor<4>),
    ) -> Vec<Vec<f64>> {
        let (output, last) = run(self.sequences(), self.start.clone());
        let loss = (output.clone() * self.on_output.clone()).sum()
            + (last.clone() * self.on_memory.clone()).sum();
        let gradients = loss.backward();
        let mut all = vec![numbers_of(output), numbers_of(last)];
        let leaves = self.rows.iter().chain(&self.start);
        all.extend(leaves.map(|leaf| gradient_of(leaf, &gradients)));
        all
    }
}

#[test]
fn chunks_of_any_length_equal_the_steps_on_every_instruction_set() {
    let device = Device::flex().autodiff();
    for sizes in SIZES {
        for (seq_length, chunks) in [(1, vec![1]), (7, vec![1, 2, 7]), (37, vec![3, 8, 16])] {
            let spans = Spans::of_batch(2, seq_length);
            for (dtype, tolerance) in PRECISIONS {
                let place = (&device, dtype);
                let has_start = seq_length != 7;
                let leaves = Leaves::new(sizes, [2, seq_length], &spans, has_start, place);
                let path = ExecutionPath::Composed;
                let expected = leaves.results(|sequences, start| rwkv7(sequences, start, path));
                for arch in architectures() {
                    for &chunk in &chunks {
                        let actual = leaves.results(|sequences, start| {
                            by_kernel_in(&sequences, &spans, start.as_ref(), (arch, chunk))
                        });
                        let case = alloc::format!(
                            "{sizes:?}, {dtype:?}, T = {seq_length}, {arch:?}, chunk {chunk}"
                        );
                        assert_same(&actual, &expected, tolerance, &case);
                    }
                }
            }
        }
    }
}

#[test]
fn spans_equal_each_sample_alone() {
    let device = Device::flex().autodiff();
    let spans = spans_of_lengths(&[3, 21, 1, 40, 8, 17]);
    for (dtype, tolerance) in PRECISIONS {
        let rows = [1, spans.n_rows()];
        let leaves = Leaves::new(SIZES[0], rows, &spans, true, (&device, dtype));
        let expected = leaves.results(|sequences, start| {
            let (mut outputs, mut lasts) = (Vec::new(), Vec::new());
            for sample in 0..spans.n_samples() {
                let span = spans.of(sample);
                let own = sequences
                    .clone()
                    .map(|rows| rows.narrow(1, span.first, span.n_steps));
                let start = start.clone().map(|start| start.narrow(0, sample, 1));
                let (output, last) = rwkv7(own, start, ExecutionPath::Composed);
                outputs.push((span.first, output));
                lasts.extend(span.end.map(|end| (end, last)));
            }
            outputs.sort_by_key(|(first, _)| *first);
            lasts.sort_by_key(|(end, _)| *end);
            let outputs = outputs.into_iter().map(|(_, output)| output).collect();
            let lasts = lasts.into_iter().map(|(_, last)| last).collect();
            (Tensor::cat(outputs, 1), Tensor::cat(lasts, 0))
        });
        let actual = leaves.results(|sequences, start| {
            rwkv7_of_spans(sequences, &spans, start).expect("there is a kernel")
        });
        assert_same(&actual, &expected, tolerance, &alloc::format!("{dtype:?}"));
    }
}

#[test]
fn steps_alone_are_the_sequence() {
    let device = Device::flex();
    for sizes in SIZES {
        for (dtype, tolerance) in PRECISIONS {
            let spans = Spans::of_batch(2, 5);
            let leaves = Leaves::new(sizes, [2, 5], &spans, true, (&device, dtype));
            let composed = ExecutionPath::Composed;
            let (output, last) = rwkv7(leaves.sequences(), leaves.start.clone(), composed);
            let (mut outputs, mut state) = (Vec::new(), leaves.start.clone());
            for t in 0..5 {
                let step = leaves.sequences().map(|rows| rows.narrow(1, t, 1));
                let (output, next) = rwkv7(step, state, ExecutionPath::Auto);
                outputs.push(output);
                state = Some(next);
            }
            let actual = [Tensor::cat(outputs, 1), state.expect("the last one")].map(numbers_of);
            let expected = [output, last].map(numbers_of);
            let case = alloc::format!("{sizes:?}, {dtype:?}");
            assert_same(&actual, &expected, tolerance, &case);
        }
    }
}
