//! What stands around the recurrent layer, as settings.

use fw_core::{
    Answers, BlocksConfig, GatedConvolutionConfig, LayerConfig, NormKind, Reads, Surroundings,
};
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
    /// The blocks that the layer stands in; nothing, where it stands alone.
    #[serde(flatten)]
    pub blocks: Option<BlockSettings>,
    /// Width of the ReLU layer between the recurrent layer and the answer. 0 leaves it out. Default 100, as in Ba et al.
    /// 2016, where one class is answered for a sequence of tokens; 128 where the sequence is said again from what is left after it; else 0.
    pub d_head: usize,
}

/// Blocks with residual connections, in each of which a layer of the kind stands: see [`Blocks`](fw_core::Blocks).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BlockSettings {
    /// Blocks: 1 to 1000.
    pub n_blocks: usize,
    /// Width of what goes from block to block: 1 to 65,536. Default 64.
    pub d_model: usize,
    /// Width inside the multilayer perceptron of each block: up to 65,536; 0 leaves it out. Default 0.
    pub d_mlp: usize,
    /// How what a layer reads is normalised. Default layer.
    pub norm: NormKind,
    /// How many of the blocks, from the first on, have a [gated short convolution](fw_core::GatedConvolution) instead of the layer: fewer than there
    /// are blocks. Default 0.
    pub convolution_blocks: usize,
}

impl BlockSettings {
    fn new(fields: &Fields) -> Result<Option<Self>, Error> {
        let n_blocks = fields.n_blocks;
        require(
            n_blocks <= 1000,
            "model.n_blocks",
            n_blocks,
            "lie between 0 and 1000",
        )?;
        if n_blocks == 0 {
            let given = [
                ("model.d_model", fields.d_model.is_some()),
                ("model.d_mlp", fields.d_mlp.is_some()),
                ("model.norm", fields.norm.is_some()),
                (
                    "model.convolution_blocks",
                    fields.convolution_blocks.is_some(),
                ),
            ];
            let rule = "be left out where model.n_blocks is 0";
            let given = given.into_iter();
            let set = given.map(|(field, is_set)| require(!is_set, field, "set", rule));
            return set.collect::<Result<Vec<()>, _>>().map(|_| None);
        }
        let d_model = fields.d_model.unwrap_or(64);
        require(d_model >= 1, "model.d_model", d_model, "be at least 1")?;
        require_width("model.d_model", d_model)?;
        let d_mlp = fields.d_mlp.unwrap_or(0);
        require_width("model.d_mlp", d_mlp)?;
        let convolution_blocks = fields.convolution_blocks.unwrap_or(0);
        require(
            convolution_blocks < n_blocks,
            "model.convolution_blocks",
            convolution_blocks,
            "be less than model.n_blocks",
        )?;
        Ok(Some(BlockSettings {
            n_blocks,
            d_model,
            d_mlp,
            norm: fields.norm.unwrap_or_default(),
            convolution_blocks,
        }))
    }

    /// The blocks as fw-core has them, for an input of some width, around layers of one configuration.
    fn around(&self, d_input: usize, layer: LayerConfig) -> LayerConfig {
        let convolution = GatedConvolutionConfig::new(self.d_model);
        let layers = (0..self.n_blocks).map(|index| match index < self.convolution_blocks {
            true => LayerConfig::GatedConvolution(convolution.clone()),
            false => layer.clone(),
        });
        LayerConfig::Blocks {
            layers: layers.collect(),
            around: BlocksConfig::new(d_input, self.d_model)
                .with_d_mlp((self.d_mlp > 0).then_some(self.d_mlp))
                .with_norm(self.norm),
        }
    }
}

/// How tokens are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingSettings {
    /// Width of the embedding of a token, followed by a ReLU where no blocks are. 0 leaves it out: the layer reads one-hot vectors. Default that of
    /// the blocks; without them 100, as in Ba et al. 2016, where one class is answered for a sequence, else 0.
    pub d_embedding: usize,
    /// Standard deviation of the embedding's start values, which are normal: above 0. Default 1.
    pub embedding_std: f64,
}

/// What can be said of it; what is not has a default that depends on the task.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Fields {
    /// Width of the embedding of a token, followed by a ReLU where `n_blocks` is 0: 0 to 65,536; 0 leaves it out, and the layer reads one-hot vectors. Where it is not
    /// set: `d_model` in blocks; else 100 where one class is answered for a sequence, as in Ba et al. 2016, else 0. Only where tokens are read.
    d_embedding: Option<usize>,
    /// Standard deviation of the embedding's start values, which are normal: above 0. Where it is not set: 1. Only where tokens are read.
    embedding_std: Option<f64>,
    /// Width of the ReLU layer between the recurrent layer and the answer: 0 to 65,536; 0 leaves it out. Where it is not set: 100 where one class is
    /// answered for a sequence of tokens and there are no blocks, as in Ba et al. 2016; 128 where a sequence is said again from what is left after it; else 0.
    d_head: Option<usize>,
    /// Blocks of norm, layer and residual connection upon each other, each with a layer of the kind: 0 to 1000; 0 leaves them out, and one layer stands alone. Default 0.
    #[serde(default)]
    n_blocks: usize,
    /// Width of what goes from block to block: 1 to 65,536. Where it is not set: 64. Only with blocks.
    d_model: Option<usize>,
    /// Width inside the multilayer perceptron behind the layer of each block: 0 to 65,536; 0 leaves it out. Where it is not set: 0. Only with blocks.
    d_mlp: Option<usize>,
    /// How what is read in a block is normalised. Where it is not set: "layer". Only with blocks.
    norm: Option<NormKind>,
    /// How many of the blocks, from the first on, have a gated short convolution instead of the layer: 0 to `n_blocks` - 1. Where it is not set: 0. Only with blocks.
    convolution_blocks: Option<usize>,
}

impl AroundSettings {
    /// What can be set.
    pub fn fields() -> Vec<Field> {
        fields(&Fields::default())
    }

    /// Takes the fields out of a section, with the defaults of a task's format.
    pub(super) fn take(section: &mut Section, format: Format) -> Result<Self, Error> {
        let reads_tokens = matches!(format.input, InputFormat::Tokens { .. });
        let fields: Fields = section.take_fields::<Fields>().parse()?;
        let of_tokens = [
            ("model.d_embedding", fields.d_embedding.is_some()),
            ("model.embedding_std", fields.embedding_std.is_some()),
        ];
        for (field, is_set) in of_tokens {
            let rule = "be left out where the task has vectors, not tokens";
            require(reads_tokens || !is_set, field, "set", rule)?;
        }
        for (field, width) in [
            ("model.d_embedding", fields.d_embedding),
            ("model.d_head", fields.d_head),
        ] {
            require_width(field, width.unwrap_or(0))?;
        }
        let blocks = BlockSettings::new(&fields)?;
        let as_in_ba =
            reads_tokens && blocks.is_none() && matches!(format.answer, AnswerFormat::Class { .. });
        let default = if as_in_ba { 100 } else { 0 };
        let d_head = match format.answer {
            AnswerFormat::Reconstruction { .. } => 128,
            _ => default,
        };
        let d_embedding = blocks.as_ref().map_or(default, |blocks| blocks.d_model);
        let std = fields.embedding_std.unwrap_or(1.0);
        let positive = std.is_finite() && std > 0.0;
        require(positive, "model.embedding_std", std, "be a number above 0")?;
        Ok(AroundSettings {
            embedding: reads_tokens.then(|| EmbeddingSettings {
                d_embedding: fields.d_embedding.unwrap_or(d_embedding),
                embedding_std: std,
            }),
            blocks,
            d_head: fields.d_head.unwrap_or(d_head),
        })
    }

    /// What stands between all of this, where the layer that reads vectors of some width is known.
    ///
    /// # Errors
    /// If the layer cannot be had.
    pub(super) fn layer(
        &self,
        format: Format,
        of_width: impl FnOnce(usize) -> Result<LayerConfig, Error>,
    ) -> Result<LayerConfig, Error> {
        let d_input = self.surroundings(format).d_layer_input();
        match &self.blocks {
            None => of_width(d_input),
            Some(blocks) => Ok(blocks.around(d_input, of_width(blocks.d_model)?)),
        }
    }

    /// What is before and behind it, as fw-core has it, for a task's format.
    pub fn surroundings(&self, format: Format) -> Surroundings {
        let reads = match (format.input, &self.embedding) {
            (InputFormat::Vectors { d_input }, _) => Reads::Vectors { d_input },
            (InputFormat::Tokens { n_tokens }, embedding) => Reads::Tokens {
                n_tokens,
                d_embedding: embedding
                    .as_ref()
                    .map_or(0, |embedding| embedding.d_embedding),
                relu: self.blocks.is_none(),
                embedding_std: embedding
                    .as_ref()
                    .map_or(1.0, |embedding| embedding.embedding_std),
            },
        };
        Surroundings {
            reads,
            d_head: self.d_head,
            d_output: format.d_output(),
            answers: match format.answer {
                AnswerFormat::Reconstruction { n_steps, .. } => {
                    Answers::FromLastStep { n_answers: n_steps }
                }
                _ if format.is_answered_at_the_end() => Answers::LastStep,
                _ => Answers::EveryStep,
            },
        }
    }
}
