//! Whole sequences as one operation with its own backward pass, on the backends that have a kernel.

use alloc::vec;
use alloc::vec::Vec;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use super::cpu::{self, Problem, Tape};
use super::operation::{COUNT, Each, Inputs, Names, output_and_cell};
use super::{CellKind, FusedCell, Options, Recall, Score};
use crate::ops::Spans;
use crate::ops::cpu::{Arch, Real, Written, arch};
use crate::ops::operation::{Kernel, Place, Slopes, Sources, View, Yield, on_flex};

/// The sequences by the kernel: see [`by_kernel`](super::by_kernel).
///
/// # Panics
/// If a shape does not fit.
#[track_caller]
pub(crate) fn sequence(
    projected: &Tensor<3>,
    cell: &FusedCell,
    recall: Recall,
    spans: &Spans,
) -> (Tensor<3>, Option<Tensor<2>>) {
    run_on(arch(), projected, cell, recall, spans)
}

/// The same with given instructions, which the machine must have.
#[track_caller]
fn run_on(
    arch: Arch,
    projected: &Tensor<3>,
    cell: &FusedCell,
    recall: Recall,
    spans: &Spans,
) -> (Tensor<3>, Option<Tensor<2>>) {
    let inputs = Inputs::new(projected, cell, recall, spans, Place::on_flex(projected));
    let request = Request {
        spans: spans.clone(),
        options: *recall.options,
        kind: cell.kind,
        score: recall.scoring.map_or(Score::Mlp, |scoring| scoring.score),
        d_attention: recall.scoring.map_or(0, |scoring| scoring.query.dims()[1]),
        first_step: recall.first_step,
        yields_summary: recall.yields_summary,
        arch,
    };
    let results = <Dispatch as FusedSab>::run(inputs, request);
    let results = Tensor::<1>::from_dispatch(results);
    output_and_cell(results, spans, cell, recall.yields_summary)
}

/// What the operation is to do.
#[derive(Clone, Debug)]
pub struct Request {
    spans: Spans,
    options: Options,
    kind: CellKind,
    score: Score,
    d_attention: usize,
    first_step: usize,
    yields_summary: bool,
    arch: Arch,
}

on_flex! {
    /// Every output row, then the last c of an LSTM that are asked for, in one row of numbers.
    FusedSab: Request
}

impl Request {
    fn problem<'a, T: Real>(&'a self, inputs: &Each<View<'a, T>>) -> Problem<'a, T> {
        Problem {
            spans: &self.spans,
            d_hidden: inputs.hidden.dim(1),
            d_attention: self.d_attention,
            kind: self.kind,
            score: self.score,
            options: &self.options,
            first_step: self.first_step,
            yields_summary: self.yields_summary,
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

impl Kernel<COUNT> for Request {
    type Operands = Names;
    type Tape<T: Real> = Tape<T>;

    fn forward<T: Real>(&self, inputs: Each<View<T>>, keep: bool) -> Yield<T, Tape<T>> {
        let problem = self.problem(&inputs);
        let Each {
            w_hidden,
            bias,
            w_query,
            w_key,
            v,
            ..
        } = inputs;
        let sources = Sources::new(&[w_hidden, bias, w_query, w_key, v], !keep);
        let width = problem.d_hidden * (1 + usize::from(problem.yields_summary));
        let carried = self.kind.n_carried() * problem.d_hidden;
        let len = self.spans.n_rows() * width + self.spans.n_ends() * carried;
        let mut results = Written::new(len, true);
        // SAFETY: the architecture is one that the machine has; all of the results are written.
        let (tape, results) = unsafe {
            let tape = cpu::forward(self.arch, &problem, &sources, results.place(), keep);
            (tape, results.finish())
        };
        Yield::one(results, vec![len], tape)
    }

    fn backward<T: Real>(
        &self,
        inputs: Each<View<T>>,
        tape: &Tape<T>,
        _output: Option<&[T]>,
        slopes: Slopes<T>,
        wanted: Each<bool>,
    ) -> Each<Vec<T>> {
        cpu::backward(&self.problem(&inputs), tape, slopes.output, wanted).0
    }
}

#[cfg(test)]
mod tests;
