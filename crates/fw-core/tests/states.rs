//! What a layer says of a state that it cannot go on from, whichever way it is run.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{DType, Device, Tensor, TensorData};
use common::{FlatState, random, rng, values};
use fw_core::{
    DeltaNet, DeltaNetConfig, ExecutionPath, FastWeights, FastWeightsConfig, GruConfig, LstmConfig,
    MemoryForm, Ntm, NtmConfig, Recurrent, RecurrentCell, RecurrentState, Sab, SabConfig,
    StateData, StateError,
};

const BATCH_SIZE: usize = 2;
const D_INPUT: usize = 3;
const DTYPE: DType = DType::F64;

/// The message of a panic.
fn refusal<T>(run: impl FnOnce() -> T) -> Option<String> {
    let payload = catch_unwind(AssertUnwindSafe(run)).err()?;
    payload.downcast_ref::<String>().cloned()
}

/// A way to run a layer from a state, with a name.
type Way<L> = (&'static str, fn(&L, <L as Recurrent>::State));

fn zeros<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::zeros(shape, (&Device::flex(), DTYPE))
}

/// Those that every layer has.
fn ways<L: Recurrent>() -> Vec<Way<L>> {
    vec![
        ("step", |layer, state| {
            drop(layer.step(zeros([BATCH_SIZE, D_INPUT]), state));
        }),
        ("advance", |layer, state| {
            let projected = layer.project(zeros([BATCH_SIZE, 1, D_INPUT]));
            drop(layer.advance(projected.squeeze_dim(1), state));
        }),
        ("forward", |layer, state| {
            drop(layer.forward(zeros([BATCH_SIZE, 2, D_INPUT]), Some(state)));
        }),
        ("forward_projected", |layer, state| {
            let projected = layer.project(zeros([BATCH_SIZE, 2, D_INPUT]));
            drop(layer.forward_projected(projected, Some(state)));
        }),
        ("an empty batch", |layer, state| {
            drop(layer.forward(zeros([0, 2, D_INPUT]), Some(state)));
        }),
    ]
}

/// Every state that has one size of one part, or one part's type, otherwise; with what has to be said of it.
fn spoiled(data: &StateData) -> Vec<(StateData, String)> {
    fn leaves(data: &StateData, path: &mut Vec<usize>, found: &mut Vec<(Vec<usize>, TensorData)>) {
        match data {
            StateData::Tensor(tensor) => found.push((path.clone(), tensor.clone())),
            StateData::Number(_) => {}
            StateData::List(parts) => {
                for (index, part) in parts.iter().enumerate() {
                    path.push(index);
                    leaves(part, path, found);
                    path.pop();
                }
            }
        }
    }
    fn replaced(data: &StateData, path: &[usize], with: &TensorData) -> StateData {
        match (data, path) {
            (StateData::List(parts), [first, rest @ ..]) => {
                let mut parts = parts.clone();
                parts[*first] = replaced(&parts[*first], rest, with);
                StateData::List(parts)
            }
            _ => StateData::Tensor(with.clone()),
        }
    }
    let mut found = Vec::new();
    leaves(data, &mut Vec::new(), &mut found);
    let mut all = Vec::new();
    for (path, tensor) in found {
        let shape: Vec<usize> = tensor.shape().iter().copied().collect();
        for dim in 0..shape.len() {
            // Of a history, and of memories, there may be any number.
            let may_vary = shape.len() == 3 && (path == [1, 0] || path.ends_with(&[1, 1, 0]));
            if may_vary && dim == 1 {
                continue;
            }
            let mut wider = shape.clone();
            wider[dim] += 1;
            let numbers = vec![0.5_f64; wider.iter().product()];
            let wrong = TensorData::new(numbers, wider.clone());
            let told = format!("has shape {wider:?}; it must be {shape:?}");
            all.push((replaced(data, &path, &wrong), told));
        }
        let single = tensor.convert_dtype(DType::F32);
        let told = "is F32; the input is F64".to_owned();
        all.push((replaced(data, &path, &single), told));
    }
    all
}

#[track_caller]
fn assert_refused<L: Recurrent>(name: &str, layer: &L, state: &L::State, ways: &[Way<L>]) {
    let device = Device::flex();
    let all = spoiled(&state.to_data());
    assert!(
        all.len() >= 3,
        "{name}: a size, a batch and a type at least"
    );
    for (data, expected) in all {
        for (way, run) in ways {
            let state = L::State::from_data(data.clone(), &device).expect("a state");
            let told = refusal(|| run(layer, state));
            let told = told.unwrap_or_else(|| panic!("{name}, {way}: nothing is said: {expected}"));
            // No samples: the whole state is of another batch.
            let is_right = told.contains(&expected) || *way == "an empty batch";
            assert!(is_right, "{name}, {way}: {told}, not {expected}");
        }
    }
    // What fits goes on, and comes back from its data as it was.
    for (_, run) in &ways[..4.min(ways.len())] {
        run(layer, state.clone());
    }
    let again = L::State::from_data(state.to_data(), &device).expect("a state");
    assert_eq!(again.to_data(), state.to_data(), "{name}");
}

/// A state after three steps.
fn state_of<L: Recurrent>(layer: &L) -> L::State {
    let shape = [BATCH_SIZE, 3, D_INPUT];
    let input = random(&mut rng(3), shape, &Device::flex(), DTYPE);
    layer.forward(input, None).1
}

#[test]
fn one_wrong_size_or_type_of_one_part_is_named_in_every_way_to_run_a_layer() {
    fn check<L: FlatState>(name: &str, layer: L) {
        assert_refused(name, &layer, &state_of(&layer), &ways());
    }
    for_each_layer!(D_INPUT, 4, Device::flex(), DTYPE, check);
}

#[test]
fn traces_and_composed_forms_say_the_same() {
    let (device, d_hidden) = (Device::flex(), 4);
    let randomized = |seed| rng(seed);
    let traced = |layer: &FastWeights, state| {
        drop(layer.forward_traced(zeros([BATCH_SIZE, 2, D_INPUT]), Some(state)));
    };
    for form in [MemoryForm::Matrix, MemoryForm::Attention] {
        for path in [ExecutionPath::Composed, ExecutionPath::Auto] {
            let config = FastWeightsConfig::new(D_INPUT, d_hidden);
            let layer = config.with_form(form).with_path(path).init(&device);
            let layer = common::randomized(layer, &mut randomized(1), DTYPE);
            let mut ways = ways();
            ways.insert(0, ("traced", traced));
            assert_refused("fast weights", &layer, &state_of(&layer), &ways);
        }
    }
    let traced = |layer: &DeltaNet, state| {
        drop(layer.forward_traced(zeros([BATCH_SIZE, 2, D_INPUT]), Some(state)));
    };
    for path in [ExecutionPath::Composed, ExecutionPath::Auto] {
        let config = DeltaNetConfig::gated(D_INPUT, 2, 3).with_path(path);
        let layer = common::randomized(config.init(&device), &mut randomized(4), DTYPE);
        let mut ways = ways();
        ways.insert(0, ("traced", traced));
        assert_refused("delta net", &layer, &state_of(&layer), &ways);
    }
    let traced = |layer: &Ntm, state| {
        drop(layer.forward_traced(zeros([BATCH_SIZE, 2, D_INPUT]), Some(state)));
    };
    for path in [ExecutionPath::Composed, ExecutionPath::Auto] {
        let config = NtmConfig::new(D_INPUT, d_hidden).with_memory_size(6);
        let config = config.with_word_size(3).with_n_layers(2).with_path(path);
        let layer = common::randomized(config.init(&device), &mut randomized(2), DTYPE);
        let mut ways = ways();
        ways.insert(0, ("traced", traced));
        assert_refused("ntm", &layer, &state_of(&layer), &ways);
    }
    fn traced_sab<C: RecurrentCell>(layer: &Sab<C>, state: <Sab<C> as Recurrent>::State) {
        drop(layer.forward_traced(zeros([BATCH_SIZE, 2, D_INPUT]), Some(state)));
    }
    for path in [ExecutionPath::Composed, ExecutionPath::Auto] {
        let config = SabConfig::new().with_path(path);
        let cell = LstmConfig::new(D_INPUT, d_hidden).init(&device);
        let layer = config.init(cell, &device);
        let layer = common::randomized(layer, &mut randomized(3), DTYPE);
        let mut ways = ways();
        ways.insert(0, ("traced", traced_sab));
        assert_refused("sab", &layer, &state_of(&layer), &ways);
    }
}

#[test]
fn steps_that_a_convolution_does_not_see_are_refused() {
    let device = Device::flex();
    let layer = |size| {
        let config = DeltaNetConfig::new(D_INPUT, 2, 3).with_convolution(size);
        config.init(&device)
    };
    let told = |own, given| {
        let state = layer(given).initial_state(BATCH_SIZE, &device);
        let fits = layer(own).check_state(&state, BATCH_SIZE, DType::F32);
        fits.err().map(|error| error.to_string())
    };
    let shape = |size: usize| format!("has shape [2, {}, 18]", size - 1);
    let wrong = format!("the recent steps {}; it must be [2, 3, 18]", shape(3));
    assert_eq!(told(Some(4), Some(3)), Some(wrong));
    let none = "the state has no recent steps; with a convolution over steps it must have them";
    assert_eq!(told(Some(4), None).as_deref(), Some(none));
    let some =
        "the state has recent steps; without a convolution over steps it must have none (`None`)";
    for own in [None, Some(1)] {
        assert_eq!(told(own, Some(2)).as_deref(), Some(some));
        assert_eq!(told(own, Some(1)), None);
        assert_eq!(told(own, None), None);
    }
}

/// A machine of two layers used to go on from the state of one with one layer, and to say nothing.
#[test]
fn a_machine_of_two_layers_refuses_the_state_of_one_and_the_other_way_round() {
    let device = Device::flex();
    let machine = |n_layers, path| {
        let config = NtmConfig::new(D_INPUT, 4).with_memory_size(6);
        let config = config.with_word_size(3).with_n_layers(n_layers);
        let layer = config.with_path(path).init(&device);
        common::randomized(layer, &mut rng(5), DTYPE)
    };
    for path in [ExecutionPath::Composed, ExecutionPath::Auto] {
        for (own, given) in [(2, 1), (1, 2)] {
            let (layer, other) = (machine(own, path), machine(given, path));
            let expected =
                format!("the state has {given} layers; the controller has {own} that carry one");
            let traced: Way<Ntm> = ("traced", |layer, state| {
                drop(layer.forward_traced(zeros([BATCH_SIZE, 2, D_INPUT]), Some(state)));
            });
            for (way, run) in ways().into_iter().chain([traced]) {
                let told = refusal(|| run(&layer, state_of(&other)));
                assert_eq!(told.as_ref(), Some(&expected), "{way}");
            }
        }
    }
}

#[test]
fn the_part_that_is_wrong_is_named_through_stacks_and_cells() {
    let device = Device::flex();
    let lstm = |d_input, d_hidden| LstmConfig::new(d_input, d_hidden).init(&device);
    let stack = |widths: [usize; 2]| {
        fw_core::Stack::new(vec![lstm(D_INPUT, widths[0]), lstm(widths[0], widths[1])])
    };
    let told = |result: Result<(), StateError>| result.expect_err("it does not fit").to_string();
    let given = stack([4, 5]).initial_state(BATCH_SIZE, &device);
    let refused = stack([4, 6]).check_state(&given, BATCH_SIZE, DType::F32);
    assert_eq!(
        told(refused),
        "layer 2: the hidden state has shape [2, 5]; it must be [2, 6]"
    );
    let refused = stack([4, 5]).check_state(&given[..1].to_vec(), BATCH_SIZE, DType::F32);
    assert_eq!(told(refused), "there are 1 states; the stack has 2 layers");

    let sab = |d_hidden, top_k| {
        let config = SabConfig::new().with_top_k(top_k);
        let cell = GruConfig::new(D_INPUT, d_hidden).init(&device);
        config.init(cell, &device)
    };
    let given = sab(4, None).initial_state(BATCH_SIZE, &device);
    let refused = sab(5, None).check_state(&given, BATCH_SIZE, DType::F32);
    assert_eq!(
        told(refused),
        "the cell: the hidden state has shape [2, 4]; it must be [2, 5]"
    );
    let input = Tensor::zeros([BATCH_SIZE, 3, D_INPUT], &device);
    let (_, with_memories) = sab(4, None).forward(input, None);
    let refused = sab(4, Some(0)).check_state(&with_memories, BATCH_SIZE, DType::F32);
    assert_eq!(
        told(refused),
        "the state has memories; with top_k = 0 it must have none (`None`)"
    );
}

/// The keys of memories are functions of parameters, which may have changed since the memories were stored.
#[test]
fn a_step_after_the_parameters_have_changed_uses_the_new_ones() {
    let device = Device::flex();
    let layer = |seed| {
        let cell = LstmConfig::new(D_INPUT, 4).init(&device);
        let layer = SabConfig::new().with_top_k(Some(2)).init(cell, &device);
        common::randomized(layer, &mut rng(seed), DTYPE)
    };
    let (before, after) = (layer(1), layer(2));
    let inputs = random(&mut rng(7), [BATCH_SIZE, 6, D_INPUT], &device, DTYPE);
    let step = |t: usize| inputs.clone().narrow(1, t, 1);
    let mut state = before.initial_state(BATCH_SIZE, &device);
    for t in 0..5 {
        state = before.step(step(t).squeeze_dim(1), state).1;
    }
    let (by_step, _) = after.step(step(5).squeeze_dim(1), state.clone());
    let (by_sequence, _) = after.forward(step(5), Some(state));
    common::assert_close("a step", &values(by_step), &values(by_sequence), 1e-12);
}

#[test]
fn a_trace_of_no_samples_has_the_shapes_of_one() {
    let device = Device::flex();
    let input = Tensor::zeros([0, 5, D_INPUT], &device);
    let ntm = NtmConfig::new(D_INPUT, 4).with_memory_size(6).init(&device);
    let trace = ntm.forward_traced(input.clone(), None);
    assert_eq!(trace.output.dims(), [0, 5, ntm.d_output()]);
    assert_eq!(trace.read_weights.dims(), [0, 5, 1, 6]);
    assert_eq!(trace.write_weights.dims(), [0, 5, 1, 6]);
    for words in [trace.reads, trace.erases, trace.adds] {
        assert_eq!(words.dims(), [0, 5, 1, 20]);
    }
    let cell = LstmConfig::new(D_INPUT, 4).init(&device);
    let sab = SabConfig::new().init(cell, &device);
    let trace = sab.forward_traced(input.clone(), None);
    assert_eq!(trace.output.dims(), [0, 5, 8]);
    assert_eq!(trace.indices.dims(), [0, 5, 1]);
    assert_eq!(trace.weights.dims(), [0, 5, 1]);
    let delta_net = DeltaNetConfig::product(D_INPUT, 3, 2).init(&device);
    let trace = delta_net.forward_traced(input.clone(), None);
    assert_eq!(trace.output.dims(), [0, 5, D_INPUT]);
    assert_eq!(trace.recall.dims(), [0, 3, 5, 10]);
    assert_eq!(trace.write_strength.dims(), [0, 10, 3]);
    assert_eq!(trace.decay.dims(), [0, 5, 3]);
    let fast = FastWeightsConfig::new(D_INPUT, 4).init(&device);
    assert_eq!(fast.forward_traced(input, None).attention.dims(), [0, 5, 5]);
}

#[test]
fn data_of_another_kind_of_state_are_refused() {
    let device = Device::flex();
    let gru = GruConfig::new(D_INPUT, 4).init(&device);
    let data = RecurrentState::to_data(&gru.initial_state(BATCH_SIZE, &device));
    let told = fw_core::LstmState::from_data(data.clone(), &device).expect_err("one part");
    assert_eq!(told.to_string(), "the state has 1 parts; it must have 2");
    let told = <Tensor<3> as RecurrentState>::from_data(data, &device).expect_err("two dimensions");
    assert!(
        told.to_string().contains("it must have 3, of floats"),
        "{told}"
    );
}
