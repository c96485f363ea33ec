//! Models: what an experiment trains.

mod delta_net;
mod encoder_decoder;
mod heat_map;
mod layers;
mod recall;
mod sample_trace;
mod sequence_model;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use fw_core::RecurrentState;
use serde::Serialize;

use crate::Error;
use crate::error::require;
use crate::settings::Section;
use crate::tasks::{Format, Inputs, Task};

pub use delta_net::DeltaNetSettings;
pub use encoder_decoder::{EncoderDecoder, EncoderDecoderSettings, EncoderDecoderState, Interface};
pub use heat_map::{HeatMap, Layer, MapPairs};
use layers::WithLayer;
pub use layers::{
    ALstmSettings, FastWeightsSettings, GruSettings, LayerConfig, LstmSettings, NtmFfSettings,
    NtmLstmSettings, OwnSettings, RnnSettings, WidthSettings,
};
pub use recall::{CellKind, Limit, SabSettings, SelfAttentionSettings, TbpttSettings};
pub use sample_trace::SampleTrace;
pub use sequence_model::{EmbeddingSettings, SequenceModelConfig};

/// What the training loop asks of a model.
pub trait Model: Module {
    /// What its layer carries from step to step.
    type State: RecurrentState;

    /// What is answered: logits of classes or bits, or a number itself.
    ///
    /// # Shapes
    /// - `[batch_size, seq_length, d_output]`, or `[batch_size, 1, d_output]` where the only answer comes after the last step
    fn logits(&self, inputs: Inputs) -> Tensor<3> {
        self.logits_from(inputs, None).0
    }

    /// The same from a state, or else from the layer's first; and the state after the last step.
    fn logits_from(&self, inputs: Inputs, state: Option<Self::State>) -> (Tensor<3>, Self::State);

    /// Numbers carried for each sample after `seq_length` steps, in elements.
    fn state_size(&self, seq_length: usize) -> usize;

    /// What each step did on a batch of one sample, for pictures; nothing where there is nothing to look at.
    fn heat_maps(&self, _inputs: Inputs) -> MapPairs {
        Vec::new()
    }
}

/// What to do with a model whose type depends on the configuration.
pub trait WithModel {
    /// What comes out.
    type Output;

    /// Does it.
    fn run<M: Model>(self, model: M) -> Result<Self::Output, Error>;
}

/// Wider layers are refused: a slip of the keyboard would else end for lack of memory.
const MOST_UNITS: usize = 65_536;

fn require_width(field: &str, width: usize) -> Result<(), Error> {
    require(width <= MOST_UNITS, field, width, "be at most 65,536")
}

fn require_layers(n_layers: usize) -> Result<(), Error> {
    require(
        (1..=1000).contains(&n_layers),
        "model.n_layers",
        n_layers,
        "lie between 1 and 1000",
    )
}

/// The model of an experiment: a recurrent layer and what stands around it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelConfig {
    /// The recurrent layer, by kind.
    #[serde(flatten)]
    pub layer: LayerConfig,
    /// What stands before and after it.
    #[serde(flatten)]
    pub around: SequenceModelConfig,
}

impl ModelConfig {
    pub(crate) fn from_section(mut section: Section, task: &dyn Task) -> Result<Self, Error> {
        let kind = section.take_kind()?;
        let around = SequenceModelConfig::take(&mut section, task.format())?;
        let layer = LayerConfig::from_section(&kind, section)?;
        layer.validate(task)?;
        Ok(ModelConfig { layer, around })
    }

    /// Builds the model for a task, with parameters drawn from `seed`, and hands it to `action`.
    pub fn with_model<A: WithModel>(
        &self,
        task: &dyn Task,
        seed: u64,
        device: &Device,
        action: A,
    ) -> Result<A::Output, Error> {
        device.seed(seed);
        let surround = self.surround(task, device, action);
        let d_input = self.around.d_layer_input(task.format());
        self.layer.with_layer(d_input, task, device, surround)
    }

    /// The same around a layer of the caller's own, which `init` makes for the width that it has to read.
    pub(crate) fn with_own_layer<A: WithModel, R: Layer>(
        &self,
        task: &dyn Task,
        seed: u64,
        device: &Device,
        init: impl FnOnce(usize, &Device) -> R,
        action: A,
    ) -> Result<A::Output, Error> {
        device.seed(seed);
        let layer = init(self.around.d_layer_input(task.format()), device);
        self.surround(task, device, action).run(layer)
    }

    /// The model as files describe it; nothing, where it is not one of fw-core's layers with what stands around it.
    pub(crate) fn in_file(&self, task: &dyn Task) -> Option<fw_core::SequenceModelConfig> {
        let around = self.around.surroundings(task.format());
        let layer = self.layer.in_file(around.d_layer_input())?;
        Some(fw_core::SequenceModelConfig { layer, around })
    }

    fn surround<'a, A>(
        &'a self,
        task: &dyn Task,
        device: &'a Device,
        action: A,
    ) -> Surround<'a, A> {
        Surround {
            around: &self.around,
            format: task.format(),
            device,
            action,
        }
    }
}

/// Puts a layer into a [`SequenceModel`](fw_core::SequenceModel).
struct Surround<'a, A> {
    around: &'a SequenceModelConfig,
    format: Format,
    device: &'a Device,
    action: A,
}

impl<A: WithModel> WithLayer for Surround<'_, A> {
    type Output = A::Output;

    fn run<R: Layer>(self, layer: R) -> Result<A::Output, Error> {
        let model = self.around.init(self.format, layer, self.device);
        self.action.run(model)
    }
}

/// Draws the parameters now, in the module's order: left alone, each is drawn when it is first used.
fn draw_parameters<M: Module>(model: &M) {
    struct Draw;
    impl ModuleVisitor for Draw {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            param.val();
        }
    }
    model.visit(&mut Draw);
}
