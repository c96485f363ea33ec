//! The norm of heads that lie side by side.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

use crate::ops::norm::layer_norm_of_heads;

/// Layer normalisation of each head, with a gain, and a bias or none, for each number of all heads.
///
/// ```text
/// y = w (x - mean(x)) / √(var(x) + ε) + b                   mean and variance over a head
/// ```
///
/// where `w` is [`weight`](Self::weight), 1 at the start, and `b` is [`bias`](Self::bias), 0 at the start.
#[derive(Module, Debug)]
pub struct HeadsLayerNorm {
    /// w, `[n_heads d_value]`.
    pub weight: Param<Tensor<1>>,
    /// b, `[n_heads d_value]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl HeadsLayerNorm {
    pub(crate) fn init(width: usize, has_bias: bool, device: &Device) -> Self {
        HeadsLayerNorm {
            weight: Initializer::Ones.init([width], device),
            bias: has_bias.then(|| Initializer::Zeros.init([width], device)),
        }
    }

    /// From `[batch_size, seq_length, n_heads, d_value]` to `[batch_size, seq_length, n_heads d_value]`, in the type of what comes in.
    pub(crate) fn apply(&self, heads: Tensor<4>, epsilon: f64) -> Tensor<3> {
        let bias = self.bias.as_ref().map(Param::val);
        layer_norm_of_heads(heads, self.weight.val(), bias, epsilon)
    }
}
