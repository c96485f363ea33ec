//! The way an operation is computed.

use serde::{Deserialize, Serialize};

/// How an operation over a whole sequence is computed. Both ways give the same numbers up to rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// Fused where there is a kernel for the device and the type, composed elsewhere.
    #[default]
    Auto,
    /// A loop over tensor operations: runs on every backend.
    Composed,
    /// One operation with a backward pass of its own: on Flex with the cargo feature `flex`, in f32 and f64, and on
    /// GPUs with the cargo features `wgpu` and `cuda`, in f32, f16 and bf16, where what units share has room for it.
    Fused,
}
