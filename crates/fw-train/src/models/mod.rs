//! Models: what an experiment trains.

mod around;
mod fit;
mod heat_map;
mod kinds;
mod sample_trace;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use fw_core::{AnyLayer, SequenceModel};
use serde::Serialize;

use crate::Error;
use crate::error::require;
use crate::settings::Section;
use crate::tasks::Task;

pub use around::{AroundSettings, BlockSettings, EmbeddingSettings};
pub use fit::Fit;
pub use heat_map::{HeatMap, Layer, MapPairs};
pub(crate) use kinds::trace_as;
pub use kinds::{Given, KINDS, Kind, LayerSettings, Settings, Tracer, trace};
pub use sample_trace::SampleTrace;
pub(crate) use sample_trace::{likeliest, transposed};

/// What is trained: a recurrent layer of any kind with what stands around it.
pub type Model = SequenceModel<AnyLayer>;

/// The `[model]` section of an experiment: a recurrent layer and what stands around it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelConfig {
    /// The recurrent layer, by kind.
    #[serde(flatten)]
    pub layer: LayerSettings,
    /// What stands before and after it.
    #[serde(flatten)]
    pub around: AroundSettings,
}

impl ModelConfig {
    pub(crate) fn from_section(section: Section, task: &dyn Task) -> Result<Self, Error> {
        ModelConfig::of_section(fit::with_fitted_size(section, task)?, task)
    }

    fn of_section(mut section: Section, task: &dyn Task) -> Result<Self, Error> {
        let kind = section.take_kind()?;
        let around = AroundSettings::take(&mut section, task.format())?;
        let layer = LayerSettings::from_section(&kind, section, task)?;
        let rule =
            "be 0 where model.kind is own: put your layer into fw_core::Blocks in your own program";
        let n_blocks = around.blocks.as_ref().map_or(0, |blocks| blocks.n_blocks);
        require(
            n_blocks == 0 || !layer.is_of_program(),
            "model.n_blocks",
            n_blocks,
            rule,
        )?;
        Ok(ModelConfig { layer, around })
    }

    /// The model for a task, with parameters drawn from `seed`.
    ///
    /// # Errors
    /// If the layer is one of a program of one's own.
    pub fn init(&self, task: &dyn Task, seed: u64, device: &Device) -> Result<Model, Error> {
        let config = self.in_file(task)?;
        Ok(self.with_layer(task, seed, device, |_, device| config.layer.init(device))?)
    }

    /// The same around a layer that `init` makes for the width that it has to read.
    pub(crate) fn with_layer<E>(
        &self,
        task: &dyn Task,
        seed: u64,
        device: &Device,
        init: impl FnOnce(usize, &Device) -> Result<AnyLayer, E>,
    ) -> Result<Model, E> {
        device.seed(seed);
        let around = self.around.surroundings(task.format());
        let layer = init(around.d_layer_input(), device)?;
        let model = around.init(layer, device);
        draw_parameters(&model);
        Ok(model)
    }

    /// The model as files describe it.
    ///
    /// # Errors
    /// If the layer is one of a program of one's own.
    pub(crate) fn in_file(&self, task: &dyn Task) -> Result<fw_core::SequenceModelConfig, Error> {
        let around = self.around.surroundings(task.format());
        let of_width = |d_input| self.layer.config(d_input, task);
        let layer = self.around.layer(task.format(), of_width)?;
        Ok(fw_core::SequenceModelConfig { layer, around })
    }
}

/// Draws the parameters now, in the module's order: left alone, each is drawn when it is first used.
fn draw_parameters(model: &Model) {
    struct Draw;
    impl ModuleVisitor for Draw {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            param.val();
        }
    }
    model.visit(&mut Draw);
}
