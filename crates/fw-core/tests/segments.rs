//! Lengths, resets and states as values: every piece of a batch is what it is alone.

mod common;

use burn::tensor::{DType, Device, Tensor, TensorData};
use common::{FlatState, assert_close, parameter_gradients, random, rng, values};
use fw_core::{
    Bidirectional, FastWeightsConfig, GruConfig, LstmConfig, Recurrent, RecurrentState, Sab,
    SabConfig, Segments, Stack, StateData,
};

const BATCH_SIZE: usize = 5;
const SEQ_LENGTH: usize = 7;
const D_INPUT: usize = 3;
const D_HIDDEN: usize = 4;
const DTYPE: DType = DType::F64;
/// Double precision, over some ten steps.
const TOLERANCE: f64 = 1e-10;

/// Of each sample its steps, and before which of them it begins anew. One is not there at all, one begins anew at once, two are of one length.
const SAMPLES: [(usize, &[usize]); BATCH_SIZE] =
    [(7, &[2, 5]), (3, &[0]), (0, &[]), (5, &[4]), (3, &[])];

fn segments() -> Segments {
    let lengths = SAMPLES.map(|(length, _)| length);
    let flags = SAMPLES.map(|(_, resets)| {
        // Behind the end they count for nothing.
        let is_reset = |step: usize| resets.contains(&step) || step == 6 && resets.len() == 1;
        (0..SEQ_LENGTH).map(is_reset).collect::<Vec<bool>>()
    });
    let segments = Segments::new(BATCH_SIZE, SEQ_LENGTH);
    let segments = segments.with_lengths(&lengths).expect("lengths that fit");
    segments.with_resets(&flags).expect("flags that fit")
}

/// Random inputs, and NaN where there is nothing.
fn padded_input(device: &Device) -> Tensor<3> {
    let input = random(
        &mut rng(5),
        [BATCH_SIZE, SEQ_LENGTH, D_INPUT],
        device,
        DTYPE,
    );
    let mut numbers = values(input);
    for (sample, (length, _)) in SAMPLES.iter().enumerate() {
        let end = (sample + 1) * SEQ_LENGTH * D_INPUT;
        numbers[end - (SEQ_LENGTH - length) * D_INPUT..end].fill(f64::NAN);
    }
    let shape = [BATCH_SIZE, SEQ_LENGTH, D_INPUT];
    Tensor::from_data(TensorData::new(numbers, shape), (device, DTYPE))
}

/// Outputs and the last state of one sample, run by itself, piece by piece.
fn alone<L: Recurrent>(
    layer: &L,
    input: &Tensor<3>,
    state: &L::State,
    sample: usize,
) -> (Option<Tensor<3>>, L::State) {
    let (length, resets) = SAMPLES[sample];
    let mut state = state.clone().select_samples(&[sample]);
    let mut outputs = Vec::new();
    let mut first = 0;
    for end in resets.iter().copied().chain([length]) {
        if end > first {
            let piece = input
                .clone()
                .narrow(0, sample, 1)
                .narrow(1, first, end - first);
            let (output, last) = layer.forward(piece, Some(state));
            outputs.push(output);
            state = last;
        }
        if end < length {
            state = layer.initial_state(1, &input.device());
        }
        first = end;
    }
    let output = (!outputs.is_empty()).then(|| Tensor::cat(outputs, 1));
    (output, state)
}

/// What a run yields, sample by sample: outputs and last states; then gradients of a fixed linear function of them.
struct Yield {
    outputs: Vec<Vec<f64>>,
    states: Vec<Vec<f64>>,
    gradients: Vec<Vec<f64>>,
}

fn run<L: FlatState>(
    layer: &L,
    of_sample: impl Fn(&Tensor<3>, &L::State, usize) -> (Option<Tensor<3>>, L::State),
) -> Yield {
    let device = Device::flex().autodiff();
    let input = padded_input(&device).require_grad();
    let flat = random(
        &mut rng(6),
        [BATCH_SIZE, layer.flat_width()],
        &device,
        DTYPE,
    )
    .require_grad();
    let state = layer.uniform(layer.state_from(flat.clone()));
    let mut probes = rng(7);
    let mut loss = Tensor::<1>::zeros([1], (&device, DTYPE));
    let (mut outputs, mut states) = (Vec::new(), Vec::new());
    for (sample, (length, _)) in SAMPLES.into_iter().enumerate() {
        let (output, last) = of_sample(&input, &state, sample);
        let last = layer.state_to(&layer.uniform(last));
        let shape = [1, length, layer.d_output()];
        let probe = random(&mut probes, shape, &device, DTYPE);
        if let Some(output) = output {
            loss = loss + (output.clone() * probe).sum();
            outputs.push(values(output));
        }
        let probe = random(&mut probes, last.dims(), &device, DTYPE);
        loss = loss + (last.clone() * probe).sum();
        states.push(values(last));
    }
    let gradients = loss.backward();
    let of = |gradient: Option<Tensor<2>>| values(gradient.expect("a gradient"));
    let mut all = vec![
        values(input.grad(&gradients).expect("a gradient")),
        of(flat.grad(&gradients)),
    ];
    all.extend(parameter_gradients(layer, &gradients));
    Yield {
        outputs,
        states,
        gradients: all,
    }
}

#[track_caller]
fn assert_same(name: &str, actual: &[Vec<f64>], expected: &[Vec<f64>]) {
    assert_eq!(actual.len(), expected.len(), "{name}");
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert_close(&format!("{name} {index}"), actual, expected, TOLERANCE);
    }
}

#[test]
fn every_piece_of_a_batch_is_what_it_is_alone() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let expected = run(&layer, |input, state, sample| {
            alone(&layer, input, state, sample)
        });
        let together = std::cell::RefCell::new(None);
        let actual = run(&layer, |input, state, sample| {
            let mut together = together.borrow_mut();
            let (output, last) = together.get_or_insert_with(|| {
                layer.forward_segments(input.clone(), Some(state.clone()), &segments())
            });
            let (output, last) = (output.clone(), last.clone());
            let (length, _) = SAMPLES[sample];
            let own = output.narrow(0, sample, 1);
            if length < SEQ_LENGTH {
                let padding = own.clone().narrow(1, length, SEQ_LENGTH - length);
                assert!(
                    values(padding).iter().all(|number| *number == 0.0),
                    "{name}"
                );
            }
            let own = (length > 0).then(|| own.narrow(1, 0, length));
            (own, last.select_samples(&[sample]))
        });
        assert_same(
            &format!("{name}, output"),
            &actual.outputs,
            &expected.outputs,
        );
        assert_same(&format!("{name}, state"), &actual.states, &expected.states);
        assert_same(
            &format!("{name}, gradient"),
            &actual.gradients,
            &expected.gradients,
        );
    }
    for_each_layer!(D_INPUT, D_HIDDEN, Device::flex().autodiff(), DTYPE, check);
}

#[test]
fn samples_of_different_times_go_on_as_each_would_alone() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let device = Device::flex();
        let input = padded_input(&device);
        let more = random(&mut rng(8), [BATCH_SIZE, 4, D_INPUT], &device, DTYPE);
        let first = layer.uniform(layer.initial_state(BATCH_SIZE, &device));
        let (_, state) = layer.forward_segments(input.clone(), Some(first.clone()), &segments());
        let (output, last) = layer.forward(more.clone(), Some(state.clone()));
        let (step, _) = layer.step(more.clone().narrow(1, 0, 1).squeeze_dim(1), state);
        for sample in 0..BATCH_SIZE {
            let (_, state) = alone(&layer, &input, &first, sample);
            let more = more.clone().narrow(0, sample, 1);
            let (expected, expected_last) = layer.forward(more, Some(state));
            let own = |all: &Tensor<3>| values(all.clone().narrow(0, sample, 1));
            assert_close(name, &own(&output), &values(expected.clone()), TOLERANCE);
            let own = values(step.clone().narrow(0, sample, 1));
            assert_close(name, &own, &values(expected.narrow(1, 0, 1)), TOLERANCE);
            let flat = |state| values(layer.state_to(&layer.uniform(state)));
            let own = last.clone().select_samples(&[sample]);
            assert_close(name, &flat(own), &flat(expected_last), TOLERANCE);
        }
    }
    for_each_layer!(D_INPUT, D_HIDDEN, Device::flex(), DTYPE, check);
}

#[test]
fn a_batch_without_padding_or_resets_is_the_same_to_the_bit() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let input = random(
            &mut rng(9),
            [2, SEQ_LENGTH, D_INPUT],
            &Device::flex(),
            DTYPE,
        );
        let plain = Segments::new(2, SEQ_LENGTH);
        let plain = plain
            .with_resets(&vec![vec![false; SEQ_LENGTH]; 2])
            .expect("flags that fit");
        let (output, state) = layer.forward_segments(input.clone(), None, &plain);
        let (expected, expected_state) = layer.forward(input, None);
        assert_eq!(values(output), values(expected), "{name}");
        assert_eq!(state.to_data(), expected_state.to_data(), "{name}");
    }
    for_each_layer!(D_INPUT, D_HIDDEN, Device::flex(), DTYPE, check);
}

#[test]
fn samples_of_a_state_are_chosen_repeated_joined_reset_and_saved() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let device = Device::flex();
        let input = random(&mut rng(10), [3, 4, D_INPUT], &device, DTYPE);
        let (_, state) = layer.forward(input, None);
        let state = layer.uniform(state);
        assert_eq!(state.batch_size(), Some(3), "{name}");
        let of = |state: &L::State| values(layer.state_to(state));
        let width = of(&state).len() / 3;
        let row = |sample: usize| of(&state)[sample * width..(sample + 1) * width].to_vec();

        let chosen = state.clone().select_samples(&[2, 0, 2]);
        assert_eq!(of(&chosen), [row(2), row(0), row(2)].concat(), "{name}");
        let repeated = state.clone().select_samples(&[1, 2]).repeat_samples(2);
        assert_eq!(
            of(&repeated),
            [row(1), row(1), row(2), row(2)].concat(),
            "{name}"
        );
        let parts = vec![
            state.clone().select_samples(&[2]),
            state.clone().select_samples(&[0, 1]),
        ];
        let joined = L::State::cat_samples(parts).expect("parts of one state");
        assert_eq!(of(&joined), [row(2), row(0), row(1)].concat(), "{name}");

        let reset = layer.reset_samples(state.clone(), &[false, true, false]);
        let first = layer.uniform(layer.initial_state(1, &device));
        assert_eq!(
            of(&reset.clone().select_samples(&[1])),
            of(&first),
            "{name}"
        );
        assert_eq!(of(&reset.clone().select_samples(&[0])), row(0), "{name}");

        let text = serde_json::to_string(&reset.to_data()).expect("plain data");
        let data: StateData = serde_json::from_str(&text).expect("the same data");
        let read = L::State::from_data(data, &device).expect("a state");
        assert_eq!(read.to_data(), reset.to_data(), "{name}");
    }
    for_each_layer!(D_INPUT, D_HIDDEN, Device::flex(), DTYPE, check);
}

#[test]
fn nothing_crosses_a_reset() {
    fn check<L: FlatState>(name: &str, layer: L) {
        let device = Device::flex().autodiff();
        let input = random(&mut rng(11), [1, SEQ_LENGTH, D_INPUT], &device, DTYPE).require_grad();
        let flags: Vec<bool> = (0..SEQ_LENGTH).map(|step| step == 4).collect();
        let segments = Segments::new(1, SEQ_LENGTH)
            .with_resets(&[flags])
            .expect("flags that fit");
        let (output, _) = layer.forward_segments(input.clone(), None, &segments);
        let gradients = output.narrow(1, 4, 3).sum().backward();
        let gradient = values(input.grad(&gradients).expect("a gradient"));
        let (before, after) = gradient.split_at(4 * D_INPUT);
        assert!(before.iter().all(|slope| *slope == 0.0), "{name}");
        assert!(after.iter().any(|slope| *slope != 0.0), "{name}");
    }
    for_each_layer!(D_INPUT, D_HIDDEN, Device::flex().autodiff(), DTYPE, check);
}

#[test]
fn the_other_direction_begins_at_the_end_of_each_sequence() {
    let device = Device::flex();
    device.seed(2);
    let layer = || FastWeightsConfig::new(D_INPUT, D_HIDDEN).init(&device);
    let both = Bidirectional::new(layer(), layer());
    let input = padded_input(&device).cast(DType::F32);
    let (output, last) = both.forward(input.clone(), Some(&segments()));
    let hidden = values(last.backward.hidden);
    for (sample, (length, resets)) in SAMPLES.iter().enumerate() {
        let ends = resets.iter().copied().chain([*length]);
        let mut first = 0;
        for end in ends.filter(|end| *end > 0) {
            let piece = input
                .clone()
                .narrow(0, sample, 1)
                .narrow(1, first, end - first);
            let (there, _) = both.forward.forward(piece.clone(), None);
            let (back, of_piece) = both.backward.forward(piece.flip([1]), None);
            let expected = Tensor::cat(vec![there, back.flip([1])], 2);
            let own = output
                .clone()
                .narrow(0, sample, 1)
                .narrow(1, first, end - first);
            assert_close("a piece", &values(own), &values(expected), 1e-6);
            if end == *length {
                let own = &hidden[sample * D_HIDDEN..(sample + 1) * D_HIDDEN];
                assert_close("a state", own, &values(of_piece.hidden), 1e-6);
            }
            first = end;
        }
    }
}

#[test]
fn what_does_not_fit_a_batch_is_refused_by_name() {
    let new = || Segments::new(2, 3);
    let told = |result: Result<Segments, fw_core::SegmentsError>| result.unwrap_err().to_string();
    assert_eq!(
        told(new().with_lengths(&[3, 4])),
        "lengths[1] is 4; it must be at most seq_length, 3"
    );
    assert_eq!(
        told(new().with_lengths(&[3])),
        "lengths are of 1 samples; the batch has 2"
    );
    assert_eq!(
        told(new().with_resets(&[vec![false; 3], vec![false; 2]])),
        "resets[1] has 2 flags; it must have one for each of the 3 steps"
    );
    assert_eq!(
        told(Segments::packed(&[vec![2, 2]], 3)),
        "the documents of row 0 have 4 steps; there must be at most seq_length, 3"
    );
    let device = Device::flex();
    let layer = GruConfig::new(1, 2).init(&device);
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        layer.forward_segments(Tensor::zeros([3, 3, 1], &device), None, &new())
    }));
    let payload = refused.expect_err("another batch");
    assert_eq!(
        payload.downcast_ref::<String>().map(String::as_str),
        Some("the input has 3 samples of 3 steps; the segments are of 2 samples of 3 steps")
    );
    let states = vec![
        Tensor::<2>::zeros([1, 2], &device),
        Tensor::zeros([1, 3], &device),
    ];
    let error = RecurrentState::cat_samples(states).expect_err("states of two layers");
    assert_eq!(
        error.to_string(),
        "a part of the states has shape [1, 2] in one and [1, 3] in another; all but the first number must be the same"
    );
}

#[test]
fn a_trace_of_samples_that_are_at_different_steps_is_refused() {
    let device = Device::flex();
    let layer: Sab<_> = SabConfig::new().init(LstmConfig::new(1, 2).init(&device), &device);
    let lengths = Segments::new(2, 3)
        .with_lengths(&[1, 3])
        .expect("lengths that fit");
    let (_, state) = layer.forward_segments(Tensor::ones([2, 3, 1], &device), None, &lengths);
    assert_eq!(
        (&state.steps[..], &state.n_memories[..]),
        (&[1, 3][..], &[1, 3][..])
    );
    let traced = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        layer.forward_traced(Tensor::ones([2, 3, 1], &device), Some(state))
    }));
    assert!(traced.is_err());
}

#[test]
fn dropout_of_a_stack_works_between_its_layers_in_training_alone() {
    let layer = |device: &Device| {
        let layers = [1, 64].map(|d_input| LstmConfig::new(d_input, 64).init(device));
        Stack::new(layers.to_vec()).with_dropout(0.5)
    };
    let run = |device: &Device| {
        device.seed(4);
        let layer = layer(device);
        let input = Tensor::ones([1, 3, 1], device);
        let (one, _) = layer.forward(input.clone(), None);
        let (other, _) = layer.forward(input, None);
        (values(one), values(other))
    };
    let (one, other) = run(&Device::flex());
    assert_eq!(one, other);
    let (one, other) = run(&Device::flex().autodiff());
    assert!(one != other && one.iter().all(|number| number.is_finite()));
}
