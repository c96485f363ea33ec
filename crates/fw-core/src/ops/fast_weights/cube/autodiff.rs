//! The operation's node on the graph of the gradients.

use burn::backend::autodiff::{
    Autodiff, NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients as Graph,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::{DType, FloatDType, Shape, Slice};

use super::{FastWeightsOnCube, FastWeightsPasses, Inputs, Request, Tape};
use crate::ops::fast_weights::Write;

impl<C: CheckpointStrategy> FastWeightsOnCube for Autodiff<Cube, C> {
    fn fast_weights(inputs: Inputs<Self>, mut request: Request) -> FloatTensor<Self> {
        let inputs = [
            inputs.projected,
            inputs.hidden,
            inputs.start,
            inputs.w_hidden,
            inputs.gain,
            inputs.norm_bias,
        ];
        let nodes = inputs.each_ref().map(|input| input.node());
        let [projected, hidden, start, w_hidden, gain, norm_bias] =
            inputs.map(|input| input.into_primitive());
        let inputs = Inputs {
            projected,
            hidden,
            start,
            w_hidden,
            gain,
            norm_bias,
        };
        match FastWeightsBackward
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                request.plan.keeps = true;
                let tape = Cube::forward_pass(inputs.clone(), request);
                let outputs = tape.outputs.clone();
                prep.finish(
                    Kept {
                        inputs,
                        tape,
                        request,
                    },
                    outputs,
                )
            }
            OpsKind::UnTracked(prep) => prep.finish(Cube::fast_weights(inputs, request)),
        }
    }
}

/// What the backward pass reads.
#[derive(Clone, Debug)]
struct Kept {
    inputs: Inputs<Cube>,
    tape: Tape<Cube>,
    request: Request,
}

#[derive(Debug)]
struct FastWeightsBackward;

impl Backward<Cube, 6> for FastWeightsBackward {
    type State = Kept;

    fn backward(
        self,
        ops: Ops<Self::State, 6>,
        graph: &mut Graph,
        _checkpointer: &mut Checkpointer,
    ) {
        let slopes = graph.consume::<Cube>(&ops.node);
        let Kept {
            inputs,
            tape,
            request,
        } = ops.state;
        let gradients = Cube::backward_pass(inputs.clone(), tape.clone(), slopes, request);
        let [projected, hidden, start, w_hidden, gain, norm_bias] =
            ops.parents.map(|parent| parent.map(|parent| parent.id));
        let plan = request.plan;
        let mut register = |node: Option<NodeId>, gradient: &dyn Fn() -> FloatTensor<Cube>| {
            if let Some(node) = node {
                graph.register::<Cube>(node, gradient());
            }
        };
        register(w_hidden, &|| {
            of_w_hidden(&inputs.hidden, &tape.outputs, &gradients.projected)
        });
        if plan.has_start {
            register(start, &|| of_start(&tape, &gradients.reads, &request));
        }
        if plan.is_normalized {
            register(gain, &|| over_samples(&gradients.gain));
            register(norm_bias, &|| over_samples(&gradients.norm_bias));
        }
        register(projected, &|| gradients.projected.clone());
        register(hidden, &|| gradients.hidden.clone());
    }
}

/// `Σ h_{t-1} dz_tᵀ` over all steps of all samples.
fn of_w_hidden(
    hidden: &FloatTensor<Cube>,
    outputs: &FloatTensor<Cube>,
    d_projected: &FloatTensor<Cube>,
) -> FloatTensor<Cube> {
    let [batch_size, seq_length, d_hidden] = d_projected.shape().dims();
    let rows = Shape::new([batch_size * seq_length, d_hidden]);
    let first = Cube::float_reshape(hidden.clone(), Shape::new([batch_size, 1, d_hidden]));
    let mut before = first;
    if seq_length > 1 {
        let slices = [0..1, 0..batch_size, 0..seq_length - 1, 0..d_hidden];
        let others = Cube::float_slice(outputs.clone(), &slices.map(Slice::from));
        let shape = Shape::new([batch_size, seq_length - 1, d_hidden]);
        before = Cube::float_cat(alloc::vec![before, Cube::float_reshape(others, shape)], 1);
    }
    let before = Cube::float_swap_dims(Cube::float_reshape(before, rows.clone()), 0, 1);
    Cube::float_matmul(before, Cube::float_reshape(d_projected.clone(), rows))
}

/// `Σ λ^n d s_{i-1}ᵀ` over the reads of each sample, where n writes came before, and d is the gradient of what was read.
fn of_start(tape: &Tape<Cube>, d_read: &FloatTensor<Cube>, request: &Request) -> FloatTensor<Cube> {
    let [batch_size, seq_length, inner_steps, d_hidden] = d_read.shape().dims();
    if request.plan.inner_steps == 0 {
        let shape = Shape::new([batch_size, d_hidden, d_hidden]);
        return Cube::float_zeros(shape, &d_read.device(), FloatDType::F32);
    }
    let own = match request.plan.write {
        Write::Final => 0,
        Write::Preliminary => 1,
    };
    let powers: alloc::vec::Vec<f64> =
        core::iter::successors(Some(1.0), |power| Some(power * request.decay))
            .skip(own)
            .take(seq_length)
            .collect();
    let powers =
        burn::tensor::TensorData::new(powers, [1, seq_length, 1, 1]).convert_dtype(DType::F32);
    let powers = Cube::float_from_data(powers, &d_read.device());
    let scaled = Cube::float_mul(d_read.clone(), powers);
    let rows = Shape::new([batch_size, seq_length * inner_steps, d_hidden]);
    let scaled = Cube::float_swap_dims(Cube::float_reshape(scaled, rows.clone()), 1, 2);
    Cube::float_matmul(scaled, Cube::float_reshape(tape.states.clone(), rows))
}

/// The sum over the samples of `[batch_size, d_hidden]`.
fn over_samples(gradients: &FloatTensor<Cube>) -> FloatTensor<Cube> {
    let d_hidden = gradients.shape().dims::<2>()[1];
    let sum = Cube::float_sum_dim(gradients.clone(), 0);
    Cube::float_reshape(sum, Shape::new([d_hidden]))
}
