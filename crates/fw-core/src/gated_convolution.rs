//! A short convolution with a gate.

use alloc::vec;

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{DType, Device, Tensor};

use crate::delta_net::{ShortConvolution, convolve};
use crate::display::displayed;
use crate::error::{expect_valid, require, require_size};
use crate::initializer::uniform;
use crate::ops::cut;
use crate::ops::precision::{in_type, widened};
use crate::ops::shapes::fits;
use crate::ops::{ExecutionPath, project_linear};
use crate::recurrent::{empty_output, state_or_initial};
use crate::{ConfigError, Recurrent, StateError};

/// Configuration of [`GatedConvolution`].
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GatedConvolutionConfig {
    /// Width of the input and of the output, at least 1.
    pub d_input: usize,
    /// Steps that the convolution sees, its own among them: 2 to 1,024. Default 3.
    #[config(default = 3)]
    pub size: usize,
}

impl GatedConvolutionConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// A width of 0, or a size outside its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        require_size("d_input", self.d_input)?;
        let in_range = (2..=1024).contains(&self.size);
        require(in_range, "size", self.size, "lie between 2 and 1024")
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds an error; [`try_init`](Self::try_init) returns it instead.
    #[track_caller]
    pub fn init(&self, device: &Device) -> GatedConvolution {
        expect_valid(self.try_init(device))
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn try_init(&self, device: &Device) -> Result<GatedConvolution, ConfigError> {
        self.validate()?;
        Ok(GatedConvolution {
            convolution: ShortConvolution::init(self.d_input, self.size, device),
            bias: uniform(self.size).init([self.d_input], device),
            gate: LinearConfig::new(self.d_input, self.d_input).init(device),
        })
    }
}

/// A short causal convolution of each channel, gated by a linear map of the same step: no memory of its own, but what puts a step beside those just
/// before it, which a memory above it needs in order to make a key of one token and a value of the next.
///
/// ```text
/// z_t = Σ_j w_j x_{t - size + 1 + j} + b        j = 0..size, channel by channel
/// y_t = z_t ⊙ (x_t W + c) + x_t
/// ```
///
/// where `w` is [`convolution`](Self::convolution), `b` is [`bias`](Self::bias), and `W` and `c` are [`gate`](Self::gate); steps before the first are 0.
///
/// # Shapes
/// - input and output: `[batch_size, seq_length, d_input]`
/// - state: the last `size - 1` steps, `[batch_size, size - 1, d_input]`
///
/// # Source
///
/// S. Arora et al., "Zoology: Measuring and Improving Recall in Efficient Language Models", 2023 (BaseConv), with a short filter, as the first layer
/// of the models in "Simple linear attention language models balance the recall-throughput tradeoff", 2024.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{GatedConvolutionConfig, Recurrent};
///
/// let device = Device::flex();
/// let layer = GatedConvolutionConfig::new(8).init(&device);
/// let (output, recent) = layer.forward(Tensor::zeros([4, 10, 8], &device), None);
/// assert_eq!((output.dims(), recent.dims()), ([4, 10, 8], [4, 2, 8]));
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct GatedConvolution {
    /// w, one weight for each channel and step.
    pub convolution: ShortConvolution,
    /// b, `[d_input]`.
    pub bias: Param<Tensor<1>>,
    /// W and c.
    pub gate: Linear,
}

displayed!(GatedConvolution: |layer|
    d_input = layer.d_input(),
    size = layer.size());

impl GatedConvolution {
    fn size(&self) -> usize {
        self.convolution.weight.lazy_shape()[2]
    }
}

impl Recurrent for GatedConvolution {
    type State = Tensor<3>;

    fn d_input(&self) -> usize {
        self.gate.weight.lazy_shape()[0]
    }

    fn d_output(&self) -> usize {
        self.d_input()
    }

    fn state_size(&self, _seq_length: usize) -> usize {
        (self.size() - 1) * self.d_input()
    }

    fn initial_state(&self, batch_size: usize, device: &Device) -> Tensor<3> {
        let shape = [batch_size, self.size() - 1, self.d_input()];
        Tensor::zeros(shape, (device, self.bias.val().dtype()))
    }

    fn check_state(
        &self,
        recent: &Tensor<3>,
        batch_size: usize,
        dtype: DType,
    ) -> Result<(), StateError> {
        let expected = [batch_size, self.size() - 1, self.d_input()];
        fits("what the next steps see", recent, expected, dtype)
    }

    /// The input, and its gate beside it.
    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        let gate = project_linear(&self.gate, input.clone());
        Tensor::cat(vec![input, gate], 2)
    }

    fn advance(&self, projected_t: Tensor<2>, recent: Tensor<3>) -> (Tensor<2>, Tensor<3>) {
        let (output, recent) = self.forward_projected(projected_t.unsqueeze_dim(1), Some(recent));
        (output.squeeze_dim(1), recent)
    }

    fn forward_projected(
        &self,
        projected: Tensor<3>,
        recent: Option<Tensor<3>>,
    ) -> (Tensor<3>, Tensor<3>) {
        let recent = state_or_initial(self, &projected, recent);
        let [batch_size, seq_length, _] = projected.dims();
        if batch_size == 0 {
            return (empty_output(self, &projected), recent);
        }
        let d_input = self.d_input();
        let mut parts = cut(projected, 2, &[d_input; 2]).into_iter();
        let mut next = || parts.next().expect("two of them");
        let (input, gate) = (next(), next());
        let steps = Tensor::cat(vec![recent, input.clone()], 1);
        let recent = steps.clone().narrow(1, seq_length, self.size() - 1);
        let weights = vec![self.convolution.weight.val()];
        let convolved = convolve(steps, weights, d_input, ExecutionPath::Auto);
        let convolved = convolved + widened(self.bias.val()).unsqueeze();
        (in_type(convolved, gate.dtype()) * gate + input, recent)
    }
}
