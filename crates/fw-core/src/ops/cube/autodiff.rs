//! An operation's node on the graph of the gradients.

use core::fmt::Debug;
use core::marker::PhantomData;

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::{FloatDType, Shape};
use burn_cubecl::CubeDevice;

/// An operation of N tensors on a GPU, with a backward pass of its own.
pub(crate) trait Operation<const N: usize>: Clone + Debug + Send + Sync + 'static {
    /// What the backward pass reads.
    type Kept: Clone + Debug + Send + Sync + 'static;

    fn run(self, inputs: [FloatTensor<Cube>; N]) -> FloatTensor<Cube>;

    /// The same, and what the backward pass reads.
    fn run_keeping(self, inputs: [FloatTensor<Cube>; N]) -> (FloatTensor<Cube>, Self::Kept);

    /// The gradient for each input that is wanted; nothing where it is zero.
    fn backward(
        kept: Self::Kept,
        slopes: FloatTensor<Cube>,
        is_wanted: [bool; N],
    ) -> [Option<FloatTensor<Cube>>; N];
}

/// The operation on the graph.
pub(crate) fn run_tracked<O: Operation<N>, C: CheckpointStrategy, const N: usize>(
    operation: O,
    inputs: [FloatTensor<Autodiff<Cube, C>>; N],
) -> FloatTensor<Autodiff<Cube, C>> {
    let nodes = inputs.each_ref().map(|input| input.node());
    let inputs = inputs.map(|input| input.into_primitive());
    let like = inputs
        .each_ref()
        .map(|input| (input.shape(), input.device()));
    let node = OperationBackward::<O>(PhantomData).prepare::<C>(nodes);
    match node.compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (output, kept) = operation.run_keeping(inputs);
            prep.finish((kept, like), output)
        }
        OpsKind::UnTracked(prep) => prep.finish(operation.run(inputs)),
    }
}

#[derive(Debug)]
struct OperationBackward<O>(PhantomData<O>);

impl<O: Operation<N>, const N: usize> Backward<Cube, N> for OperationBackward<O> {
    /// And of each input its shape and device.
    type State = (O::Kept, [(Shape, CubeDevice); N]);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let slopes = grads.consume::<Cube>(&ops.node);
        let is_wanted = ops.parents.each_ref().map(Option::is_some);
        let (kept, like) = ops.state;
        let gradients = O::backward(kept, slopes, is_wanted);
        let nodes = ops.parents.into_iter();
        for ((node, gradient), (shape, device)) in nodes.zip(gradients).zip(like) {
            if let Some(node) = node {
                let zeros = || Cube::float_zeros(shape, &device, FloatDType::F32);
                grads.register::<Cube>(node.id, gradient.unwrap_or_else(zeros));
            }
        }
    }
}
