//! A linear map of every step at once.

#[cfg(feature = "flex")]
mod cpu;
#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod fused;

use burn::nn::Linear;
use burn::tensor::Tensor;

use crate::ops::shapes::check;

/// `x_t W + b` for every step of a sequence, as one product of two matrices: a product for each sample
/// would cost more, and its gradient a weight for each sample.
///
/// On flex it is one operation with a backward pass of its own. On a GPU the product is Burn's, and the gradients of weight and
/// bias are computed by kernels. Both sum these gradients in blocks: over a million rows of one sign they are off by less than 1e-5 in single
/// precision, where `burn::nn::Linear` (0.22.1, flex) is off by 1e-2.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - weight: `[d_input, d_output]`, bias: `[d_output]`
/// - output: `[batch_size, seq_length, d_output]`
///
/// # Panics
/// If the shapes or the types do not fit together.
#[track_caller]
pub fn project(input: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let [batch_size, seq_length, d_input] = input.dims();
    let [_, d_output] = weight.dims();
    let dtype = input.dtype();
    check("weight", &weight, [d_input, d_output], dtype);
    if let Some(bias) = &bias {
        check("bias", bias, [d_output], dtype);
    }
    let rows = input.reshape([batch_size * seq_length, d_input]);
    let projected = by_kernel(&rows, &weight, bias.as_ref());
    let projected = projected.unwrap_or_else(|| composed(rows, weight, bias));
    projected.reshape([batch_size, seq_length, d_output])
}

/// [`project`] with the parameters of a layer: what `linear.forward(input)` gives.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - output: `[batch_size, seq_length, d_output]`
///
/// # Panics
/// As [`project`].
#[track_caller]
pub fn project_linear(linear: &Linear, input: Tensor<3>) -> Tensor<3> {
    let bias = linear.bias.as_ref().map(|bias| bias.val());
    project(input, linear.weight.val(), bias)
}

/// `x W + b` of every row by a kernel of this device, if it has one.
#[allow(
    unused_variables,
    reason = "without a backend that has kernels there is none"
)]
fn by_kernel(rows: &Tensor<2>, weight: &Tensor<2>, bias: Option<&Tensor<1>>) -> Option<Tensor<2>> {
    #[cfg(feature = "flex")]
    if let Some(projected) = fused::project(rows, weight, bias) {
        return Some(projected);
    }
    #[cfg(feature = "cube")]
    if let Some(projected) = cube::project(rows, weight, bias) {
        return Some(projected);
    }
    None
}

/// The same in tensor operations.
fn composed(rows: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let product = rows.matmul(weight);
    match bias {
        Some(bias) => product + bias.unsqueeze(),
        None => product,
    }
}
