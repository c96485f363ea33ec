//! Numbers brought to a mean square or a variance of 1.

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

/// Each head `(x - mean(x)) / √(var(x) + ε)`, then all of them `⊙ w + b`, in the type of `x`; half precision by way of single precision.
///
/// # Shapes
/// - input: `[batch_size, seq_length, n_heads, width]`, output: `[batch_size, seq_length, n_heads width]`
/// - weight and bias: `[n_heads width]`
pub(crate) fn layer_norm_of_heads(
    heads: Tensor<4>,
    weight: Tensor<1>,
    bias: Option<Tensor<1>>,
    epsilon: f64,
) -> Tensor<3> {
    let ([batch_size, seq_length, n_heads, width], dtype) = (heads.dims(), heads.dtype());
    let wide = widened(heads);
    let centred = wide.clone() - wide.mean_dim(3);
    let variance = (centred.clone() * centred.clone()).mean_dim(3);
    let normed = centred / (variance + epsilon).sqrt();
    let normed = normed.reshape([batch_size, seq_length, n_heads * width]);
    let normed = normed * widened(weight).unsqueeze();
    let normed = match bias {
        Some(bias) => normed + widened(bias).unsqueeze(),
        None => normed,
    };
    in_type(normed, dtype)
}
