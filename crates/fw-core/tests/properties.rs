//! What must hold whatever the numbers are, and what hard numbers must not break.

mod common;

use burn::tensor::{DType, Device, Tensor};
use common::{FlatState, assert_close, outcome, random, rng, values};
use fw_core::ops::holographic::{bound, complex_product, copy_permutations, permuted_copies};
use fw_core::{
    ConfigError, DeltaNetConfig, FastMemory, FastWeightsConfig, HiddenInitializer, MemoryForm,
    Recurrent, RecurrentState,
};
use proptest::prelude::*;

#[test]
fn the_future_never_changes_the_past() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let device = Device::flex();
        let mut rng = rng(2);
        let past = random(&mut rng, [2, 4, layer.d_input()], &device, DType::F64);
        let run = |future: Tensor<3>| {
            let (output, _) = layer.forward(Tensor::cat(vec![past.clone(), future], 1), None);
            values(output.narrow(1, 0, 4))
        };
        let one = run(random(
            &mut rng,
            [2, 3, layer.d_input()],
            &device,
            DType::F64,
        ));
        let other = run(random(
            &mut rng,
            [2, 3, layer.d_input()],
            &device,
            DType::F64,
        ));
        assert_close(name, &one, &other, 0.0);
    }
    for_each_layer!(3, 4, Device::flex(), DType::F64, check);
}

#[test]
fn samples_of_a_batch_do_not_see_each_other() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let device = Device::flex();
        let input = random(&mut rng(3), [3, 5, layer.d_input()], &device, DType::F64);
        let (together, _) = layer.forward(input.clone(), None);
        for sample in 0..3 {
            let (alone, _) = layer.forward(input.clone().narrow(0, sample, 1), None);
            let expected = values(together.clone().narrow(0, sample, 1));
            assert_close(name, &values(alone), &expected, 1e-12);
        }
    }
    for_each_layer!(3, 4, Device::flex(), DType::F64, check);
}

#[test]
fn hard_inputs_give_no_nan_in_outputs_or_gradients() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let device = Device::flex().autodiff();
        for (scale, seq_length) in [(0.0, 3), (1e6, 3), (1.0, 1)] {
            // Without normalisation the memory grows with the cube of the state: that is the function, not a fault.
            if name.contains("not normalised") && scale > 1.0 {
                continue;
            }
            let input = random(
                &mut rng(4),
                [2, seq_length, layer.d_input()],
                &device,
                DType::F32,
            );
            let state = Tensor::zeros([2, layer.flat_width()], &device);
            let result = outcome(&layer, &(input * scale), &state, |layer, input, state| {
                layer.forward(input, Some(state))
            });
            let mut all = vec![&result.output, &result.state];
            all.extend(&result.gradients);
            let finite = all
                .iter()
                .all(|values| values.iter().all(|value| value.is_finite()));
            assert!(finite, "{name}, inputs of {scale:e}, T = {seq_length}");
        }
    }
    for_each_layer!(3, 4, Device::flex().autodiff(), DType::F32, check);
}

#[test]
fn an_empty_batch_has_an_empty_output() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let (output, _) = layer.forward(
            Tensor::zeros([0, 3, layer.d_input()], &Device::flex()),
            None,
        );
        assert_eq!(output.dims(), [0, 3, layer.d_output()], "{name}");
        let state = layer.initial_state(0, &Device::flex());
        let (output, _) = layer.step(Tensor::zeros([0, layer.d_input()], &Device::flex()), state);
        assert_eq!(output.dims(), [0, layer.d_output()], "{name}");
    }
    for_each_layer!(3, 4, Device::flex(), DType::F32, check);
    let layer = FastWeightsConfig::new(3, 4).init(&Device::flex());
    let trace = layer.forward_traced(Tensor::zeros([0, 5, 3], &Device::flex()), None);
    assert_eq!(trace.attention.dims(), [0, 5, 5]);
}

#[test]
fn a_wrong_width_panics_with_both_widths() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let forward = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            layer.forward(Tensor::zeros([1, 2, 5], &Device::flex()), None)
        }));
        let payload = forward.expect_err(name);
        let message = payload.downcast_ref::<String>().expect("a message");
        assert_eq!(
            message, "the input is 5 wide; this layer has d_input = 3",
            "{name}"
        );
    }
    for_each_layer!(3, 4, Device::flex(), DType::F32, check);
}

#[test]
#[should_panic(expected = "seq_length is 0; it must be at least 1")]
fn an_empty_sequence_panics() {
    let device = Device::flex();
    let layer = FastWeightsConfig::new(3, 4).init(&device);
    let _ = layer.forward(Tensor::zeros([1, 0, 3], &device), None);
}

#[test]
fn state_sizes_are_those_of_the_states() {
    fn check<L: FlatState>(name: &str, layer: L) {
        if name.starts_with("encoder")
            || name.contains("attention")
                && !name.contains("fast weights")
                && !name.starts_with("sab")
        {
            // What was kept is there after the steps alone.
            let (_, state) = layer.forward(Tensor::ones([1, 3, 3], &Device::flex()), None);
            let held = layer.state_to(&state).shape().num_elements();
            assert_eq!(layer.state_size(3), held, "{name}");
        } else if !name.contains("fast weights") && !name.starts_with("sab") {
            assert_eq!(layer.state_size(3), layer.flat_width(), "{name}");
        }
    }
    for_each_layer!(3, 4, Device::flex(), DType::F32, check);
    // Fast weights: what the state holds after a run, on both sides of the length where the form changes.
    for form in [MemoryForm::Auto, MemoryForm::Matrix, MemoryForm::Attention] {
        let layer = FastWeightsConfig::new(3, 4)
            .with_form(form)
            .init(&Device::flex());
        for seq_length in [1, 4, 5, 9] {
            let (_, state) = layer.forward(Tensor::ones([1, seq_length, 3], &Device::flex()), None);
            let memory = match &state.memory {
                FastMemory::Matrix(matrix) => matrix.shape().num_elements(),
                FastMemory::History { start, writes } => {
                    assert!(start.is_none());
                    writes
                        .as_ref()
                        .map_or(0, |writes| writes.shape().num_elements())
                }
            };
            let held = memory + state.hidden.shape().num_elements();
            assert_eq!(
                layer.state_size(seq_length),
                held,
                "{form:?}, T = {seq_length}"
            );
        }
    }
}

#[test]
fn saved_and_loaded_is_the_same_layer() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let bytes = layer
            .clone()
            .into_record()
            .into_bytes()
            .expect("a record can be written");
        let record = burn::store::ModuleRecord::from_bytes(bytes).expect("and read");
        let fresh = common::randomized(layer.clone(), &mut rng(77), DType::F32);
        let loaded = fresh.clone().load_record(record);
        let input: Tensor<3> = random(
            &mut rng(5),
            [2, 4, layer.d_input()],
            &Device::flex(),
            DType::F32,
        );
        let run = |layer: &L| values(layer.forward(input.clone(), None).0);
        assert_eq!(run(&loaded), run(&layer), "{name}");
        assert_ne!(run(&fresh), run(&layer), "{name}");
    }
    for_each_layer!(3, 4, Device::flex(), DType::F32, check);
}

#[test]
fn a_detached_state_goes_on_with_the_same_numbers_and_without_gradient() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let device = Device::flex().autodiff();
        let shape = [2, 6, layer.d_input()];
        let input = random(&mut rng(4), shape, &device, DType::F64).require_grad();
        let [first, second] = [(0, 4), (4, 2)].map(|(t, n)| input.clone().narrow(1, t, n));
        let (_, state) = layer.forward(first, None);
        let state = state.to_device(&device);
        let (expected, _) = layer.forward(second.clone(), Some(state.clone()));
        let (output, _) = layer.forward(second, Some(state.detach()));
        assert_close(name, &values(output.clone()), &values(expected), 0.0);
        let gradients = output.sum().backward();
        let gradient = input.grad(&gradients).expect("a gradient");
        let largest = |t, n| values(gradient.clone().narrow(1, t, n).abs().max())[0];
        assert_eq!(largest(0, 4), 0.0, "{name}");
        assert!(largest(4, 2) > 0.0, "{name}");
    }
    for_each_layer!(3, 4, Device::flex().autodiff(), DType::F64, check);
}

#[test]
fn a_modulus_is_bounded_in_half_precision() {
    let device = Device::flex().autodiff();
    let input = Tensor::<1>::from_data([0.0, 3.0, 0.0, 4.0], (&device, DType::F16)).require_grad();
    let bounded = bound(input.clone());
    assert_eq!(bounded.dtype(), DType::F16);
    assert_close(
        "bound",
        &values(bounded.clone()),
        &[0.0, 0.6, 0.0, 0.8],
        1e-3,
    );
    let gradients = bounded.sum().backward();
    let gradient = values(input.grad(&gradients).expect("a gradient"));
    assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
}

#[test]
#[should_panic(expected = "the last axis is 3 wide; it must be even")]
fn an_odd_complex_vector_is_refused() {
    let _ = bound(Tensor::<1>::zeros([3], &Device::flex()));
}

#[test]
fn configurations_out_of_range_are_refused_with_field_value_and_rule() {
    let base = FastWeightsConfig::new(3, 4);
    let message = |config: FastWeightsConfig| {
        let error: ConfigError = config.validate().expect_err("out of range");
        assert_eq!(config.try_init(&Device::flex()).err(), Some(error.clone()));
        error.to_string()
    };
    for (config, expected) in [
        (
            FastWeightsConfig::new(0, 4),
            "d_input is 0; it must be at least 1",
        ),
        (
            base.clone().with_inner_steps(65_537),
            "inner_steps is 65537; it must be at most 65536",
        ),
        (
            FastWeightsConfig::new(3, 0),
            "d_hidden is 0; it must be at least 1",
        ),
        (
            base.clone().with_decay(-0.1),
            "decay is -0.1; it must lie in [0, 1]",
        ),
        (
            base.clone().with_decay(f64::NAN),
            "decay is NaN; it must lie in [0, 1]",
        ),
        (
            base.clone().with_fast_learning_rate(f64::INFINITY),
            "fast_learning_rate is inf; it must be a finite number",
        ),
        (
            base.clone().with_norm_gain(f64::NAN),
            "norm_gain is NaN; it must be a finite number",
        ),
        (
            base.clone().with_epsilon(0.0),
            "epsilon is 0; it must be a number above 0",
        ),
        (
            base.clone()
                .with_layer_norm(false)
                .with_normalize_preliminary(true),
            "normalize_preliminary is true; it must be false when layer_norm is false",
        ),
        (
            base.with_hidden_initializer(HiddenInitializer::Orthogonal(f64::NAN)),
            "hidden_initializer is NaN; it must be a finite number",
        ),
    ] {
        assert_eq!(message(config), expected);
    }
    let base = DeltaNetConfig::new(3, 2, 4);
    for (config, expected) in [
        (
            DeltaNetConfig::new(3, 0, 4),
            "n_heads is 0; it must be at least 1",
        ),
        (
            DeltaNetConfig::new(3, 2, 1 << 21),
            "d_key is 2097152; it must be at most 1048576",
        ),
        (
            base.clone().with_d_value(Some(0)),
            "d_value is 0; it must be at least 1",
        ),
        (
            base.clone().with_convolution(Some(0)),
            "convolution is 0; it must be at least 1",
        ),
        (
            base.clone().with_writes_per_step(0),
            "writes_per_step is 0; it must be at least 1",
        ),
        (
            base.clone().with_gate_rank(Some(2)),
            "gate_rank is 2; it must be None where there is neither a decay for each channel nor an output gate",
        ),
        (
            base.with_epsilon(-1.0),
            "epsilon is -1; it must be a number above 0",
        ),
    ] {
        let error = config.try_init(&Device::flex()).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    }
    let odd = fw_core::AssociativeLstmConfig::new(3, 5).validate();
    assert_eq!(
        odd.map_err(|error| error.to_string()),
        Err("d_hidden is 5; it must be even".into())
    );
}

#[test]
fn the_same_seed_gives_the_same_permutations_and_another_seed_others() {
    assert_eq!(copy_permutations(10, 3, 5), copy_permutations(10, 3, 5));
    assert_ne!(copy_permutations(10, 3, 5), copy_permutations(10, 3, 6));
    let first = copy_permutations(4, 2, 0)
        .try_into_vec::<i64>()
        .expect("positions");
    assert_eq!(
        first,
        [2, 0, 3, 1, 6, 4, 7, 5, 2, 0, 1, 3, 6, 4, 5, 7],
        "pinned: saved models depend on it"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The memory after a run is the decayed sum of the outer products of its outputs, whatever the rates are.
    #[test]
    fn the_memory_is_the_decayed_sum_of_what_was_written(
        decay in 0.0..=1.0_f64,
        rate in -1.0..1.0_f64,
        seq_length in 1..9_usize,
        seed in 0..u64::MAX,
    ) {
        let device = Device::flex();
        let config = FastWeightsConfig::new(3, 4).with_decay(decay).with_fast_learning_rate(rate);
        let layer = common::randomized(config.init(&device), &mut rng(seed), DType::F64);
        let input = random(&mut rng(seed ^ 1), [1, seq_length, 3], &device, DType::F64);
        let (output, state) = layer.forward(input, None);
        let outputs = values(output);
        let mut expected = vec![0.0; 16];
        for h in outputs.chunks(4) {
            for (i, entry) in expected.iter_mut().enumerate() {
                *entry = decay * *entry + rate * h[i / 4] * h[i % 4];
            }
        }
        let memory = values(layer.memory_matrix(&state));
        for (actual, expected) in memory.iter().zip(&expected) {
            prop_assert!((actual - expected).abs() <= 1e-9 * expected.abs().max(1.0));
        }
    }

    /// A key of modulus 1 and its conjugate undo each other: what was stored alone is read back exactly.
    #[test]
    fn what_was_stored_alone_is_read_back(seed in 0..u64::MAX) {
        let device = Device::flex();
        let mut rng = rng(seed);
        let phase = random(&mut rng, [1, 5], &device, DType::F64) * 3.0;
        let key = Tensor::cat(vec![phase.clone().cos(), phase.clone().sin()], 1);
        let conjugate = Tensor::cat(vec![phase.clone().cos(), phase.sin().neg()], 1);
        let value = random(&mut rng, [1, 10], &device, DType::F64);
        let permutations = Tensor::from_data(copy_permutations(5, 3, seed), &device);
        let copies = |key| permuted_copies(key, permutations.clone());
        let memory = complex_product(copies(key), value.clone().unsqueeze_dim::<3>(1).repeat_dim(1, 3));
        let read = complex_product(copies(conjugate), memory).mean_dim(1);
        assert_close("read", &values(read), &values(value), 1e-10);
    }

    /// `bound` leaves what is inside the unit circle and puts what is outside on it.
    #[test]
    fn bound_keeps_directions_and_limits_moduli(real in -3.0..3.0_f64, imaginary in -3.0..3.0_f64) {
        let device = Device::flex();
        let input = Tensor::<1>::from_data([real, imaginary], (&device, DType::F64));
        let output = values(bound(input));
        let modulus = real.hypot(imaginary);
        let expected = 1.0 / modulus.max(1.0);
        prop_assert!((output[0] - real * expected).abs() < 1e-9);
        prop_assert!((output[1] - imaginary * expected).abs() < 1e-9);
    }
}
