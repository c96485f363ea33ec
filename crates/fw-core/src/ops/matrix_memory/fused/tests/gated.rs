//! What is gated: the memory of an mLSTM.

use super::*;
use crate::ops::matrix_memory::mlstm::by_kernel_in;
use crate::ops::matrix_memory::{MLstmSequences, MLstmState, mlstm, mlstm_of_spans};
use crate::ops::trials::{Random, gradient_of};

/// H, K, V; a column more than values is a whole vector, or not.
const SIZES: [[usize; 3]; 4] = [[3, 9, 5], [1, 1, 1], [2, 16, 31], [2, 5, 32]];

struct Leaves {
    sequences: MLstmSequences,
    start: Option<MLstmState>,
    on_output: Tensor<4>,
    on_memory: Tensor<4>,
    on_scale: Tensor<2>,
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
        let rows = [n_sequences, seq_length, n_heads];
        let [b, t, h] = rows;
        let n_samples = spans.n_samples();
        Leaves {
            sequences: MLstmSequences {
                query: random.leaf([b, t, h, d_key], 1.0),
                key: random.leaf([b, t, h, d_key], 1.0),
                value: random.leaf([b, t, h, d_value], 1.0),
                input_gate: random.leaf(rows, 3.0),
                forget_gate: random.leaf(rows, 4.0),
            },
            start: has_start.then(|| MLstmState {
                memory: random.leaf([n_samples, n_heads, d_key, d_value + 1], 1.0),
                log_scale: random.leaf([n_samples, n_heads], 1.0),
            }),
            on_output: random.leaf([b, t, h, d_value], 1.0).detach(),
            on_memory: random
                .leaf([spans.n_ends(), n_heads, d_key, d_value + 1], 1.0)
                .detach(),
            on_scale: random.leaf([spans.n_ends(), n_heads], 1.0).detach(),
        }
    }

    fn results(
        &self,
        run: impl Fn(MLstmSequences, Option<MLstmState>) -> (Tensor<4>, MLstmState),
    ) -> Vec<Vec<f64>> {
        let (output, last) = run(self.sequences.clone(), self.start.clone());
        let loss = (output.clone() * self.on_output.clone()).sum()
            + (last.memory.clone() * self.on_memory.clone()).sum()
            + (last.log_scale.clone() * self.on_scale.clone()).sum();
        let gradients = loss.backward();
        let sequences = &self.sequences;
        let mut all = vec![
            numbers_of(output),
            numbers_of(last.memory),
            numbers_of(last.log_scale),
            gradient_of(&sequences.query, &gradients),
            gradient_of(&sequences.key, &gradients),
            gradient_of(&sequences.value, &gradients),
            gradient_of(&sequences.input_gate, &gradients),
            gradient_of(&sequences.forget_gate, &gradients),
        ];
        if let Some(start) = &self.start {
            all.push(gradient_of(&start.memory, &gradients));
            all.push(gradient_of(&start.log_scale, &gradients));
        }
        all
    }
}

#[test]
fn chunks_of_any_length_equal_tensor_operations_on_every_instruction_set() {
    let device = Device::flex().autodiff();
    for sizes in SIZES {
        for (seq_length, chunks) in [(1, vec![1]), (7, vec![1, 2, 7]), (300, vec![16])] {
            let spans = Spans::of_batch(2, seq_length);
            for (dtype, tolerance) in PRECISIONS {
                let place = (&device, dtype);
                let has_start = seq_length != 7;
                let leaves = Leaves::new(sizes, [2, seq_length], &spans, has_start, place);
                let path = ExecutionPath::Composed;
                let expected = leaves.results(|sequences, start| mlstm(sequences, start, path));
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
    let lengths = [3, 21, 1, 40, 8, 17];
    let spans = spans_of_lengths(&lengths);
    for (dtype, tolerance) in PRECISIONS {
        for has_start in [true, false] {
            let rows = [1, spans.n_rows()];
            let leaves = Leaves::new(SIZES[0], rows, &spans, has_start, (&device, dtype));
            let expected = leaves.results(|sequences, start| {
                let (mut outputs, mut lasts) = (Vec::new(), Vec::new());
                for sample in 0..spans.n_samples() {
                    let span = spans.of(sample);
                    let own = sequences.narrow(span.first, span.n_steps);
                    let start = start.clone().map(|start| MLstmState {
                        memory: start.memory.narrow(0, sample, 1),
                        log_scale: start.log_scale.narrow(0, sample, 1),
                    });
                    let (output, last) = mlstm(own, start, ExecutionPath::Composed);
                    outputs.push((span.first, output));
                    lasts.extend(span.end.map(|end| (end, last)));
                }
                outputs.sort_by_key(|(first, _)| *first);
                lasts.sort_by_key(|(end, _)| *end);
                let outputs = outputs.into_iter().map(|(_, output)| output).collect();
                let (memories, scales) = lasts
                    .into_iter()
                    .map(|(_, last)| (last.memory, last.log_scale))
                    .unzip();
                let last = MLstmState {
                    memory: Tensor::cat(memories, 0),
                    log_scale: Tensor::cat(scales, 0),
                };
                (Tensor::cat(outputs, 1), last)
            });
            let actual = leaves.results(|sequences, start| {
                mlstm_of_spans(sequences, &spans, start).expect("there is a kernel")
            });
            assert_same(&actual, &expected, tolerance, &alloc::format!("{dtype:?}"));
        }
    }
}

#[test]
fn steps_alone_are_the_sequence() {
    let device = Device::flex();
    for sizes in SIZES {
        for (dtype, tolerance) in PRECISIONS {
            let spans = Spans::of_batch(2, 5);
            let leaves = Leaves::new(sizes, [2, 5], &spans, true, (&device, dtype));
            let sequences = &leaves.sequences;
            let composed = ExecutionPath::Composed;
            let (output, last) = mlstm(sequences.clone(), leaves.start.clone(), composed);
            let (mut outputs, mut state) = (Vec::new(), leaves.start.clone());
            for t in 0..5 {
                let step = sequences.narrow(t, 1);
                let (output, next) = mlstm(step, state, ExecutionPath::Auto);
                outputs.push(output);
                state = Some(next);
            }
            let state = state.expect("the last one");
            let all = |output, state: MLstmState| {
                [
                    numbers_of(output),
                    numbers_of(state.memory),
                    numbers_of(state.log_scale),
                ]
            };
            let actual = all(Tensor::cat(outputs, 1), state);
            let case = alloc::format!("{sizes:?}, {dtype:?}");
            assert_same(&actual, &all(output, last), tolerance, &case);
        }
    }
}

/// In each precision as large as is needed: the digits behind the point are those that decide.
#[test]
fn gates_whose_exponentials_no_number_holds_do_no_harm() {
    let device = Device::flex().autodiff();
    for (dtype, tolerance) in PRECISIONS {
        let spans = Spans::of_batch(2, 37);
        let leaves = Leaves::new(SIZES[0], [2, 37], &spans, true, (&device, dtype));
        let factor = if dtype == DType::F64 { 300.0 } else { 40.0 };
        let hard = |sequences: MLstmSequences| MLstmSequences {
            input_gate: sequences.input_gate * factor,
            forget_gate: sequences.forget_gate * factor,
            ..sequences
        };
        let path = ExecutionPath::Composed;
        let expected = leaves.results(|sequences, start| mlstm(hard(sequences), start, path));
        let path = ExecutionPath::Fused;
        let actual = leaves.results(|sequences, start| mlstm(hard(sequences), start, path));
        assert!(actual.iter().flatten().all(|number| number.is_finite()));
        assert_same(&actual, &expected, tolerance, &alloc::format!("{dtype:?}"));
    }
}
