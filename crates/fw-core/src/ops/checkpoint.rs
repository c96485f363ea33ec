//! What is computed again in the backward pass, instead of being kept for it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt::{Debug, Formatter};
use core::marker::PhantomData;

use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::NoCheckpointing},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, BackendTensor, DispatchAutodiffContext, DispatchTensor,
    DispatchTensorKind,
};
use burn::tensor::Tensor;

/// A function of two rows of numbers. It must yield the same each time.
pub(crate) type Function = Arc<dyn Fn([Tensor<1>; 2]) -> Tensor<1> + Send + Sync>;

/// `function(inputs)`, of whose way nothing is kept for the backward pass but the inputs: there it is computed again, on a graph of its own.
/// `output` is what it yields of the same inputs without a graph. Nothing, if the tensors' backend is not one of those that are known here.
pub(crate) fn checkpointed(
    inputs: [Tensor<1>; 2],
    output: Tensor<1>,
    function: Function,
) -> Option<Tensor<1>> {
    let [one, other] = inputs.map(Tensor::into_dispatch);
    let context = one.autodiff;
    let kinds = [unboxed(one.kind), unboxed(other.kind)];
    let output = output.into_dispatch().kind;
    let kind = match (kinds, output) {
        #[cfg(feature = "flex")]
        (
            [
                DispatchTensorKind::Flex(one),
                DispatchTensorKind::Flex(other),
            ],
            DispatchTensorKind::Flex(output),
        ) => tracked([one, other], output, context, function),
        #[cfg(feature = "cube")]
        (
            [
                DispatchTensorKind::Cube(one),
                DispatchTensorKind::Cube(other),
            ],
            DispatchTensorKind::Cube(output),
        ) => tracked([one, other], output, context, function),
        _ => return None,
    };
    Some(on_graph(kind, context))
}

fn unboxed(kind: DispatchTensorKind) -> DispatchTensorKind {
    match kind {
        DispatchTensorKind::Autodiff(kind) => *kind,
        kind => kind,
    }
}

/// A tensor of autodiff's.
fn on_graph(kind: DispatchTensorKind, context: DispatchAutodiffContext) -> Tensor<1> {
    Tensor::from_dispatch(DispatchTensor {
        kind: DispatchTensorKind::Autodiff(Box::new(kind)),
        autodiff: context,
    })
}

/// A backend whose tensors can be told from others.
trait Known: Backend {
    fn kind(tensor: BackendTensor<Self>) -> DispatchTensorKind;

    /// # Panics
    /// If it is another backend's.
    fn of_kind(kind: DispatchTensorKind) -> BackendTensor<Self>;
}

macro_rules! known {
    ($(#[$attribute:meta])* $name:ident) => {
        $(#[$attribute])*
        impl Known for burn::backend::$name {
            fn kind(tensor: BackendTensor<Self>) -> DispatchTensorKind {
                DispatchTensorKind::$name(tensor)
            }

            fn of_kind(kind: DispatchTensorKind) -> BackendTensor<Self> {
                match kind {
                    DispatchTensorKind::$name(tensor) => tensor,
                    kind => unreachable!("a tensor of another backend: {kind:?}"),
                }
            }
        }
    };
}
known!(
    #[cfg(feature = "flex")]
    Flex
);
known!(
    #[cfg(feature = "cube")]
    Cube
);
fn tracked<B: Known>(
    inputs: [BackendTensor<B>; 2],
    output: BackendTensor<B>,
    context: DispatchAutodiffContext,
    function: Function,
) -> DispatchTensorKind {
    let inputs = inputs.map(BackendTensor::autodiff);
    let nodes = inputs
        .each_ref()
        .map(|input: &FloatTensor<Autodiff<B>>| input.node());
    let inputs = inputs.map(|input| input.into_primitive());
    let prepared = Again::<B>(PhantomData).prepare::<NoCheckpointing>(nodes);
    let output = match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let kept = Kept {
                inputs,
                context,
                function,
            };
            prepared.finish(kept, output.float())
        }
        OpsKind::UnTracked(prepared) => prepared.finish(output.float()),
    };
    B::kind(BackendTensor::Autodiff(output))
}

/// What the backward pass computes again, and of what.
#[derive(Clone)]
struct Kept<B: Backend> {
    inputs: [B::FloatTensorPrimitive; 2],
    context: DispatchAutodiffContext,
    function: Function,
}

impl<B: Backend> Debug for Kept<B> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Kept").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Again<B>(PhantomData<B>);

impl<B: Known> Backward<B, 2> for Again<B> {
    type State = Kept<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let slopes = grads.consume::<B>(&ops.node);
        let Kept {
            inputs,
            context,
            function,
        } = ops.state;
        let leaf = |number| {
            let tensor =
                BackendTensor::Autodiff(<Autodiff<B> as AutodiffBackend>::from_inner(number));
            on_graph(B::kind(tensor), context)
        };
        let inputs = inputs.map(|number| leaf(number).require_grad());
        let slopes = leaf(slopes);
        let gradients = (function(inputs.clone()) * slopes).sum().backward();
        for (node, input) in ops.parents.into_iter().zip(inputs) {
            if let (Some(node), Some(gradient)) = (node, input.grad(&gradients)) {
                let gradient = B::of_kind(gradient.into_dispatch().kind).float();
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}
