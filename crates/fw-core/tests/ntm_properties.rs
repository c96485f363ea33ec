//! The Neural Turing Machine: what must hold whatever the numbers are, and what hard numbers must not break.

mod common;

use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::{DType, Device, Tensor};
use common::{assert_close, random, randomized, rng, values};
use fw_core::ops::ntm;
use fw_core::{
    Activation, ControllerKind, InitialMemory, InitialWeights, NtmConfig, NtmHeadConfig, Recurrent,
};
use proptest::prelude::*;

/// Batch size, heads, rows, width of a word.
const SIZES: [usize; 4] = [2, 3, 7, 4];

/// Random parameters in their ranges, in f64: memory, previous weighting, and key, β, g, s, γ.
struct Random {
    memory: Tensor<3>,
    prev_weights: Tensor<3>,
    addressing: ntm::Addressing,
}

impl Random {
    fn new(seed: u64, shift_width: usize) -> Self {
        let [batch_size, n_heads, rows, width] = SIZES;
        let (device, mut rng) = (Device::flex(), rng(seed));
        let mut random = |shape: [usize; 3]| random(&mut rng, shape, &device, DType::F64);
        let one = [batch_size, n_heads, 1];
        Random {
            memory: random([batch_size, rows, width]),
            prev_weights: softmax(random([batch_size, n_heads, rows]) * 4.0, 2),
            addressing: ntm::Addressing {
                key: random([batch_size, n_heads, width]),
                key_strength: (random(one) * 3.0).exp(),
                gate: (random(one) + 1.0) / 2.0,
                shift: softmax(random([batch_size, n_heads, shift_width]) * 4.0, 2),
                sharpening: (random(one) * 2.0).exp() + 1.0,
            },
        }
    }
}

fn assert_weighting(what: &str, weights: Tensor<3>) {
    let sums = values(weights.clone().sum_dim(2));
    assert!(
        values(weights).iter().all(|&weight| weight >= 0.0),
        "{what}"
    );
    assert!(
        sums.iter().all(|sum| (sum - 1.0).abs() < 1e-12),
        "{what}: {sums:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_stage_yields_a_weighting(seed in 0..u64::MAX, range in 0..4_usize) {
        let Random { memory, prev_weights, addressing } = Random::new(seed, 2 * range + 1);
        let content = ntm::content(memory, addressing.key, addressing.key_strength);
        assert_weighting("content", content.clone());
        let gated = ntm::interpolate(content, prev_weights, addressing.gate);
        assert_weighting("interpolate", gated.clone());
        let shifted = ntm::shift(gated, addressing.shift);
        assert_weighting("shift", shifted.clone());
        assert_weighting("sharpen", ntm::sharpen(shifted, addressing.sharpening));
    }

    #[test]
    fn a_gate_of_zero_keeps_the_weighting_and_of_one_forgets_it(seed in 0..u64::MAX) {
        let Random { memory, prev_weights, addressing } = Random::new(seed, 3);
        let content = ntm::content(memory, addressing.key, addressing.key_strength);
        let gated = |gate| {
            values(ntm::interpolate(content.clone(), prev_weights.clone(), gate))
        };
        let gate = addressing.gate;
        prop_assert_eq!(gated(gate.zeros_like()), values(prev_weights.clone()));
        assert_close("g = 1", &gated(gate.ones_like()), &values(content.clone()), 1e-15);
    }

    #[test]
    fn a_sharpening_of_one_changes_nothing(seed in 0..u64::MAX) {
        let weights = Random::new(seed, 3).prev_weights;
        let gamma = Tensor::ones([SIZES[0], SIZES[1], 1], (&weights.device(), DType::F64));
        let sharpened = ntm::sharpen(weights.clone(), gamma);
        assert_close("γ = 1", &values(sharpened), &values(weights), 1e-12);
    }

    #[test]
    fn sharpening_is_a_power(seed in 0..u64::MAX) {
        let Random { prev_weights, addressing, .. } = Random::new(seed, 3);
        let powers = prev_weights.clone().powf(addressing.sharpening.clone().expand(prev_weights.dims()));
        let expected = powers.clone() / powers.sum_dim(2);
        let sharpened = ntm::sharpen(prev_weights, addressing.sharpening);
        assert_close("w^γ", &values(sharpened), &values(expected), 1e-12);
    }

    /// Wide ranges take the same way as narrow ones: against the sum of the paper, number by number.
    #[test]
    fn a_shift_is_the_circular_convolution(seed in 0..u64::MAX, range in 0..7_usize) {
        let Random { prev_weights, addressing, .. } = Random::new(seed, 2 * range + 1);
        let [_, _, rows, _] = SIZES;
        let shifted = values(ntm::shift(prev_weights.clone(), addressing.shift.clone()));
        let (weights, shift) = (values(prev_weights), values(addressing.shift));
        for (head, shift) in shift.chunks(2 * range + 1).enumerate() {
            for row in 0..rows {
                let expected: f64 = shift
                    .iter()
                    .enumerate()
                    .map(|(index, s)| {
                        let forward = range as i64 - index as i64;
                        let from = (row as i64 - forward).rem_euclid(rows as i64) as usize;
                        s * weights[head * rows + from]
                    })
                    .sum();
                prop_assert!((shifted[head * rows + row] - expected).abs() < 1e-14);
            }
        }
    }

    #[test]
    fn what_was_written_is_found_by_its_content(seed in 0..u64::MAX, row in 0..7_usize) {
        let mut rng = rng(seed);
        let device = Device::flex();
        let memory: Tensor<3> = random(&mut rng, [1, 7, 8], &device, DType::F64);
        let word: Tensor<3> = random(&mut rng, [1, 1, 8], &device, DType::F64);
        let there = Tensor::<3>::zeros([1, 1, 7], (&device, DType::F64))
            .slice_fill([0..1, 0..1, row..row + 1], 1.0);
        let written = ntm::write(memory, there, word.ones_like(), word.clone());
        let strength = Tensor::full([1, 1, 1], 1e4, (&device, DType::F64));
        let weights = ntm::content(written.clone(), word.clone(), strength);
        // Another random word in eight dimensions is all but never within 0.2 % of its direction.
        assert_close("what was read", &values(ntm::read(written, weights)), &values(word), 1e-6);
    }
}

#[test]
fn a_one_hot_shift_moves_by_one_row_and_wraps() {
    let device = Device::flex();
    let at = |row: usize| {
        let mut weights = [0.0; 4];
        weights[row] = 1.0;
        Tensor::<3>::from_data([[weights]], &device)
    };
    for (shift, from, to) in [
        ([1.0, 0.0, 0.0], 1, 2),
        ([1.0, 0.0, 0.0], 3, 0),
        ([0.0, 1.0, 0.0], 2, 2),
        ([0.0, 0.0, 1.0], 2, 1),
        ([0.0, 0.0, 1.0], 0, 3),
    ] {
        let shifted = ntm::shift(at(from), Tensor::from_data([[shift]], &device));
        assert_eq!(values(shifted), values(at(to)), "{shift:?} from row {from}");
    }
}

#[test]
fn heads_read_before_and_write_after() {
    let device = Device::flex();
    let mut rng = rng(5);
    let mut random = |shape| random(&mut rng, shape, &device, DType::F32);
    let (memory, prev) = (random([2, 6, 3]), softmax(random([2, 2, 6]), 2));
    let controller = random([2, 1, 5]).squeeze_dim::<2>(1);
    let config = NtmHeadConfig::new(5, 3).with_n_heads(2);
    let (reads, weights) =
        config
            .init_read(&device)
            .forward(controller.clone(), memory.clone(), prev.clone());
    assert_eq!(values(reads), values(ntm::read(memory.clone(), weights)));

    // Two heads write: every row is erased by both and added to by both, whatever their order.
    let head = config.init_write(&device);
    let (_, writing) = head.addressing(controller.clone());
    let (written, weights) = head.forward(controller, memory.clone(), prev);
    let numbers = |tensor: Tensor<3>| values(tensor);
    let (w, e, a) = (
        numbers(weights),
        numbers(writing.erase),
        numbers(writing.add),
    );
    let (before, after) = (numbers(memory), numbers(written));
    for sample in 0..2 {
        for row in 0..6 {
            for column in 0..3 {
                let at = |head: usize| {
                    let vector = (sample * 2 + head) * 3 + column;
                    (w[(sample * 2 + head) * 6 + row], e[vector], a[vector])
                };
                let place = (sample * 6 + row) * 3 + column;
                let [(w0, e0, a0), (w1, e1, a1)] = [at(0), at(1)];
                let expected =
                    before[place] * (1.0 - w0 * e0) * (1.0 - w1 * e1) + w0 * a0 + w1 * a1;
                assert!((after[place] - expected).abs() < 1e-6);
            }
        }
    }
}

/// Zero keys and words, β = 1e4, γ = 50, weightings that are zero or on one row, numbers of 1e6: in single precision, with every
/// gradient.
#[test]
fn hard_addressing_gives_no_nan_in_outputs_or_gradients() {
    let device = Device::flex().autodiff();
    let [batch_size, n_heads, rows, width] = SIZES;
    let one = [batch_size, n_heads, 1];
    let full = |shape: [usize; 3], value: f64| Tensor::<3>::full(shape, value, &device);
    for scale in [0.0, 1e-30, 1.0, 1e6] {
        for (strength, gate, sharpening) in [
            (0.0, 0.0, 1.0),
            (1e4, 1.0, 50.0),
            (1e4, 0.0, 50.0),
            (1.0, 0.5, 1e4),
            (1.0, 1.0, 1e20),
        ] {
            for prev in ["zero", "one-hot", "even"] {
                let prev_weights = full([batch_size, n_heads, rows], 0.0);
                let prev_weights = match prev {
                    "zero" => prev_weights,
                    "one-hot" => prev_weights.slice_fill([0..2, 0..3, 0..1], 1.0),
                    _ => prev_weights + 1.0 / rows as f64,
                };
                let mut rng = rng(6);
                let mut random =
                    |shape: [usize; 3]| random(&mut rng, shape, &device, DType::F32) * scale;
                let leaves = [
                    random([batch_size, rows, width]),
                    random([batch_size, n_heads, width]),
                    prev_weights,
                    full(one, strength),
                    full(one, gate),
                    full(one, sharpening),
                    random([batch_size, n_heads, width]),
                ]
                .map(|leaf| leaf.detach().require_grad());
                let [memory, key, prev_weights, key_strength, gates, gamma, add] = leaves.clone();
                let addressing = ntm::Addressing {
                    key,
                    key_strength,
                    gate: gates,
                    shift: full([batch_size, n_heads, 3], 1.0 / 3.0),
                    sharpening: gamma,
                };
                let weights = addressing.weights(memory.clone(), prev_weights);
                let erase = full([batch_size, n_heads, width], 1.0);
                let read = ntm::read(memory.clone(), weights.clone());
                let written = ntm::write(memory, weights.clone(), erase, add);
                let what = format!("{scale} {strength} {gate} {sharpening} {prev}");
                for sum in values(weights.clone().sum_dim(2)) {
                    assert!(
                        (sum - 1.0).abs() < 1e-5,
                        "{what}: a weighting sums to {sum}"
                    );
                }
                let outputs = [weights, read, written];
                for output in &outputs {
                    let values = values(output.clone());
                    assert!(values.iter().all(|value| value.is_finite()), "{what}");
                }
                let [weights, read, written] = outputs;
                // Not the plain sum: that of a weighting is always 1.
                let weights = weights.powi_scalar(2);
                let gradients = (weights.sum() + read.sum() + written.sum()).backward();
                for (index, leaf) in leaves.iter().enumerate() {
                    let gradient = values(leaf.grad(&gradients).expect("a gradient"));
                    let finite = gradient.iter().all(|value| value.is_finite());
                    assert!(finite, "{what}, leaf {index}: {gradient:?}");
                }
            }
        }
    }
}

#[test]
fn a_machine_on_hard_inputs_gives_no_nan() {
    let device = Device::flex().autodiff();
    for kind in [ControllerKind::Lstm, ControllerKind::FeedForward] {
        for activation in [Activation::Tanh, Activation::Relu] {
            let config = NtmConfig::new(3, 8)
                .with_controller(kind)
                .with_activation(activation);
            let fresh = config.with_memory_size(10).with_word_size(4).init(&device);
            let mut machine = randomized(fresh.clone(), &mut rng(3), DType::F32);
            machine.initial_weights = fresh.initial_weights;
            for scale in [0.0, 1.0, 1e6] {
                let input = random(&mut rng(8), [2, 20, 3], &device, DType::F32) * scale;
                let (output, _) = machine.forward(input, None);
                let finite = values(output.clone()).iter().all(|value| value.is_finite());
                assert!(finite, "{kind:?}, {activation:?}, {scale}");
                let gradients = output.sum().backward();
                let all = common::parameter_gradients(&machine, &gradients);
                let finite = all.iter().flatten().all(|value| value.is_finite());
                assert!(finite, "gradients: {kind:?}, {activation:?}, {scale}");
            }
        }
    }
}

/// Why the pair is refused: built by hand, its addressing learns nothing.
#[test]
fn a_constant_memory_without_a_first_weighting_is_refused_since_it_cannot_learn() {
    let device = Device::flex().autodiff();
    let small = NtmConfig::new(3, 8)
        .with_memory_size(6)
        .with_word_size(4)
        .with_initial_weights(InitialWeights::Zero);
    let constant = small
        .clone()
        .with_initial_memory(InitialMemory::Constant(1e-6));
    let error = constant.validate().expect_err("refused").to_string();
    assert!(
        error.starts_with(
            "initial_weights is zero; it must be one-hot or learned when initial_memory is constant"
        ),
        "{error}"
    );

    let read_gradient = |machine: &fw_core::Ntm| {
        let input = random(&mut rng(9), [2, 6, 3], &device, DType::F32);
        let (output, _) = machine.forward(input, None);
        let gradients = output.narrow(2, 8, 4).sum().backward();
        let weight = machine.read_head.linear.weight.val();
        let gradient = values(weight.grad(&gradients).expect("a gradient"));
        gradient
            .iter()
            .fold(0.0_f64, |max, value| max.max(value.abs()))
    };
    // Parameters that do not depend on other tests; start values as they were.
    let drawn = |config: &NtmConfig| {
        let machine = config.init(&device);
        let mut drawn = common::randomized(machine.clone(), &mut rng(3), DType::F32);
        drawn.initial_memory = machine.initial_memory;
        drawn.initial_weights = machine.initial_weights;
        drawn
    };
    let mut symmetric = drawn(&small);
    symmetric.initial_memory = symmetric
        .initial_memory
        .map(|memory| memory.full_like(1e-6));
    // But for rounding: what is read is 1e-6 at first.
    assert!(read_gradient(&symmetric) < 1e-9);
    for weights in [InitialWeights::OneHot, InitialWeights::Learned] {
        let machine = drawn(&constant.clone().with_initial_weights(weights));
        assert!(read_gradient(&machine) > 1e-5, "{weights:?}");
    }
}

#[test]
fn start_values_are_learned_where_they_are_said_to_be() {
    let device = Device::flex().autodiff();
    let small = NtmConfig::new(3, 8).with_memory_size(6).with_word_size(4);
    for (config, memory, weights) in [
        (small.clone(), false, false),
        (
            small.clone().with_initial_memory(InitialMemory::Learned),
            true,
            false,
        ),
        (
            small.with_initial_weights(InitialWeights::Learned),
            false,
            true,
        ),
    ] {
        let machine = config.init(&device);
        let loaded = config
            .init(&device)
            .load_record(machine.clone().into_record());
        for machine in [machine, loaded] {
            let input = random(&mut rng(10), [2, 6, 3], &device, DType::F32);
            let gradients = machine.forward(input, None).0.sum().backward();
            let has =
                |param: &burn::module::Param<Tensor<2>>| param.val().grad(&gradients).is_some();
            assert_eq!(has(&machine.initial_memory), memory);
            assert_eq!(has(&machine.initial_weights), weights);
            assert!(has(&machine.initial_reads));
        }
    }
}

#[test]
fn machines_out_of_range_are_refused_with_field_value_and_rule() {
    let base = NtmConfig::new(3, 4);
    for (config, expected) in [
        (NtmConfig::new(0, 4), "d_input is 0; it must be at least 1"),
        (
            NtmConfig::new(3, 0),
            "d_controller is 0; it must be at least 1",
        ),
        (
            base.clone().with_n_layers(0),
            "n_layers is 0; it must be at least 1",
        ),
        (
            base.clone().with_memory_size(0),
            "memory_size is 0; it must be at least 1",
        ),
        (
            base.clone().with_word_size(0),
            "word_size is 0; it must be at least 1",
        ),
        (
            base.clone().with_n_read_heads(0),
            "n_read_heads is 0; it must be at least 1",
        ),
        (
            base.clone().with_n_write_heads(0),
            "n_write_heads is 0; it must be at least 1",
        ),
        (
            base.clone().with_shift_width(4),
            "shift_width is 4; it must be odd",
        ),
        (
            base.clone().with_shift_width(129),
            "shift_width is 129; it must be at most memory_size",
        ),
        (
            base.with_initial_memory(InitialMemory::Constant(f64::NAN)),
            "initial_memory is NaN; it must be a finite number",
        ),
    ] {
        let error = config
            .try_init(&Device::flex())
            .err()
            .map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some(expected));
    }
}

#[test]
#[should_panic(expected = "gate has shape [2, 3, 2]; it must be [2, 3, 1]")]
fn a_wrong_shape_panics_with_both_shapes() {
    let zeros = |shape: [usize; 3]| Tensor::<3>::zeros(shape, &Device::flex());
    let _ = ntm::interpolate(zeros([2, 3, 7]), zeros([2, 3, 7]), zeros([2, 3, 2]));
}

#[test]
fn half_precision_has_no_nan_at_zeros() {
    let device = Device::flex().autodiff();
    for dtype in [DType::F16, DType::BF16] {
        let leaf = |values: [[[f64; 3]; 1]; 1]| {
            Tensor::<3>::from_data(values, (&device, dtype)).require_grad()
        };
        let memory = Tensor::<3>::zeros([1, 3, 3], (&device, dtype)).require_grad();
        let (key, weights) = (leaf([[[0.0; 3]]]), leaf([[[1.0, 0.0, 0.0]]]));
        let strength = Tensor::ones([1, 1, 1], (&device, dtype));
        let content = ntm::content(memory.clone(), key.clone(), strength.clone());
        assert_eq!(content.dtype(), dtype);
        let sharp = ntm::sharpen(weights.clone(), strength * 2.0);
        assert_eq!(values(sharp.clone()), [1.0, 0.0, 0.0], "{dtype:?}");
        let gradients = (content * weights.clone() + sharp).sum().backward();
        for leaf in [memory, key, weights] {
            let gradient = values(leaf.grad(&gradients).expect("a gradient"));
            assert!(
                gradient.iter().all(|g| g.is_finite()),
                "{dtype:?}: {gradient:?}"
            );
        }
    }
}
