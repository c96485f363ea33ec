//! The operation on the graph: what the kernels leave open are products over all steps.

use alloc::vec::Vec;

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::{Shape, Slice};

use super::{Each, Gradients, Inputs, Request, Tape};
use crate::ops::cube::{before, columns, over_rows, products_over_rows};
use crate::ops::sab::Score;

/// The gradients of the operands, of those that the launch yields; nothing where they are zero or not wanted.
pub(super) fn of_operands(
    inputs: &Inputs<Cube>,
    tape: &Tape<Cube>,
    passed: &Gradients<Cube>,
    request: Request,
    wanted: Each<bool>,
) -> Each<Option<FloatTensor<Cube>>> {
    let plan = request.plan;
    let row = plan.slope_row();
    let from_hidden = columns(
        &passed.rows,
        row.from_hidden..row.from_hidden + plan.d_gates(),
    );
    let steps = Steps {
        inputs,
        tape,
        request,
    };
    let has_v = plan.recalls && plan.attention.score == Score::Mlp;
    let has_keys = plan.recalls && request.n_memories > 0;
    let replays = plan.recalls && plan.attention.replay && request.n_given > 0;
    let d_hidden = plan.d_hidden;
    Each {
        projected: Some(columns(&passed.rows, 0..plan.d_gates())),
        hidden: Some(columns(&passed.start, 0..d_hidden)),
        cell: (plan.kind.n_carried() > 0).then(|| columns(&passed.start, d_hidden..2 * d_hidden)),
        memories: (wanted.memories && replays).then(|| {
            let [batch_size, _, d_hidden] = passed.memories.shape().dims();
            let given = [0..batch_size, 0..request.n_given, 0..d_hidden];
            Cube::float_slice(passed.memories.clone(), &given.map(Slice::from))
        }),
        w_hidden: (wanted.w_hidden)
            .then(|| products_over_rows(steps.hidden_before(), from_hidden.clone())),
        bias: (wanted.bias && plan.kind.has_bias()).then(|| over_rows(from_hidden.clone())),
        w_query: (wanted.w_query && plan.recalls).then(|| {
            let slopes = columns(&passed.rows, row.query..row.width);
            products_over_rows(steps.candidates_seen(), slopes)
        }),
        w_key: (wanted.w_key && has_keys)
            .then(|| products_over_rows(steps.memories_seen(), passed.keys.clone())),
        v: (wanted.v && has_v)
            .then(|| Cube::float_reshape(over_rows(passed.v.clone()), inputs.v.shape())),
    }
}

/// What the products of each step read.
struct Steps<'a> {
    inputs: &'a Inputs<Cube>,
    tape: &'a Tape<Cube>,
    request: Request,
}

impl Steps<'_> {
    /// h after each step.
    fn hidden(&self) -> FloatTensor<Cube> {
        let [batch_size, seq_length, _] = self.inputs.projected.shape().dims();
        let width = self.request.plan.d_output();
        let numbers = Slice::from(0..batch_size * seq_length * width);
        let output = Cube::float_slice(self.tape.results.clone(), &[numbers]);
        let shape = Shape::new([batch_size, seq_length, width]);
        let output = Cube::float_reshape(output, shape);
        columns(&output, 0..self.request.plan.d_hidden)
    }

    /// h before each step.
    fn hidden_before(&self) -> FloatTensor<Cube> {
        before(self.inputs.hidden.clone(), self.hidden())
    }

    /// What attention sees of ĥ in each step.
    fn candidates_seen(&self) -> FloatTensor<Cube> {
        let plan = self.request.plan;
        let first = plan.tape_row().candidate;
        self.seen(columns(&self.tape.rows, first..first + plan.d_hidden))
    }

    /// What attention sees of each memory.
    fn memories_seen(&self) -> FloatTensor<Cube> {
        let interval = self.request.plan.attention.interval;
        let first = interval - 1 - self.request.first_step % interval;
        let hidden = self.hidden();
        let [batch_size, seq_length, d_hidden] = hidden.shape().dims();
        let mut memories = Vec::new();
        if self.request.n_given > 0 {
            memories.push(self.inputs.memories.clone());
        }
        if first < seq_length {
            let steps = Slice::new(first as isize, Some(seq_length as isize), interval as isize);
            let slices = [Slice::from(0..batch_size), steps, Slice::from(0..d_hidden)];
            memories.push(Cube::float_slice(hidden, &slices));
        }
        self.seen(match memories.len() {
            1 => memories.remove(0),
            _ => Cube::float_cat(memories, 1),
        })
    }

    fn seen(&self, states: FloatTensor<Cube>) -> FloatTensor<Cube> {
        match self.request.plan.attention.score {
            Score::Released => Cube::float_tanh(states),
            _ => states,
        }
    }
}
