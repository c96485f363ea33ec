//! A state that is carried from call to call on a GPU, with Burn's fusion and, where the build has it, autotune: one sequence, the same in
//! pieces and step by step are what they are on flex.
//!
//! Burn has open reports of silently wrong numbers in such loops: tracel-ai/burn 5257 (fusion together with autotune, Vulkan) and 4366
//! (fusion, CUDA). Runs with `--features wgpu,burn/autotune` on any Vulkan driver.
#![cfg(any(feature = "wgpu", feature = "cuda"))]

mod common;

use burn::tensor::{DType, Device, Tensor};
use common::{FlatState, assert_close, random, randomized, rng, values};
use fw_core::{
    AssociativeLstmConfig, ControllerKind, DeltaNetConfig, ElmanConfig, ExecutionPath,
    FastWeightsConfig, GruConfig, LstmConfig, MemoryForm, NtmConfig, SabConfig, Stack,
};

const BATCH_SIZE: usize = 2;
const STEPS: usize = 6;
/// Rounds of calls: what is tuned in the first is used in those after it.
const ROUNDS: usize = 3;

fn gpu() -> Device {
    #[cfg(feature = "cuda")]
    return Device::cuda(burn::tensor::DeviceIndex::Default);
    #[cfg(not(feature = "cuda"))]
    Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)
}

/// Outputs and last state of a sequence that is run in pieces of some length; the state goes on from round to round.
fn rounds<L: FlatState>(layer: &L, device: &Device, piece: usize) -> Vec<[Vec<f64>; 2]> {
    let mut state = None;
    let round = |round: usize| {
        let shape = [BATCH_SIZE, STEPS, layer.d_input()];
        let input: Tensor<3> = random(&mut rng(round as u64), shape, device, DType::F32);
        let mut outputs = Vec::new();
        for first in (0..STEPS).step_by(piece) {
            let input = input.clone().narrow(1, first, piece);
            let (output, last) = match piece {
                1 => {
                    let begin = || layer.initial_state(BATCH_SIZE, device);
                    let before = state.take().unwrap_or_else(begin);
                    let (output, last) = layer.step(input.squeeze_dim(1), before);
                    (output.unsqueeze_dim(1), last)
                }
                _ => layer.forward(input, state.take()),
            };
            outputs.push(output);
            state = Some(last);
        }
        let last = state.as_ref().expect("a state");
        [
            values(Tensor::cat(outputs, 1)),
            values(layer.state_to(last)),
        ]
    };
    (0..ROUNDS).map(round).collect()
}

fn check<L: FlatState>(name: &str, layer: L) {
    let (flex, gpu) = (Device::flex(), gpu());
    let layer = randomized(layer, &mut rng(8), DType::F32);
    let expected = rounds(&layer, &flex, STEPS);
    let on_gpu = layer.to_device(&gpu);
    for piece in [STEPS, 2, 1] {
        let actual = rounds(&on_gpu, &gpu, piece);
        for (round, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
            for (what, index) in [("outputs", 0), ("state", 1)] {
                let what = format!("{name}, pieces of {piece}, round {round}, {what}");
                assert_close(&what, &actual[index], &expected[index], 1e-4);
            }
        }
    }
}

#[test]
fn recurrent_cells_go_on_from_call_to_call() {
    let device = Device::flex();
    check("lstm", LstmConfig::new(3, 4).init(&device));
    check("gru", GruConfig::new(3, 4).init(&device));
    let normalised = GruConfig::new(3, 4).with_layer_norm(true);
    check("gru, composed", normalised.init(&device));
    check("rnn", ElmanConfig::new(3, 4).init(&device));
    let normalised = ElmanConfig::new(3, 4).with_layer_norm(true);
    check("rnn, composed", normalised.init(&device));
    let layers = [(3, 4), (4, 2)].map(|(below, width)| LstmConfig::new(below, width).init(&device));
    check("stack", Stack::new(layers.into()));
    let associative = AssociativeLstmConfig::new(3, 4).with_n_copies(2);
    check("associative lstm", associative.init(&device));
}

#[test]
fn fast_weights_go_on_from_call_to_call() {
    for (form, path) in [
        (MemoryForm::Matrix, ExecutionPath::Fused),
        (MemoryForm::Matrix, ExecutionPath::Composed),
        (MemoryForm::Attention, ExecutionPath::Composed),
    ] {
        let config = FastWeightsConfig::new(3, 4).with_form(form);
        let layer = config.with_path(path).init(&Device::flex());
        check(&format!("fast weights, {form:?}, {path:?}"), layer);
    }
}

#[test]
fn delta_nets_go_on_from_call_to_call() {
    for path in [ExecutionPath::Auto, ExecutionPath::Composed] {
        for (name, config) in [
            ("delta net", DeltaNetConfig::new(3, 2, 4)),
            ("delta net, gated", DeltaNetConfig::gated(3, 2, 4)),
            ("delta net, kimi", DeltaNetConfig::kimi(3, 2, 4)),
            ("delta net, product", DeltaNetConfig::product(3, 2, 4)),
        ] {
            let layer = config.with_path(path).init(&Device::flex());
            check(&format!("{name}, {path:?}"), layer);
        }
    }
}

#[test]
fn turing_machines_go_on_from_call_to_call() {
    for path in [ExecutionPath::Fused, ExecutionPath::Composed] {
        let config = NtmConfig::new(3, 4).with_memory_size(5).with_word_size(3);
        let layer = config.with_path(path).init(&Device::flex());
        check(&format!("ntm, {path:?}"), layer);
    }
    let config = NtmConfig::new(3, 4).with_controller(ControllerKind::FeedForward);
    let config = config.with_memory_size(5).with_word_size(3);
    check("ntm, feed-forward", config.init(&Device::flex()));
}

#[test]
fn sparse_attentive_backtracking_goes_on_from_call_to_call() {
    let device = Device::flex();
    for path in [ExecutionPath::Fused, ExecutionPath::Composed] {
        // As many memories in each call.
        let config = SabConfig::new().with_top_k(Some(2)).with_path(path);
        let config = config.with_max_memories(Some(2));
        let layer = config.init(LstmConfig::new(3, 4).init(&device), &device);
        check(&format!("sab, {path:?}"), layer);
        let layer = config.init(GruConfig::new(3, 4).init(&device), &device);
        check(&format!("sab over gru, {path:?}"), layer);
    }
}
