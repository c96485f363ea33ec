//! Samples of unequal lengths.

use super::*;
use crate::ops::Span;

/// So many that there are several groups, and of these more than one part.
const N_SAMPLES: usize = 37;

/// Samples one behind the other, in no order of their lengths. Of two in three the last state is asked for; the ends run the other way.
fn spans() -> Spans {
    let rng = &mut ChaCha8Rng::seed_from_u64(2);
    let mut n_rows = 0;
    let n_ends = N_SAMPLES - N_SAMPLES / 3;
    let list = (0..N_SAMPLES).map(|sample| {
        let n_steps = match sample {
            5 => 70,
            _ => rng.random_range(1..20),
        };
        let first = n_rows;
        n_rows += n_steps;
        Span {
            first,
            n_steps,
            end: (sample % 3 != 2).then(|| n_ends - 1 - (sample - sample / 3)),
        }
    });
    Spans::new(&list.collect::<Vec<Span>>()).0
}

/// The samples of some spans run one by one: outputs and last c as of the spans.
fn one_by_one(
    arch: Arch,
    leaves: &Leaves,
    options: &Options,
    spans: &Spans,
) -> (Tensor<3>, Option<Tensor<2>>) {
    let (mut outputs, mut lasts) = (Vec::new(), Vec::new());
    for sample in 0..spans.n_samples() {
        let span = spans.of(sample);
        let own = |rows: &Tensor<2>| rows.clone().narrow(0, sample, 1);
        let projected = leaves.projected.clone();
        let projected = projected.narrow(1, span.first, span.n_steps);
        let cell = FusedCell {
            hidden: own(&leaves.cell.hidden),
            cell: leaves.cell.cell.as_ref().map(own),
            ..leaves.cell.clone()
        };
        let memories = leaves.memories.clone().narrow(0, sample, 1);
        let recall = Recall {
            memories: Some(&memories),
            ..leaves.recall(options)
        };
        let alone = Spans::of_batch(1, span.n_steps);
        let (output, last) = run_on(arch, &projected, &cell, recall, &alone);
        outputs.push((span.first, output));
        lasts.extend(span.end.zip(last));
    }
    outputs.sort_by_key(|(first, _)| *first);
    lasts.sort_by_key(|(end, _)| *end);
    let outputs = outputs.into_iter().map(|(_, output)| output).collect();
    let lasts: Vec<Tensor<2>> = lasts.into_iter().map(|(_, last)| last).collect();
    let last = (!lasts.is_empty()).then(|| Tensor::cat(lasts, 0));
    (Tensor::cat(outputs, 1), last)
}

fn choices() -> Vec<(CellKind, Score, Options)> {
    let elman = CellKind::Elman(Activation::Tanh);
    alloc::vec![
        (CellKind::Lstm, Score::Mlp, OPTIONS),
        (
            CellKind::Gru,
            Score::ScaledDot,
            Options {
                attention_interval: 2,
                max_memories: Some(4),
                sparsifier: Sparsifier::Threshold,
                ..OPTIONS
            },
        ),
        (
            elman,
            Score::Released,
            Options {
                top_k: None,
                truncation_length: None,
                combination: Combination::Add,
                ..OPTIONS
            },
        ),
        (
            CellKind::Lstm,
            Score::ScaledDot,
            Options {
                attention_interval: 3,
                truncation_length: Some(1),
                replay: false,
                combination: Combination::OutputOnly,
                ..OPTIONS
            },
        ),
    ]
}

#[test]
fn spans_are_what_each_is_alone() {
    let spans = spans();
    let shape = [1, spans.n_rows()];
    for (kind, score, options) in choices() {
        // Sums over some four hundred steps: of those that should come to nothing, single precision leaves 1e-6.
        for (dtype, tolerance) in [(DType::F64, (1e-10, 1e-3)), (DType::F32, (1e-4, 0.1))] {
            let device = Device::flex().autodiff();
            let rng = &mut ChaCha8Rng::seed_from_u64(3);
            let leaves = Leaves::new(rng, (kind, score), N_SAMPLES, shape, (&device, dtype));
            for arch in architectures() {
                let what =
                    alloc::format!("{kind:?}, {score:?}, {options:?}, {dtype:?} on {arch:?}");
                let recall = leaves.recall(&options);
                let (output, last) = run_on(arch, &leaves.projected, &leaves.cell, recall, &spans);
                let actual = leaves.results(output, last);
                let (output, last) = one_by_one(arch, &leaves, &options, &spans);
                let expected = leaves.results(output, last);
                assert_close(&what, &actual, &expected, tolerance);
            }
        }
    }
}

#[test]
fn spans_without_a_graph_are_the_same_to_the_bit() {
    let spans = spans();
    let shape = [1, spans.n_rows()];
    for (kind, score, options) in choices() {
        let run = |device: &Device| {
            let rng = &mut ChaCha8Rng::seed_from_u64(3);
            let like = (device, DType::F32);
            let leaves = Leaves::new(rng, (kind, score), N_SAMPLES, shape, like);
            let recall = leaves.recall(&options);
            let (output, last) = sequence(&leaves.projected, &leaves.cell, recall, &spans);
            (values(output), last.map(values))
        };
        let device = Device::flex();
        assert_eq!(run(&device), run(&device.clone().autodiff()), "{kind:?}");
    }
}

#[test]
fn spans_of_one_length_are_a_batch_to_the_bit() {
    const STEPS: usize = 23;
    let batch = Spans::of_batch(N_SAMPLES, STEPS);
    let list: Vec<Span> = (0..N_SAMPLES).map(|sample| batch.of(sample)).collect();
    let (spans, _) = Spans::new(&list);
    for (kind, score, options) in choices() {
        for arch in architectures() {
            let run = |spans: &Spans, shape: [usize; 2]| {
                let device = Device::flex().autodiff();
                let rng = &mut ChaCha8Rng::seed_from_u64(5);
                let like = (&device, DType::F32);
                let leaves = Leaves::new(rng, (kind, score), N_SAMPLES, shape, like);
                let recall = leaves.recall(&options);
                let (output, last) = run_on(arch, &leaves.projected, &leaves.cell, recall, spans);
                leaves.results(output, last)
            };
            let expected = run(&batch, [N_SAMPLES, STEPS]);
            let actual = run(&spans, [1, N_SAMPLES * STEPS]);
            assert_eq!(actual, expected, "{kind:?} on {arch:?}");
        }
    }
}

#[test]
fn spans_of_which_no_last_state_is_asked_for_have_none() {
    let device = Device::flex().autodiff();
    let list = [(0, 3), (3, 5)].map(|(first, n_steps)| Span {
        first,
        n_steps,
        end: None,
    });
    let (spans, _) = Spans::new(&list);
    let rng = &mut ChaCha8Rng::seed_from_u64(6);
    let like = (&device, DType::F64);
    let leaves = Leaves::new(rng, (CellKind::Lstm, Score::Mlp), 2, [1, 8], like);
    let recall = leaves.recall(&OPTIONS);
    let (output, last) = sequence(&leaves.projected, &leaves.cell, recall, &spans);
    assert_eq!(last.map(|last| last.dims()), Some([0, D_HIDDEN]));
    let actual = leaves.results(output, None);
    let (output, _) = one_by_one(arch(), &leaves, &OPTIONS, &spans);
    assert_close(
        "no ends",
        &actual,
        &leaves.results(output, None),
        (1e-10, 1e-3),
    );
}
