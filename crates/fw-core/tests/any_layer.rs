//! A layer of any type is the layer within, in all that it does.

mod common;

use burn::module::{DisplaySettings, Module};
use burn::tensor::{DType, Device, Tensor};
use common::{FlatState, parameter_gradients, random, rng, values};
use fw_core::weights::{Convention, Portable, own_weights};
use fw_core::{
    AnyLayer, AnyState, FastWeightsConfig, GruConfig, LayerConfig, LstmConfig, Recurrent,
    RecurrentState, Segments, Stack, StateData,
};

const D_INPUT: usize = 3;
const DTYPE: DType = DType::F64;

/// Outputs, states and gradients of a sequence, of pieces of one, and of steps.
fn run<L: Recurrent>(layer: &L) -> (Vec<Vec<f64>>, Vec<StateData>) {
    let device = Device::flex().autodiff();
    let input = random(&mut rng(3), [2, 5, D_INPUT], &device, DTYPE).require_grad();
    let segments = Segments::new(2, 5).with_lengths(&[2, 5]);
    let segments = segments.expect("lengths that fit");
    let mut numbers = Vec::new();
    let mut states = Vec::new();

    let (output, state) = layer.forward(input.clone(), None);
    numbers.push(values(output.clone()));
    states.push(state.to_data());
    let loss = output.powi_scalar(2).sum();

    let state = layer
        .state_from_data(state.to_data(), &device)
        .expect("its own state");
    let state = layer.uniform(state).repeat_samples(2);
    let state = RecurrentState::cat_samples(vec![
        state.clone().select_samples(&[3]),
        state.select_samples(&[0]),
    ]);
    let state = state.expect("states of one layer");
    let (output, state) = layer.forward_segments(input.clone(), Some(state), &segments);
    numbers.push(values(output.clone()));
    states.push(state.to_data());
    let loss = loss + output.powi_scalar(2).sum();

    let state = layer.reset_samples(state.detach(), &[false, true]);
    let step = input.clone().narrow(1, 0, 1).squeeze_dim(1);
    let (output, state) = layer.step(step, state);
    numbers.push(values(output));
    states.push(state.to_device(&device).to_data());

    let gradients = loss.backward();
    numbers.push(values(input.grad(&gradients).expect("a gradient")));
    numbers.extend(parameter_gradients(layer, &gradients));
    (numbers, states)
}

#[test]
fn it_is_the_layer_within_to_the_bit() {
    fn check<L: FlatState<State: 'static> + 'static>(name: &str, layer: L) {
        let any = AnyLayer::new(layer.clone());
        assert!(any.downcast_ref::<L>().is_some(), "{name}");
        let printed = layer.format(DisplaySettings::default());
        assert_eq!(any.to_string(), printed, "{name}");
        let numbers = [Module::num_params(&any), Module::num_params(&layer)];
        assert_eq!(numbers[0], numbers[1], "{name}");
        assert_eq!(
            [any.d_input(), any.d_output(), any.state_size(4)],
            [layer.d_input(), layer.d_output(), layer.state_size(4)],
            "{name}"
        );
        assert_eq!(run(&any), run(&layer), "{name}");

        // Parameters go through it into files and back, and by any mapper.
        let weights = own_weights(&any).expect("weights");
        let names = own_weights(&layer).expect("weights");
        assert!(weights.names().eq(names.names()), "{name}");
        let record = any.clone().into_record();
        let fresh = common::randomized(any.clone(), &mut rng(9), DTYPE);
        assert_ne!(run(&fresh).0, run(&any).0, "{name}");
        assert_eq!(run(&fresh.load_record(record)).0, run(&any).0, "{name}");
    }
    for_each_layer!(D_INPUT, 4, Device::flex().autodiff(), DTYPE, check);
}

#[test]
fn layers_of_different_types_stack_and_their_states_are_read_by_the_stack() {
    let device = Device::flex();
    device.seed(1);
    let stack = Stack::new(vec![
        AnyLayer::new(GruConfig::new(D_INPUT, 4).init(&device)),
        AnyLayer::new(FastWeightsConfig::new(4, 5).init(&device)),
    ]);
    let input: Tensor<3> = random(&mut rng(4), [2, 6, D_INPUT], &device, DType::F32);
    let (whole, _) = stack.forward(input.clone(), None);
    let (_, state) = stack.forward(input.clone().narrow(1, 0, 2), None);
    let state = stack.state_from_data(state.to_data(), &device);
    let (rest, _) = stack.forward(input.narrow(1, 2, 4), Some(state.expect("its state")));
    let difference = (rest - whole.narrow(1, 2, 4)).abs().max();
    assert!(values(difference)[0] < 1e-6);

    let lost = StateData::List(vec![StateData::List(Vec::new())]);
    let error = stack.state_from_data(lost, &device).expect_err("one state");
    assert_eq!(
        error.to_string(),
        "there are 1 states; the stack has 2 layers"
    );
}

#[test]
fn a_state_of_another_layer_is_refused_on_every_way() {
    let device = Device::flex();
    let gru = AnyLayer::new(GruConfig::new(D_INPUT, 4).init(&device));
    let lstm = AnyLayer::new(LstmConfig::new(D_INPUT, 4).init(&device));
    let state = lstm.initial_state(1, &device);
    let expected = "the state is of a layer of another type";
    let error = gru.check_state(&state, 1, DType::F32);
    assert_eq!(error.expect_err("it is").to_string(), expected);
    let joined = AnyState::cat_samples(vec![gru.initial_state(1, &device), state.clone()]);
    assert_eq!(joined.expect_err("two types").to_string(), expected);
    let run = std::panic::AssertUnwindSafe(|| {
        gru.step(Tensor::zeros([1, D_INPUT], &device), state.clone())
    });
    let payload = std::panic::catch_unwind(run).expect_err("it cannot go on");
    assert_eq!(payload.downcast_ref::<String>().expect("text"), expected);

    let told = AnyState::from_data(state.to_data(), &device).expect_err("of which type?");
    assert_eq!(
        told.to_string(),
        "of which type a state is, is known to its layer: read it with Recurrent::state_from_data"
    );
}

#[test]
fn a_layer_of_a_configuration_keeps_its_names_elsewhere() {
    let device = Device::flex();
    let config = GruConfig::new(D_INPUT, 4);
    let layer = LayerConfig::Gru(config.clone()).init(&device);
    let layer = layer.expect("a valid configuration");
    let weights = layer.to_weights(Convention::PyTorch).expect("as PyTorch's");
    let names: Vec<&str> = weights.names().collect();
    assert_eq!(
        names,
        ["bias_hh_l0", "bias_ih_l0", "weight_hh_l0", "weight_ih_l0"]
    );
    let stack = Stack::new(vec![
        layer.clone(),
        AnyLayer::portable(GruConfig::new(4, 2).init(&device)),
    ]);
    let weights = stack.to_weights(Convention::PyTorch).expect("as PyTorch's");
    assert!(weights.names().any(|name| name == "weight_ih_l1"));

    let unknown = AnyLayer::new(config.init(&device)).to_weights(Convention::PyTorch);
    assert_eq!(
        unknown.map(drop).expect_err("none are known").to_string(),
        "AnyLayer has no names under PyTorch, only its own"
    );
}
