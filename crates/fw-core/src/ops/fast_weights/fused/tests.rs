//! The kernel against the composed form: on every instruction set, in chunks of every length.

use burn::tensor::{DType, Device, Gradients, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::{Norm, Path};
use super::*;
use crate::Activation;
use crate::ops::cpu::architectures;

const BATCH_SIZE: usize = 5;
const D_INPUT: usize = 3;
/// Neither a whole vector nor less than one, for vectors of 2 to 8 numbers.
const D_HIDDEN: usize = 9;

/// Leaves with uniform values in (-scale, scale).
struct Random<'a>(ChaCha8Rng, &'a Device);

impl Random<'_> {
    fn leaf<const D: usize>(&mut self, shape: [usize; D], scale: f64) -> Tensor<D> {
        let count = shape.iter().product::<usize>();
        let values: Vec<f64> = (0..count)
            .map(|_| self.0.random_range(-scale..scale))
            .collect();
        let values = TensorData::new(values, shape);
        let is_autodiff = self.1.is_autodiff();
        Tensor::from_data(values, (self.1, DType::F64)).set_require_grad(is_autodiff)
    }
}

#[derive(Clone, Copy, Debug)]
enum Start {
    Nothing,
    Symmetric,
    General,
}

/// All outputs and all gradients of a linear function of them, for a run.
fn results(
    leaves: &Leaves,
    options: &Options,
    form: Form,
    run: impl Fn(Tensor<3>, State, &Weights) -> (Tensor<3>, State),
) -> Vec<Tensor<1>> {
    let state = State {
        hidden: leaves.hidden.clone(),
        memory: match &leaves.start {
            Some(start) => Memory::Matrix(start.clone()),
            None => Memory::empty(),
        },
    };
    let (output, state) = run(leaves.input.clone(), state, &leaves.weights);
    assert_eq!(
        matches!(state.memory, Memory::Matrix(_)),
        form == Form::Matrix
    );
    let hidden = state.hidden.clone();
    let memory = state.memory.into_matrix(&hidden, options);
    let loss = (output.clone() * leaves.on_output.clone()).sum()
        + (memory.clone() * leaves.on_memory.clone()).sum()
        + hidden.clone().sum();
    let gradients = loss.backward();
    let mut all = alloc::vec![
        output.flatten(0, 2),
        hidden.flatten(0, 1),
        memory.flatten(0, 2)
    ];
    fn gradient<const D: usize>(leaf: &Tensor<D>, gradients: &Gradients) -> Tensor<1> {
        let gradient = leaf.grad(gradients);
        gradient
            .unwrap_or_else(|| leaf.clone().inner().zeros_like())
            .flatten(0, D - 1)
    }
    all.push(gradient(&leaves.input, &gradients));
    all.push(gradient(&leaves.hidden, &gradients));
    all.extend(leaves.start.iter().map(|start| gradient(start, &gradients)));
    let weights = &leaves.weights;
    all.push(gradient(&weights.input, &gradients));
    all.push(gradient(&weights.hidden, &gradients));
    all.push(gradient(&weights.bias, &gradients));
    if let Some(norm) = &weights.norm {
        all.push(gradient(&norm.gain, &gradients));
        all.push(gradient(&norm.bias, &gradients));
    }
    all
}

struct Leaves {
    input: Tensor<3>,
    hidden: Tensor<2>,
    start: Option<Tensor<3>>,
    weights: Weights,
    on_output: Tensor<3>,
    on_memory: Tensor<3>,
}

impl Leaves {
    fn new(seq_length: usize, start: Start, is_normalised: bool, device: &Device) -> Self {
        let square = [BATCH_SIZE, D_HIDDEN, D_HIDDEN];
        let mut random = Random(ChaCha8Rng::seed_from_u64(seq_length as u64), device);
        let general = random.leaf(square, 0.5).detach();
        let start = match start {
            Start::Nothing => None,
            Start::General => Some(general.require_grad()),
            Start::Symmetric => Some(
                (general.clone() + general.swap_dims(1, 2))
                    .detach()
                    .require_grad(),
            ),
        };
        Leaves {
            input: random.leaf([BATCH_SIZE, seq_length, D_INPUT], 1.0),
            hidden: random.leaf([BATCH_SIZE, D_HIDDEN], 1.0),
            start,
            weights: Weights {
                input: random.leaf([D_INPUT, D_HIDDEN], 1.0),
                hidden: random.leaf([D_HIDDEN, D_HIDDEN], 0.2),
                bias: random.leaf([D_HIDDEN], 1.0),
                norm: is_normalised.then(|| Norm {
                    gain: random.leaf([D_HIDDEN], 1.0),
                    bias: random.leaf([D_HIDDEN], 1.0),
                    epsilon: 1e-5,
                }),
            },
            on_output: random
                .leaf([BATCH_SIZE, seq_length, D_HIDDEN], 1.0)
                .detach(),
            on_memory: random.leaf(square, 1.0).detach(),
        }
    }
}

/// One variant of the options against the composed form, on every instruction set in chunks of every length.
fn check(options: Options, is_normalised: bool) {
    let device = Device::flex().autodiff();
    for (seq_length, chunks) in [(1, &[1][..]), (7, &[1, 2, 7]), (21, &[4, 16, 21])] {
        for start in [Start::Nothing, Start::Symmetric, Start::General] {
            let leaves = Leaves::new(seq_length, start, is_normalised, &device);
            for form in [Form::Matrix, Form::Attention] {
                let expected = results(&leaves, &options, form, |input, state, weights| {
                    let path = Path::Composed;
                    super::super::fast_weights(input, state, weights, &options, form, path)
                });
                for arch in architectures() {
                    for &chunk in chunks {
                        let actual = results(&leaves, &options, form, |input, state, weights| {
                            let input = Input::Raw(input);
                            run(input, state, weights, &options, form, (arch, chunk))
                        });
                        let case = alloc::format!(
                            "{options:?}, {form:?}, {start:?}, T = {seq_length}, {arch:?}, chunk {chunk}"
                        );
                        assert_same(&actual, &expected, &case);
                    }
                }
            }
        }
    }
}

fn assert_same(actual: &[Tensor<1>], expected: &[Tensor<1>], case: &str) {
    assert_eq!(actual.len(), expected.len());
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let square = |tensor: Tensor<1>| (tensor.clone() * tensor).sum().into_scalar::<f64>();
        let difference = square(actual.clone().inner() - expected.clone().inner()).sqrt();
        let scale = square(expected.clone().inner()).sqrt();
        assert!(
            difference <= 1e-10 * scale,
            "result {index} of {case}: {difference:e} beside {scale:e}"
        );
    }
}

fn options(inner_steps: usize) -> Options {
    Options {
        decay: 0.9,
        fast_learning_rate: 0.2,
        inner_steps,
        write: Write::Final,
        activation: Activation::Relu,
        normalize_preliminary: false,
    }
}

#[test]
fn chunks_of_any_length_equal_the_composed_form_on_every_instruction_set() {
    check(options(1), true);
}

#[test]
fn so_do_several_inner_steps_and_none() {
    check(options(3), true);
    check(options(0), true);
}

#[test]
fn so_does_the_early_write_with_both_states_normalised() {
    let options = Options {
        write: Write::Preliminary,
        normalize_preliminary: true,
        ..options(2)
    };
    check(options, true);
}

#[test]
fn so_does_the_early_write_without_inner_steps() {
    let options = Options {
        write: Write::Preliminary,
        ..options(0)
    };
    check(options, true);
}

#[test]
fn so_does_the_form_without_normalisation() {
    let options = Options {
        activation: Activation::Tanh,
        decay: 0.5,
        fast_learning_rate: 0.05,
        ..options(1)
    };
    check(options, false);
}

#[test]
fn a_projected_input_gives_what_the_input_gives() {
    let device = Device::flex().autodiff();
    let options = options(1);
    let leaves = Leaves::new(7, Start::Nothing, true, &device);
    for path in [Path::Composed, Path::Fused] {
        let expected = results(
            &leaves,
            &options,
            Form::Attention,
            |input, state, weights| {
                super::super::fast_weights(input, state, weights, &options, Form::Attention, path)
            },
        );
        let actual = results(
            &leaves,
            &options,
            Form::Attention,
            |input, state, weights| {
                let projected = weights.project(input);
                super::super::fast_weights_projected(
                    projected,
                    state,
                    weights,
                    &options,
                    Form::Attention,
                    path,
                )
            },
        );
        assert_same(&actual, &expected, &alloc::format!("{path:?}"));
    }
}

/// The documentation of `cpu` states what is kept; the composed form keeps a matrix a step.
#[test]
fn the_tape_of_5000_steps_holds_what_is_stated_and_no_more() {
    const SEQ_LENGTH: usize = 5_000;
    const WIDTH: usize = 64;
    let zeros = alloc::vec![0.0_f32; SEQ_LENGTH * WIDTH];
    let options = options(1);
    let chunk = cpu::chunk_length(SEQ_LENGTH, WIDTH, 1);
    let square = &zeros[..WIDTH * WIDTH];
    let problem = Problem {
        batch_size: 1,
        seq_length: SEQ_LENGTH,
        d_hidden: WIDTH,
        options: &options,
        chunk,
        input: &zeros,
        projection: None,
        hidden: &zeros[..WIDTH],
        start: None,
        w_hidden: square,
        norm: Some((&zeros[..WIDTH], &zeros[..WIDTH], 1e-5)),
    };
    let mut output = zeros.clone();
    let outputs = Outputs {
        hidden: SharedMut::new(output.as_mut_ptr()),
        writes: None,
        memory: None,
    };
    // SAFETY: the output has room for every state.
    let tape = unsafe { cpu::forward(Arch::detect(), &problem, outputs, true) };
    let bytes = tape.expect("it was to be kept").bytes();
    let a_step = WIDTH + (WIDTH + 1) + chunk;
    let stated = SEQ_LENGTH * a_step + SEQ_LENGTH.div_ceil(chunk) * WIDTH * WIDTH;
    assert!(
        bytes <= 4 * stated,
        "{bytes} bytes; {} are stated",
        4 * stated
    );
    assert!(bytes * 10 < 4 * SEQ_LENGTH * WIDTH * WIDTH);
}

#[test]
fn sequences_of_5000_steps_have_the_same_gradients_in_chunks_of_other_lengths() {
    let device = Device::flex().autodiff();
    let options = options(1);
    let leaves = Leaves::new(5_000, Start::General, true, &device);
    let [first, second] = [32, 100].map(|chunk| {
        results(&leaves, &options, Form::Matrix, |input, state, weights| {
            let how = (Arch::detect(), chunk);
            run(
                Input::Raw(input),
                state,
                weights,
                &options,
                Form::Matrix,
                how,
            )
        })
    });
    assert_same(&first, &second, "5,000 steps");
    assert!(first.iter().all(|result| {
        let largest = result.clone().inner().abs().max().into_scalar::<f64>();
        largest.is_finite() && largest > 0.0
    }));
}

#[test]
#[should_panic(expected = "the hidden state has shape [5, 8]; it must be [5, 9]")]
fn a_state_of_another_width_is_refused() {
    let device = Device::flex();
    let leaves = Leaves::new(2, Start::Nothing, true, &device);
    let state = State {
        hidden: Tensor::zeros([BATCH_SIZE, 8], (&device, DType::F64)),
        memory: Memory::empty(),
    };
    let input = Input::Raw(leaves.input);
    fast_weights(input, state, &leaves.weights, &options(1), Form::Auto);
}

#[test]
#[should_panic(expected = "the projected input has shape [5, 2, 3]; it must be [5, 2, 9]")]
fn a_projected_input_of_another_width_is_refused() {
    let device = Device::flex();
    let leaves = Leaves::new(2, Start::Nothing, true, &device);
    let state = State {
        hidden: leaves.hidden,
        memory: Memory::empty(),
    };
    let input = Input::Projected(leaves.input);
    fast_weights(input, state, &leaves.weights, &options(1), Form::Auto);
}

#[test]
fn a_nan_in_the_input_is_a_nan_in_the_output() {
    let device = Device::flex();
    for activation in [Activation::Relu, Activation::Tanh] {
        let options = Options {
            activation,
            ..options(0)
        };
        let leaves = Leaves::new(1, Start::Nothing, false, &device);
        let state = State {
            hidden: leaves.hidden,
            memory: Memory::empty(),
        };
        let input = Input::Raw(leaves.input * f64::NAN);
        let (output, _) = fast_weights(input, state, &leaves.weights, &options, Form::Auto);
        assert!(output.is_nan().all().into_scalar::<bool>());
    }
}
