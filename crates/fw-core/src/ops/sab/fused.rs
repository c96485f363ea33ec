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

use super::cpu::{self, Problem, Tape, Wanted};
use super::{CellKind, FusedCell, Options, Score, Scoring};
use crate::ops::cpu::{Arch, Real, SharedMut};

/// Whether there is a kernel for this device and type.
pub(crate) fn is_available(device: &Device, dtype: DType) -> bool {
    let device = device.as_dispatch().clone().inner();
    matches!(device, DispatchDevice::Flex(_)) && matches!(dtype, DType::F32 | DType::F64)
}

/// Where a sequence begins, and what is put out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Steps before this sequence.
    pub first_step: usize,
    /// Whether a row of the output is `[h_t ; s_t]`, not h_t alone.
    pub yields_summary: bool,
}

/// The sequence by the kernel: the output `[batch_size, seq_length, d_hidden or twice that]`, and the last c of an LSTM.
///
/// # Panics
/// If a shape does not fit.
#[track_caller]
pub(crate) fn sequence(
    projected: Tensor<3>,
    cell: FusedCell,
    memories: Option<Tensor<3>>,
    scoring: Option<&Scoring>,
    options: &Options,
    run: Run,
) -> (Tensor<3>, Option<Tensor<2>>) {
    run_on(
        Arch::detect(),
        projected,
        cell,
        memories,
        scoring,
        options,
        run,
    )
}

/// Panics unless a tensor has the shape and the type that the kernel relies on.
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

/// The same with given instructions, which the machine must have.
#[track_caller]
fn run_on(
    arch: Arch,
    projected: Tensor<3>,
    cell: FusedCell,
    memories: Option<Tensor<3>>,
    scoring: Option<&Scoring>,
    options: &Options,
    run: Run,
) -> (Tensor<3>, Option<Tensor<2>>) {
    let [batch_size, seq_length, _] = projected.dims();
    let [d_hidden, _] = cell.w_hidden.dims();
    assert!(
        batch_size > 0 && seq_length > 0 && d_hidden > 0,
        "batch_size, seq_length and d_hidden are {batch_size}, {seq_length} and {d_hidden}; each must be at least 1"
    );
    let dtype = projected.dtype();
    let gates = cell.kind.n_gates() * d_hidden;
    check(
        "the projected input",
        &projected,
        [batch_size, seq_length, gates],
        dtype,
    );
    check(
        "the recurrent weight",
        &cell.w_hidden,
        [d_hidden, gates],
        dtype,
    );
    let row = [batch_size, d_hidden];
    check("the hidden state", &cell.hidden, row, dtype);
    match cell.kind {
        CellKind::Lstm => {
            let carried = cell.cell.as_ref().expect("an LSTM has a cell's state");
            check("the cell's state", carried, row, dtype);
        }
        CellKind::Gru => {
            let bias = cell.bias.as_ref().expect("a GRU has a recurrent bias");
            check("the recurrent bias", bias, [gates], dtype);
        }
    }
    let d_attention = scoring.map_or(0, |scoring| scoring.query.dims()[1]);
    if let Some(scoring) = scoring {
        let fits = match scoring.score {
            Score::Released => d_attention == 1,
            Score::Mlp | Score::ScaledDot => d_attention >= 1,
        };
        assert!(
            fits && scoring.v.is_some() == (scoring.score == Score::Mlp),
            "the score is {:?}, with d_attention {d_attention} and {} v; as released it is 1 wide, and the multilayer perceptron \
             alone has a v",
            scoring.score,
            if scoring.v.is_some() { "a" } else { "no" }
        );
        let shape = [d_hidden, d_attention];
        check("the query's weight", &scoring.query, shape, dtype);
        check("the key's weight", &scoring.key, shape, dtype);
        if let Some(v) = &scoring.v {
            check("v", v, [d_attention], dtype);
        }
    }
    let memories = memories.filter(|_| scoring.is_some());
    if let Some(memories) = &memories {
        let n = memories.dims()[1];
        check("the memories", memories, [batch_size, n, d_hidden], dtype);
    }

    let device = projected.device();
    let nothing = || Tensor::<1>::empty([0], (&device, dtype)).into_dispatch();
    let inputs = Inputs {
        hidden: cell.hidden.into_dispatch(),
        cell: cell.cell.map_or_else(nothing, Tensor::into_dispatch),
        memories: memories.map_or_else(nothing, Tensor::into_dispatch),
        w_hidden: cell.w_hidden.into_dispatch(),
        bias: cell.bias.map_or_else(nothing, Tensor::into_dispatch),
        w_query: scoring.map_or_else(nothing, |scoring| scoring.query.clone().into_dispatch()),
        w_key: scoring.map_or_else(nothing, |scoring| scoring.key.clone().into_dispatch()),
        v: scoring
            .and_then(|scoring| scoring.v.clone())
            .map_or_else(nothing, Tensor::into_dispatch),
        projected: projected.into_dispatch(),
    };
    let plan = Plan {
        options: *options,
        kind: cell.kind,
        score: scoring.map_or(Score::Mlp, |scoring| scoring.score),
        d_attention,
        run,
        arch,
    };
    let results = <Dispatch as FusedSab>::sab(inputs, plan);

    let width = d_hidden * (1 + usize::from(run.yields_summary));
    let shape = [batch_size, seq_length, width];
    if cell.kind == CellKind::Gru {
        return (Tensor::from_dispatch(results), None);
    }
    let flat = Tensor::<1>::from_dispatch(results);
    let numbers = batch_size * seq_length * width;
    let last = flat.clone().narrow(0, numbers, batch_size * d_hidden);
    (
        flat.narrow(0, 0, numbers).reshape(shape),
        Some(last.reshape(row)),
    )
}

/// What the operation is to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    options: Options,
    kind: CellKind,
    score: Score,
    d_attention: usize,
    run: Run,
    arch: Arch,
}

/// The tensors that the operation reads; those that are not there have no elements.
#[derive(ExtensionType)]
pub struct Inputs<B: Backend> {
    projected: FloatTensor<B>,
    hidden: FloatTensor<B>,
    cell: FloatTensor<B>,
    memories: FloatTensor<B>,
    w_hidden: FloatTensor<B>,
    bias: FloatTensor<B>,
    w_query: FloatTensor<B>,
    w_key: FloatTensor<B>,
    v: FloatTensor<B>,
}

/// The operation, for each backend that has a kernel.
#[backend_extension(Autodiff, Flex)]
pub trait FusedSab: Backend {
    /// Every output row, `[batch_size, seq_length, width]`; for an LSTM that and the last c in one row of numbers.
    fn sab(#[extension_type] inputs: Inputs<Self>, plan: Plan) -> FloatTensor<Self>;
}

impl FusedSab for Flex {
    fn sab(inputs: Inputs<Self>, plan: Plan) -> FlexTensor {
        forward(&inputs.contiguous(), &plan, false).0
    }
}

impl<C: CheckpointStrategy> FusedSab for Autodiff<Flex, C> {
    fn sab(inputs: Inputs<Self>, plan: Plan) -> FloatTensor<Self> {
        let nodes = [
            inputs.projected.node(),
            inputs.hidden.node(),
            inputs.cell.node(),
            inputs.memories.node(),
            inputs.w_hidden.node(),
            inputs.bias.node(),
            inputs.w_query.node(),
            inputs.w_key.node(),
            inputs.v.node(),
        ];
        let inputs = Inputs::<Flex> {
            projected: inputs.projected.into_primitive(),
            hidden: inputs.hidden.into_primitive(),
            cell: inputs.cell.into_primitive(),
            memories: inputs.memories.into_primitive(),
            w_hidden: inputs.w_hidden.into_primitive(),
            bias: inputs.bias.into_primitive(),
            w_query: inputs.w_query.into_primitive(),
            w_key: inputs.w_key.into_primitive(),
            v: inputs.v.into_primitive(),
        }
        .contiguous();
        match SabBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (output, tape) = forward(&inputs, &plan, true);
                let kept = Kept {
                    inputs: Arc::new(inputs),
                    plan,
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
    tape: Arc<AnyTape>,
}

#[derive(Debug)]
struct SabBackward;

impl Backward<Flex, 9> for SabBackward {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 9>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let kept = ops.state;
        let wanted = Wanted {
            projected: ops.parents[0].is_some(),
            memories: ops.parents[3].is_some(),
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
            projected: self.projected.to_contiguous(),
            hidden: self.hidden.to_contiguous(),
            cell: self.cell.to_contiguous(),
            memories: self.memories.to_contiguous(),
            w_hidden: self.w_hidden.to_contiguous(),
            bias: self.bias.to_contiguous(),
            w_query: self.w_query.to_contiguous(),
            w_key: self.w_key.to_contiguous(),
            v: self.v.to_contiguous(),
        }
    }

    fn problem<'a, T: Real>(&'a self, plan: &'a Plan) -> Problem<'a, T> {
        let shape = self.projected.shape();
        Problem {
            batch_size: shape[0],
            seq_length: shape[1],
            d_hidden: self.hidden.shape()[1],
            d_attention: plan.d_attention,
            kind: plan.kind,
            score: plan.score,
            options: &plan.options,
            first_step: plan.run.first_step,
            yields_summary: plan.run.yields_summary,
            projected: numbers(&self.projected),
            hidden: numbers(&self.hidden),
            cell: numbers(&self.cell),
            memories: numbers(&self.memories),
            w_hidden: numbers(&self.w_hidden),
            bias: numbers(&self.bias),
            w_query: numbers(&self.w_query),
            w_key: numbers(&self.w_key),
            v: numbers(&self.v),
        }
    }
}

impl core::fmt::Debug for Inputs<Flex> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter
            .debug_tuple("Inputs")
            .field(&self.projected)
            .finish()
    }
}

fn numbers<T: Real>(tensor: &FlexTensor) -> &[T] {
    tensor
        .as_slice()
        .expect("made contiguous, and of the input's type")
}

fn forward(inputs: &Inputs<Flex>, plan: &Plan, keep: bool) -> (FlexTensor, Option<AnyTape>) {
    match inputs.projected.dtype() {
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
    let width = problem.d_hidden * (1 + usize::from(problem.yields_summary));
    let rows = problem.batch_size * problem.seq_length * width;
    let len = rows + problem.cell.len();
    let mut results: Vec<T> = Vec::with_capacity(len);
    // SAFETY: the architecture is one that the machine has; all of the results are written.
    let tape = unsafe {
        let output = SharedMut::new(results.as_mut_ptr());
        let tape = cpu::forward(plan.arch, &problem, output, keep);
        results.set_len(len);
        tape
    };
    let results = match problem.kind {
        CellKind::Gru => TensorData::new(results, [problem.batch_size, problem.seq_length, width]),
        CellKind::Lstm => TensorData::new(results, [len]),
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
    ) -> [Option<FlexTensor>; 9] {
        let problem = self.inputs.problem::<T>(&self.plan);
        let gradients = cpu::backward(&problem, tape, numbers(gradient), wanted);
        let tensor = |gradient: Vec<T>, like: &FlexTensor| {
            // Those that were not wanted are empty.
            (!gradient.is_empty())
                .then(|| FlexTensor::from_data(TensorData::new(gradient, like.shape())))
        };
        let inputs = &*self.inputs;
        [
            tensor(gradients.projected, &inputs.projected),
            tensor(gradients.hidden, &inputs.hidden),
            tensor(gradients.cell, &inputs.cell),
            tensor(gradients.memories, &inputs.memories),
            tensor(gradients.w_hidden, &inputs.w_hidden),
            tensor(gradients.bias, &inputs.bias),
            tensor(gradients.w_query, &inputs.w_query),
            tensor(gradients.w_key, &inputs.w_key),
            tensor(gradients.v, &inputs.v),
        ]
    }
}

#[cfg(test)]
mod tests;
