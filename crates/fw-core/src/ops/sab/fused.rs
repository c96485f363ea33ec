//! The whole sequence as one operation with its own backward pass, on the backends that have a kernel.

use alloc::vec;
use alloc::vec::Vec;

use burn::backend::autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType, Flex, backend_extension};
use burn::tensor::Tensor;

use super::cpu::{self, Problem, Tape, Wanted};
use super::{CellKind, FusedCell, Options, Run, Score, Scoring, check_shapes};
use crate::ops::cpu::{Arch, Real, SharedMut, arch};
use crate::ops::fused::{self, Input, Kernel};

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
    run_on(arch(), projected, cell, memories, scoring, options, run)
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
    let (dtype, row) = (projected.dtype(), [batch_size, d_hidden]);
    let memories = memories.filter(|_| scoring.is_some());
    check_shapes(&projected, &cell, memories.as_ref(), scoring);
    let d_attention = scoring.map_or(0, |scoring| scoring.query.dims()[1]);
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
    if !cell.kind.has_cell() {
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
        fused::run(&plan, inputs.into_array())
    }
}

impl<C: CheckpointStrategy> FusedSab for Autodiff<Flex, C> {
    fn sab(inputs: Inputs<Self>, plan: Plan) -> FloatTensor<Self> {
        fused::run_tracked::<_, C, 9>(plan, inputs.into_array())
    }
}

impl<B: Backend> Inputs<B> {
    fn into_array(self) -> [FloatTensor<B>; 9] {
        [
            self.projected,
            self.hidden,
            self.cell,
            self.memories,
            self.w_hidden,
            self.bias,
            self.w_query,
            self.w_key,
            self.v,
        ]
    }
}

impl Plan {
    fn problem<'a, T: Real>(&'a self, inputs: [Input<'a, T>; 9]) -> Problem<'a, T> {
        let [batch_size, seq_length] = [0, 1].map(|dimension| inputs[0].dim(dimension));
        let d_hidden = inputs[1].dim(1);
        let [
            projected,
            hidden,
            cell,
            memories,
            w_hidden,
            bias,
            w_query,
            w_key,
            v,
        ] = inputs.map(|input| input.numbers);
        Problem {
            batch_size,
            seq_length,
            d_hidden,
            d_attention: self.d_attention,
            kind: self.kind,
            score: self.score,
            options: &self.options,
            first_step: self.run.first_step,
            yields_summary: self.run.yields_summary,
            projected,
            hidden,
            cell,
            memories,
            w_hidden,
            bias,
            w_query,
            w_key,
            v,
        }
    }
}

impl Kernel<9> for Plan {
    type Tape<T: Real> = Tape<T>;

    fn forward<T: Real>(
        &self,
        inputs: [Input<T>; 9],
        keep: bool,
    ) -> (Vec<T>, Vec<usize>, Option<Tape<T>>) {
        let problem = self.problem(inputs);
        let width = problem.d_hidden * (1 + usize::from(problem.yields_summary));
        let rows = problem.batch_size * problem.seq_length * width;
        let len = rows + problem.cell.len();
        let mut results: Vec<T> = Vec::with_capacity(len);
        // SAFETY: the architecture is one that the machine has; all of the results are written.
        let tape = unsafe {
            let output = SharedMut::new(results.as_mut_ptr());
            let tape = cpu::forward(self.arch, &problem, output, keep);
            results.set_len(len);
            tape
        };
        let shape = match problem.kind.has_cell() {
            true => vec![len],
            false => vec![problem.batch_size, problem.seq_length, width],
        };
        (results, shape, tape)
    }

    fn backward<T: Real>(
        &self,
        inputs: [Input<T>; 9],
        tape: &Tape<T>,
        _output: Option<&[T]>,
        slopes: &[T],
        is_wanted: [bool; 9],
    ) -> [Vec<T>; 9] {
        let wanted = Wanted {
            projected: is_wanted[0],
            memories: is_wanted[3],
        };
        let gradients = cpu::backward(&self.problem(inputs), tape, slopes, wanted);
        [
            gradients.projected,
            gradients.hidden,
            gradients.cell,
            gradients.memories,
            gradients.w_hidden,
            gradients.bias,
            gradients.w_query,
            gradients.w_key,
            gradients.v,
        ]
    }
}

#[cfg(test)]
mod tests;
