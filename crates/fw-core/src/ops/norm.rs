//! Numbers brought to a mean square of 1.

use burn::tensor::Tensor;

use super::precision::{in_type, widened};

/// Along the last dimension, `x / √(mean(x²) + ε) ⊙ w`, in the type of `x`; half precision by way of single precision. `burn::nn::RmsNorm` (0.22.1)
/// squares double precision in single precision.
///
/// # Shapes
/// - input and output: `[.., width]`, weight: `[width]`
pub(crate) fn rms_norm<const D: usize>(
    input: Tensor<D>,
    weight: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let dtype = input.dtype();
    let wide = widened(input);
    let mean = (wide.clone() * wide.clone()).mean_dim(D - 1);
    let normed = wide / (mean + epsilon).sqrt() * widened(weight).unsqueeze();
    in_type(normed, dtype)
}
