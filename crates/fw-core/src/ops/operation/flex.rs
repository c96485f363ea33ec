//! An operation on the CPU: a kernel for the numbers, and one node on the graph of the gradients.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::marker::PhantomData;
use std::sync::Mutex;

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{AutodiffBackend, DispatchDevice, Flex, TensorMetadata};
use burn::tensor::{DType, Device, Shape, Tensor, TensorData};

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
    fn reads_output(&self) -> bool {
        false
    }

    /// What the forward pass leaves for the backward pass.
    type Tape<T: Real>: Debug + Send + Sync + 'static;

    /// What it yields; the tape, with `keep`.
    fn forward<T: Real>(
        &self,
        inputs: Each<Self, View<T>, N>,
        keep: bool,
    ) -> Yield<T, Self::Tape<T>>;

    /// The gradient for each input; empty for those that are not there, and where it saves work for those that are not wanted.
    /// `output` is what the forward pass yielded, and `slopes` its gradient, with that of more.
    fn backward<T: Real>(
        &self,
        inputs: Each<Self, View<T>, N>,
        tape: &Self::Tape<T>,
        output: Option<&[T]>,
        slopes: Slopes<T>,
        wanted: Each<Self, bool, N>,
    ) -> Each<Self, Vec<T>, N>;
}

/// What a forward pass yields.
pub(crate) struct Yield<T, P> {
    /// The result, and its shape.
    pub(crate) output: (Vec<T>, Vec<usize>),
    /// A second one, of an operation that is declared with more.
    pub(crate) more: Option<(Vec<T>, Vec<usize>)>,
    pub(crate) tape: Option<P>,
}

impl<T, P> Yield<T, P> {
    /// One result.
    pub(crate) fn one(numbers: Vec<T>, shape: Vec<usize>, tape: Option<P>) -> Self {
        Yield {
            output: (numbers, shape),
            more: None,
            tape,
        }
    }
}

/// The gradients of what a forward pass has yielded.
#[derive(Clone, Copy)]
pub(crate) struct Slopes<'a, T> {
    pub(crate) output: &'a [T],
    /// Nothing, if the loss does not depend on it.
    pub(crate) more: Option<&'a [T]>,
}

/// Something of each operand of a kernel.
pub(crate) type Each<K, V, const N: usize> = <<K as Kernel<N>>::Operands as Operands<N>>::Each<V>;

/// Declares an operation on flex, with and without a graph: `on_flex! { /// What it yields. FusedMap: Map }` makes the trait `FusedMap`,
/// whose function `run` takes the `Inputs` that [`operands!`](super::operands) has declared beside it, and the kernel `Map`. With
/// `FusedMap: Map, and more` it yields a second tensor as well, whose gradient costs nothing where the loss does not depend on it.
macro_rules! on_flex {
    ($(#[$attribute:meta])* $name:ident: $kernel:ident) => {
        $crate::ops::operation::on_flex! {
            $(#[$attribute])*
            $name: $kernel, [burn::backend::tensor::FloatTensor<Self>], |yielded| yielded.0
        }
    };
    ($(#[$attribute:meta])* $name:ident: $kernel:ident, and more) => {
        $crate::ops::operation::on_flex! {
            $(#[$attribute])*
            $name: $kernel, [(burn::backend::tensor::FloatTensor<Self>, burn::backend::tensor::FloatTensor<Self>)],
            |yielded| (yielded.0, yielded.1.expect("it is declared with more"))
        }
    };
    ($(#[$attribute:meta])* $name:ident: $kernel:ident, [$($yields:tt)+], |$yielded:ident| $take:expr) => {
        $(#[$attribute])*
        #[burn::backend::backend_extension(Autodiff, Flex)]
        pub trait $name: burn::backend::Backend {
            /// The operation.
            fn run(#[extension_type] inputs: Inputs<Self>, kernel: $kernel) -> $($yields)+;
        }

        impl $name for burn::backend::Flex {
            fn run(inputs: Inputs<Self>, kernel: $kernel) -> $($yields)+ {
                let $yielded = $crate::ops::operation::run(&kernel, inputs.into());
                $take
            }
        }

        impl<C: burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy> $name
            for burn::backend::autodiff::Autodiff<burn::backend::Flex, C>
        {
            fn run(inputs: Inputs<Self>, kernel: $kernel) -> $($yields)+ {
                let $yielded = $crate::ops::operation::run_tracked::<_, C, COUNT>(kernel, inputs.into());
                $take
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
) -> (FlexTensor, Option<FlexTensor>) {
    let inputs = K::Operands::listed(inputs).map(|input| input.to_contiguous());
    let (output, more, _) = forward(kernel, &inputs, false);
    (output, more)
}

/// A tensor that is on a graph, or may be.
type Tracked<C> = FloatTensor<Autodiff<Flex, C>>;

/// The operation on the graph.
pub(crate) fn run_tracked<K: Kernel<N>, C: CheckpointStrategy, const N: usize>(
    kernel: K,
    inputs: Each<K, Tracked<C>, N>,
) -> (Tracked<C>, Option<Tracked<C>>) {
    let inputs = K::Operands::listed(inputs);
    let nodes = inputs.each_ref().map(|input| input.node());
    let inputs = inputs.map(|input| input.into_primitive().to_contiguous());
    let node = KernelBackward::<K>(PhantomData).prepare::<C>(nodes);
    match node.compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (output, more, tape) = forward(&kernel, &inputs, true);
            let of_more = Arc::default();
            let kept = Kept {
                inputs: Arc::new(inputs),
                output: kernel.reads_output().then(|| output.clone()),
                shape: output.shape(),
                of_more: Arc::clone(&of_more),
                tape: Arc::new(tape.expect("a forward pass that keeps its tape has one")),
                kernel,
            };
            let output = prep.finish(kept, output);
            let more = more.map(|more| tracked_more::<C>(&output, more, of_more));
            (output, more)
        }
        OpsKind::UnTracked(prep) => {
            let (output, more, _) = forward(&kernel, &inputs, false);
            let more = more.map(<Autodiff<Flex, C> as AutodiffBackend>::from_inner);
            (prep.finish(output), more)
        }
    }
}

/// What an operation yields beside its output. Operations of Burn's graph yield one tensor: this is a node above the output's, which goes back first
/// and leaves its gradient where the output's finds it.
fn tracked_more<C: CheckpointStrategy>(
    output: &Tracked<C>,
    more: FlexTensor,
    slopes: Arc<Mutex<Option<FlexTensor>>>,
) -> Tracked<C> {
    let rank = output.rank();
    let node = MoreBackward.prepare::<C>([output.node()]);
    match node.compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(More { slopes, rank }, more),
        OpsKind::UnTracked(prep) => prep.finish(more),
    }
}

/// Where a gradient is left, and how many dimensions the output has.
#[derive(Clone, Debug)]
struct More {
    slopes: Arc<Mutex<Option<FlexTensor>>>,
    rank: usize,
}

#[derive(Debug)]
struct MoreBackward;

impl Backward<Flex, 1> for MoreBackward {
    type State = More;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let slopes = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [output] = ops.parents;
        if let Some(output) = output {
            // The output's node asks for a gradient, be it that the loss does not depend on it: one number stands for as many zeros.
            let zero = TensorData::zeros::<f32, _>(vec![1; ops.state.rank]);
            let zero = FlexTensor::from_data(zero.convert_dtype(slopes.dtype()));
            grads.register::<Flex>(output.id, zero);
        }
        *ops.state.slopes.lock().expect("nobody panics with it") = Some(slopes);
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
    /// Of the output.
    shape: Shape,
    /// The gradient of what was yielded beside it.
    of_more: Arc<Mutex<Option<FlexTensor>>>,
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
        let kept = ops.state;
        let mut slopes = grads.consume::<Flex>(&ops.node);
        if slopes.shape() != kept.shape {
            slopes = Flex::float_expand(slopes, kept.shape.clone());
        }
        let slopes = slopes.to_contiguous();
        let more = kept.of_more.lock().expect("nobody panics with it").take();
        let is_wanted = ops.parents.each_ref().map(Option::is_some);
        let gradients = match &*kept.tape {
            AnyTape::F32(tape) => kept.backward(tape, &slopes, more.as_ref(), is_wanted),
            AnyTape::F64(tape) => kept.backward(tape, &slopes, more.as_ref(), is_wanted),
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
        more: Option<&FlexTensor>,
        is_wanted: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        let inputs = self.inputs.each_ref();
        let output = self.output.as_ref().map(numbers);
        let slopes = Slopes {
            output: numbers(slopes),
            more: more.map(numbers),
        };
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

/// What an operation yields: one tensor, another or none, and what the backward pass needs.
type Results<K, const N: usize> = (FlexTensor, Option<FlexTensor>, Option<AnyTape<K, N>>);

fn forward<K: Kernel<N>, const N: usize>(
    kernel: &K,
    inputs: &[FlexTensor; N],
    keep: bool,
) -> Results<K, N> {
    fn of<K: Kernel<N>, T: Real, const N: usize>(
        kernel: &K,
        inputs: &[FlexTensor; N],
        keep: bool,
        of_tape: impl FnOnce(K::Tape<T>) -> AnyTape<K, N>,
    ) -> Results<K, N> {
        let inputs = K::Operands::named(inputs.each_ref().map(view_of::<T>));
        let Yield { output, more, tape } = kernel.forward(inputs, keep);
        let tensor = |(numbers, shape)| FlexTensor::from_data(TensorData::new(numbers, shape));
        (tensor(output), more.map(tensor), tape.map(of_tape))
    }
    match inputs[0].dtype() {
        DType::F32 => of(kernel, inputs, keep, AnyTape::F32),
        _ => of(kernel, inputs, keep, AnyTape::F64),
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

/// A tensor whose numbers are its alone, from the first on.
pub(crate) fn own<T: Real>(tensor: FlexTensor) -> FlexTensor {
    let is_whole = tensor.storage::<T>().len() == tensor.shape().num_elements();
    match tensor.is_unique() && tensor.is_contiguous() && is_whole {
        true => tensor,
        false => {
            let shape = tensor.shape();
            let tensor = tensor.to_contiguous();
            let numbers = view_of::<T>(&tensor).numbers.to_vec();
            FlexTensor::from_data(TensorData::new(numbers, shape))
        }
    }
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
