//! The operands of an operation, by name.

use core::cell::OnceCell;
use core::fmt::Debug;

use burn::backend::DispatchTensor;
use burn::tensor::{DType, Device, Tensor};

/// What an operation reads: N tensors, each of which has a name. [`operands!`] declares them.
pub(crate) trait Operands<const N: usize>: Debug + Send + Sync + 'static {
    /// Something of each operand, by its name.
    type Each<V>;

    fn named<V>(values: [V; N]) -> Self::Each<V>;

    /// In the order of their declaration.
    fn listed<V>(each: Self::Each<V>) -> [V; N];
}

/// Where the operands of an operation lie, and in which type.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    device: Device,
    dtype: DType,
    /// Numbers of what stands for an operand that is not there.
    n_absent: usize,
    /// That, one for all of them.
    absent: OnceCell<DispatchTensor>,
}

impl Place {
    /// Where a tensor lies on flex, in its type; what is not there has no numbers.
    #[cfg(feature = "flex")]
    pub(crate) fn on_flex<const D: usize>(like: &Tensor<D>) -> Self {
        Place {
            device: like.device(),
            dtype: like.dtype(),
            n_absent: 0,
            absent: OnceCell::new(),
        }
    }

    /// Where a tensor lies on a GPU, in single precision; what is not there has one number, since GPUs know no empty buffers.
    #[cfg(feature = "cube")]
    pub(crate) fn on_cube<const D: usize>(like: &Tensor<D>) -> Self {
        Place {
            device: like.device(),
            dtype: DType::F32,
            n_absent: 1,
            absent: OnceCell::new(),
        }
    }

    /// An operand.
    pub(crate) fn put<const D: usize>(&self, tensor: &Tensor<D>) -> DispatchTensor {
        let tensor = tensor.clone();
        match tensor.dtype() == self.dtype {
            true => tensor.into_dispatch(),
            false => tensor.cast(self.dtype).into_dispatch(),
        }
    }

    /// An operand, or what stands for one that is not there.
    pub(crate) fn put_any<const D: usize>(&self, tensor: Option<&Tensor<D>>) -> DispatchTensor {
        let zeros = || Tensor::<1>::zeros([self.n_absent], (&self.device, self.dtype));
        let absent = || self.absent.get_or_init(|| zeros().into_dispatch());
        tensor.map_or_else(|| absent().clone(), |tensor| self.put(tensor))
    }
}

/// Declares the operands of an operation, once: a struct of tensors that Burn passes from backend to backend, and [`Operands`].
///
/// ```text
/// operands! {
///     /// What the operation reads.
///     #[derive(ExtensionType)]
///     pub struct Inputs { input, weight, bias }
/// }
/// ```
///
/// Beside `Inputs<B>` that makes `Each<V>`, with a field of type V for each operand; `Names`, which stands for the list; and its length, `COUNT`.
macro_rules! operands {
    (
        $(#[$attribute:meta])*
        pub struct Inputs { $($name:ident),+ $(,)? }
    ) => {
        $(#[$attribute])*
        pub struct Inputs<B: burn::backend::Backend> {
            $(pub(crate) $name: burn::backend::tensor::FloatTensor<B>,)+
        }

        /// Something of each operand.
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct Each<V> {
            $(pub(crate) $name: V,)+
        }

        /// The list of operands.
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct Names;

        /// How many there are.
        pub(crate) const COUNT: usize = [$(stringify!($name)),+].len();

        impl $crate::ops::operation::Operands<COUNT> for Names {
            type Each<V> = Each<V>;

            fn named<V>([$($name),+]: [V; COUNT]) -> Each<V> {
                Each { $($name),+ }
            }

            fn listed<V>(each: Each<V>) -> [V; COUNT] {
                [$(each.$name),+]
            }
        }

        impl<B: burn::backend::Backend> From<Each<burn::backend::tensor::FloatTensor<B>>> for Inputs<B> {
            fn from(each: Each<burn::backend::tensor::FloatTensor<B>>) -> Self {
                Inputs { $($name: each.$name),+ }
            }
        }

        impl<B: burn::backend::Backend> From<Inputs<B>> for Each<burn::backend::tensor::FloatTensor<B>> {
            fn from(inputs: Inputs<B>) -> Self {
                Each { $($name: inputs.$name),+ }
            }
        }
    };
}
pub(crate) use operands;
