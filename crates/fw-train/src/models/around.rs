//! What stands around the recurrent layer, as settings.

use fw_core::{Answers, Reads, Surroundings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::models::kinds::require_width;
use crate::settings::{Field, Section, fields};
use crate::tasks::{AnswerFormat, Format, InputFormat};

/// What stands before and after the recurrent layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AroundSettings {
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

/// What can be said of it; what is not has a default that depends on the task.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Fields {
    /// Width of the embedding of a token, followed by a ReLU: 0 to 65,536; 0 leaves it out, and the layer reads one-hot vectors. Where it is not
    /// set: 100 where one class is answered for a sequence, as in Ba et al. 2016, else 0. Only where tokens are read.
    d_embedding: Option<usize>,
    /// Standard deviation of the embedding's start values, which are normal: above 0. Where it is not set: 1. Only where tokens are read.
    embedding_std: Option<f64>,
    /// Width of the ReLU layer between the recurrent layer and the answer: 0 to 65,536; 0 leaves it out. Where it is not set: 100 where one class is
    /// answered for a sequence of tokens, as in Ba et al. 2016, else 0.
    d_head: Option<usize>,
}

/// The same where vectors are read.
#[derive(Deserialize, JsonSchema)]
struct Head {
    d_head: Option<usize>,
}

impl AroundSettings {
    /// What can be set.
    pub fn fields() -> Vec<Field> {
        fields(&Fields::default())
    }

    /// Takes the fields out of a section, with the defaults of a task's format.
    pub(super) fn take(section: &mut Section, format: Format) -> Result<Self, Error> {
        let reads_tokens = matches!(format.input, InputFormat::Tokens { .. });
        let fields: Fields = match reads_tokens {
            true => section.take_fields::<Fields>().parse()?,
            false => Fields {
                d_head: section.take_fields::<Head>().parse::<Head>()?.d_head,
                ..Fields::default()
            },
        };
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
        Ok(AroundSettings {
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
}
