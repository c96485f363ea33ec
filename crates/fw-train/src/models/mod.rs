//! Models: what an experiment trains.

mod heat_map;
mod layers;
mod sequence_classifier;
mod sequence_tagger;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use serde::Serialize;

use crate::Error;
use crate::settings::Section;
use crate::tasks::{Format, Inputs, Task};

pub use heat_map::{HeatMap, Layer};
use layers::WithLayer;
pub use layers::{
    ALstmSettings, FastWeightsSettings, GruSettings, LayerConfig, LstmSettings, NtmFfSettings,
    NtmLstmSettings, RnnSettings, WidthSettings,
};
pub use sequence_classifier::{SequenceClassifier, SequenceClassifierConfig};
pub use sequence_tagger::SequenceTagger;

/// What the training loop asks of a model.
pub trait Model: Module {
    /// The logits of what is answered.
    ///
    /// # Shapes
    /// - tokens: `[batch_size, 1, n_classes]`, after the last one
    /// - vectors: `[batch_size, seq_length, d_output]`, of each bit at each step
    fn logits(&self, inputs: Inputs) -> Tensor<3>;

    /// Numbers carried for each sample after `seq_length` steps, in elements.
    fn state_size(&self, seq_length: usize) -> usize;

    /// What each step did on a batch of one sample, for pictures; nothing where there is nothing to look at.
    fn heat_maps(&self, _inputs: Inputs) -> Vec<[Option<HeatMap>; 2]> {
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

/// The model of an experiment: a recurrent layer and what stands around it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelConfig {
    /// The recurrent layer, by kind.
    #[serde(flatten)]
    pub layer: LayerConfig,
    /// What stands before and after it, where the task has tokens and a class. Where it has vectors and bits, the layer
    /// reads the vectors, and one linear map follows.
    #[serde(flatten)]
    pub classifier: Option<SequenceClassifierConfig>,
}

impl ModelConfig {
    pub(crate) fn from_section(mut section: Section, format: Format) -> Result<Self, Error> {
        let kind = section.take_kind()?;
        let classifier = match format {
            Format::Tokens { .. } => {
                let fields = section.take_keys(SequenceClassifierConfig::FIELDS);
                let classifier: SequenceClassifierConfig = fields.parse()?;
                classifier.validate()?;
                Some(classifier)
            }
            Format::Vectors { .. } => None,
        };
        let layer = LayerConfig::from_section(&kind, section)?;
        layer.validate()?;
        Ok(ModelConfig { layer, classifier })
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
        match (task.format(), &self.classifier) {
            (
                Format::Tokens {
                    n_tokens,
                    n_classes,
                },
                Some(classifier),
            ) => {
                let d_input = classifier.d_layer_input(n_tokens);
                self.layer.with_layer(
                    d_input,
                    device,
                    Classify {
                        classifier,
                        n_tokens,
                        n_classes,
                        device,
                        action,
                    },
                )
            }
            (Format::Vectors { d_input, d_output }, None) => self.layer.with_layer(
                d_input,
                device,
                Tag {
                    d_output,
                    device,
                    action,
                },
            ),
            _ => unreachable!("a model is configured for its task's format"),
        }
    }
}

/// Puts a layer into a [`SequenceClassifier`].
struct Classify<'a, A> {
    classifier: &'a SequenceClassifierConfig,
    n_tokens: usize,
    n_classes: usize,
    device: &'a Device,
    action: A,
}

impl<A: WithModel> WithLayer for Classify<'_, A> {
    type Output = A::Output;

    fn run<R: Layer>(self, layer: R) -> Result<A::Output, Error> {
        let (n_tokens, n_classes) = (self.n_tokens, self.n_classes);
        let model = self
            .classifier
            .init(n_tokens, n_classes, layer, self.device);
        self.action.run(model)
    }
}

/// Puts a layer into a [`SequenceTagger`].
struct Tag<'a, A> {
    d_output: usize,
    device: &'a Device,
    action: A,
}

impl<A: WithModel> WithLayer for Tag<'_, A> {
    type Output = A::Output;

    fn run<R: Layer>(self, layer: R) -> Result<A::Output, Error> {
        let model = SequenceTagger::init(layer, self.d_output, self.device);
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
