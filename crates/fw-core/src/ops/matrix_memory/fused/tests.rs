//! The kernel against the composed form: on every instruction set, in chunks of every length.

mod gated;
mod transition;

use burn::tensor::{DType, Device, TensorData};

use super::super::trials::{Kind, Leaves, PLAIN, kinds};
use super::super::{
    Sequences, WriteRule, in_chunks, key_scale, matrix_memory as matrix_memory_by, of_spans,
};
use super::*;
use crate::ExecutionPath;
use crate::ops::cpu::{SharedMut, architectures};
use crate::ops::trials::{assert_same, numbers_of, spans_of_lengths};

/// Both precisions, and what each leaves of digits.
const PRECISIONS: [(DType, f64); 2] = [(DType::F64, 1e-10), (DType::F32, 1e-4)];

fn sizes_of(kind: Kind, spans: &Spans) -> Sizes {
    Sizes {
        n_samples: spans.n_samples(),
        n_heads: kind.n_heads,
        d_key: kind.d_key,
        d_value: kind.d_value,
        writes: kind.writes,
        read_scale: key_scale(kind.d_key),
    }
}

/// A kind of memory against its equations as they stand.
fn check(kind: Kind, seq_length: usize, chunks: &[usize]) {
    let device = Device::flex().autodiff();
    let batch = [2, seq_length];
    let spans = Spans::of_batch(2, seq_length);
    for (dtype, tolerance) in PRECISIONS {
        let leaves = Leaves::of_batch(kind, batch, (&device, dtype));
        let expected = leaves.results(|sequences, start| in_chunks(sequences, start, kind.rule, 1));
        for arch in architectures() {
            for &chunk in chunks {
                let actual = leaves.results(|sequences, start| {
                    let (sizes, how) = (sizes_of(kind, &spans), (arch, chunk));
                    run(
                        &sequences.into(),
                        &spans,
                        start.as_ref(),
                        sizes,
                        kind.rule.into(),
                        how,
                    )
                });
                let case = alloc::format!(
                    "{kind:?}, {dtype:?}, T = {seq_length}, {arch:?}, chunk {chunk}"
                );
                assert_same(&actual, &expected, tolerance, &case);
            }
        }
    }
}

#[test]
fn chunks_of_any_length_equal_the_steps_on_every_instruction_set() {
    for kind in kinds() {
        let most = MOST_WRITES / kind.writes;
        check(kind, 1, &[1]);
        check(kind, 7, &[1, 2, most.min(7)]);
        // One more than whole chunks, and than a segment of the shortest.
        check(kind, 2 * most + 1, &[1, 3, most]);
    }
}

#[test]
fn so_do_long_sequences_of_several_segments() {
    for decays in [0, 1, PLAIN.d_key] {
        check(Kind { decays, ..PLAIN }, 300, &[MOST_WRITES]);
    }
}

#[test]
fn composed_chunks_of_any_length_are_the_steps() {
    let device = Device::flex().autodiff();
    for kind in kinds() {
        let leaves = Leaves::of_batch(kind, [2, 23], (&device, DType::F64));
        let expected = leaves.results(|sequences, start| in_chunks(sequences, start, kind.rule, 1));
        for chunk in [2, 5, 22, 23, 100] {
            let actual =
                leaves.results(|sequences, start| in_chunks(sequences, start, kind.rule, chunk));
            assert_same(
                &actual,
                &expected,
                1e-10,
                &alloc::format!("{kind:?}, chunk {chunk}"),
            );
        }
    }
}

/// The samples of spans, each run alone.
fn alone(
    sequences: Sequences,
    spans: &Spans,
    start: Option<&Tensor<4>>,
    rule: WriteRule,
) -> (Tensor<4>, Tensor<4>) {
    let mut samples: Vec<usize> = (0..spans.n_samples()).collect();
    samples.sort_by_key(|sample| spans.of(*sample).first);
    let length = |sample: &usize| spans.of(*sample).n_steps;
    let lengths: Vec<usize> = samples.iter().map(length).collect();
    let (mut outputs, mut states) = (Vec::new(), Vec::new());
    for (sample, own) in samples.into_iter().zip(sequences.cut(&lengths)) {
        let start = start.map(|start| start.clone().narrow(0, sample, 1));
        let (output, state) = in_chunks(own, start, rule, 1);
        outputs.push(output);
        states.extend(spans.of(sample).end.map(|end| (end, state)));
    }
    states.sort_by_key(|(end, _)| *end);
    let states = states.into_iter().map(|(_, state)| state).collect();
    (Tensor::cat(outputs, 1), Tensor::cat(states, 0))
}

#[test]
fn spans_of_unequal_lengths_equal_each_sample_alone() {
    let device = Device::flex().autodiff();
    let spans = spans_of_lengths(&[3, 21, 1, 160, 8, 17, 1, 21, 5]);
    for kind in kinds() {
        for (dtype, tolerance) in PRECISIONS {
            let leaves = Leaves::new(kind, [1, spans.n_rows()], &spans, (&device, dtype));
            let expected = leaves
                .results(|sequences, start| alone(sequences, &spans, start.as_ref(), kind.rule));
            let actual = leaves.results(|sequences, start| {
                of_spans(sequences, &spans, start, kind.rule).expect("there is a kernel")
            });
            assert_same(
                &actual,
                &expected,
                tolerance,
                &alloc::format!("{kind:?}, {dtype:?}"),
            );
        }
    }
}

/// Everything fades at once, or nothing does; numbers are finite, and those of the steps.
#[test]
fn log_decays_of_minus_ten_thousand_and_of_zero_do_no_harm() {
    let device = Device::flex().autodiff();
    for (decays, dtype) in [
        (1, DType::F32),
        (9, DType::F32),
        (1, DType::F64),
        (9, DType::F64),
    ] {
        let kind = Kind { decays, ..PLAIN };
        let leaves = Leaves::of_batch(kind, [2, 37], (&device, dtype));
        let hard = |sequences: Sequences| {
            // Of three steps one forgets all, one nothing, and one a part.
            let factors = |shape: &[usize]| {
                let rest: usize = shape[2..].iter().product();
                (0..shape[0] * shape[1])
                    .flat_map(|step| core::iter::repeat_n([0.0, 1.0, 1e4][step % 3], rest))
                    .collect::<Vec<f32>>()
            };
            let log_decay = match sequences.log_decay {
                LogDecay::None => LogDecay::None,
                LogDecay::Head(log) => {
                    let data = TensorData::new(factors(&log.dims()), log.dims());
                    LogDecay::Head(log * Tensor::from_data(data, (&device, dtype)))
                }
                LogDecay::Channel(log) => {
                    let data = TensorData::new(factors(&log.dims()), log.dims());
                    LogDecay::Channel(log * Tensor::from_data(data, (&device, dtype)))
                }
            };
            Sequences {
                log_decay,
                ..sequences
            }
        };
        let expected =
            leaves.results(|sequences, start| in_chunks(hard(sequences), start, kind.rule, 1));
        let spans = Spans::of_batch(2, 37);
        let actual = leaves.results(|sequences, start| {
            let how = (arch(), MOST_WRITES);
            let sizes = sizes_of(kind, &spans);
            run(
                &hard(sequences).into(),
                &spans,
                start.as_ref(),
                sizes,
                kind.rule.into(),
                how,
            )
        });
        let tolerance = if dtype == DType::F64 { 1e-10 } else { 1e-4 };
        let composed =
            leaves.results(|sequences, start| in_chunks(hard(sequences), start, kind.rule, 16));
        assert_same(&composed, &expected, tolerance, "composed");
        assert_same(
            &actual,
            &expected,
            tolerance,
            &alloc::format!("{decays} decays, {dtype:?}"),
        );
        assert!(actual.iter().flatten().all(|number| number.is_finite()));
    }
}

/// What the documentation of `cpu` states.
#[test]
fn the_tape_holds_what_is_stated_and_no_more() {
    let kind = Kind {
        d_key: 64,
        d_value: 64,
        n_heads: 1,
        has_start: false,
        ..PLAIN
    };
    let (seq_length, spans) = (4_096, Spans::of_batch(1, 4_096));
    let zeros = alloc::vec![0.0_f32; seq_length * 64];
    let problem = Problem {
        spans: &spans,
        sizes: sizes_of(kind, &spans),
        rule: kind.rule.into(),
        chunk: MOST_WRITES,
        query: &zeros,
        key: &zeros,
        value: &zeros,
        strength: &zeros[..seq_length],
        decay: cpu::Decay::None,
        transition: [&[]; 2],
        start: None,
        start_scale: None,
    };
    let mut output = zeros.clone();
    let mut memory = alloc::vec![0.0_f32; 64 * 64];
    let outputs = Outputs {
        output: SharedMut::new(output.as_mut_ptr()),
        memory: SharedMut::new(memory.as_mut_ptr()),
    };
    // SAFETY: there is room for every output and the last memory.
    let tape = unsafe { cpu::forward(arch(), &problem, outputs, true) };
    let bytes = tape.expect("it was to be kept").bytes();
    // e of every step, and a memory every second chunk.
    let stated = seq_length * 64 + (seq_length / 32 - 1) * 64 * 64;
    assert_eq!(bytes, 4 * stated);
}

#[test]
fn gradients_of_either_result_alone_are_those_of_the_steps() {
    let device = Device::flex().autodiff();
    let kind = Kind { decays: 1, ..PLAIN };
    let leaves = Leaves::of_batch(kind, [2, 21], (&device, DType::F64));
    for is_of_output in [true, false] {
        // What is not looked at is not on the loss's graph at all.
        let looked_at = |(output, memory): (Tensor<4>, Tensor<4>)| match is_of_output {
            true => (output, memory.detach()),
            false => (output.detach(), memory),
        };
        let expected =
            leaves.results(|sequences, start| looked_at(in_chunks(sequences, start, kind.rule, 1)));
        let actual = leaves.results(|sequences, start| {
            let path = ExecutionPath::Fused;
            looked_at(matrix_memory_by(sequences, start, kind.rule, path))
        });
        assert_same(
            &actual,
            &expected,
            1e-10,
            &alloc::format!("of the output: {is_of_output}"),
        );
    }
}

#[test]
fn steps_alone_are_the_sequence() {
    let device = Device::flex();
    for kind in kinds() {
        for (dtype, tolerance) in PRECISIONS {
            let leaves = Leaves::of_batch(kind, [2, 5], (&device, dtype));
            let (sequences, start) = leaves.parts();
            let (output, last) = in_chunks(sequences.clone(), start.clone(), kind.rule, 1);
            let (mut outputs, mut state) = (Vec::new(), start.clone());
            for step in sequences.cut(&[1; 5]) {
                let path = ExecutionPath::Auto;
                let (output, next) = matrix_memory_by(step, state, kind.rule, path);
                outputs.push(output);
                state = Some(next);
            }
            let actual = [Tensor::cat(outputs, 1), state.expect("the last one")].map(numbers_of);
            let expected = [output, last].map(numbers_of);
            assert_same(
                &actual,
                &expected,
                tolerance,
                &alloc::format!("{kind:?}, {dtype:?}"),
            );
        }
    }
}

#[test]
fn a_memory_that_another_has_is_left_as_it_is() {
    let device = Device::flex();
    let leaves = Leaves::of_batch(PLAIN, [2, 1], (&device, DType::F32));
    let (sequences, start) = leaves.parts();
    let before = numbers_of(start.clone().expect("a start"));
    let path = ExecutionPath::Auto;
    let (_, after) = matrix_memory_by(sequences, start.clone(), PLAIN.rule, path);
    assert_eq!(numbers_of(start.expect("a start")), before);
    assert_ne!(numbers_of(after), before);
}
