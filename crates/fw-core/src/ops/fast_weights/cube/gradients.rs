//! The operation on the graph: what the kernels leave open are products over all steps.

use alloc::vec::Vec;

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::{DType, Shape, Slice, TensorData};

use super::{Each, Gradients, Inputs, Request, Tape};
use crate::ops::cube::{before, over_rows, products_over_rows};
use crate::ops::fast_weights::WrittenState;

/// The gradients of the operands, of those that the launch yields; nothing where they are zero or not wanted.
pub(super) fn of_operands(
    inputs: &Inputs<Cube>,
    tape: &Tape<Cube>,
    passed: &Gradients<Cube>,
    request: Request,
    wanted: Each<bool>,
) -> Each<Option<FloatTensor<Cube>>> {
    let plan = request.plan;
    let has_start = plan.has_start && plan.inner_steps > 0;
    let of_norm = |is_wanted: bool, gradient: &FloatTensor<Cube>| {
        (is_wanted && plan.is_normalized).then(|| over_rows(gradient.clone()))
    };
    Each {
        projected: Some(passed.projected.clone()),
        hidden: Some(passed.hidden.clone()),
        start: (wanted.start && has_start).then(|| of_start(tape, &passed.reads, &request)),
        w_hidden: wanted.w_hidden.then(|| {
            let (hidden, outputs) = (inputs.hidden.clone(), tape.outputs.clone());
            of_w_hidden(hidden, outputs, passed.projected.clone())
        }),
        gain: of_norm(wanted.gain, &passed.gain),
        norm_bias: of_norm(wanted.norm_bias, &passed.norm_bias),
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
        WrittenState::Final => 0,
        WrittenState::Preliminary => 1,
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
