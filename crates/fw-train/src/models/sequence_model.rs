//! A recurrent layer that reads a sequence and answers at its steps, or after the last one.

use burn::tensor::{Device, Tensor};
use fw_core::{Answers, Reads, Recurrent, SequenceModel, Surroundings};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::models::heat_map::MapPairs;
use crate::models::require_width;
use crate::models::{Layer, Model};
use crate::settings::Section;
use crate::tasks::{AnswerFormat, Format, InputFormat, Inputs};

/// What stands before and after the recurrent layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SequenceModelConfig {
    /// How tokens are read; nothing, where the task has vectors, which the layer reads as they are.
    #[serde(flatten)]
    pub embedding: Option<EmbeddingSettings>,
    /// Width of the ReLU layer between the recurrent layer and the answer. 0 leaves it out. Default 100, as in Ba et al.
    /// 2016, where one class is answered for a sequence of tokens, else 0.
    pub d_head: usize,
}

/// How tokens are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingSettings {
    /// Width of the embedding of a token, followed by a ReLU. 0 leaves it out: the layer reads one-hot vectors. Default 100, as in
    /// Ba et al. 2016, where one class is answered for a sequence, else 0.
    pub d_embedding: usize,
    /// Standard deviation of the embedding's start values, which are normal: above 0. Default 1.
    pub embedding_std: f64,
}

impl SequenceModelConfig {
    /// Takes the fields out of a section, with the defaults of a task's format.
    pub(super) fn take(section: &mut Section, format: Format) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            d_embedding: Option<usize>,
            embedding_std: Option<f64>,
            d_head: Option<usize>,
        }
        let reads_tokens = matches!(format.input, InputFormat::Tokens { .. });
        let of_tokens: &[&str] = match reads_tokens {
            true => &["d_embedding", "embedding_std"],
            false => &[],
        };
        let fields = section.take_keys(&[of_tokens, &["d_head"]].concat());
        let fields: Fields = fields.parse()?;
        for (field, width) in [
            ("model.d_embedding", fields.d_embedding),
            ("model.d_head", fields.d_head),
        ] {
            require_width(field, width.unwrap_or(0))?;
        }
        let as_in_ba = reads_tokens && matches!(format.answer, AnswerFormat::Class { .. });
        let default = if as_in_ba { 100 } else { 0 };
        let std = fields.embedding_std.unwrap_or(1.0);
        let positive = std.is_finite() && std > 0.0;
        require(positive, "model.embedding_std", std, "be a number above 0")?;
        Ok(SequenceModelConfig {
            embedding: reads_tokens.then(|| EmbeddingSettings {
                d_embedding: fields.d_embedding.unwrap_or(default),
                embedding_std: std,
            }),
            d_head: fields.d_head.unwrap_or(default),
        })
    }

    /// The same as fw-core has it, for a task's format.
    pub fn surroundings(&self, format: Format) -> Surroundings {
        let reads = match (format.input, &self.embedding) {
            (InputFormat::Vectors { d_input }, _) => Reads::Vectors { d_input },
            (InputFormat::Tokens { n_tokens }, embedding) => Reads::Tokens {
                n_tokens,
                d_embedding: embedding
                    .as_ref()
                    .map_or(0, |embedding| embedding.d_embedding),
                embedding_std: embedding
                    .as_ref()
                    .map_or(1.0, |embedding| embedding.embedding_std),
            },
        };
        Surroundings {
            reads,
            d_head: self.d_head,
            d_output: format.d_output(),
            answers: match format.is_answered_at_the_end() {
                true => Answers::LastStep,
                false => Answers::EveryStep,
            },
        }
    }

    /// The width that the recurrent layer has to read.
    pub fn d_layer_input(&self, format: Format) -> usize {
        self.surroundings(format).d_layer_input()
    }

    /// The model around a layer. Its parameters are drawn here, from the random numbers that `device.seed` begins.
    pub fn init<R: Recurrent>(
        &self,
        format: Format,
        layer: R,
        device: &Device,
    ) -> SequenceModel<R> {
        let model = self.surroundings(format).init(layer, device);
        super::draw_parameters(&model);
        model
    }
}

impl<R: Layer> Model for SequenceModel<R> {
    type State = R::State;

    fn logits_from(&self, inputs: Inputs, state: Option<R::State>) -> (Tensor<3>, R::State) {
        SequenceModel::logits_from(self, inputs, state)
    }

    fn state_size(&self, seq_length: usize) -> usize {
        self.layer.state_size(seq_length)
    }

    fn heat_maps(&self, inputs: Inputs) -> MapPairs {
        self.layer.trace(self.vectors(inputs), None).0
    }
}
