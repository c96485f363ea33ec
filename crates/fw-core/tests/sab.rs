//! Sparse Attentive Backtracking: against its equations written number by number, at both ends of sparsity, and where its
//! gradients go.

mod common;

use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};
use common::{
    FlatState, assert_close, outcome, parameter_gradients, random, randomized, rng, values,
};
use fw_core::ops::sab::select_top_k;
use fw_core::ops::{Span, Spans};
use fw_core::{
    Combination, ExecutionPath, GruConfig, Lstm, LstmConfig, LstmState, Recurrent, RecurrentCell,
    RecurrentState, Sab, SabConfig, SabOutput, SabState, Score, SparseAttentionConfig, Sparsifier,
};
use proptest::prelude::*;

const D_INPUT: usize = 2;
const D_HIDDEN: usize = 4;
const STEPS: usize = 9;

/// The equations over an LSTM, number by number.
struct Plain {
    config: SabConfig,
    w_input: Vec<f64>,
    bias: Vec<f64>,
    w_hidden: Vec<f64>,
    w_query: Vec<f64>,
    w_key: Vec<f64>,
    v: Vec<f64>,
}

/// What every step came to.
#[derive(Default)]
struct Course {
    hidden: Vec<Vec<f64>>,
    cell: Vec<Vec<f64>>,
    summary: Vec<Vec<f64>>,
}

/// `x W`, for W with `columns` columns.
fn times(x: &[f64], w: &[f64], columns: usize) -> Vec<f64> {
    (0..columns)
        .map(|column| {
            x.iter()
                .enumerate()
                .map(|(row, x)| x * w[row * columns + column])
                .sum()
        })
        .collect()
}

impl Plain {
    fn of(layer: &Sab<Lstm>) -> Self {
        let cell = &layer.cell;
        let attention = layer.attention.as_ref().expect("an attention");
        Plain {
            config: layer.config().clone(),
            w_input: values(cell.input.weight.val()),
            bias: values(cell.input.bias.as_ref().expect("a bias").val()),
            w_hidden: values(cell.w_hidden.val()),
            w_query: values(attention.query.val()),
            w_key: values(attention.key.val()),
            v: attention.v.as_ref().map_or(Vec::new(), |v| values(v.val())),
        }
    }

    /// Runs a sequence. What a gradient does not go through is taken from `frozen`, a course that does not change when the inputs
    /// do: then the slopes of this function are the truncated gradients.
    fn run(&self, inputs: &[f64], frozen: Option<&Course>) -> Course {
        let config = &self.config;
        let mut course = Course::default();
        let mut stored: Vec<usize> = Vec::new();
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        for (t, x) in inputs.chunks(D_INPUT).enumerate() {
            let before = |course: &Course| match t {
                0 => (vec![0.0; D_HIDDEN], vec![0.0; D_HIDDEN]),
                _ => (course.hidden[t - 1].clone(), course.cell[t - 1].clone()),
            };
            let is_cut = config
                .truncation_length
                .is_some_and(|length| (t + 1) % length == 0);
            let (h, c) = match frozen {
                Some(frozen) if is_cut => before(frozen),
                _ => before(&course),
            };
            let from_input = times(x, &self.w_input, 4 * D_HIDDEN);
            let from_hidden = times(&h, &self.w_hidden, 4 * D_HIDDEN);
            let gate = |block: usize, k: usize| {
                let at = block * D_HIDDEN + k;
                from_input[at] + from_hidden[at] + self.bias[at]
            };
            let cell: Vec<f64> = (0..D_HIDDEN)
                .map(|k| sigmoid(gate(1, k)) * c[k] + sigmoid(gate(0, k)) * gate(2, k).tanh())
                .collect();
            let candidate: Vec<f64> = (0..D_HIDDEN)
                .map(|k| sigmoid(gate(3, k)) * cell[k].tanh())
                .collect();

            let memories: Vec<&[f64]> = stored
                .iter()
                .map(|&step| match frozen {
                    Some(frozen) if !config.replay => frozen.hidden[step].as_slice(),
                    _ => course.hidden[step].as_slice(),
                })
                .collect();
            let mut summary = vec![0.0; D_HIDDEN];
            let mut hidden = candidate.clone();
            if !memories.is_empty() {
                for (memory, weight) in memories.iter().zip(self.weights(&candidate, &memories)) {
                    for (sum, m) in summary.iter_mut().zip(*memory) {
                        *sum += weight * m;
                    }
                }
                for (h, s) in hidden.iter_mut().zip(&summary) {
                    *h = match config.combination {
                        Combination::Average => (*h + s) / 2.0,
                        Combination::Add => *h + s,
                        Combination::OutputOnly => *h,
                    };
                }
            }
            course.hidden.push(hidden);
            course.cell.push(cell);
            course.summary.push(summary);
            if (t + 1) % config.attention_interval == 0 {
                stored.push(t);
                let most = config.max_memories.unwrap_or(usize::MAX);
                if stored.len() > most {
                    stored.remove(0);
                }
            }
        }
        course
    }

    /// A weight for each memory.
    fn weights(&self, state: &[f64], memories: &[&[f64]]) -> Vec<f64> {
        let d_attention = self.w_query.len() / D_HIDDEN;
        let query = times(state, &self.w_query, d_attention);
        let scores: Vec<f64> = memories
            .iter()
            .map(|memory| {
                let key = times(memory, &self.w_key, d_attention);
                let pairs = query.iter().zip(&key);
                match self.config.score {
                    Score::Mlp => pairs
                        .zip(&self.v)
                        .map(|((q, k), v)| v * (q + k).tanh())
                        .sum(),
                    Score::ScaledDot => {
                        pairs.map(|(q, k)| q * k).sum::<f64>() / (d_attention as f64).sqrt()
                    }
                    Score::Released => unreachable!("held to the golden files"),
                }
            })
            .collect();
        let n = scores.len();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let kept = self.config.top_k.unwrap_or(n).min(n);
        let is_thresholded = self.config.sparsifier == Sparsifier::Threshold && n > kept;
        let mut weights = vec![0.0; n];
        for &index in &order[..kept] {
            weights[index] = match is_thresholded {
                true => scores[index] - scores[order[kept]],
                false => scores[index].exp(),
            };
        }
        let sum: f64 = weights.iter().sum::<f64>() + if is_thresholded { 1e-7 } else { 0.0 };
        weights.iter().map(|weight| weight / sum).collect()
    }
}

fn layer(config: &SabConfig, seed: u64) -> Sab<Lstm> {
    let device = Device::flex().autodiff();
    let cell = LstmConfig::new(D_INPUT, D_HIDDEN).init(&device);
    randomized(config.init(cell, &device), &mut rng(seed), DType::F64)
}

/// Every mixture of sparsity and cuts, then each other option.
fn configurations() -> Vec<SabConfig> {
    let base = SabConfig::new();
    let mut all = Vec::new();
    for top_k in [Some(1), Some(2), None] {
        for truncation_length in [Some(1), Some(3), None] {
            let config = base.clone().with_top_k(top_k);
            all.push(config.with_truncation_length(truncation_length));
        }
    }
    let base = base.with_top_k(Some(2)).with_truncation_length(Some(3));
    all.extend([
        base.clone().with_attention_interval(2),
        base.clone().with_replay(false),
        base.clone().with_replay(false).with_top_k(None),
        base.clone().with_max_memories(Some(3)),
        base.clone().with_d_attention(Some(3)),
        base.clone().with_score(Score::ScaledDot),
        base.clone().with_sparsifier(Sparsifier::Threshold),
        base.clone().with_combination(Combination::Add),
        base.clone().with_combination(Combination::OutputOnly),
    ]);
    all
}

#[test]
fn outputs_and_truncated_gradients_are_those_of_the_equations_written_number_by_number() {
    const DELTA: f64 = 1e-6;
    let paths = [ExecutionPath::Composed, ExecutionPath::Fused];
    let configs = configurations().into_iter();
    let configs = configs.flat_map(|config| paths.map(|path| config.clone().with_path(path)));
    for (seed, config) in configs.enumerate() {
        let layer = layer(&config, seed as u64);
        let plain = Plain::of(&layer);
        let device = Device::flex().autodiff();
        let mut rng = rng(100 + seed as u64);
        let input = random(&mut rng, [1, STEPS, D_INPUT], &device, DType::F64) * 2.0;
        let probe = random(&mut rng, [1, STEPS, 2 * D_HIDDEN], &device, DType::F64);
        let input = input.require_grad();
        let (output, _) = layer.forward(input.clone(), None);

        let inputs = values(input.clone());
        let course = plain.run(&inputs, None);
        let rows = |course: &Course| -> Vec<f64> {
            let steps = course.hidden.iter().zip(&course.summary);
            steps
                .flat_map(|(h, s)| [h.clone(), s.clone()].concat())
                .collect()
        };
        assert_close(
            &format!("output, {config:?}"),
            &values(output.clone()),
            &rows(&course),
            1e-12,
        );

        let gradients = (output * probe.clone()).sum().backward();
        let gradient = values(input.grad(&gradients).expect("a gradient"));
        let probe = values(probe);
        let loss = |inputs: &[f64]| -> f64 {
            let rows = rows(&plain.run(inputs, Some(&course)));
            rows.iter().zip(&probe).map(|(y, p)| y * p).sum()
        };
        let slopes: Vec<f64> = (0..inputs.len())
            .map(|at| {
                let moved = |delta: f64| {
                    let mut inputs = inputs.clone();
                    inputs[at] += delta;
                    loss(&inputs)
                };
                (moved(DELTA) - moved(-DELTA)) / (2.0 * DELTA)
            })
            .collect();
        assert_close(&format!("gradient, {config:?}"), &gradient, &slopes, 1e-7);
    }
}

#[test]
fn gradients_reach_exactly_the_steps_of_the_replay_map() {
    for (seed, config) in configurations().iter().enumerate() {
        let layer = layer(config, 50 + seed as u64);
        let device = Device::flex().autodiff();
        let input = random(
            &mut rng(seed as u64),
            [2, STEPS, D_INPUT],
            &device,
            DType::F64,
        );
        let input = (input * 2.0).require_grad();
        let map = [0, 1].map(|sample| layer.forward_traced(input.clone(), None).replay_map(sample));
        for (sample, from) in (0..2).flat_map(|sample| (0..STEPS).map(move |from| (sample, from))) {
            for path in [ExecutionPath::Composed, ExecutionPath::Fused] {
                let layer = self::layer(&config.clone().with_path(path), 50 + seed as u64);
                let (output, _) = layer.forward(input.clone(), None);
                let output = output.narrow(0, sample, 1).narrow(1, from, 1);
                // Not a plain sum: gradients might cancel in it.
                let probe = random(&mut rng(7), [1, 1, 2 * D_HIDDEN], &device, DType::F64);
                let gradients = (output * probe).sum().backward();
                let gradient = input.grad(&gradients).expect("a gradient");
                let gradient = values(gradient.narrow(0, sample, 1));
                let reached: Vec<bool> = gradient
                    .chunks(D_INPUT)
                    .map(|of_step| of_step.iter().any(|g| *g != 0.0))
                    .collect();
                assert_eq!(
                    reached, map[sample][from],
                    "output {from}, {path:?}, {config:?}"
                );
            }
        }
    }
}

/// The bare cell, cut from its past before every `length`-th step.
fn truncated<C: RecurrentCell + FlatState>(
    cell: &C,
    length: usize,
    input: Tensor<3>,
    state: C::State,
) -> (Tensor<3>, C::State) {
    let seq_length = input.dims()[1];
    let mut state = state;
    let mut outputs = Vec::new();
    for t in 0..seq_length {
        if (t + 1) % length == 0 {
            state = state.detach();
        }
        let (output, last) = cell.forward(input.clone().narrow(1, t, 1), Some(state));
        outputs.push(output);
        state = last;
    }
    (Tensor::cat(outputs, 1), state)
}

#[test]
fn a_top_k_of_zero_is_truncated_backpropagation_of_the_bare_cell() {
    fn check<C: RecurrentCell + FlatState>(cell: C) {
        let device = Device::flex().autodiff();
        for (length, seq_length) in [(1, 5), (3, 7), (4, 8)] {
            let config = SabConfig::new()
                .with_top_k(Some(0))
                .with_truncation_length(Some(length))
                .with_output(SabOutput::Hidden);
            let layer = config.init(cell.clone(), &device);
            let mut rng = rng(9);
            let input = random(&mut rng, [3, seq_length, D_INPUT], &device, DType::F64);
            let state = random(&mut rng, [3, cell.flat_width()], &device, DType::F64);
            let expected = outcome(&cell, &input, &state, |cell, input, state| {
                truncated(cell, length, input, state)
            });
            let wide = Tensor::cat(
                vec![
                    state,
                    Tensor::zeros([3, 2 * D_HIDDEN], (&device, DType::F64)),
                ],
                1,
            );
            let mut actual = outcome(&layer, &input, &wide, |layer, input, state| {
                layer.forward(input, Some(state))
            });
            // Of the state's gradient, what belongs to the cell.
            let width = cell.flat_width();
            let rows = actual.gradients[1].chunks(width + 2 * D_HIDDEN);
            actual.gradients[1] = rows.flat_map(|row| row[..width].to_vec()).collect();
            actual.assert_equals(&expected, &format!("length {length}"), 1e-12, 1e-12);
        }
    }
    let device = Device::flex().autodiff();
    let lstm = LstmConfig::new(D_INPUT, D_HIDDEN).init(&device);
    check(randomized(lstm, &mut rng(1), DType::F64));
    let gru = GruConfig::new(D_INPUT, D_HIDDEN).init(&device);
    check(randomized(gru, &mut rng(2), DType::F64));
}

#[test]
fn of_equal_scores_the_older_memory_is_selected() {
    let scores = [[1.0, 3.0, 3.0, 2.0, 3.0, 2.0], [0.0; 6]];
    let scores = Tensor::<2>::from_data(scores, &Device::flex());
    let selected: Vec<i64> = select_top_k(scores, 4).try_into_vec_as().expect("indices");
    assert_eq!(selected, [1, 2, 4, 3, 0, 1, 2, 3]);
}

#[test]
fn of_equal_memories_the_older_receive_the_gradient_on_both_paths() {
    let device = Device::flex().autodiff();
    for path in [ExecutionPath::Composed, ExecutionPath::Fused] {
        let layer = layer(&SabConfig::new().with_top_k(Some(2)).with_path(path), 2);
        let memories = Tensor::<3>::ones([1, 5, D_HIDDEN], (&device, DType::F64)).require_grad();
        let cell = layer.initial_state(1, &device).cell;
        let state = SabState::new(cell, Some(memories.clone()), 0, 1);
        let input = Tensor::ones([1, 1, D_INPUT], (&device, DType::F64));
        let (output, _) = layer.forward(input, Some(state));
        let gradients = output.sum().backward();
        let gradient = values(memories.grad(&gradients).expect("a gradient"));
        let reached = gradient
            .chunks(D_HIDDEN)
            .map(|of_memory| of_memory[0] != 0.0);
        let reached: Vec<bool> = reached.collect();
        assert_eq!(reached, [true, true, false, false, false], "{path:?}");
    }
}

#[test]
fn a_memory_that_is_not_a_number_is_seen_on_both_paths() {
    let device = Device::flex();
    for path in [ExecutionPath::Composed, ExecutionPath::Fused] {
        let config = SabConfig::new().with_top_k(Some(2)).with_path(path);
        let layer = layer(&config, 2);
        let mut memories = vec![0.5; 6 * D_HIDDEN];
        memories[2 * D_HIDDEN] = f64::NAN;
        let memories = TensorData::new(memories, [1, 6, D_HIDDEN]);
        let device = device.clone().autodiff();
        let memories = Tensor::from_data(memories, (&device, DType::F64));
        let cell = layer.initial_state(1, &device).cell;
        let state = SabState::new(cell, Some(memories), 0, 1);
        let input = Tensor::ones([1, 1, D_INPUT], (&device, DType::F64));
        let (output, _) = layer.forward(input, Some(state));
        assert!(
            values(output).iter().any(|value| value.is_nan()),
            "{path:?}"
        );
    }
}

#[test]
fn a_masked_memory_is_as_good_as_none() {
    let device = Device::flex().autodiff();
    for sparsifier in [
        Sparsifier::Softmax,
        Sparsifier::Threshold,
        Sparsifier::Released,
    ] {
        for (top_k, n) in [(Some(2), 6), (Some(4), 6), (Some(5), 6), (None, 6)] {
            let config = SparseAttentionConfig::new(3, 4)
                .with_top_k(top_k)
                .with_sparsifier(sparsifier);
            let attention = randomized(config.init(&device), &mut rng(5), DType::F64);
            let mut rng = rng(6);
            let state = random(&mut rng, [1, 3], &device, DType::F64);
            let memories = random(&mut rng, [1, n, 4], &device, DType::F64).require_grad();
            let masked = [[false, true, false, false, true, false]];
            let mask = Tensor::<2, Bool>::from_data(masked, &Device::flex());
            let attended = attention.forward(state.clone(), memories.clone(), Some(mask));
            let visible = Tensor::<1, Int>::from_data([0, 2, 3, 5], &Device::flex());
            let alone = attention.forward(state, memories.clone().select(1, visible), None);
            let what = format!("{sparsifier:?}, {top_k:?}");
            assert_close(
                &what,
                &values(attended.summary.clone()),
                &values(alone.summary),
                1e-12,
            );
            let gradients = attended.summary.sum().backward();
            let gradient = values(memories.grad(&gradients).expect("a gradient"));
            for (memory, gradient) in gradient.chunks(4).enumerate() {
                if masked[0][memory] {
                    assert_eq!(gradient, [0.0; 4], "{what}");
                }
            }
        }
    }
    // No memory to be seen: nothing is recalled.
    let attention = SparseAttentionConfig::new(3, 4).init(&device);
    let mask = Tensor::<2, Bool>::from_data([[true, true]], &Device::flex());
    let nothing = attention.forward(
        Tensor::ones([1, 3], &device),
        Tensor::ones([1, 2, 4], &device),
        Some(mask),
    );
    assert_eq!(values(nothing.summary), [0.0; 4]);
}

#[test]
fn equal_scores_leave_the_threshold_rule_finite() {
    let device = Device::flex().autodiff();
    let config = SparseAttentionConfig::new(3, 4)
        .with_top_k(Some(2))
        .with_sparsifier(Sparsifier::Threshold);
    let attention = config.init(&device);
    let memories = Tensor::<3>::ones([1, 5, 4], &device).require_grad();
    let attended = attention.forward(Tensor::ones([1, 3], &device), memories.clone(), None);
    assert_eq!(values(attended.weights), [0.0; 3]);
    let gradients = attended.summary.sum().backward();
    let gradient = values(memories.grad(&gradients).expect("a gradient"));
    assert!(gradient.iter().all(|g| g.is_finite()));
}

#[test]
fn masks_hold_in_half_precision() {
    let device = Device::flex().autodiff();
    for dtype in [DType::F16, DType::BF16] {
        let attention = SparseAttentionConfig::new(3, 4).with_top_k(Some(3));
        let attention = randomized(attention.init(&device), &mut rng(5), dtype);
        let mut rng = rng(6);
        let state = random(&mut rng, [2, 3], &device, dtype);
        let memories = random(&mut rng, [2, 5, 4], &device, dtype).require_grad();
        let masked = [[false, true, true, true, false], [true; 5]];
        let mask = Tensor::<2, Bool>::from_data(masked, &Device::flex());
        let attended = attention.forward(state, memories.clone(), Some(mask));
        let indices: Vec<i64> = attended.indices.try_into_vec_as().expect("integers");
        let mut of_first = indices[..3].to_vec();
        of_first.sort();
        of_first.dedup();
        assert_eq!(of_first.len(), 3, "{dtype:?}: {indices:?}");
        let weights = values(attended.weights);
        assert!(
            (weights[..3].iter().sum::<f64>() - 1.0).abs() < 0.02,
            "{dtype:?}"
        );
        assert_eq!(weights[3..], [0.0; 3], "{dtype:?}");
        let gradients = attended.summary.sum().backward();
        let gradient = values(memories.grad(&gradients).expect("a gradient"));
        assert!(gradient.iter().all(|g| g.is_finite()), "{dtype:?}");
    }
}

#[test]
#[should_panic(expected = "keys has shape [2, 6, 4]; it must be [2, 5, 4]")]
fn keys_of_other_memories_are_refused() {
    let device = Device::flex();
    let attention = SparseAttentionConfig::new(3, 4).init(&device);
    let memories = |n| Tensor::<3>::ones([2, n, 4], &device);
    let keys = attention.keys(memories(6));
    attention.forward_with_keys(Tensor::ones([2, 3], &device), memories(5), keys, None);
}

#[test]
#[should_panic(
    expected = "the state's step is 18446744073709551615; it must be at most 9223372036854775807"
)]
fn steps_that_cannot_be_counted_are_refused() {
    let layer = layer(&SabConfig::new(), 3);
    let device = Device::flex().autodiff();
    let mut state = layer.initial_state(1, &device);
    state.steps = vec![usize::MAX];
    let input = Tensor::zeros([1, 2, D_INPUT], (&device, DType::F64));
    let _ = layer.forward(input, Some(state));
}

#[test]
fn a_trace_numbers_memories_through_the_given_state_and_those_that_were_dropped() {
    let config = SabConfig::new().with_top_k(None).with_max_memories(Some(3));
    let layer = layer(&config, 8);
    let device = Device::flex().autodiff();
    let input = random(&mut rng(4), [1, 6, D_INPUT], &device, DType::F64);
    let (_, state) = layer.forward(input.clone(), None);
    let trace = layer.forward_traced(input.clone(), Some(state.clone()));
    let (expected, _) = layer.forward(input, Some(state));
    assert_close(
        "output",
        &values(trace.output.clone()),
        &values(expected),
        1e-12,
    );
    let stored_at: Vec<_> = [None; 3].into_iter().chain((0..6).map(Some)).collect();
    assert_eq!(trace.stored_at, stored_at);
    // Step t sees the three memories before it.
    for (t, row) in trace.attention_map(0).iter().enumerate() {
        let seen: Vec<usize> = (0..9).filter(|number| row[*number] > 0.0).collect();
        assert_eq!(seen, [t, t + 1, t + 2]);
    }
}

/// Steps of samples that lie one behind the other, and the ends of those whose last states are asked for.
const UNEQUAL: [(usize, Option<usize>); 5] = [
    (2, Some(1)),
    (4, None),
    (7, Some(0)),
    (1, Some(3)),
    (4, Some(2)),
];
const N_ROWS: usize = 18;

fn unequal() -> (Spans, Vec<usize>) {
    let mut first = 0;
    let spans = UNEQUAL.map(|(n_steps, end)| {
        first += n_steps;
        Span {
            first: first - n_steps,
            n_steps,
            end,
        }
    });
    Spans::new(&spans)
}

/// The same, run one by one.
fn one_by_one(
    layer: &Sab<Lstm>,
    input: &Tensor<2>,
    state: &SabState<LstmState>,
) -> (Tensor<2>, Vec<SabState<LstmState>>) {
    let (spans, _) = unequal();
    let (mut outputs, mut ends) = (Vec::new(), Vec::new());
    for sample in 0..spans.n_samples() {
        let span = spans.of(sample);
        let own = input.clone().narrow(0, span.first, span.n_steps);
        let own_state = state.clone().select_samples(&[sample]);
        let (output, last) = layer.forward(own.unsqueeze_dim(0), Some(own_state));
        outputs.push((span.first, output.squeeze_dim(0)));
        ends.extend(span.end.map(|end| (end, last)));
    }
    outputs.sort_by_key(|(first, _)| *first);
    ends.sort_by_key(|(end, _)| *end);
    let outputs = outputs.into_iter().map(|(_, output)| output).collect();
    let ends = ends.into_iter().map(|(_, state)| state).collect();
    (Tensor::cat(outputs, 0), ends)
}

#[test]
fn samples_of_unequal_lengths_have_the_memories_of_each_alone() {
    let device = Device::flex().autodiff();
    let (spans, _) = unequal();
    let run = |layer: &Sab<Lstm>, has_memories: bool, is_together: bool| {
        let mut rng = rng(6);
        let mut draw = |shape: [usize; 2]| random(&mut rng, shape, &device, DType::F64);
        let input = draw([N_ROWS, D_INPUT]).require_grad();
        let flat = draw([UNEQUAL.len(), layer.flat_width()]).require_grad();
        let mut state = layer.state_from(flat.clone());
        state.steps.fill(3);
        if !has_memories {
            state.memories = None;
            state.n_memories.fill(0);
        }
        let (output, ends) = match is_together {
            true => {
                let result = layer.forward_spans(&input, Some(state), &spans);
                let (output, state) = result.expect("a kernel that takes spans");
                let of = |end| state.clone().select_samples(&[end]);
                (output, (0..spans.n_ends()).map(of).collect())
            }
            false => one_by_one(layer, &input, &state),
        };
        let mut loss = (output.clone() * draw(output.dims())).sum();
        let mut all = vec![values(output)];
        for end in ends {
            let last = layer.state_to(&end);
            loss = loss + (last.clone() * draw(last.dims())).sum();
            all.push(values(last));
            all.push(vec![end.n_memories[0] as f64, end.steps[0] as f64]);
        }
        let gradients = loss.backward();
        all.push(values(input.grad(&gradients).expect("a gradient")));
        all.push(values(flat.grad(&gradients).expect("a gradient")));
        all.extend(parameter_gradients(layer, &gradients));
        all
    };
    let base = SabConfig::new().with_top_k(Some(2));
    for config in [
        base.clone(),
        base.clone().with_replay(false),
        base.clone().with_attention_interval(2),
        base.clone().with_max_memories(Some(3)),
        base.clone()
            .with_attention_interval(3)
            .with_max_memories(Some(1)),
        base.with_top_k(Some(0)),
    ] {
        let layer = layer(&config, 5);
        for has_memories in [false, true] {
            let actual = run(&layer, has_memories, true);
            let expected = run(&layer, has_memories, false);
            assert_eq!(actual.len(), expected.len());
            for (index, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
                let what = format!("{index} of {config:?}, {has_memories}");
                assert_close(&what, actual, expected, 1e-10);
            }
        }
    }
}

#[test]
fn samples_of_different_times_and_composed_layers_are_not_run_as_spans() {
    let (spans, _) = unequal();
    let input = Tensor::zeros([N_ROWS, D_INPUT], (&Device::flex().autodiff(), DType::F64));
    let composed = SabConfig::new().with_path(ExecutionPath::Composed);
    assert!(
        layer(&composed, 5)
            .forward_spans(&input, None, &spans)
            .is_none()
    );
    let layer = layer(&SabConfig::new(), 5);
    let mut state = layer.initial_state(UNEQUAL.len(), &input.device());
    assert!(
        layer
            .forward_spans(&input, Some(state.clone()), &spans)
            .is_some()
    );
    state.steps[1] = 4;
    assert!(layer.forward_spans(&input, Some(state), &spans).is_none());
}

#[test]
fn a_trace_without_memories_has_an_empty_map() {
    let device = Device::flex();
    let cell = LstmConfig::new(D_INPUT, D_HIDDEN).init(&device);
    let config = SabConfig::new().with_truncation_length(Some(2));
    let layer = config.with_top_k(Some(0)).init(cell, &device);
    let trace = layer.forward_traced(Tensor::zeros([1, 3, D_INPUT], &device), None);
    assert_eq!(trace.attention_map(0), vec![Vec::<f32>::new(); 3]);
    // Cut before the second step.
    assert_eq!(trace.gradient_reaches(0, 2), [false, true, true]);
    assert_eq!(trace.gradient_reaches(0, 1), [false, true, false]);
    assert_eq!(trace.gradient_reaches(0, 0), [true, false, false]);
}

#[test]
fn state_sizes_count_the_cell_and_the_memories() {
    let device = Device::flex();
    let base = SabConfig::new();
    for (config, expected) in [
        (base.clone(), 2 * D_HIDDEN + 7 * D_HIDDEN),
        (
            base.clone().with_attention_interval(3),
            2 * D_HIDDEN + 2 * D_HIDDEN,
        ),
        (
            base.clone().with_max_memories(Some(4)),
            2 * D_HIDDEN + 4 * D_HIDDEN,
        ),
        (base.with_top_k(Some(0)), 2 * D_HIDDEN),
    ] {
        let cell = LstmConfig::new(D_INPUT, D_HIDDEN).init(&device);
        let layer = config.init(cell, &device);
        let (_, state) = layer.forward(Tensor::zeros([1, 7, D_INPUT], &device), None);
        let held = state
            .memories
            .map_or(0, |memories| memories.shape().num_elements());
        assert_eq!(layer.state_size(7), expected, "{config:?}");
        assert_eq!(2 * D_HIDDEN + held, expected, "{config:?}");
    }
}

#[test]
fn configurations_out_of_range_are_refused_with_field_value_and_rule() {
    let base = SabConfig::new();
    for (config, field) in [
        (
            base.clone().with_attention_interval(0),
            "attention_interval",
        ),
        (
            base.clone().with_truncation_length(Some(0)),
            "truncation_length",
        ),
        (base.clone().with_max_memories(Some(0)), "max_memories"),
        (base.with_d_attention(Some(0)), "d_attention"),
    ] {
        let error = config.validate().expect_err(field).to_string();
        assert_eq!(error, format!("{field} is 0; it must be at least 1"));
    }
    let error = SparseAttentionConfig::new(3, 4)
        .with_top_k(Some(0))
        .validate();
    assert_eq!(
        error.map_err(|error| error.to_string()),
        Err("top_k is 0; it must be at least 1".into())
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Weights are at least 0 and sum to 1, no memory takes part twice, and the summary is their sum.
    #[test]
    fn weights_are_a_share_for_each_of_the_best_memories(
        n in 1..12_usize,
        top_k in 1..12_usize,
        threshold in any::<bool>(),
        seed in 0..u64::MAX,
    ) {
        let device = Device::flex();
        let sparsifier = if threshold { Sparsifier::Threshold } else { Sparsifier::Softmax };
        let config = SparseAttentionConfig::new(3, 4)
            .with_top_k(Some(top_k))
            .with_sparsifier(sparsifier);
        let attention = randomized(config.init(&device), &mut rng(seed), DType::F64);
        let mut rng = rng(seed ^ 1);
        let state = random(&mut rng, [1, 3], &device, DType::F64);
        let memories = random(&mut rng, [1, n, 4], &device, DType::F64);
        let attended = attention.forward(state, memories.clone(), None);
        let weights = values(attended.weights);
        prop_assert!(weights.iter().all(|weight| *weight >= 0.0));
        prop_assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-4);
        let mut indices: Vec<i64> = attended.indices.try_into_vec_as().expect("indices");
        let all = values(memories);
        let mut summary = vec![0.0; 4];
        for (index, weight) in indices.iter().zip(&weights) {
            for (sum, m) in summary.iter_mut().zip(&all[*index as usize * 4..]) {
                *sum += weight * m;
            }
        }
        assert_close("summary", &values(attended.summary), &summary, 1e-9);
        let taken = indices.len();
        prop_assert_eq!(taken, if n > top_k { top_k + usize::from(threshold) } else { n });
        indices.sort_unstable();
        indices.dedup();
        prop_assert_eq!(indices.len(), taken);
    }
}
