//! The whole sequence as one operation with its own backward pass, on the backends that have a kernel.

use alloc::vec;
use alloc::vec::Vec;

use burn::backend::{Dispatch, ExtensionType};
use burn::tensor::Tensor;

use super::cpu::{self, Problem, Tape};
use super::{CellKind, FusedCell, Options, Run, Score, Scoring, check_shapes};
use crate::ops::cpu::{Arch, Real, SharedMut, arch};
use crate::ops::operation::{Input, Kernel, on_flex, operand, operands};

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
    let row = [batch_size, d_hidden];
    let memories = memories.filter(|_| scoring.is_some());
    check_shapes(&projected, &cell, memories.as_ref(), scoring);
    let d_attention = scoring.map_or(0, |scoring| scoring.query.dims()[1]);
    let like = (projected.device(), projected.dtype());
    let inputs = Inputs {
        hidden: cell.hidden.into_dispatch(),
        cell: operand(cell.cell, &like),
        memories: operand(memories, &like),
        w_hidden: cell.w_hidden.into_dispatch(),
        bias: operand(cell.bias, &like),
        w_query: operand(scoring.map(|scoring| scoring.query.clone()), &like),
        w_key: operand(scoring.map(|scoring| scoring.key.clone()), &like),
        v: operand(scoring.and_then(|scoring| scoring.v.clone()), &like),
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
    let results = <Dispatch as FusedSab>::run(inputs, plan);

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

operands! {
    /// The tensors that the operation reads; those that are not there have no elements.
    #[derive(ExtensionType)]
    pub struct Inputs { projected, hidden, cell, memories, w_hidden, bias, w_query, w_key, v }
}

on_flex! {
    /// Every output row, `[batch_size, seq_length, width]`; for an LSTM that and the last c in one row of numbers.
    FusedSab: Plan
}

impl Plan {
    fn problem<'a, T: Real>(&'a self, inputs: &Each<Input<'a, T>>) -> Problem<'a, T> {
        Problem {
            batch_size: inputs.projected.dim(0),
            seq_length: inputs.projected.dim(1),
            d_hidden: inputs.hidden.dim(1),
            d_attention: self.d_attention,
            kind: self.kind,
            score: self.score,
            options: &self.options,
            first_step: self.run.first_step,
            yields_summary: self.run.yields_summary,
            projected: inputs.projected.numbers,
            hidden: inputs.hidden.numbers,
            cell: inputs.cell.numbers,
            memories: inputs.memories.numbers,
            w_hidden: inputs.w_hidden.numbers,
            bias: inputs.bias.numbers,
            w_query: inputs.w_query.numbers,
            w_key: inputs.w_key.numbers,
            v: inputs.v.numbers,
        }
    }
}

impl Kernel<COUNT> for Plan {
    type Operands = Names;
    type Tape<T: Real> = Tape<T>;

    fn forward<T: Real>(
        &self,
        inputs: Each<Input<T>>,
        keep: bool,
    ) -> (Vec<T>, Vec<usize>, Option<Tape<T>>) {
        let problem = self.problem(&inputs);
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
        inputs: Each<Input<T>>,
        tape: &Tape<T>,
        _output: Option<&[T]>,
        slopes: &[T],
        wanted: Each<bool>,
    ) -> Each<Vec<T>> {
        cpu::backward(&self.problem(&inputs), tape, slopes, wanted).0
    }
}

#[cfg(test)]
mod tests;
