//! Different ways to compute the same agree: in outputs, last state and every gradient.

mod common;

use burn::module::{Module, Param};
use burn::nn;
use burn::tensor::{DType, Device, Tensor};
use common::configs::{delta_net_configs, sab_configs};
use common::{FlatState, Outcome, outcome, random, randomized, rng, values};
use fw_core::{
    Activation, AssociativeLstmConfig, Combination, ControllerKind, Elman, ElmanConfig,
    ExecutionPath, FastWeights, FastWeightsConfig, Gru, GruConfig, InitialMemory, InitialValue,
    InitialWeights, Lstm, LstmConfig, MemoryForm, NtmConfig, NtmController, Recurrent,
    RecurrentCell, Sab, SabConfig, WrittenState,
};

const D_INPUT: usize = 5;
const D_HIDDEN: usize = 7;
const LENGTHS: [usize; 4] = [1, 2, 7, 63];

/// Tolerances of outputs and gradients in each type.
const PRECISIONS: [(DType, f64, f64); 2] = [(DType::F64, 1e-10, 1e-10), (DType::F32, 1e-4, 1e-3)];

/// Input and flat start state for a layer: 3 samples.
fn start<L: FlatState>(layer: &L, seq_length: usize, dtype: DType) -> (Tensor<3>, Tensor<2>) {
    let device = Device::flex().autodiff();
    let mut rng = rng(seq_length as u64);
    let input = random(&mut rng, [3, seq_length, layer.d_input()], &device, dtype);
    let state = random(&mut rng, [3, layer.flat_width()], &device, dtype) * 0.5;
    (input, state)
}

fn whole<L: FlatState>(layer: &L, input: &Tensor<3>, state: &Tensor<2>) -> Outcome {
    outcome(layer, input, state, |layer, input, state| {
        layer.forward(input, Some(state))
    })
}

#[test]
fn step_by_step_equals_the_whole() {
    fn check<L: FlatState>(name: &str, layer: L) {
        for seq_length in LENGTHS {
            let (input, state) = start(&layer, seq_length, DType::F64);
            let steps = outcome(&layer, &input, &state, |layer, input, mut state| {
                let mut outputs = Vec::new();
                for input_t in input.iter_dim(1) {
                    let (output, next) = layer.step(input_t.squeeze_dim(1), state);
                    outputs.push(output);
                    state = next;
                }
                (Tensor::stack(outputs, 1), state)
            });
            let expected = whole(&layer, &input, &state);
            steps.assert_equals(
                &expected,
                &format!("{name}, T = {seq_length}"),
                1e-10,
                1e-10,
            );
        }
    }
    for_each_layer!(
        D_INPUT,
        D_HIDDEN,
        Device::flex().autodiff(),
        DType::F64,
        check
    );
}

#[test]
fn two_halves_with_the_state_carried_over_equal_the_whole() {
    fn check<L: FlatState>(name: &str, layer: L) {
        for (seq_length, cut) in [(2, 1), (7, 3), (63, 40)] {
            let (input, state) = start(&layer, seq_length, DType::F64);
            let halves = outcome(&layer, &input, &state, |layer, input, state| {
                let first = input.clone().narrow(1, 0, cut);
                let second = input.narrow(1, cut, seq_length - cut);
                let (first, state) = layer.forward(first, Some(state));
                let (second, state) = layer.forward(second, Some(state));
                (Tensor::cat(vec![first, second], 1), state)
            });
            let expected = whole(&layer, &input, &state);
            halves.assert_equals(
                &expected,
                &format!("{name}, T = {seq_length}"),
                1e-10,
                1e-10,
            );
        }
    }
    for_each_layer!(
        D_INPUT,
        D_HIDDEN,
        Device::flex().autodiff(),
        DType::F64,
        check
    );
}

#[test]
fn no_state_is_the_initial_state() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let (input, _) = start(&layer, 4, DType::F64);
        let initial = layer.initial_state(3, &input.device());
        // A Turing machine begins with what it has learned, as does a layer with a learned start; all others with zeros.
        if !name.starts_with("ntm") && !name.contains("learned start") {
            let zeros = layer.state_to(&initial).zeros_like();
            assert_eq!(values(layer.state_to(&initial)), values(zeros), "{name}");
        }
        let (expected, _) = layer.forward(input.clone(), Some(initial));
        let (output, _) = layer.forward(input, None);
        common::assert_close(name, &values(output), &values(expected), 1e-12);
    }
    for_each_layer!(
        D_INPUT,
        D_HIDDEN,
        Device::flex().autodiff(),
        DType::F64,
        check
    );
}

#[test]
fn forms_and_paths_of_fast_weights_agree() {
    let base = FastWeightsConfig::new(D_INPUT, D_HIDDEN).with_fast_learning_rate(0.3);
    let mut variants = Vec::new();
    for inner_steps in [0, 1, 3] {
        for write in [WrittenState::Final, WrittenState::Preliminary] {
            for activation in [Activation::Relu, Activation::Tanh] {
                for norm in [true, false] {
                    let (decay, rate) = if norm { (0.95, 0.3) } else { (0.5, 0.01) };
                    let variant = base.clone().with_inner_steps(inner_steps).with_write(write);
                    let variant = variant.with_activation(activation).with_layer_norm(norm);
                    variants.push(variant.with_decay(decay).with_fast_learning_rate(rate));
                }
            }
        }
    }
    for (dtype, forward, backward) in PRECISIONS {
        for config in &variants {
            for seq_length in LENGTHS {
                let what = format!("{config:?}, T = {seq_length}, {dtype:?}");
                // The parameters are drawn from the same stream for each form. Without normalisation, small
                // ones keep 63 steps from exploding.
                let build = |form, path| -> FastWeights {
                    let config = config.clone().with_form(form).with_path(path);
                    let layer = config.init(&Device::flex().autodiff());
                    let layer = randomized(layer, &mut rng(5), dtype);
                    if config.layer_norm {
                        layer
                    } else {
                        shrunk(layer, 0.3)
                    }
                };
                let law = build(MemoryForm::Matrix, ExecutionPath::Composed);
                let (input, state) = start(&law, seq_length, dtype);
                let expected = whole(&law, &input, &state);
                for (form, path) in [
                    (MemoryForm::Attention, ExecutionPath::Composed),
                    (MemoryForm::Auto, ExecutionPath::Composed),
                    (MemoryForm::Matrix, ExecutionPath::Fused),
                    (MemoryForm::Attention, ExecutionPath::Fused),
                    (MemoryForm::Auto, ExecutionPath::Fused),
                ] {
                    let outcome = whole(&build(form, path), &input, &state);
                    let what = format!("{form:?}, {path:?} of {what}");
                    outcome.assert_equals(&expected, &what, forward, backward);
                }
            }
        }
    }
}

#[test]
fn paths_of_sparse_attentive_backtracking_agree() {
    fn check<C: RecurrentCell + FlatState>(cell: impl Fn(&Device) -> C, configs: &[SabConfig]) {
        let device = Device::flex().autodiff();
        for (dtype, forward, backward) in PRECISIONS {
            for config in configs {
                for seq_length in LENGTHS {
                    // A sum grows with every step, and what rounding has done to it.
                    if config.combination == Combination::Add && seq_length > 7 {
                        continue;
                    }
                    let build = |path| -> Sab<C> {
                        let layer = config.clone().with_path(path).init(cell(&device), &device);
                        randomized(layer, &mut rng(5), dtype)
                    };
                    let law = build(ExecutionPath::Composed);
                    let (input, state) = start(&law, seq_length, dtype);
                    let expected = whole(&law, &input, &state);
                    let fused = whole(&build(ExecutionPath::Fused), &input, &state);
                    let what = format!("{config:?}, T = {seq_length}, {dtype:?}");
                    fused.assert_equals(&expected, &what, forward, backward);
                }
            }
        }
    }
    let configs = sab_configs();
    check(
        |device| LstmConfig::new(D_INPUT, D_HIDDEN).init(device),
        &configs,
    );
    check(
        |device| GruConfig::new(D_INPUT, D_HIDDEN).init(device),
        &configs,
    );
    check(
        |device| ElmanConfig::new(D_INPUT, D_HIDDEN).init(device),
        &configs,
    );
    check(
        |device| ElmanConfig::irnn(D_INPUT, D_HIDDEN).init(device),
        &configs[..2],
    );
}

#[test]
fn paths_of_a_delta_net_agree() {
    let device = Device::flex().autodiff();
    for (dtype, forward, backward) in PRECISIONS {
        for config in delta_net_configs(D_INPUT) {
            for seq_length in LENGTHS {
                let build = |path| {
                    let layer = config.clone().with_path(path).init(&device);
                    randomized(layer, &mut rng(5), dtype)
                };
                let law = build(ExecutionPath::Composed);
                let (input, state) = start(&law, seq_length, dtype);
                let expected = whole(&law, &input, &state);
                let actual = whole(&build(ExecutionPath::Auto), &input, &state);
                let what = format!("{config:?}, T = {seq_length}, {dtype:?}");
                actual.assert_equals(&expected, &what, forward, backward);
                let projected = outcome(&law, &input, &state, |layer, input, state| {
                    layer.forward_projected(layer.project(input), Some(state))
                });
                let what = format!("{what}, projected");
                projected.assert_equals(&expected, &what, forward, backward);
            }
        }
    }
}

#[test]
fn paths_of_the_neural_turing_machine_agree() {
    let base = NtmConfig::new(D_INPUT, D_HIDDEN)
        .with_memory_size(11)
        .with_word_size(4);
    let learned = |config: NtmConfig| {
        config
            .with_initial_memory(InitialMemory::Learned)
            .with_initial_weights(InitialWeights::Learned)
            .with_initial_reads(InitialValue::Learned)
            .with_initial_controller(InitialValue::Learned)
    };
    let mut configs = vec![
        base.clone().with_shift_width(1),
        base.clone().with_shift_width(11),
        base.clone().with_memory_size(1).with_shift_width(1),
        base.clone().with_word_size(1),
        base.clone().with_memory_size(32).with_shift_width(7),
    ];
    for (controller, activation) in [
        (ControllerKind::Lstm, Activation::Tanh),
        (ControllerKind::FeedForward, Activation::Tanh),
        (ControllerKind::FeedForward, Activation::Relu),
    ] {
        for n_layers in [1, 2, 3] {
            for (n_read, n_write) in [(1, 1), (2, 1), (1, 2), (3, 3)] {
                let config = base.clone().with_controller(controller);
                let config = config.with_activation(activation).with_n_layers(n_layers);
                let config = config.with_n_read_heads(n_read).with_n_write_heads(n_write);
                configs.push(learned(config));
            }
        }
    }
    let device = Device::flex().autodiff();
    // By and large neither form is the nearer one in f32.
    let mut logarithms = Vec::new();
    for config in &configs {
        for seq_length in LENGTHS {
            let build = |path, dtype| {
                let layer = config.clone().with_path(path).init(&device);
                let mut layer = randomized(layer, &mut rng(5), dtype);
                // Without bounds, small weights keep 63 steps from exploding.
                if let NtmController::FeedForward(dense) = &mut layer.controller
                    && config.activation == Activation::Relu
                {
                    for layer in &mut dense.layers {
                        let weight = layer.weight.clone();
                        layer.weight = weight.map(|w| (w * 0.3).detach().require_grad());
                    }
                }
                let (input, state) = start(&layer, seq_length, dtype);
                (layer, input, state)
            };
            let run = |path, dtype| {
                let (layer, input, state) = build(path, dtype);
                whole(&layer, &input, &state)
            };
            let what = format!("{config:?}, T = {seq_length}");
            let law = run(ExecutionPath::Composed, DType::F64);
            let fused = run(ExecutionPath::Fused, DType::F64);
            let [(_, forward, backward), (_, single, single_backward)] = PRECISIONS;
            fused.assert_equals(&law, &what, forward, backward);
            let (layer, input, state) = build(ExecutionPath::Fused, DType::F64);
            let projected = outcome(&layer, &input, &state, |layer, input, state| {
                layer.forward_projected(layer.project(input), Some(state))
            });
            projected.assert_equals(&law, &format!("{what}, projected"), forward, backward);
            let worst = |outcome: &Outcome| outcome.errors(&law).into_iter().fold(1e-9, f64::max);
            let composed = worst(&run(ExecutionPath::Composed, DType::F32));
            let fused = run(ExecutionPath::Fused, DType::F32);
            // Where rounding alone takes the composed form farther than the tolerance, the fused form may go as far. How far that is
            // depends on how it falls out: it is drawn several times, by inputs a last bit off.
            let mut yardstick = composed;
            if worst(&fused) > single_backward {
                let (layer, input, state) = build(ExecutionPath::Composed, DType::F32);
                for draw in 0..8 {
                    let bits = random(&mut rng(draw), input.dims(), &device, DType::F32);
                    let nudged = input.clone() * (bits * f64::from(f32::EPSILON) + 1.0);
                    yardstick = yardstick.max(worst(&whole(&layer, &nudged, &state)));
                }
            }
            let backward = single_backward.max(2.0 * yardstick);
            fused.assert_equals(&law, &format!("{what}, f32"), single, backward);
            logarithms.push((worst(&fused) / composed).ln());
        }
    }
    let mean = (logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp();
    assert!(
        mean < 1.25,
        "in f32 the fused form is {mean} times as far from the law as the composed one"
    );
}

#[test]
fn paths_of_the_neural_turing_machine_agree_over_long_sequences() {
    let device = Device::flex().autodiff();
    let config = NtmConfig::new(D_INPUT, D_HIDDEN)
        .with_memory_size(11)
        .with_word_size(4);
    let build = |path| {
        let layer = config.clone().with_path(path).init(&device);
        randomized(layer, &mut rng(5), DType::F64)
    };
    let (composed, fused) = (build(ExecutionPath::Composed), build(ExecutionPath::Fused));
    let (input, state) = start(&fused, 700, DType::F64);
    let expected = whole(&composed, &input, &state);
    let whole_of_it = whole(&fused, &input, &state);
    whole_of_it.assert_equals(&expected, "T = 700", 1e-10, 1e-10);

    // The composed form takes a minute over these.
    let (input, state) = start(&fused, 5000, DType::F64);
    let expected = whole(&fused, &input, &state);
    let pieces = outcome(&fused, &input, &state, |layer, input, mut state| {
        let mut outputs = Vec::new();
        for piece in [0..1, 1..1500, 1500..4999, 4999..5000] {
            let piece = input.clone().narrow(1, piece.start, piece.len());
            let (output, next) = layer.forward(piece, Some(state));
            outputs.push(output);
            state = next;
        }
        (Tensor::cat(outputs, 1), state)
    });
    pieces.assert_equals(&expected, "T = 5000", 1e-10, 1e-10);
}

#[test]
fn paths_of_the_neural_turing_machine_agree_without_a_gradient_for_the_input_or_any() {
    // More samples than a thread takes at a time, the last of them alone; a key and a row of the memory without a norm.
    const BATCH_SIZE: usize = 33;
    let device = Device::flex().autodiff();
    for controller in [ControllerKind::Lstm, ControllerKind::FeedForward] {
        let config = NtmConfig::new(D_INPUT, D_HIDDEN)
            .with_controller(controller)
            .with_memory_size(11)
            .with_word_size(4)
            .with_n_read_heads(2);
        let outcomes = [ExecutionPath::Composed, ExecutionPath::Fused].map(|path| {
            let layer = config.clone().with_path(path).init(&device);
            let mut layer = randomized(layer, &mut rng(5), DType::F64);
            let no_key = Tensor::zeros([D_HIDDEN, 4], (&device, DType::F64));
            let head = &mut layer.read_head.linear;
            let bias = head.bias.take().expect("a bias");
            head.bias = Some(bias.map(|bias| bias.zeros_like()));
            let weight = head.weight.clone();
            head.weight = weight.map(|weight| {
                let weight = weight.slice_assign([0..D_HIDDEN, 0..4], no_key.clone());
                weight.detach().require_grad()
            });
            let mut start = layer.initial_state(BATCH_SIZE, &device);
            let memory = random(&mut rng(6), [BATCH_SIZE, 11, 4], &device, DType::F64);
            let nothing = Tensor::zeros([BATCH_SIZE, 1, 4], (&device, DType::F64));
            start.memory = memory.slice_assign([0..BATCH_SIZE, 3..4, 0..4], nothing);
            let input = random(&mut rng(7), [BATCH_SIZE, 20, D_INPUT], &device, DType::F64);

            let (output, last) = layer.forward(input.clone(), Some(start.clone()));
            let probe = random(&mut rng(8), output.dims(), &device, DType::F64);
            let gradients = (output.clone() * probe).sum().backward();
            let (plain, _) = layer.valid().forward(
                input.inner(),
                Some(fw_core::NtmState {
                    controller: start.controller.iter().map(inner).collect(),
                    memory: start.memory.inner(),
                    reads: start.reads.inner(),
                    weights: start.weights.inner(),
                }),
            );
            let without_a_graph = values(plain);
            common::assert_close("plain", &without_a_graph, &values(output.clone()), 1e-12);
            let mut all = vec![values(output), values(last.memory), values(last.weights)];
            all.extend(common::parameter_gradients(&layer, &gradients));
            all
        });
        let [composed, fused] = outcomes;
        for (tensor, (fused, composed)) in fused.iter().zip(&composed).enumerate() {
            let what = format!("{controller:?}, tensor {tensor}");
            common::assert_close(&what, fused, composed, 1e-9);
        }
    }
}

fn inner(layer: &fw_core::LstmState) -> fw_core::LstmState {
    fw_core::LstmState {
        hidden: layer.hidden.clone().inner(),
        cell: layer.cell.clone().inner(),
    }
}

#[test]
#[should_panic(expected = "path is Fused; there is no kernel for Sparse Attentive Backtracking")]
fn a_cell_without_a_kernel_refuses_the_fused_path() {
    let device = Device::flex();
    let cell = ElmanConfig::new(D_INPUT, D_HIDDEN).with_layer_norm(true);
    let cell = cell.init(&device);
    let layer = SabConfig::new()
        .with_path(ExecutionPath::Fused)
        .init(cell, &device);
    let _ = layer.forward(Tensor::zeros([1, 2, D_INPUT], &device), None);
}

/// The layer with its recurrent weight scaled down.
fn shrunk(mut layer: FastWeights, factor: f64) -> FastWeights {
    layer.w_hidden = layer.w_hidden.map(|w| (w * factor).detach().require_grad());
    layer
}

#[test]
fn without_a_fast_learning_rate_fast_weights_are_an_elman_network() {
    let device = Device::flex().autodiff();
    let config = FastWeightsConfig::new(D_INPUT, D_HIDDEN).with_fast_learning_rate(0.0);
    let fast = randomized(config.init(&device), &mut rng(3), DType::F64);
    let elman = ElmanConfig::new(D_INPUT, D_HIDDEN)
        .with_layer_norm(true)
        .with_activation(Activation::Relu);
    let mut elman: Elman = elman.init(&device);
    elman.input = fast.input.clone();
    elman.w_hidden = fast.w_hidden.clone();
    elman.norm = fast.norm.clone();
    let (input, _) = start(&elman, 7, DType::F64);
    let (expected, _) = elman.forward(input.clone(), None);
    let (output, _) = fast.forward(input, None);
    common::assert_close("output", &values(output), &values(expected), 1e-12);
}

#[test]
fn the_trace_has_the_output_of_forward_and_the_attention_behind_it() {
    let device = Device::flex();
    for write in [WrittenState::Final, WrittenState::Preliminary] {
        // One inner step without normalisation: the output can be rebuilt from the attention.
        let config = FastWeightsConfig::new(D_INPUT, D_HIDDEN)
            .with_layer_norm(false)
            .with_fast_learning_rate(0.1)
            .with_activation(Activation::Tanh)
            .with_write(write);
        let layer = randomized(config.init(&device), &mut rng(8), DType::F64);
        let mut rng = rng(4);
        let input = random(&mut rng, [2, 6, D_INPUT], &device, DType::F64);
        let (first, second) = (input.clone().narrow(1, 0, 2), input.clone().narrow(1, 2, 4));

        let (expected, _) = layer.forward(input, None);
        let before = layer.forward_traced(first, None);
        let trace = layer.forward_traced(second.clone(), Some(before.state.clone()));
        let rest = expected.narrow(1, 2, 4);
        common::assert_close(
            "output",
            &values(trace.output.clone()),
            &values(rest),
            1e-10,
        );
        assert_eq!(trace.attention.dims(), [2, 4, 6]);

        let fw_core::FastMemory::History {
            writes: Some(writes),
            ..
        } = trace.state.memory.clone()
        else {
            panic!("a trace keeps the history");
        };
        let recalled = trace.attention.matmul(writes); // Σ_τ coefficient h_τ
        let previous = Tensor::cat(
            vec![
                before.state.hidden.unsqueeze_dim(1),
                trace.output.clone().narrow(1, 0, 3),
            ],
            1,
        );
        let z = layer.project(second) + previous.matmul(layer.w_hidden.val().unsqueeze());
        let rebuilt = (z + recalled).tanh();
        common::assert_close("rebuilt", &values(rebuilt), &values(trace.output), 1e-10);
    }
}

/// Burn keeps a pair of linear maps for each gate; ours are those side by side.
struct Joined {
    input_weight: Tensor<2>,
    input_bias: Tensor<1>,
    hidden_weight: Tensor<2>,
    hidden_bias: Tensor<1>,
}

impl Joined {
    fn new(gates: &[&nn::GateController]) -> Self {
        let bias = |map: &nn::Linear| map.bias.as_ref().expect("a bias").val();
        let input = gates.iter().map(|gate| &gate.input_transform);
        let hidden = gates.iter().map(|gate| &gate.hidden_transform);
        Joined {
            input_weight: Tensor::cat(input.clone().map(|map| map.weight.val()).collect(), 1),
            input_bias: Tensor::cat(input.map(bias).collect(), 0),
            hidden_weight: Tensor::cat(hidden.clone().map(|map| map.weight.val()).collect(), 1),
            hidden_bias: Tensor::cat(hidden.map(bias).collect(), 0),
        }
    }
}

/// Burn's layers make their output in the device's default type, so this comparison is in f32.
#[test]
fn lstm_equals_the_one_of_burn_and_goes_back_to_it() {
    let device = Device::flex().autodiff();
    for has_bias in [true, false] {
        let burns = nn::LstmConfig::new(D_INPUT, D_HIDDEN, has_bias).init(&device);
        let burns = randomized(burns, &mut rng(1), DType::F32);
        let input = random(&mut rng(2), [3, 7, D_INPUT], &device, DType::F32);
        let (expected, expected_state) = burns.forward(input.clone(), None);

        let ours = Lstm::try_from(burns).expect("nothing that it does not have");
        let (output, state) = ours.forward(input.clone(), None);
        common::assert_close(
            "output",
            &values(output.clone()),
            &values(expected.clone()),
            1e-5,
        );
        let cells = [state.cell, expected_state.cell].map(values);
        common::assert_close("cell", &cells[0], &cells[1], 1e-5);
        // Its parameters are leaves, which learn.
        let gradients = output.sum().backward();
        assert!(ours.w_hidden.grad(&gradients).is_some());
        assert!(ours.input.weight.grad(&gradients).is_some());
        let bias = ours.input.bias.as_ref();
        assert_eq!(
            bias.map(|bias| bias.grad(&gradients).is_some()),
            has_bias.then_some(true)
        );

        let (again, _) = nn::Lstm::from(ours).forward(input, None);
        common::assert_close("back", &values(again), &values(expected), 1e-5);
    }
}

#[test]
fn what_a_layer_of_burn_does_and_ours_does_not_is_refused() {
    let device = Device::flex();
    let lstm = || nn::LstmConfig::new(D_INPUT, D_HIDDEN, true);
    let gru = || nn::GruConfig::new(D_INPUT, D_HIDDEN, true);
    let relu = || nn::activation::ActivationConfig::Relu;
    for (config, message) in [
        (
            lstm().with_batch_first(false),
            "batch_first is false; it must be true",
        ),
        (
            lstm().with_reverse(true),
            "reverse is true; it must be false",
        ),
        (
            lstm().with_clip(Some(2.0)),
            "clip is Some(2.0); it must be None",
        ),
        (
            lstm().with_input_forget(true),
            "input_forget is true; it must be false",
        ),
        (
            lstm().with_gate_activation(relu()),
            "gate_activation is Relu; it must be Sigmoid",
        ),
        (
            lstm().with_cell_activation(relu()),
            "cell_activation is Relu; it must be Tanh",
        ),
        (
            lstm().with_hidden_activation(relu()),
            "hidden_activation is Relu; it must be Tanh",
        ),
    ] {
        let error = Lstm::try_from(config.init(&device)).expect_err(message);
        assert!(error.to_string().starts_with(message), "{error}");
    }
    for (config, message) in [
        (
            gru().with_reset_after(false),
            "reset_after is false; it must be true",
        ),
        (
            gru().with_clip(Some(2.0)),
            "clip is Some(2.0); it must be None",
        ),
        (
            gru().with_gate_activation(relu()),
            "gate_activation is Relu; it must be Sigmoid",
        ),
        (
            gru().with_hidden_activation(relu()),
            "hidden_activation is Relu; it must be Tanh",
        ),
    ] {
        let error = Gru::try_from(config.init(&device)).expect_err(message);
        assert!(error.to_string().starts_with(message), "{error}");
    }
    let normed = GruConfig::new(D_INPUT, D_HIDDEN)
        .with_layer_norm(true)
        .init(&device);
    let error = nn::Gru::try_from(normed).expect_err("it has a normalisation");
    assert!(
        error
            .to_string()
            .starts_with("layer_norm is true; it must be false"),
        "{error}"
    );
}

#[test]
fn gru_equals_the_one_of_burn_and_goes_back_to_it() {
    let device = Device::flex().autodiff();
    for has_bias in [true, false] {
        let burns = nn::GruConfig::new(D_INPUT, D_HIDDEN, has_bias).init(&device);
        let burns = randomized(burns, &mut rng(1), DType::F32);
        let input = random(&mut rng(2), [3, 7, D_INPUT], &device, DType::F32);
        let expected = burns.forward(input.clone(), None);

        let ours = Gru::try_from(burns).expect("nothing that it does not have");
        let (output, _) = ours.forward(input.clone(), None);
        common::assert_close(
            "output",
            &values(output.clone()),
            &values(expected.clone()),
            1e-5,
        );
        let gradients = output.sum().backward();
        assert!(ours.hidden.weight.grad(&gradients).is_some());

        let back = nn::Gru::try_from(ours).expect("no normalisation");
        let again = back.forward(input, None);
        common::assert_close("back", &values(again), &values(expected), 1e-5);
    }
}

#[test]
fn elman_equals_the_one_of_burn() {
    let device = Device::flex();
    let burns = nn::RnnConfig::new(D_INPUT, D_HIDDEN, true).init(&device);
    let burns = randomized(burns, &mut rng(1), DType::F32);
    let joined = Joined::new(&[&burns.gate]);
    let mut ours = ElmanConfig::new(D_INPUT, D_HIDDEN).init(&device);
    ours.input.weight = Param::from_tensor(joined.input_weight);
    ours.input.bias = Some(Param::from_tensor(joined.input_bias + joined.hidden_bias));
    ours.w_hidden = Param::from_tensor(joined.hidden_weight);

    let input = random(&mut rng(2), [3, 7, D_INPUT], &device, DType::F32);
    let (expected, _) = burns.forward(input.clone(), None);
    let (output, _) = ours.forward(input, None);
    common::assert_close("output", &values(output), &values(expected), 1e-5);
}

/// A complex number, for a reference that is written number by number.
#[derive(Clone, Copy, Default)]
struct Complex(f64, f64);

impl Complex {
    fn times(self, other: Complex) -> Complex {
        Complex(
            self.0 * other.0 - self.1 * other.1,
            self.0 * other.1 + self.1 * other.0,
        )
    }
    fn plus(self, other: Complex) -> Complex {
        Complex(self.0 + other.0, self.1 + other.1)
    }
    fn scaled(self, factor: f64) -> Complex {
        Complex(self.0 * factor, self.1 * factor)
    }
    fn bounded(self) -> Complex {
        self.scaled(1.0 / self.0.hypot(self.1).max(1.0))
    }
}

#[test]
fn associative_lstm_equals_its_equations_written_number_by_number() {
    const COMPONENTS: usize = 3;
    const WIDTH: usize = 2 * COMPONENTS;
    const COPIES: usize = 4;
    const STEPS: usize = 5;
    let device = Device::flex();
    let config = AssociativeLstmConfig::new(D_INPUT, WIDTH).with_n_copies(COPIES);
    let layer = randomized(config.init(&device), &mut rng(6), DType::F64);
    let input = random(&mut rng(7), [1, STEPS, D_INPUT], &device, DType::F64);

    let (w_input, w_hidden) = (
        values(layer.input.weight.val()),
        values(layer.w_hidden.val()),
    );
    let bias = values(layer.input.bias.as_ref().expect("a bias").val());
    let positions: Vec<i64> = layer
        .permutations
        .val()
        .try_into_vec_as()
        .expect("positions");
    let inputs = values(input.clone());
    let n_blocks = bias.len();
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());

    let mut hidden = vec![0.0; WIDTH];
    let mut memory = [[Complex::default(); COMPONENTS]; COPIES];
    let mut expected = Vec::new();
    for x in inputs.chunks(D_INPUT) {
        let blocks: Vec<f64> = (0..n_blocks)
            .map(|j| {
                let from_input: f64 = (0..D_INPUT).map(|i| x[i] * w_input[i * n_blocks + j]).sum();
                let from_hidden: f64 = (0..WIDTH)
                    .map(|i| hidden[i] * w_hidden[i * n_blocks + j])
                    .sum();
                bias[j] + from_input + from_hidden
            })
            .collect();
        let gate = |block: usize, k: usize| sigmoid(blocks[block * COMPONENTS + k]);
        let vector = |block: usize, k: usize| {
            let start = 3 * COMPONENTS + block * WIDTH;
            Complex(blocks[start + k], blocks[start + COMPONENTS + k]).bounded()
        };
        for k in 0..COMPONENTS {
            let mut read = Complex::default();
            for (s, copy) in memory.iter_mut().enumerate() {
                let from = positions[s * WIDTH + k] as usize;
                let value = vector(2, k).scaled(gate(1, k));
                copy[k] = copy[k]
                    .scaled(gate(0, k))
                    .plus(vector(0, from).times(value));
                read = read.plus(vector(1, from).times(copy[k]).scaled(1.0 / COPIES as f64));
            }
            let output = read.bounded().scaled(gate(2, k));
            (hidden[k], hidden[COMPONENTS + k]) = (output.0, output.1);
        }
        expected.extend_from_slice(&hidden);
    }

    let (output, _) = layer.forward(input, None);
    common::assert_close("output", &values(output), &expected, 1e-10);
}

#[test]
fn an_initializer_and_no_bias_are_what_an_lstm_and_a_gru_begin_with() {
    let device = Device::flex();
    let initializer = || Some(nn::Initializer::Constant { value: 0.25 });
    let all = |tensor: Tensor<2>| values(tensor).iter().all(|value| *value == 0.25);
    let lstm = LstmConfig::new(D_INPUT, D_HIDDEN).with_initializer(initializer());
    let lstm = lstm.with_bias(false).init(&device);
    assert!(lstm.input.bias.is_none());
    assert!(all(lstm.input.weight.val()) && all(lstm.w_hidden.val()));
    let gru = GruConfig::new(D_INPUT, D_HIDDEN).with_initializer(initializer());
    let gru = gru.with_bias(false).init(&device);
    assert!(gru.input.bias.is_none() && gru.hidden.bias.is_none());
    assert!(all(gru.input.weight.val()) && all(gru.hidden.weight.val()));

    // Fused and step by step.
    let input = random(&mut rng(2), [3, 7, D_INPUT], &device, DType::F32);
    let (output, _) = gru.forward(input.clone(), None);
    let mut state = gru.initial_state(3, &device);
    for t in 0..7 {
        let input_t = input.clone().narrow(1, t, 1).squeeze_dim(1);
        let (output_t, next) = gru.step(input_t, state);
        let expected = output.clone().narrow(1, t, 1).squeeze_dim::<2>(1);
        common::assert_close("a step", &values(output_t), &values(expected), 1e-5);
        state = next;
    }
}
