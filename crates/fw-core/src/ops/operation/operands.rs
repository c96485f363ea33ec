//! The operands of an operation, by name.

use core::fmt::Debug;

/// What an operation reads: N tensors, each of which has a name. [`operands!`] declares them.
pub(crate) trait Operands<const N: usize>: Debug + Send + Sync + 'static {
    /// Something of each operand, by its name.
    type Each<V>;

    fn named<V>(values: [V; N]) -> Self::Each<V>;

    /// In the order of their declaration.
    fn listed<V>(each: Self::Each<V>) -> [V; N];
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
