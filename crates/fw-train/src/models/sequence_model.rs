//! A recurrent layer that reads a sequence and answers at its steps, or after the last one.

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::module::embedding;
use burn::tensor::{Device, Tensor};
use fw_core::Recurrent;
use fw_core::ops::project_linear;
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

    /// The width that the recurrent layer has to read.
    pub fn d_layer_input(&self, format: Format) -> usize {
        match (format.input, &self.embedding) {
            (InputFormat::Vectors { d_input }, _) => d_input,
            (InputFormat::Tokens { .. }, Some(embedding)) if embedding.d_embedding > 0 => {
                embedding.d_embedding
            }
            (InputFormat::Tokens { n_tokens }, _) => n_tokens,
        }
    }

    /// The model around a layer. Its parameters are drawn here, from the random numbers that `device.seed` begins.
    pub fn init<R: Recurrent>(
        &self,
        format: Format,
        layer: R,
        device: &Device,
    ) -> SequenceModel<R> {
        let d_layer = layer.d_output();
        let (head, d_last) = match self.d_head {
            0 => (None, d_layer),
            width => (Some(LinearConfig::new(d_layer, width).init(device)), width),
        };
        let n_tokens = match format.input {
            InputFormat::Tokens { n_tokens } => n_tokens,
            InputFormat::Vectors { .. } => 0,
        };
        let embedding = self.embedding.as_ref();
        let embedding = embedding.filter(|embedding| embedding.d_embedding > 0);
        let embedding = embedding.map(|embedding| {
            EmbeddingConfig::new(n_tokens, embedding.d_embedding)
                .with_initializer(Initializer::Normal {
                    mean: 0.0,
                    std: embedding.embedding_std,
                })
                .init(device)
        });
        let model = SequenceModel {
            embedding,
            layer,
            head,
            output: LinearConfig::new(d_last, format.d_output()).init(device),
            n_tokens,
            answers_at_the_end: format.is_answered_at_the_end(),
        };
        super::draw_parameters(&model);
        model
    }
}

/// A recurrent layer R between what a task gives and what it asks for.
///
/// ```text
/// x_t      = relu(E[token_t])                 or a one-hot vector, or the task's own vector
/// y_t      = R(x_1 .. x_t)                    t = 1..T
/// logits_t = relu(y_t W + b) W' + b'          or y_t W' + b'; at every step, or after the last one
/// ```
///
/// # Shapes
/// - inputs: tokens `[batch_size, seq_length]`, or vectors `[batch_size, seq_length, d_input]`
/// - logits: `[batch_size, seq_length, d_output]`, or `[batch_size, 1, d_output]`
#[derive(Module, Debug)]
pub struct SequenceModel<R: Module> {
    embedding: Option<Embedding>,
    layer: R,
    head: Option<Linear>,
    output: Linear,
    /// 0 where the task has vectors.
    n_tokens: usize,
    answers_at_the_end: bool,
}

impl<R: Recurrent> SequenceModel<R> {
    /// What the layer reads for each token there is, `[n_tokens, any]`.
    fn token_table(&self) -> Tensor<2> {
        match &self.embedding {
            Some(table) => relu(table.weight.val()),
            None => Tensor::eye(self.n_tokens, &self.output.weight.val().device()),
        }
    }

    fn outputs(&self, inputs: Inputs, state: Option<R::State>) -> (Tensor<3>, R::State) {
        match inputs {
            Inputs::Vectors(vectors) => self.layer.forward(vectors, state),
            Inputs::Tokens(tokens) => {
                // What depends on a token alone is computed once for each token there is, not for each that is read.
                let table = self.token_table().unsqueeze_dim(0);
                let table = self.layer.project(table).squeeze_dim(0);
                let projected = embedding(table, tokens);
                self.layer.forward_projected(projected, state)
            }
        }
    }

    fn vectors(&self, inputs: Inputs) -> Tensor<3> {
        match inputs {
            Inputs::Vectors(vectors) => vectors,
            Inputs::Tokens(tokens) => embedding(self.token_table(), tokens),
        }
    }
}

impl<R: Layer> Model for SequenceModel<R> {
    type State = R::State;

    fn logits_from(&self, inputs: Inputs, state: Option<R::State>) -> (Tensor<3>, R::State) {
        let (outputs, state) = self.outputs(inputs, state);
        let outputs = match self.answers_at_the_end {
            true => {
                let last = outputs.dims()[1] - 1;
                outputs.narrow(1, last, 1)
            }
            false => outputs,
        };
        let outputs = match &self.head {
            Some(head) => relu(project_linear(head, outputs)),
            None => outputs,
        };
        (project_linear(&self.output, outputs), state)
    }

    fn state_size(&self, seq_length: usize) -> usize {
        self.layer.state_size(seq_length)
    }

    fn heat_maps(&self, inputs: Inputs) -> MapPairs {
        self.layer.trace(self.vectors(inputs), None).0
    }
}
