//! Every layer on a GPU device against the same layer on flex: outputs, last state and every gradient.
//!
//! Runs with `--features wgpu`; a software Vulkan driver (Debian's mesa-vulkan-drivers) is enough. With `--features cuda` it
//! runs on an NVIDIA GPU.
#![cfg(any(feature = "wgpu", feature = "cuda"))]

mod common;

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use common::configs::sab_configs;
use common::{FlatState, Outcome, max_relative_error, outcome, random, randomized, rng, values};
use fw_core::{
    Checkpointed, Combination, DeltaNetConfig, ElmanConfig, ExecutionPath, FastWeightsConfig,
    GruConfig, Lstm, LstmConfig, Recurrent, RecurrentCell, SabConfig, Segments,
};

fn gpu() -> Device {
    #[cfg(feature = "cuda")]
    let device = Device::cuda(burn::tensor::DeviceIndex::Default);
    #[cfg(not(feature = "cuda"))]
    let device = Device::wgpu(burn::tensor::DeviceKind::DefaultDevice);
    device.autodiff()
}

fn run<L: FlatState>(layer: &L, seq_length: usize, device: &Device) -> Outcome {
    let mut rng = rng(12);
    let shape = [3, seq_length, layer.d_input()];
    let input: Tensor<3> = random(&mut rng, shape, device, DType::F32);
    let state: Tensor<2> = random(&mut rng, [3, layer.flat_width()], device, DType::F32) * 0.5;
    outcome(layer, &input, &state, |layer, input, state| {
        layer.forward(input, Some(state))
    })
}

#[test]
fn every_layer_computes_the_same_on_a_gpu_as_on_flex() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let flex = Device::flex().autodiff();
        // A layer without a kernel there takes other tensor operations for a single step.
        let lengths: &[usize] = match name.starts_with("delta net") {
            true => &[1, 5],
            false => &[5],
        };
        for &seq_length in lengths {
            let expected = run(&layer.clone().fork(&flex), seq_length, &flex);
            let what = format!("{name}, T = {seq_length}");
            run(&layer, seq_length, &gpu()).assert_equals(&expected, &what, 1e-4, 1e-3);
        }
    }
    for_each_layer!(5, 7, gpu(), DType::F32, check);
}

/// With lengths and resets.
#[test]
fn pieces_of_a_batch_are_the_same_on_a_gpu_as_on_flex() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let flags = [[false, false, true, false, false], [false; 5], [true; 5]];
        let segments = Segments::new(3, 5).with_lengths(&[5, 2, 4]);
        let segments = segments.and_then(|lengths| lengths.with_resets(&flags.map(Vec::from)));
        let segments = segments.expect("lengths and flags that fit");
        let run = |layer: &L, device: &Device| {
            let mut rng = rng(13);
            let input = random(&mut rng, [3, 5, layer.d_input()], device, DType::F32);
            let state = random(&mut rng, [3, layer.flat_width()], device, DType::F32) * 0.5;
            outcome(layer, &input, &state, |layer, input, state| {
                layer.forward_segments(input, Some(state), &segments)
            })
        };
        let flex = Device::flex().autodiff();
        let expected = run(&layer.clone().fork(&flex), &flex);
        run(&layer, &gpu()).assert_equals(&expected, name, 1e-4, 1e-3);
    }
    let device = gpu();
    let mut rng = rng(14);
    check(
        "gru",
        randomized(GruConfig::new(5, 7).init(&device), &mut rng, DType::F32),
    );
    let fast_weights = FastWeightsConfig::new(5, 7).init(&device);
    check(
        "fast weights",
        randomized(fast_weights, &mut rng, DType::F32),
    );
    let delta_net = DeltaNetConfig::kimi(5, 2, 3).init(&device);
    check("delta net", randomized(delta_net, &mut rng, DType::F32));
    let sab = SabConfig::new().init(LstmConfig::new(5, 7).init(&device), &device);
    check("sab", randomized(sab, &mut rng, DType::F32));
}

/// What is computed again in the backward pass.
#[test]
fn gradient_checkpointing_is_the_same_on_a_gpu_as_on_flex() {
    let device = gpu();
    let layer = LstmConfig::new(5, 7).init(&device);
    let layer = randomized(layer, &mut rng(15), DType::F32);
    let run = |layer: &Lstm, device: &Device| {
        let mut rng = rng(16);
        let input = random(&mut rng, [3, 8, 5], device, DType::F32);
        let state = random(&mut rng, [3, layer.flat_width()], device, DType::F32) * 0.5;
        outcome(layer, &input, &state, |layer, input, state| {
            Checkpointed::new(layer.clone(), 3).forward(input, Some(state))
        })
    };
    let flex = Device::flex().autodiff();
    let expected = run(&layer.clone().fork(&flex), &flex);
    run(&layer, &device).assert_equals(&expected, "checkpointed", 1e-4, 1e-3);
}

/// Before anything is sent to the GPU.
#[test]
fn a_state_that_does_not_fit_is_refused_as_on_the_cpu() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let device = gpu();
        let wrong = layer.initial_state(2, &device);
        let input = Tensor::zeros([3, 2, layer.d_input()], &device);
        let expected = layer.check_state(&wrong, 3, DType::F32);
        let expected = expected.expect_err(name).to_string();
        let run = std::panic::AssertUnwindSafe(|| layer.forward(input, Some(wrong)));
        let payload = std::panic::catch_unwind(run).expect_err(name);
        assert_eq!(payload.downcast_ref::<String>(), Some(&expected), "{name}");
    }
    for_each_layer!(5, 7, gpu(), DType::F32, check);
}

/// A sequence of the same numbers in single precision on the GPU, by the kernel, and in double precision on the CPU, composed.
fn compare<C: RecurrentCell + FlatState>(
    name: &str,
    cell: impl Fn(&Device) -> C,
    configs: &[SabConfig],
    seq_length: usize,
) {
    for config in configs {
        let run = |path, device: &Device, dtype| {
            let layer = config.clone().with_path(path).init(cell(device), device);
            let layer = randomized(layer, &mut rng(5), dtype);
            let mut rng = rng(seq_length as u64);
            let input = random(&mut rng, [3, seq_length, layer.d_input()], device, dtype);
            let state = random(&mut rng, [3, layer.flat_width()], device, dtype) * 0.5;
            outcome(&layer, &input, &state, |layer, input, state| {
                layer.forward(input, Some(state))
            })
        };
        let expected = run(
            ExecutionPath::Composed,
            &Device::flex().autodiff(),
            DType::F64,
        );
        let actual = run(ExecutionPath::Fused, &gpu(), DType::F32);
        let what = format!("{name}, {config:?}, T = {seq_length}");
        actual.assert_equals(&expected, &what, 1e-4, 1e-3);
    }
}

#[test]
fn sparse_attentive_backtracking_by_the_kernel_equals_the_composed_form() {
    let lstm = |device: &Device| LstmConfig::new(5, 7).init(device);
    let gru = |device: &Device| GruConfig::new(5, 7).init(device);
    let elman = |device: &Device| ElmanConfig::new(5, 7).init(device);
    let irnn = |device: &Device| ElmanConfig::irnn(5, 7).init(device);
    // A sum grows with every step, and what rounding has done to it.
    let (sums, others): (Vec<_>, Vec<_>) = sab_configs()
        .into_iter()
        .partition(|config| config.combination == Combination::Add);
    compare("LSTM", lstm, &sums, 7);
    compare("LSTM", lstm, &others, 23);
    compare("GRU", gru, &others[..3], 23);
    compare("Elman", elman, &others[..1], 23);
    compare("IRNN", irnn, &others[..1], 23);
}

/// Sixteen bits go in and come out; between them is single precision.
#[test]
fn half_precision_comes_out_as_it_goes_in() {
    let types = [DType::F16, DType::BF16];
    for dtype in types
        .into_iter()
        .filter(|dtype| gpu().supports_dtype(*dtype))
    {
        let run = |path, device: &Device, dtype| {
            let config = FastWeightsConfig::new(5, 7).with_path(path);
            let layer = randomized(config.init(device), &mut rng(5), dtype);
            let input = random(&mut rng(7), [3, 9, 5], device, dtype);
            let output = layer.forward(input, None).0;
            assert_eq!(output.dtype(), dtype);
            values(output)
        };
        let expected = run(ExecutionPath::Composed, &Device::flex(), DType::F64);
        let actual = run(ExecutionPath::Fused, &gpu().inner(), dtype);
        // BF16 has eight bits of a number.
        let error = max_relative_error(&actual, &expected);
        assert!(error < 0.05, "{dtype:?}: {error}");
        println!("{dtype:?}: {error}");
    }
}
