//! The whole sequence as one operation with its own backward pass, on the backends that have a kernel.

use alloc::sync::Arc;
use alloc::vec::Vec;

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Backend, Dispatch, DispatchDevice, ExtensionType, Flex, TensorMetadata, backend_extension,
};
use burn::tensor::{DType, Device, Tensor, TensorData};

use super::cpu::{self, Cotangents, Outputs, Problem, Tape, Wanted};
use super::{Form, Input, Memory, Options, State, Weights, Write};
use crate::ops::cpu::{Arch, Real, SharedMut};

/// Whether there is a kernel for this device and type.
pub(super) fn is_available(device: &Device, dtype: DType) -> bool {
    let device = device.as_dispatch().clone().inner();
    matches!(device, DispatchDevice::Flex(_)) && matches!(dtype, DType::F32 | DType::F64)
}

/// Fast weights over a whole sequence by the kernel.
#[track_caller]
pub(super) fn fast_weights(
    input: Input,
    state: State,
    weights: &Weights,
    options: &Options,
    form: Form,
) -> (Tensor<3>, State) {
    let [_, seq_length, _] = input.tensor().dims();
    let [_, d_hidden] = state.hidden.dims();
    let chunk = cpu::chunk_length(seq_length, d_hidden, options.inner_steps);
    run(
        input,
        state,
        weights,
        options,
        form,
        (Arch::detect(), chunk),
    )
}

/// Panics unless every tensor has the shape and the type that the kernel relies on.
#[track_caller]
fn check_shapes(input: &Input, state: &State, weights: &Weights) {
    let [batch_size, seq_length, width] = input.tensor().dims();
    let d_hidden = weights.hidden.dims()[0];
    assert!(
        batch_size > 0 && seq_length > 0 && d_hidden > 0,
        "batch_size, seq_length and d_hidden are {batch_size}, {seq_length} and {d_hidden}; each must be at least 1"
    );
    let dtype = input.tensor().dtype();
    #[track_caller]
    fn check<const D: usize>(name: &str, tensor: &Tensor<D>, expected: [usize; D], dtype: DType) {
        let actual = tensor.dims();
        assert!(
            actual == expected,
            "{name} has shape {actual:?}; it must be {expected:?}"
        );
        let actual = tensor.dtype();
        assert!(
            actual == dtype,
            "{name} is {actual:?}; the input is {dtype:?}"
        );
    }
    match input {
        Input::Raw(_) => {
            check(
                "the input's weight",
                &weights.input,
                [width, d_hidden],
                dtype,
            );
            check("the bias", &weights.bias, [d_hidden], dtype);
        }
        Input::Projected(projected) => {
            let expected = [batch_size, seq_length, d_hidden];
            check("the projected input", projected, expected, dtype);
        }
    }
    check(
        "the recurrent weight",
        &weights.hidden,
        [d_hidden, d_hidden],
        dtype,
    );
    if let Some(norm) = &weights.norm {
        check("the normalisation's gain", &norm.gain, [d_hidden], dtype);
        check("the normalisation's bias", &norm.bias, [d_hidden], dtype);
    }
    check(
        "the hidden state",
        &state.hidden,
        [batch_size, d_hidden],
        dtype,
    );
    let square = [batch_size, d_hidden, d_hidden];
    let (matrix, writes) = match &state.memory {
        Memory::Matrix(matrix) => (Some(matrix), None),
        Memory::History { start, writes } => (start.as_ref(), writes.as_ref()),
    };
    if let Some(matrix) = matrix {
        check("the memory", matrix, square, dtype);
    }
    if let Some(writes) = writes {
        let expected = [batch_size, writes.dims()[1], d_hidden];
        check("the history", writes, expected, dtype);
    }
}

/// The same with given instructions, which the machine must have, and chunks of a given length.
#[track_caller]
fn run(
    input: Input,
    state: State,
    weights: &Weights,
    options: &Options,
    form: Form,
    (arch, chunk): (Arch, usize),
) -> (Tensor<3>, State) {
    check_shapes(&input, &state, weights);
    let [batch_size, seq_length, _] = input.tensor().dims();
    let [_, d_hidden] = state.hidden.dims();
    let form = form.resolve(state.memory.written(), seq_length, d_hidden);
    let start = match state.memory {
        Memory::Matrix(start) => Some(start),
        Memory::History {
            start,
            writes: None,
        } => start,
        history => Some(history.into_matrix(&state.hidden, options)),
    };
    let plan = Plan {
        options: *options,
        epsilon: weights.norm.as_ref().map(|norm| norm.epsilon),
        has_start: start.is_some(),
        is_projected: matches!(input, Input::Projected(_)),
        arch,
        chunk,
        more: match (form, options.write) {
            (Form::Matrix, _) => More::Memory,
            (_, Write::Preliminary) => More::Writes,
            (_, Write::Final) => More::Nothing,
        },
    };
    let like = (input.tensor().device(), input.tensor().dtype());
    let nothing = || Tensor::<1>::empty([0], (&like.0, like.1)).into_dispatch();
    let (gain, norm_bias) = match &weights.norm {
        Some(norm) => (
            norm.gain.clone().into_dispatch(),
            norm.bias.clone().into_dispatch(),
        ),
        None => (nothing(), nothing()),
    };
    let (w_input, bias) = match &input {
        Input::Raw(_) => (
            weights.input.clone().into_dispatch(),
            weights.bias.clone().into_dispatch(),
        ),
        Input::Projected(_) => (nothing(), nothing()),
    };
    let inputs = Inputs {
        start: start.clone().map_or_else(nothing, Tensor::into_dispatch),
        hidden: state.hidden.into_dispatch(),
        w_input,
        bias,
        w_hidden: weights.hidden.clone().into_dispatch(),
        gain,
        norm_bias,
        input: input.into_tensor().into_dispatch(),
    };
    let results = <Dispatch as FusedFastWeights>::fast_weights(inputs, plan);

    let shape = [batch_size, seq_length, d_hidden];
    let numbers = batch_size * seq_length * d_hidden;
    let (output, memory) = match plan.more {
        More::Nothing => {
            let output = Tensor::<3>::from_dispatch(results);
            let writes = Some(output.clone());
            (output, Memory::History { start, writes })
        }
        More::Writes => {
            let [output, writes] = parts(results, numbers, shape, shape);
            let writes = Some(writes);
            (output, Memory::History { start, writes })
        }
        More::Memory => {
            let matrix = [batch_size, d_hidden, d_hidden];
            let [output, memory] = parts(results, numbers, shape, matrix);
            (output, Memory::Matrix(memory))
        }
    };
    let hidden = output
        .clone()
        .narrow(1, seq_length - 1, 1)
        .squeeze_dim::<2>(1);
    (output, State { hidden, memory })
}

/// The two tensors that an operation with one output has laid end to end.
fn parts(
    flat: burn::backend::DispatchTensor,
    first: usize,
    shape: [usize; 3],
    next: [usize; 3],
) -> [Tensor<3>; 2] {
    let flat = Tensor::<1>::from_dispatch(flat);
    let rest = flat.dims()[0] - first;
    [
        flat.clone().narrow(0, 0, first).reshape(shape),
        flat.narrow(0, first, rest).reshape(next),
    ]
}

/// What the operation is to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    options: Options,
    /// Of the normalisation, if there is one.
    epsilon: Option<f64>,
    has_start: bool,
    /// Whether the input is what the projection would yield.
    is_projected: bool,
    arch: Arch,
    chunk: usize,
    more: More,
}

/// What the operation yields after every h_t.
#[derive(Clone, Copy, Debug, PartialEq)]
enum More {
    Nothing,
    /// Every vector that was written.
    Writes,
    /// The last A.
    Memory,
}

/// The tensors that the operation reads; those that are not there have no elements.
#[derive(ExtensionType)]
pub struct Inputs<B: Backend> {
    input: FloatTensor<B>,
    hidden: FloatTensor<B>,
    start: FloatTensor<B>,
    w_input: FloatTensor<B>,
    bias: FloatTensor<B>,
    w_hidden: FloatTensor<B>,
    gain: FloatTensor<B>,
    norm_bias: FloatTensor<B>,
}

/// The operation, for each backend that has a kernel.
#[backend_extension(Autodiff, Flex)]
pub trait FusedFastWeights: Backend {
    /// Every h_t, `[batch_size, seq_length, d_hidden]`; if the plan asks for more, that in one row of numbers
    /// with what follows.
    fn fast_weights(#[extension_type] inputs: Inputs<Self>, plan: Plan) -> FloatTensor<Self>;
}

impl FusedFastWeights for Flex {
    fn fast_weights(inputs: Inputs<Self>, plan: Plan) -> FlexTensor {
        forward(&inputs.contiguous(), &plan, false).0
    }
}

impl<C: CheckpointStrategy> FusedFastWeights for Autodiff<Flex, C> {
    fn fast_weights(inputs: Inputs<Self>, plan: Plan) -> FloatTensor<Self> {
        let nodes = [
            inputs.input.node(),
            inputs.hidden.node(),
            inputs.start.node(),
            inputs.w_input.node(),
            inputs.bias.node(),
            inputs.w_hidden.node(),
            inputs.gain.node(),
            inputs.norm_bias.node(),
        ];
        let inputs = Inputs::<Flex> {
            input: inputs.input.into_primitive(),
            hidden: inputs.hidden.into_primitive(),
            start: inputs.start.into_primitive(),
            w_input: inputs.w_input.into_primitive(),
            bias: inputs.bias.into_primitive(),
            w_hidden: inputs.w_hidden.into_primitive(),
            gain: inputs.gain.into_primitive(),
            norm_bias: inputs.norm_bias.into_primitive(),
        }
        .contiguous();
        match FusedBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (output, tape) = forward(&inputs, &plan, true);
                let kept = Kept {
                    inputs: Arc::new(inputs),
                    plan,
                    output: output.clone(),
                    tape: Arc::new(tape.expect("a forward pass that keeps its tape has one")),
                };
                prep.finish(kept, output)
            }
            OpsKind::UnTracked(prep) => prep.finish(forward(&inputs, &plan, false).0),
        }
    }
}

/// The tape, in the type of the tensors.
#[derive(Debug)]
enum AnyTape {
    F32(Tape<f32>),
    F64(Tape<f64>),
}

/// What the backward pass reads.
#[derive(Clone, Debug)]
struct Kept {
    inputs: Arc<Inputs<Flex>>,
    plan: Plan,
    output: FlexTensor,
    tape: Arc<AnyTape>,
}

#[derive(Debug)]
struct FusedBackward;

impl Backward<Flex, 8> for FusedBackward {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 8>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let kept = ops.state;
        let wanted = Wanted {
            input: ops.parents[0].is_some(),
            start: kept.plan.has_start && ops.parents[2].is_some(),
        };
        let gradients = match &*kept.tape {
            AnyTape::F32(tape) => kept.backward(tape, &gradient, wanted),
            AnyTape::F64(tape) => kept.backward(tape, &gradient, wanted),
        };
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

impl Inputs<Flex> {
    fn contiguous(self) -> Self {
        Inputs {
            input: self.input.to_contiguous(),
            hidden: self.hidden.to_contiguous(),
            start: self.start.to_contiguous(),
            w_input: self.w_input.to_contiguous(),
            bias: self.bias.to_contiguous(),
            w_hidden: self.w_hidden.to_contiguous(),
            gain: self.gain.to_contiguous(),
            norm_bias: self.norm_bias.to_contiguous(),
        }
    }

    fn problem<'a, T: Real>(&'a self, plan: &'a Plan) -> Problem<'a, T> {
        let shape = self.input.shape();
        Problem {
            batch_size: shape[0],
            seq_length: shape[1],
            d_hidden: self.hidden.shape()[1],
            options: &plan.options,
            chunk: plan.chunk,
            input: numbers(&self.input),
            hidden: numbers(&self.hidden),
            start: plan.has_start.then(|| numbers(&self.start)),
            projection: (!plan.is_projected).then(|| (numbers(&self.w_input), numbers(&self.bias))),
            w_hidden: numbers(&self.w_hidden),
            norm: plan
                .epsilon
                .map(|epsilon| (numbers(&self.gain), numbers(&self.norm_bias), epsilon)),
        }
    }
}

impl core::fmt::Debug for Inputs<Flex> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_tuple("Inputs").field(&self.input).finish()
    }
}

fn numbers<T: Real>(tensor: &FlexTensor) -> &[T] {
    tensor
        .as_slice()
        .expect("made contiguous, and of the input's type")
}

fn forward(inputs: &Inputs<Flex>, plan: &Plan, keep: bool) -> (FlexTensor, Option<AnyTape>) {
    match inputs.input.dtype() {
        DType::F32 => {
            let (output, tape) = forward_as::<f32>(inputs, plan, keep);
            (output, tape.map(AnyTape::F32))
        }
        _ => {
            let (output, tape) = forward_as::<f64>(inputs, plan, keep);
            (output, tape.map(AnyTape::F64))
        }
    }
}

fn forward_as<T: Real>(
    inputs: &Inputs<Flex>,
    plan: &Plan,
    keep: bool,
) -> (FlexTensor, Option<Tape<T>>) {
    let problem = inputs.problem::<T>(plan);
    let Problem {
        batch_size,
        seq_length,
        d_hidden,
        ..
    } = problem;
    let states = batch_size * seq_length * d_hidden;
    let len = states
        + match plan.more {
            More::Nothing => 0,
            More::Writes => states,
            More::Memory => batch_size * d_hidden * d_hidden,
        };
    let mut results: Vec<T> = Vec::with_capacity(len);
    let hidden = SharedMut::new(results.as_mut_ptr());
    // SAFETY: within the capacity.
    let more = |kind| (plan.more == kind).then(|| SharedMut::new(unsafe { hidden.at(states) }));
    let outputs = Outputs {
        hidden,
        writes: more(More::Writes),
        memory: more(More::Memory),
    };
    // SAFETY: the architecture is one that the machine has; all of the results are written.
    let tape = unsafe {
        let tape = cpu::forward(plan.arch, &problem, outputs, keep);
        results.set_len(len);
        tape
    };
    let results = match plan.more {
        More::Nothing => TensorData::new(results, [batch_size, seq_length, d_hidden]),
        _ => TensorData::new(results, [len]),
    };
    (FlexTensor::from_data(results), tape)
}

impl Kept {
    /// The gradient for each input, in the order of [`Inputs`].
    fn backward<T: Real>(
        &self,
        tape: &Tape<T>,
        gradient: &FlexTensor,
        wanted: Wanted,
    ) -> [Option<FlexTensor>; 8] {
        let problem = self.inputs.problem::<T>(&self.plan);
        let states = problem.batch_size * problem.seq_length * problem.d_hidden;
        let (hidden, more) = numbers::<T>(gradient).split_at(states);
        let output = &numbers::<T>(&self.output)[..states];
        let cotangents = Cotangents {
            hidden,
            writes: (self.plan.more == More::Writes).then_some(more),
            memory: (self.plan.more == More::Memory).then_some(more),
        };
        let gradients = cpu::backward(&problem, tape, output, cotangents, wanted);
        let tensor = |gradient: Vec<T>, like: &FlexTensor| {
            // Those that were not wanted are empty.
            (!gradient.is_empty())
                .then(|| FlexTensor::from_data(TensorData::new(gradient, like.shape())))
        };
        let inputs = &*self.inputs;
        [
            tensor(gradients.input, &inputs.input),
            tensor(gradients.hidden, &inputs.hidden),
            tensor(gradients.start, &inputs.start),
            tensor(gradients.w_input, &inputs.w_input),
            tensor(gradients.bias, &inputs.bias),
            tensor(gradients.w_hidden, &inputs.w_hidden),
            tensor(gradients.gain, &inputs.gain),
            tensor(gradients.norm_bias, &inputs.norm_bias),
        ]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Gradients;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::{Norm, Path};
    use super::*;
    use crate::Activation;

    const BATCH_SIZE: usize = 5;
    const D_INPUT: usize = 3;
    /// Neither a whole vector nor less than one, for vectors of 2 to 8 numbers.
    const D_HIDDEN: usize = 9;

    /// Every instruction set that this machine has; `Scalar` is the portable path.
    fn architectures() -> Vec<Arch> {
        #[cfg(target_arch = "x86_64")]
        let all = [Arch::Scalar, Arch::V2, Arch::V3, Arch::V4];
        #[cfg(not(target_arch = "x86_64"))]
        let all = [Arch::Scalar, Arch::detect()];
        let best = Arch::detect() as u8;
        all.into_iter().filter(|arch| *arch as u8 <= best).collect()
    }

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
                            let actual =
                                results(&leaves, &options, form, |input, state, weights| {
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
                    super::super::fast_weights(
                        input,
                        state,
                        weights,
                        &options,
                        Form::Attention,
                        path,
                    )
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
}
