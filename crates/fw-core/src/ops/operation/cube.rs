//! An operation on a GPU: its passes, and one node on the graph of the gradients.

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

use super::Operands;

/// An operation of N tensors on a GPU, with a backward pass of its own.
pub(crate) trait Operation<const N: usize>: Clone + Debug + Send + Sync + 'static {
    /// What it reads.
    type Operands: Operands<N>;

    /// What the backward pass reads.
    type Kept: Clone + Debug + Send + Sync + 'static;

    fn run(self, inputs: Each<Self, FloatTensor<Cube>, N>) -> FloatTensor<Cube>;

    /// The same, and what the backward pass reads.
    fn run_keeping(
        self,
        inputs: Each<Self, FloatTensor<Cube>, N>,
    ) -> (FloatTensor<Cube>, Self::Kept);

    /// The gradient for each input that is wanted; nothing where it is zero.
    fn backward(
        kept: Self::Kept,
        slopes: FloatTensor<Cube>,
        wanted: Each<Self, bool, N>,
    ) -> Each<Self, Option<FloatTensor<Cube>>, N>;
}

/// Something of each operand of an operation.
pub(crate) type Each<O, V, const N: usize> =
    <<O as Operation<N>>::Operands as Operands<N>>::Each<V>;

/// The operation on the graph.
pub(crate) fn run_tracked<O: Operation<N>, C: CheckpointStrategy, const N: usize>(
    operation: O,
    inputs: Each<O, FloatTensor<Autodiff<Cube, C>>, N>,
) -> FloatTensor<Autodiff<Cube, C>> {
    let inputs = O::Operands::listed(inputs);
    let nodes = inputs.each_ref().map(|input| input.node());
    let inputs = inputs.map(|input| input.into_primitive());
    let like = inputs
        .each_ref()
        .map(|input| (input.shape(), input.device()));
    let node = OperationBackward::<O>(PhantomData).prepare::<C>(nodes);
    match node.compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (output, kept) = operation.run_keeping(O::Operands::named(inputs));
            prep.finish((kept, like), output)
        }
        OpsKind::UnTracked(prep) => prep.finish(operation.run(O::Operands::named(inputs))),
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
        let gradients = O::backward(kept, slopes, O::Operands::named(is_wanted));
        let gradients = O::Operands::listed(gradients);
        let nodes = ops.parents.into_iter();
        for ((node, gradient), (shape, device)) in nodes.zip(gradients).zip(like) {
            if let Some(node) = node {
                let zeros = || Cube::float_zeros(shape, &device, FloatDType::F32);
                grads.register::<Cube>(node.id, gradient.unwrap_or_else(zeros));
            }
        }
    }
}

/// Declares an operation on GPUs that is a launch forward and a launch backward, with and without a graph:
///
/// ```text
/// on_cube! {
///     /// What it yields.
///     SabOnCube::sab, SabPasses::{sab_forward, sab_backward}: Request;
///     |request, [batch_size, seq_length] of projected|
///     Tape {
///         results: [batch_size * seq_length * request.plan.d_output()],
///         ..
///     }
///     Gradients { .. }
/// }
/// ```
///
/// makes the trait `SabOnCube`, whose function `sab` takes the `Inputs` that [`operands!`](super::operands) has declared beside it,
/// and what the operation is to do, here a `Request`; and the trait of its two passes. (Burn's fusion
/// knows operations by the names of these functions: each needs its own.) `Tape` is what the forward pass leaves for the backward pass, and first of it what
/// the operation yields; `Gradients` is what the backward kernel yields; of both the shapes, from the request and the sizes of the operand that is named.
/// Needed beside it are the launches, `launch::forward` and `launch::backward`; `Request::keeping`, which asks for the tape; and
/// `gradients::of_operands`, which makes the operands' gradients of those that the launch yields.
macro_rules! on_cube {
    (
        $(#[$attribute:meta])*
        $name:ident::$run:ident, $passes:ident::{$forward:ident, $backward:ident}: $request:ident;
        |$asked:ident, [$batch_size:ident, $seq_length:ident] of $leading:ident|
        Tape { $(#[$output_doc:meta])* $output:ident: $output_shape:expr $(, $(#[$tape_doc:meta])* $tape:ident: $tape_shape:expr)* $(,)? }
        Gradients { $($(#[$gradient_doc:meta])* $gradient:ident: $gradient_shape:expr),+ $(,)? }
    ) => {
        /// What the forward pass leaves for the backward pass; what is not needed has one element.
        #[derive(Clone, Debug, burn::backend::ExtensionType)]
        #[extension_type(fusion)]
        pub struct Tape<B: burn::backend::Backend> {
            $(#[$output_doc])*
            $output: burn::backend::tensor::FloatTensor<B>,
            $($(#[$tape_doc])* $tape: burn::backend::tensor::FloatTensor<B>,)*
        }

        /// What the backward kernel yields; what is not needed has one element.
        #[derive(Clone, Debug, burn::backend::ExtensionType)]
        #[extension_type(fusion)]
        pub struct Gradients<B: burn::backend::Backend> {
            $($(#[$gradient_doc])* $gradient: burn::backend::tensor::FloatTensor<B>,)+
        }

        fn tape_spec(inputs: &InputsMetadata, $asked: &$request) -> TapeMetadata {
            let [$batch_size, $seq_length, ..] = inputs.$leading.shape.dims::<3>();
            TapeMetadata {
                $output: $crate::ops::cube::spec($output_shape),
                $($tape: $crate::ops::cube::spec($tape_shape),)*
            }
        }

        fn gradients_spec(
            inputs: &InputsMetadata,
            _tape: &TapeMetadata,
            _slopes: &burn::backend::fusion::custom::TensorSpec,
            $asked: &$request,
        ) -> GradientsMetadata {
            let [$batch_size, $seq_length, ..] = inputs.$leading.shape.dims::<3>();
            GradientsMetadata {
                $($gradient: $crate::ops::cube::spec($gradient_shape),)+
            }
        }

        impl Tape<burn_cubecl::CubeBackend> {
            /// Room for it, where the operands lie.
            fn empty(inputs: &Inputs<burn_cubecl::CubeBackend>, $asked: &$request) -> Self {
                let like = &inputs.$leading;
                let [$batch_size, $seq_length, ..] =
                    burn::backend::TensorMetadata::shape(like).dims::<3>();
                Tape {
                    $output: $crate::ops::cube::empty(like, $output_shape),
                    $($tape: $crate::ops::cube::empty(like, $tape_shape),)*
                }
            }
        }

        impl Gradients<burn_cubecl::CubeBackend> {
            /// Room for them, where the operands lie.
            fn empty(inputs: &Inputs<burn_cubecl::CubeBackend>, $asked: &$request) -> Self {
                let like = &inputs.$leading;
                let [$batch_size, $seq_length, ..] =
                    burn::backend::TensorMetadata::shape(like).dims::<3>();
                Gradients {
                    $($gradient: $crate::ops::cube::empty(like, $gradient_shape),)+
                }
            }
        }

        $(#[$attribute])*
        #[burn::backend::backend_extension(Autodiff, Cube, Fusion)]
        pub trait $name: burn::backend::Backend {
            /// The operation.
            #[fusion(meta = output_spec)]
            fn $run(#[extension_type] inputs: Inputs<Self>, request: $request) -> burn::backend::tensor::FloatTensor<Self>;
        }

        /// Its two passes.
        #[burn::backend::backend_extension(Cube, Fusion)]
        pub trait $passes: burn::backend::Backend {
            /// The operation, with what the backward pass reads.
            #[fusion(meta = tape_spec)]
            fn $forward(#[extension_type] inputs: Inputs<Self>, request: $request) -> Tape<Self>;

            /// The gradients, from that of what it yields.
            #[fusion(meta = gradients_spec)]
            fn $backward(
                #[extension_type] inputs: Inputs<Self>,
                #[extension_type] tape: Tape<Self>,
                slopes: burn::backend::tensor::FloatTensor<Self>,
                request: $request,
            ) -> Gradients<Self>;
        }

        impl $name for burn_cubecl::CubeBackend {
            fn $run(inputs: Inputs<Self>, request: $request) -> burn_cubecl::tensor::CubeTensor {
                launch::forward(inputs, request).$output
            }
        }

        impl $passes for burn_cubecl::CubeBackend {
            fn $forward(inputs: Inputs<Self>, request: $request) -> Tape<Self> {
                launch::forward(inputs, request)
            }

            fn $backward(
                inputs: Inputs<Self>,
                tape: Tape<Self>,
                slopes: burn_cubecl::tensor::CubeTensor,
                request: $request,
            ) -> Gradients<Self> {
                launch::backward(inputs, tape, slopes, request)
            }
        }

        fn output_spec(
            inputs: &InputsMetadata,
            request: &$request,
        ) -> burn::backend::fusion::custom::TensorSpec {
            tape_spec(inputs, request).$output
        }

        impl<C: burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy> $name
            for burn::backend::autodiff::Autodiff<burn::backend::Cube, C>
        {
            fn $run(inputs: Inputs<Self>, request: $request) -> burn::backend::tensor::FloatTensor<Self> {
                $crate::ops::operation::run_tracked_on_cube::<_, C, COUNT>(request, inputs.into())
            }
        }

        /// What the backward pass reads.
        #[derive(Clone, Debug)]
        pub(crate) struct Kept {
            inputs: Inputs<burn::backend::Cube>,
            tape: Tape<burn::backend::Cube>,
            request: $request,
        }

        impl $crate::ops::operation::Operation<COUNT> for $request {
            type Operands = Names;
            type Kept = Kept;

            fn run(
                self,
                inputs: Each<burn::backend::tensor::FloatTensor<burn::backend::Cube>>,
            ) -> burn::backend::tensor::FloatTensor<burn::backend::Cube> {
                <burn::backend::Cube as $name>::$run(inputs.into(), self)
            }

            fn run_keeping(
                self,
                inputs: Each<burn::backend::tensor::FloatTensor<burn::backend::Cube>>,
            ) -> (burn::backend::tensor::FloatTensor<burn::backend::Cube>, Kept) {
                let request = self.keeping();
                let inputs: Inputs<burn::backend::Cube> = inputs.into();
                let tape = burn::backend::Cube::$forward(inputs.clone(), request);
                let output = tape.$output.clone();
                let kept = Kept { inputs, tape, request };
                (output, kept)
            }

            fn backward(
                kept: Kept,
                slopes: burn::backend::tensor::FloatTensor<burn::backend::Cube>,
                wanted: Each<bool>,
            ) -> Each<Option<burn::backend::tensor::FloatTensor<burn::backend::Cube>>> {
                let Kept { inputs, tape, request } = kept;
                let passed =
                    burn::backend::Cube::$backward(inputs.clone(), tape.clone(), slopes, request);
                gradients::of_operands(&inputs, &tape, &passed, request, wanted)
            }
        }
    };
}
pub(crate) use on_cube;
