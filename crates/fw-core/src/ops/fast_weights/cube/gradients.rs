//! The operation on the graph: what the kernels leave open are products over all steps.

use alloc::vec::Vec;

use burn::backend::autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::{DType, Shape, Slice, TensorData};

use super::{FastWeightsOnCube, FastWeightsPasses, Inputs, Request, Tape};
use crate::ops::cube::{Operation, before, over_rows, products_over_rows, run_tracked};
use crate::ops::fast_weights::Write;

impl<C: CheckpointStrategy> FastWeightsOnCube for Autodiff<Cube, C> {
    fn fast_weights(inputs: Inputs<Self>, request: Request) -> FloatTensor<Self> {
        let inputs = [
            inputs.projected,
            inputs.hidden,
            inputs.start,
            inputs.w_hidden,
            inputs.gain,
            inputs.norm_bias,
        ];
        run_tracked::<_, C, 6>(request, inputs)
    }
}

/// What the backward pass reads.
#[derive(Clone, Debug)]
pub struct Kept {
    inputs: Inputs<Cube>,
    tape: Tape<Cube>,
    request: Request,
}

impl Operation<6> for Request {
    type Kept = Kept;

    fn run(self, inputs: [FloatTensor<Cube>; 6]) -> FloatTensor<Cube> {
        Cube::fast_weights(named(inputs), self)
    }

    fn run_keeping(mut self, inputs: [FloatTensor<Cube>; 6]) -> (FloatTensor<Cube>, Kept) {
        self.plan.keeps = true;
        let inputs = named(inputs);
        let tape = Cube::forward_pass(inputs.clone(), self);
        let outputs = tape.outputs.clone();
        let request = self;
        (
            outputs,
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
        is_wanted: [bool; 6],
    ) -> [Option<FloatTensor<Cube>>; 6] {
        let Kept {
            inputs,
            tape,
            request,
        } = kept;
        let plan = request.plan;
        let hidden = inputs.hidden.clone();
        let passed = Cube::backward_pass(inputs, tape.clone(), slopes, request);
        let [_, _, start, w_hidden, gain, norm_bias] = is_wanted;
        let start = (start && plan.has_start && plan.inner_steps > 0)
            .then(|| of_start(&tape, &passed.reads, &request));
        let w_hidden =
            w_hidden.then(|| of_w_hidden(hidden, tape.outputs, passed.projected.clone()));
        let of_norm = |is_wanted: bool, gradient: FloatTensor<Cube>| {
            (is_wanted && plan.is_normalized).then(|| over_rows(gradient))
        };
        [
            Some(passed.projected),
            Some(passed.hidden),
            start,
            w_hidden,
            of_norm(gain, passed.gain),
            of_norm(norm_bias, passed.norm_bias),
        ]
    }
}

fn named(inputs: [FloatTensor<Cube>; 6]) -> Inputs<Cube> {
    let [projected, hidden, start, w_hidden, gain, norm_bias] = inputs;
    Inputs {
        projected,
        hidden,
        start,
        w_hidden,
        gain,
        norm_bias,
    }
}

/// `Σ h_{t-1} dz_tᵀ` over all steps of all samples.
fn of_w_hidden(
    hidden: FloatTensor<Cube>,
    outputs: FloatTensor<Cube>,
    d_projected: FloatTensor<Cube>,
) -> FloatTensor<Cube> {
    let [batch_size, seq_length, d_hidden] = d_projected.shape().dims();
    let first = [0..1, 0..batch_size, 0..seq_length, 0..d_hidden];
    let states = Cube::float_slice(outputs, &first.map(Slice::from));
    let states = Cube::float_reshape(states, d_projected.shape());
    products_over_rows(before(hidden, states), d_projected)
}

/// `Σ λ^n d s_{i-1}ᵀ` over the reads of each sample, where n writes came before, and d is the gradient of what was read.
fn of_start(tape: &Tape<Cube>, d_read: &FloatTensor<Cube>, request: &Request) -> FloatTensor<Cube> {
    let [batch_size, seq_length, inner_steps, d_hidden] = d_read.shape().dims();
    let own = match request.plan.write {
        Write::Final => 0,
        Write::Preliminary => 1,
    };
    let powers: Vec<f64> = core::iter::successors(Some(1.0), |power| Some(power * request.decay))
        .skip(own)
        .take(seq_length)
        .collect();
    let powers = TensorData::new(powers, [1, seq_length, 1, 1]).convert_dtype(DType::F32);
    let powers = Cube::float_from_data(powers, &d_read.device());
    let scaled = Cube::float_mul(d_read.clone(), powers);
    let rows = Shape::new([batch_size, seq_length * inner_steps, d_hidden]);
    let scaled = Cube::float_swap_dims(Cube::float_reshape(scaled, rows.clone()), 1, 2);
    Cube::float_matmul(scaled, Cube::float_reshape(tape.states.clone(), rows))
}
