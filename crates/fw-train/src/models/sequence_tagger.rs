//! A recurrent layer that reads vectors and answers with bits at every step.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use fw_core::Recurrent;

use crate::models::heat_map::HeatMap;
use crate::models::{Layer, Model, draw_parameters};
use crate::tasks::Inputs;

/// A recurrent layer R that reads vectors and answers with bits at every step.
///
/// ```text
/// y_t      = R(x_1 .. x_t)            t = 1..T
/// logits_t = y_t W + b                a bit is 1 with probability σ(logit)
/// ```
///
/// # Shapes
/// - inputs: `[batch_size, seq_length, d_input]`
/// - logits: `[batch_size, seq_length, d_output]`
#[derive(Module, Debug)]
pub struct SequenceTagger<R: Module> {
    layer: R,
    output: Linear,
}

impl<R: Recurrent> SequenceTagger<R> {
    /// The model around a layer. Its parameters are drawn here, from the random numbers that `device.seed` begins.
    pub fn init(layer: R, d_output: usize, device: &Device) -> Self {
        let model = SequenceTagger {
            output: LinearConfig::new(layer.d_output(), d_output).init(device),
            layer,
        };
        draw_parameters(&model);
        model
    }
}

impl<R: Layer> Model for SequenceTagger<R> {
    fn logits(&self, inputs: Inputs) -> Tensor<3> {
        let (outputs, _) = self.layer.forward(inputs.vectors(), None);
        self.output.forward(outputs)
    }

    fn state_size(&self, seq_length: usize) -> usize {
        self.layer.state_size(seq_length)
    }

    fn heat_maps(&self, inputs: Inputs) -> Vec<[Option<HeatMap>; 2]> {
        self.layer.heat_maps(inputs.vectors())
    }
}
