//! A short causal convolution of each channel by itself, and the nonlinearity behind it.
//!
//! ```text
//! z_t = Σ_j w_j x_{t+j}            j = 0..size
//! y_t = z_t σ(z_t)                 SiLU, but for the first few channels, whose y is z
//! ```

#[cfg(feature = "flex")]
mod cpu;
#[cfg(feature = "flex")]
mod fused;

use alloc::vec;

use burn::tensor::{Tensor, activation};

use super::ExecutionPath;

/// The convolution of every step behind the first `size - 1`, with SiLU of all channels but the first `n_linear`. A path other than
/// [`ExecutionPath::Composed`] takes the kernel where there is one.
///
/// # Shapes
/// - steps: `[batch_size, n, channels]`, weight: `[size, channels]`
/// - output: `[batch_size, n - size + 1, channels]`
pub(crate) fn short_convolution(
    steps: Tensor<3>,
    weight: Tensor<2>,
    n_linear: usize,
    path: ExecutionPath,
) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if path != ExecutionPath::Composed
        && let Some(output) = fused::short_convolution(&steps, &weight, n_linear)
    {
        return output;
    }
    #[cfg(not(feature = "flex"))]
    let _ = path;
    composed(steps, weight, n_linear)
}

fn composed(steps: Tensor<3>, weight: Tensor<2>, n_linear: usize) -> Tensor<3> {
    let [_, n, channels] = steps.dims();
    let [size, _] = weight.dims();
    let seq_length = n + 1 - size;
    let of_tap = |tap: usize| {
        let weight: Tensor<3> = weight.clone().narrow(0, tap, 1).unsqueeze();
        steps.clone().narrow(1, tap, seq_length) * weight
    };
    let convolved = (1..size).fold(of_tap(0), |sum, tap| sum + of_tap(tap));
    match n_linear {
        0 => activation::silu(convolved),
        all if all == channels => convolved,
        _ => {
            let linear = convolved.clone().narrow(2, 0, n_linear);
            let rest = convolved.narrow(2, n_linear, channels - n_linear);
            Tensor::cat(vec![linear, activation::silu(rest)], 2)
        }
    }
}
