//! The kernel on every instruction set, what it visits, and what it keeps.

mod spans;

use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Device, Gradients as TensorGradients, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::ops::cpu::{SharedMut, architectures};
use crate::ops::operation::{Operands, view_of};
use crate::ops::sab::{Combination, Scoring, Sparsifier};
use crate::{Activation, Lstm, LstmConfig, Recurrent, RecurrentCell, Sab, SabConfig};

const BATCH_SIZE: usize = 5;
const D_INPUT: usize = 3;
/// Neither a whole vector nor less than one, for vectors of 2 to 8 numbers.
const D_HIDDEN: usize = 9;
const D_ATTENTION: usize = 7;

const OPTIONS: Options = Options {
    top_k: Some(3),
    attention_interval: 1,
    truncation_length: Some(5),
    replay: true,
    max_memories: None,
    sparsifier: Sparsifier::Softmax,
    combination: Combination::Average,
};

fn leaf<const D: usize>(
    rng: &mut ChaCha8Rng,
    shape: [usize; D],
    device: &Device,
    dtype: DType,
) -> Tensor<D> {
    let count = shape.iter().product::<usize>();
    let values: Vec<f64> = (0..count).map(|_| rng.random_range(-0.8..0.8)).collect();
    let values = TensorData::new(values, shape);
    let is_autodiff = device.is_autodiff();
    Tensor::from_data(values, (device, dtype)).set_require_grad(is_autodiff)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.try_into_vec_as().expect("floats convert to f64")
}

/// What sequences are computed of, all drawn at random.
struct Leaves {
    projected: Tensor<3>,
    cell: FusedCell,
    memories: Tensor<3>,
    scoring: Scoring,
}

impl Leaves {
    fn new(
        rng: &mut ChaCha8Rng,
        (kind, score): (CellKind, Score),
        n_samples: usize,
        [batch_size, seq_length]: [usize; 2],
        (device, dtype): (&Device, DType),
    ) -> Self {
        let gates = kind.n_gates() * D_HIDDEN;
        let d_attention = match score {
            Score::Released => 1,
            Score::Mlp | Score::ScaledDot => D_ATTENTION,
        };
        let weight = [D_HIDDEN, d_attention];
        let row = [n_samples, D_HIDDEN];
        Leaves {
            projected: leaf(rng, [batch_size, seq_length, gates], device, dtype),
            cell: FusedCell {
                kind,
                w_hidden: leaf(rng, [D_HIDDEN, gates], device, dtype),
                bias: kind.has_bias().then(|| leaf(rng, [gates], device, dtype)),
                hidden: leaf(rng, row, device, dtype),
                cell: (kind.n_carried() > 0).then(|| leaf(rng, row, device, dtype)),
            },
            memories: leaf(rng, [n_samples, 2, D_HIDDEN], device, dtype),
            scoring: Scoring {
                score,
                query: leaf(rng, weight, device, dtype),
                key: leaf(rng, weight, device, dtype),
                v: (score == Score::Mlp).then(|| leaf(rng, [d_attention], device, dtype)),
            },
        }
    }

    fn recall<'a>(&'a self, options: &'a Options) -> Recall<'a> {
        Recall {
            options,
            scoring: Some(&self.scoring),
            memories: Some(&self.memories),
            first_step: 3,
            yields_summary: true,
        }
    }

    /// Outputs, and all gradients of a fixed linear function of them.
    fn results(&self, output: Tensor<3>, last: Option<Tensor<2>>) -> Vec<Vec<f64>> {
        fn gradient<const D: usize>(leaf: &Tensor<D>, gradients: &TensorGradients) -> Vec<f64> {
            let gradient = leaf.grad(gradients);
            values(gradient.unwrap_or_else(|| leaf.clone().inner().zeros_like()))
        }
        let rng = &mut ChaCha8Rng::seed_from_u64(4);
        let (device, dtype) = (output.device(), output.dtype());
        let mut probe = |numbers: Tensor<1>| {
            let probe = leaf(rng, numbers.dims(), &device, dtype).detach();
            (numbers * probe).sum()
        };
        let mut loss = probe(output.clone().flatten(0, 2));
        if let Some(last) = &last {
            loss = loss + probe(last.clone().flatten(0, 1));
        }
        let gradients = loss.backward();
        let (cell, scoring) = (&self.cell, &self.scoring);
        let mut all = alloc::vec![
            values(output),
            gradient(&self.projected, &gradients),
            gradient(&self.memories, &gradients),
            gradient(&cell.w_hidden, &gradients),
            gradient(&cell.hidden, &gradients),
            gradient(&scoring.query, &gradients),
            gradient(&scoring.key, &gradients),
        ];
        all.extend(last.map(values));
        all.extend(cell.cell.iter().map(|cell| gradient(cell, &gradients)));
        all.extend(cell.bias.iter().map(|bias| gradient(bias, &gradients)));
        all.extend(scoring.v.iter().map(|v| gradient(v, &gradients)));
        all
    }
}

/// Outputs and all gradients of a fixed linear function of them.
fn results(
    arch: Arch,
    kind: CellKind,
    score: Score,
    options: &Options,
    seq_length: usize,
) -> Vec<Vec<f64>> {
    let device = Device::flex().autodiff();
    let rng = &mut ChaCha8Rng::seed_from_u64(seq_length as u64);
    let shape = [BATCH_SIZE, seq_length];
    let leaves = Leaves::new(rng, (kind, score), BATCH_SIZE, shape, (&device, DType::F64));
    let recall = leaves.recall(options);
    let spans = Spans::of_batch(BATCH_SIZE, seq_length);
    let (output, last) = run_on(arch, &leaves.projected, &leaves.cell, recall, &spans);
    leaves.results(output, last)
}

/// Panics unless all numbers are the same up to a share of the largest of their tensor, or of `least`.
#[track_caller]
fn assert_close(
    what: &str,
    actual: &[Vec<f64>],
    expected: &[Vec<f64>],
    (tolerance, least): (f64, f64),
) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (tensor, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert_eq!(actual.len(), expected.len(), "tensor {tensor} of {what}");
        // A state adds the same to every score as released: its gradient is nothing but rounding.
        let scale = expected.iter().fold(least, |most, v| most.max(v.abs()));
        for (a, b) in actual.iter().zip(expected) {
            assert!(
                (a - b).abs() <= tolerance * scale,
                "tensor {tensor} of {what}: {a} is not {b}"
            );
        }
    }
}

#[test]
fn every_instruction_set_computes_the_same() {
    let elman = [Activation::Tanh, Activation::Relu].map(CellKind::Elman);
    for kind in [CellKind::Lstm, CellKind::Gru, elman[0], elman[1]] {
        for score in [Score::Mlp, Score::ScaledDot, Score::Released] {
            for sparsifier in [Sparsifier::Softmax, Sparsifier::Threshold] {
                let options = Options {
                    sparsifier,
                    ..OPTIONS
                };
                let expected = results(Arch::Scalar, kind, score, &options, 11);
                for arch in architectures() {
                    let actual = results(arch, kind, score, &options, 11);
                    let what = alloc::format!("{kind:?}, {score:?}, {options:?} on {arch:?}");
                    assert_close(&what, &actual, &expected, (1e-10, 1e-3));
                }
            }
        }
    }
}

/// A layer in f32 and what its kernel reads of an input.
fn problem_of(
    config: &SabConfig,
    seq_length: usize,
) -> (Sab<Lstm>, Tensor<3>, [FlexTensor; COUNT], Request) {
    let device = Device::flex();
    device.seed(3);
    let cell = LstmConfig::new(D_INPUT, D_HIDDEN).init(&device);
    let layer = config.init(cell, &device);
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let input: Tensor<3> = leaf(rng, [2, seq_length, D_INPUT], &device, DType::F32);
    let state = layer.initial_state(2, &device);
    let cell = layer.cell.fused(&state.cell).expect("a known cell");
    let attention = layer.attention.as_ref().expect("an attention");
    let inputs = Each {
        projected: primitive(layer.project(input.clone())),
        hidden: primitive(cell.hidden),
        cell: primitive(cell.cell.expect("of an LSTM")),
        memories: primitive(Tensor::<1>::empty([0], &device)),
        w_hidden: primitive(cell.w_hidden),
        bias: primitive(Tensor::<1>::empty([0], &device)),
        w_query: primitive(attention.query.val()),
        w_key: primitive(attention.key.val()),
        v: primitive(attention.v.as_ref().expect("a v").val()),
    };
    let request = Request {
        spans: Spans::of_batch(2, seq_length),
        options: Options {
            top_k: config.top_k,
            truncation_length: config.truncation_length,
            ..OPTIONS
        },
        kind: CellKind::Lstm,
        score: Score::Mlp,
        d_attention: D_HIDDEN,
        first_step: 0,
        yields_summary: true,
        arch: Arch::detect(),
    };
    (layer, input, Names::listed(inputs), request)
}

fn primitive<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    let (shape, data) = (tensor.dims(), tensor.into_data());
    let values: Vec<f32> = data.try_into_vec().expect("numbers in single precision");
    FlexTensor::from_data(TensorData::new(values, shape))
}

#[test]
fn the_backward_pass_visits_what_receives_gradient_and_nothing_else() {
    const STEPS: usize = 60;
    for (top_k, truncation_length) in [(1, 2), (2, 3), (4, 5)] {
        let config = SabConfig::new()
            .with_top_k(Some(top_k))
            .with_truncation_length(Some(truncation_length));
        let (layer, input, inputs, request) = problem_of(&config, STEPS);
        let problem = request.problem::<f32>(&Names::named(inputs.each_ref().map(view_of)));
        let trace = layer.forward_traced(input, None);
        let mut output = alloc::vec![0.0_f32; 2 * STEPS * 2 * D_HIDDEN + 2 * D_HIDDEN];
        let place = SharedMut::new(output.as_mut_ptr());
        // SAFETY: the output has the size that the kernel fills.
        let tape = unsafe {
            cpu::forward(
                request.arch,
                &problem,
                &Sources::new::<f32>(&[], false),
                place,
                true,
            )
        }
        .expect("a tape");

        // A gradient for the last output of the first sample alone.
        let mut cotangents = alloc::vec![0.0_f32; output.len()];
        let last = (STEPS - 1) * 2 * D_HIDDEN;
        cotangents[last..last + 2 * D_HIDDEN].fill(1.0);
        let wanted = Each {
            memories: false,
            ..Names::named([true; COUNT])
        };
        let (gradients, visits) = cpu::backward(&problem, &tape, &cotangents, wanted);
        let reached = trace.gradient_reaches(0, STEPS - 1);
        let steps: Vec<usize> = (0..STEPS).filter(|step| reached[*step]).collect();
        let memories = steps.iter().map(|step| top_k.min(*step)).sum();
        assert_eq!(
            visits,
            cpu::Visits {
                steps: steps.len(),
                memories
            }
        );
        assert!(steps.len() < STEPS, "some steps receive nothing");
        // And each of those steps is told.
        let of_steps = gradients.projected.chunks(4 * D_HIDDEN);
        let told = of_steps.map(|slopes| slopes.iter().any(|slope| *slope != 0.0));
        let told: Vec<usize> = (0..)
            .zip(told)
            .filter(|told| told.1)
            .map(|told| told.0)
            .collect();
        assert_eq!(told, steps);
    }
}

#[test]
fn the_tape_grows_with_the_steps_times_the_width_and_the_memories_recalled() {
    let bytes = |top_k: usize, seq_length: usize| {
        let config = SabConfig::new().with_top_k(Some(top_k));
        let (_, _, inputs, request) = problem_of(&config, seq_length);
        let problem = request.problem::<f32>(&Names::named(inputs.each_ref().map(view_of)));
        let mut output = alloc::vec![0.0_f32; 2 * (seq_length * 2 + 1) * D_HIDDEN];
        let place = SharedMut::new(output.as_mut_ptr());
        // SAFETY: the output has the size that the kernel fills.
        let tape = unsafe {
            cpu::forward(
                request.arch,
                &problem,
                &Sources::new::<f32>(&[], false),
                place,
                true,
            )
        };
        tape.expect("a tape").bytes()
    };
    // For two samples in single precision, widths rounded up to 16 numbers: gates, c, h, ĥ, query, memory, key, and what
    // weights were divided by; then a weight and an index for each memory recalled.
    let (width, samples) = (16, 2);
    let expected = |top_k: usize, steps: usize| {
        samples * 4 * (steps * (4 + 6) * width + steps * (2 * top_k + 1))
    };
    for (top_k, steps) in [(5, 500), (10, 500), (5, 2000), (40, 5000)] {
        let most = expected(top_k, steps) + samples * 4 * 4 * width;
        let actual = bytes(top_k, steps);
        assert!(actual <= most, "k = {top_k}, T = {steps}: {actual} bytes");
    }
}

#[test]
fn wrong_shapes_are_refused_before_the_kernel_runs() {
    let device = Device::flex();
    let cell = LstmConfig::new(D_INPUT, D_HIDDEN).init(&device);
    let state = cell.initial_state(2, &device);
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let projected = Tensor::zeros([3, 4, 4 * D_HIDDEN], &device);
        let cell = cell.fused(&state).expect("a known cell");
        sequence(&projected, &cell, Recall::NOTHING, &Spans::of_batch(3, 4))
    }));
    let payload = refused.expect_err("a state of another batch");
    let message = payload.downcast_ref::<alloc::string::String>();
    assert_eq!(
        message.map(|message| message.as_str()),
        Some("the hidden state has shape [2, 9]; it must be [3, 9]")
    );
}
