//! The whole sequence in one launch on a GPU: CubeCL kernels, one source for wgpu and CUDA.

mod backward;
mod forward;
mod gradients;
mod launch;
mod plan;
mod steps;

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType};
use burn::tensor::Tensor;

use super::{FusedCell, Options, Run, Scoring, check_shapes};
use crate::ops::cube::{hardware, operand, single, spec};
use crate::ops::operation::{on_cube, operands};
use plan::{Lengths, Plan};

/// The sequence by the kernel: the output `[batch_size, seq_length, d_hidden or twice that]`, and the last c of an LSTM; nothing,
/// where there is no kernel. Everything is computed in f32, and comes back in the input's type.
pub(crate) fn sequence(
    projected: &Tensor<3>,
    cell: &FusedCell,
    memories: Option<&Tensor<3>>,
    scoring: Option<&Scoring>,
    options: &Options,
    run: Run,
) -> Option<(Tensor<3>, Option<Tensor<2>>)> {
    let (device, dtype) = (projected.device(), projected.dtype());
    let [batch_size, seq_length, _] = projected.dims();
    let [d_hidden, _] = cell.w_hidden.dims();
    let hardware = hardware(&device, dtype, batch_size)?;
    let scoring = scoring.filter(|_| options.top_k != Some(0));
    let memories = memories.filter(|_| scoring.is_some());
    check_shapes(projected, cell, memories, scoring);
    let attention = scoring.map(|scoring| (scoring.query.dims()[1], scoring.score));
    let plan = Plan::new(
        cell.kind,
        d_hidden,
        attention,
        options,
        run.yields_summary,
        &hardware,
    )?;
    let n_given = memories.map_or(0, |memories| memories.dims()[1]);
    let n_stored = (0..seq_length)
        .filter(|t| options.is_stored_after(run.first_step + t + 1))
        .count();
    let n_memories = n_given + n_stored;
    let request = Request {
        plan,
        n_given,
        n_memories,
        slots: match options.top_k {
            // And the one that may give the threshold.
            Some(top_k) => n_memories.min(top_k.saturating_add(1)),
            None => n_memories,
        },
        first_step: run.first_step,
    };
    let of_scoring =
        |part: fn(&Scoring) -> Option<Tensor<2>>| operand(scoring.and_then(part).as_ref(), &device);
    let inputs = Inputs {
        projected: single(projected),
        hidden: single(&cell.hidden),
        cell: operand(cell.cell.as_ref(), &device),
        memories: operand(memories, &device),
        w_hidden: single(&cell.w_hidden),
        bias: operand(cell.bias.as_ref(), &device),
        w_query: of_scoring(|scoring| Some(scoring.query.clone())),
        w_key: of_scoring(|scoring| Some(scoring.key.clone())),
        v: of_scoring(|scoring| scoring.v.clone().map(Tensor::unsqueeze)),
    };
    let results = <Dispatch as SabOnCube>::sab(inputs, request);
    let results = Tensor::<1>::from_dispatch(results).cast(dtype);
    let width = plan.d_output();
    let numbers = batch_size * seq_length * width;
    let output = results.clone().narrow(0, 0, numbers);
    let last = cell.kind.has_cell().then(|| {
        let last = results.narrow(0, numbers, batch_size * d_hidden);
        last.reshape([batch_size, d_hidden])
    });
    Some((output.reshape([batch_size, seq_length, width]), last))
}

/// What the operation is to do.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    plan: Plan,
    n_given: usize,
    n_memories: usize,
    slots: usize,
    first_step: usize,
}

impl Request {
    /// The same, keeping what the backward pass reads.
    fn keeping(mut self) -> Self {
        self.plan.keeps = true;
        self
    }

    fn lengths(&self, batch_size: usize, seq_length: usize) -> Lengths {
        Lengths {
            batch_size,
            seq_length,
            n_memories: self.n_memories,
            slots: self.slots,
        }
    }
}

operands! {
    /// The tensors that the operation reads; those that are not there have one element.
    #[derive(Clone, Debug, ExtensionType)]
    #[extension_type(fusion)]
    pub struct Inputs { projected, hidden, cell, memories, w_hidden, bias, w_query, w_key, v }
}

/// What the forward pass leaves for the backward pass.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion)]
pub struct Tape<B: Backend> {
    results: FloatTensor<B>,
    /// `[batch_size, seq_length, width of a row]`.
    rows: FloatTensor<B>,
    /// `[batch_size, seq_length, 3 slots]`.
    chosen: FloatTensor<B>,
    /// `[batch_size, n_memories, d_attention]`.
    keys: FloatTensor<B>,
}

/// What the backward kernel yields.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion)]
pub struct Gradients<B: Backend> {
    /// `[batch_size, seq_length, width of a row]`.
    rows: FloatTensor<B>,
    /// `[batch_size, n_memories, d_hidden]`, and `[.., d_attention]`.
    memories: FloatTensor<B>,
    keys: FloatTensor<B>,
    /// `[batch_size, d_attention]`.
    v: FloatTensor<B>,
    /// Of h and c, `[batch_size, 2 d_hidden]`.
    start: FloatTensor<B>,
}

on_cube! {
    /// Every output row, then the last c of an LSTM, in one row of numbers.
    SabOnCube::sab, SabPasses::{sab_forward, sab_backward}: Request, results
}

fn tape_spec(inputs: &InputsMetadata, request: &Request) -> TapeMetadata {
    let [batch_size, seq_length, _] = inputs.projected.shape.dims();
    let (plan, lengths) = (request.plan, request.lengths(batch_size, seq_length));
    TapeMetadata {
        results: spec([plan.results(lengths)]),
        rows: spec(plan.tape_shape(lengths)),
        chosen: spec(plan.chosen_shape(lengths)),
        keys: spec(plan.keys_shape(lengths)),
    }
}

fn gradients_spec(
    inputs: &InputsMetadata,
    _tape: &TapeMetadata,
    _slopes: &TensorSpec,
    request: &Request,
) -> GradientsMetadata {
    let [batch_size, seq_length, _] = inputs.projected.shape.dims();
    let (plan, lengths) = (request.plan, request.lengths(batch_size, seq_length));
    GradientsMetadata {
        rows: spec(plan.slopes_shape(lengths)),
        memories: spec(plan.memories_shape(lengths)),
        keys: spec(plan.keys_shape(lengths)),
        v: spec(plan.v_shape(lengths)),
        start: spec(plan.start_shape(lengths)),
    }
}

#[cfg(all(test, any(feature = "wgpu", feature = "cuda")))]
mod tests;
