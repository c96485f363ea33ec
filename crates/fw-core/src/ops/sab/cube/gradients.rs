//! The operation on the graph: what the kernels leave open are products over all steps.

use alloc::vec::Vec;

use burn::backend::autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::{Shape, Slice};

use super::{Inputs, Request, SabOnCube, SabPasses, Tape};
use crate::ops::cube::{Operation, before, over_rows, part, products_over_rows, run_tracked};
use crate::ops::sab::Score;

impl<C: CheckpointStrategy> SabOnCube for Autodiff<Cube, C> {
    fn sab(inputs: Inputs<Self>, request: Request) -> FloatTensor<Self> {
        let inputs = [
            inputs.projected,
            inputs.hidden,
            inputs.cell,
            inputs.memories,
            inputs.w_hidden,
            inputs.bias,
            inputs.w_query,
            inputs.w_key,
            inputs.v,
        ];
        run_tracked::<_, C, 9>(request, inputs)
    }
}

/// What the backward pass reads.
#[derive(Clone, Debug)]
pub struct Kept {
    inputs: Inputs<Cube>,
    tape: Tape<Cube>,
    request: Request,
}

impl Operation<9> for Request {
    type Kept = Kept;

    fn run(self, inputs: [FloatTensor<Cube>; 9]) -> FloatTensor<Cube> {
        Cube::sab(named(inputs), self)
    }

    fn run_keeping(mut self, inputs: [FloatTensor<Cube>; 9]) -> (FloatTensor<Cube>, Kept) {
        self.plan.keeps = true;
        let inputs = named(inputs);
        let tape = Cube::sab_forward(inputs.clone(), self);
        let results = tape.results.clone();
        let request = self;
        (
            results,
            Kept {
                inputs,
                tape,
                request,
            },
        )
    }

    fn backward(
        kept: Kept,
        slopes: FloatTensor<Cube>,
        is_wanted: [bool; 9],
    ) -> [Option<FloatTensor<Cube>>; 9] {
        let Kept {
            inputs,
            tape,
            request,
        } = kept;
        let plan = request.plan;
        let passed = Cube::sab_backward(inputs.clone(), tape.clone(), slopes, request);
        let row = plan.slope_row();
        let from_hidden = part(
            &passed.rows,
            row.from_hidden..row.from_hidden + plan.d_gates(),
        );
        let [_, _, _, memories, w_hidden, bias, w_query, w_key, v] = is_wanted;
        let steps = Steps {
            inputs: &inputs,
            tape: &tape,
            request,
        };
        let w_hidden =
            w_hidden.then(|| products_over_rows(steps.hidden_before(), from_hidden.clone()));
        let bias = (bias && plan.kind.has_bias()).then(|| over_rows(from_hidden));
        let w_query = (w_query && plan.recalls).then(|| {
            let slopes = part(&passed.rows, row.query..row.width);
            products_over_rows(steps.candidates_seen(), slopes)
        });
        let w_key = (w_key && plan.recalls && request.n_memories > 0)
            .then(|| products_over_rows(steps.memories_seen(), passed.keys.clone()));
        let v = (v && plan.recalls && plan.attention.score == Score::Mlp)
            .then(|| Cube::float_reshape(over_rows(passed.v.clone()), inputs.v.shape()));
        let replays = plan.recalls && plan.attention.replay && request.n_given > 0;
        let memories = (memories && replays).then(|| {
            let [batch_size, _, d_hidden] = passed.memories.shape().dims();
            let given = [0..batch_size, 0..request.n_given, 0..d_hidden];
            Cube::float_slice(passed.memories.clone(), &given.map(Slice::from))
        });
        let d_hidden = plan.d_hidden;
        [
            Some(part(&passed.rows, 0..plan.d_gates())),
            Some(part(&passed.start, 0..d_hidden)),
            plan.kind
                .has_cell()
                .then(|| part(&passed.start, d_hidden..2 * d_hidden)),
            memories,
            w_hidden,
            bias,
            w_query,
            w_key,
            v,
        ]
    }
}

fn named(inputs: [FloatTensor<Cube>; 9]) -> Inputs<Cube> {
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
    ] = inputs;
    Inputs {
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
        part(&output, 0..self.request.plan.d_hidden)
    }

    /// h before each step.
    fn hidden_before(&self) -> FloatTensor<Cube> {
        before(self.inputs.hidden.clone(), self.hidden())
    }

    /// What attention sees of ĥ in each step.
    fn candidates_seen(&self) -> FloatTensor<Cube> {
        let plan = self.request.plan;
        let first = plan.tape_row().candidate;
        self.seen(part(&self.tape.rows, first..first + plan.d_hidden))
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
