//! A linear map of every step at once.

use burn::nn::Linear;
use burn::tensor::Tensor;

/// `x_t W + b` for every step of a sequence, as one product of two matrices: a product for each sample
/// would cost more, and its gradient a weight for each sample.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - weight: `[d_input, d_output]`, bias: `[d_output]`
/// - output: `[batch_size, seq_length, d_output]`
pub fn project(input: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let [batch_size, seq_length, d_input] = input.dims();
    let [_, d_output] = weight.dims();
    let rows = input.reshape([batch_size * seq_length, d_input]);
    #[cfg(feature = "cube")]
    if let Some(projected) = super::cube::project(&rows, &weight, bias.as_ref()) {
        return projected.reshape([batch_size, seq_length, d_output]);
    }
    let product = rows.matmul(weight);
    let projected = match bias {
        Some(bias) => product + bias.unsqueeze(),
        None => product,
    };
    projected.reshape([batch_size, seq_length, d_output])
}

/// [`project`] with the parameters of a layer.
pub(crate) fn project_by(linear: &Linear, input: Tensor<3>) -> Tensor<3> {
    let bias = linear.bias.as_ref().map(|bias| bias.val());
    project(input, linear.weight.val(), bias)
}
