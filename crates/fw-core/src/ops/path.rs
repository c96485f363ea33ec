//! The way an operation is computed.

use burn::tensor::{DType, Device};
use serde::{Deserialize, Serialize};

/// How an operation over a whole sequence is computed. Both ways give the same numbers up to rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ExecutionPath {
    /// Fused where there is a kernel for the device and the type, composed elsewhere.
    #[default]
    Auto,
    /// A loop over tensor operations: runs on every backend.
    Composed,
    /// One operation with a backward pass of its own: on Flex with the cargo feature `flex`, in f32 and f64, and on
    /// GPUs with the cargo features `wgpu` and `cuda`, in f32, f16 and bf16, where what units share has room for it.
    Fused,
}

impl ExecutionPath {
    /// Computes by the kernel or composed, as this path asks for. The kernel yields nothing where there is none; `what` is computed
    /// of `operands`, in the type and on the device of `like`.
    ///
    /// # Panics
    /// If the path is [`ExecutionPath::Fused`] and there is no kernel.
    #[track_caller]
    pub(crate) fn choose<I, O>(
        self,
        what: &str,
        like: (&Device, DType),
        operands: I,
        by_kernel: impl FnOnce(&I) -> Option<O>,
        composed: impl FnOnce(I) -> O,
    ) -> O {
        if self != ExecutionPath::Composed
            && let Some(output) = by_kernel(&operands)
        {
            return output;
        }
        let (device, dtype) = like;
        assert!(
            self != ExecutionPath::Fused,
            "path is Fused; there is no kernel for {what} in {dtype:?} on {device:?}: it needs Flex, f32 or f64, and the cargo \
             feature flex, or a GPU with room for a sample, f32, f16 or bf16, and the cargo feature wgpu or cuda"
        );
        composed(operands)
    }
}
