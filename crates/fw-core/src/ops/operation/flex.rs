//! An operation on the CPU: a kernel for the numbers, and one node on the graph of the gradients.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::marker::PhantomData;

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{DispatchDevice, Flex, TensorMetadata};
use burn::tensor::{DType, Device, Tensor, TensorData};

use super::Operands;
use crate::ops::cpu::Real;

/// Whether there are kernels for this device and type.
pub(crate) fn is_available(device: &Device, dtype: DType) -> bool {
    let device = device.as_dispatch().clone().inner();
    matches!(device, DispatchDevice::Flex(_)) && matches!(dtype, DType::F32 | DType::F64)
}

/// An operation of N tensors, all of one type; the first is never empty. Those that are not there have no elements.
pub(crate) trait Kernel<const N: usize>: Clone + Debug + Send + Sync + 'static {
    /// What it reads.
    type Operands: Operands<N>;

    /// Whether the backward pass reads what the forward pass yielded: it is kept only then.
    const READS_OUTPUT: bool = false;

    /// What the forward pass leaves for the backward pass.
    type Tape<T: Real>: Debug + Send + Sync + 'static;

    /// The result and its shape; the tape, with `keep`.
    fn forward<T: Real>(
        &self,
        inputs: Each<Self, View<T>, N>,
        keep: bool,
    ) -> (Vec<T>, Vec<usize>, Option<Self::Tape<T>>);

    /// The gradient for each input; empty for those that are not there, and where it saves work for those that are not wanted.
    /// `output` is what the forward pass yielded, and `slopes` its gradient.
    fn backward<T: Real>(
        &self,
        inputs: Each<Self, View<T>, N>,
        tape: &Self::Tape<T>,
        output: Option<&[T]>,
        slopes: &[T],
        wanted: Each<Self, bool, N>,
    ) -> Each<Self, Vec<T>, N>;
}

/// Something of each operand of a kernel.
pub(crate) type Each<K, V, const N: usize> = <<K as Kernel<N>>::Operands as Operands<N>>::Each<V>;

/// Declares an operation on flex, with and without a graph: `on_flex! { /// What it yields. FusedMap: Map }` makes the trait `FusedMap`,
/// whose function `run` takes the `Inputs` that [`operands!`](super::operands) has declared beside it, and the kernel `Map`.
macro_rules! on_flex {
    ($(#[$attribute:meta])* $name:ident: $kernel:ident) => {
        $(#[$attribute])*
        #[burn::backend::backend_extension(Autodiff, Flex)]
        pub trait $name: burn::backend::Backend {
            /// The operation.
            fn run(#[extension_type] inputs: Inputs<Self>, kernel: $kernel) -> burn::backend::tensor::FloatTensor<Self>;
        }

        impl $name for burn::backend::Flex {
            fn run(inputs: Inputs<Self>, kernel: $kernel) -> burn::backend::flex::FlexTensor {
                $crate::ops::operation::run(&kernel, inputs.into())
            }
        }

        impl<C: burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy> $name
            for burn::backend::autodiff::Autodiff<burn::backend::Flex, C>
        {
            fn run(inputs: Inputs<Self>, kernel: $kernel) -> burn::backend::tensor::FloatTensor<Self> {
                $crate::ops::operation::run_tracked::<_, C, COUNT>(kernel, inputs.into())
            }
        }
    };
}
pub(crate) use on_flex;

/// A tensor's numbers, in the order of its dimensions.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, T> {
    pub(crate) numbers: &'a [T],
    pub(super) tensor: &'a FlexTensor,
    shape: [usize; 4],
}

impl<T> View<'_, T> {
    /// The size of a dimension, 1 if it has none such.
    pub(crate) fn dim(&self, dimension: usize) -> usize {
        self.shape[dimension]
    }
}

/// The operation without a graph.
pub(crate) fn run<K: Kernel<N>, const N: usize>(
    kernel: &K,
    inputs: Each<K, FlexTensor, N>,
) -> FlexTensor {
    let inputs = K::Operands::listed(inputs).map(|input| input.to_contiguous());
    forward(kernel, &inputs, false).0
}

/// The operation on the graph.
pub(crate) fn run_tracked<K: Kernel<N>, C: CheckpointStrategy, const N: usize>(
    kernel: K,
    inputs: Each<K, FloatTensor<Autodiff<Flex, C>>, N>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let inputs = K::Operands::listed(inputs);
    let nodes = inputs.each_ref().map(|input| input.node());
    let inputs = inputs.map(|input| input.into_primitive().to_contiguous());
    let node = KernelBackward::<K>(PhantomData).prepare::<C>(nodes);
    match node.compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (output, tape) = forward(&kernel, &inputs, true);
            let kept = Kept {
                inputs: Arc::new(inputs),
                output: K::READS_OUTPUT.then(|| output.clone()),
                tape: Arc::new(tape.expect("a forward pass that keeps its tape has one")),
                kernel,
            };
            prep.finish(kept, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(&kernel, &inputs, false).0),
    }
}

/// The tape, in the type of the tensors.
enum AnyTape<K: Kernel<N>, const N: usize> {
    F32(K::Tape<f32>),
    F64(K::Tape<f64>),
}

/// What the backward pass reads.
#[derive(Clone)]
struct Kept<K: Kernel<N>, const N: usize> {
    kernel: K,
    inputs: Arc<[FlexTensor; N]>,
    output: Option<FlexTensor>,
    tape: Arc<AnyTape<K, N>>,
}

impl<K: Kernel<N>, const N: usize> Debug for Kept<K, N> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_tuple("Kept").field(&self.kernel).finish()
    }
}

#[derive(Debug)]
struct KernelBackward<K>(PhantomData<K>);

impl<K: Kernel<N>, const N: usize> Backward<Flex, N> for KernelBackward<K> {
    type State = Kept<K, N>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let slopes = grads.consume::<Flex>(&ops.node).to_contiguous();
        let is_wanted = ops.parents.each_ref().map(Option::is_some);
        let kept = ops.state;
        let gradients = match &*kept.tape {
            AnyTape::F32(tape) => kept.backward(tape, &slopes, is_wanted),
            AnyTape::F64(tape) => kept.backward(tape, &slopes, is_wanted),
        };
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

impl<K: Kernel<N>, const N: usize> Kept<K, N> {
    fn backward<T: Real>(
        &self,
        tape: &K::Tape<T>,
        slopes: &FlexTensor,
        is_wanted: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        let inputs = self.inputs.each_ref();
        let (output, slopes) = (self.output.as_ref().map(numbers), numbers(slopes));
        let named = K::Operands::named(inputs.map(view_of::<T>));
        let wanted = K::Operands::named(is_wanted);
        let gradients = self.kernel.backward(named, tape, output, slopes, wanted);
        let mut inputs = inputs.into_iter();
        K::Operands::listed(gradients).map(|gradient| {
            let like = inputs.next().expect("an input for each gradient");
            (!gradient.is_empty())
                .then(|| FlexTensor::from_data(TensorData::new(gradient, like.shape())))
        })
    }
}

fn forward<K: Kernel<N>, const N: usize>(
    kernel: &K,
    inputs: &[FlexTensor; N],
    keep: bool,
) -> (FlexTensor, Option<AnyTape<K, N>>) {
    fn of<K: Kernel<N>, T: Real, const N: usize>(
        kernel: &K,
        inputs: &[FlexTensor; N],
        keep: bool,
    ) -> (FlexTensor, Option<K::Tape<T>>) {
        let inputs = K::Operands::named(inputs.each_ref().map(view_of::<T>));
        let (numbers, shape, tape) = kernel.forward(inputs, keep);
        (FlexTensor::from_data(TensorData::new(numbers, shape)), tape)
    }
    match inputs[0].dtype() {
        DType::F32 => {
            let (output, tape) = of::<K, f32, N>(kernel, inputs, keep);
            (output, tape.map(AnyTape::F32))
        }
        _ => {
            let (output, tape) = of::<K, f64, N>(kernel, inputs, keep);
            (output, tape.map(AnyTape::F64))
        }
    }
}

/// A tensor as flex has it.
///
/// # Panics
/// If it is not on flex, or is on a graph.
#[track_caller]
pub(crate) fn primitive<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    match tensor.try_into_primitive::<Flex>() {
        Ok(tensor) => tensor,
        Err(error) => panic!("a tensor is not on flex, without autodiff: {error:?}"),
    }
}

/// [`primitive`], its numbers in the order of its dimensions.
#[track_caller]
pub(crate) fn contiguous<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    primitive(tensor).to_contiguous()
}

/// What a kernel sees of a contiguous tensor.
pub(crate) fn view_of<T: Real>(tensor: &FlexTensor) -> View<'_, T> {
    let mut shape = [1; 4];
    for (to, from) in shape.iter_mut().zip(tensor.shape().iter()) {
        *to = *from;
    }
    View {
        numbers: numbers(tensor),
        tensor,
        shape,
    }
}

fn numbers<T: Real>(tensor: &FlexTensor) -> &[T] {
    tensor
        .as_slice()
        .expect("made contiguous, and of the input's type")
}
