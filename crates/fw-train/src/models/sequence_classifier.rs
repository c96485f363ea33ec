//! A recurrent layer that reads tokens and answers with a class after the last one.

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::module::embedding;
use burn::tensor::{Device, Tensor};
use fw_core::Recurrent;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::models::{Model, draw_parameters};
use crate::tasks::Inputs;

/// What stands before and after the recurrent layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SequenceClassifierConfig {
    /// Width of the embedding of a token, followed by a ReLU. 0 leaves it out: the layer reads one-hot
    /// vectors. Default 100, as in Ba et al. 2016.
    pub d_embedding: usize,
    /// Standard deviation of the embedding's start values, which are normal: above 0. Default 1.
    pub embedding_std: f64,
    /// Width of the ReLU layer between the recurrent layer and the softmax. 0 leaves it out. Default 100, as in
    /// Ba et al. 2016.
    pub d_head: usize,
}

impl Default for SequenceClassifierConfig {
    fn default() -> Self {
        SequenceClassifierConfig {
            d_embedding: 100,
            embedding_std: 1.0,
            d_head: 100,
        }
    }
}

/// A recurrent layer R that reads tokens and answers with a class after the last one (Ba et al. 2016,
/// section 4.1).
///
/// ```text
/// x_t    = relu(E[token_t])                 or a one-hot vector
/// y_t    = R(x_1 .. x_t)                    t = 1..T
/// logits = relu(y_T W + b) W' + b'          or y_T W' + b'
/// ```
///
/// # Shapes
/// - tokens: `[batch_size, seq_length]`
/// - logits: `[batch_size, 1, n_classes]`
#[derive(Module, Debug)]
pub struct SequenceClassifier<R: Module> {
    embedding: Option<Embedding>,
    layer: R,
    head: Option<Linear>,
    output: Linear,
    n_tokens: usize,
}

impl SequenceClassifierConfig {
    /// The names of the fields.
    pub(super) const FIELDS: &[&str] = &["d_embedding", "embedding_std", "d_head"];

    /// The width that the recurrent layer has to read.
    pub fn d_layer_input(&self, n_tokens: usize) -> usize {
        match self.d_embedding {
            0 => n_tokens,
            width => width,
        }
    }

    /// The model around a layer. Its parameters are drawn here, from the random numbers that `device.seed` begins.
    pub fn init<R: Recurrent>(
        &self,
        n_tokens: usize,
        n_classes: usize,
        layer: R,
        device: &Device,
    ) -> SequenceClassifier<R> {
        let d_layer = layer.d_output();
        let (head, d_output) = match self.d_head {
            0 => (None, d_layer),
            width => (Some(LinearConfig::new(d_layer, width).init(device)), width),
        };
        let model = SequenceClassifier {
            embedding: (self.d_embedding > 0).then(|| self.init_embedding(n_tokens, device)),
            layer,
            head,
            output: LinearConfig::new(d_output, n_classes).init(device),
            n_tokens,
        };
        draw_parameters(&model);
        model
    }

    fn init_embedding(&self, n_tokens: usize, device: &Device) -> Embedding {
        EmbeddingConfig::new(n_tokens, self.d_embedding)
            .with_initializer(Initializer::Normal {
                mean: 0.0,
                std: self.embedding_std,
            })
            .init(device)
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        let std = self.embedding_std;
        let positive = std.is_finite() && std > 0.0;
        require(positive, "model.embedding_std", std, "be a number above 0")
    }
}

impl<R: Recurrent> Model for SequenceClassifier<R> {
    fn logits(&self, inputs: Inputs) -> Tensor<3> {
        let tokens = inputs.tokens();
        let [batch_size, seq_length] = tokens.dims();
        let inputs = match &self.embedding {
            Some(table) => relu(table.weight.val()),
            None => Tensor::eye(self.n_tokens, &self.output.weight.val().device()),
        };
        // What depends on a token alone is computed once for each token there is, not for each that is read.
        let table = self.layer.project(inputs.unsqueeze_dim(0)).squeeze_dim(0);
        let (outputs, _) = self.layer.forward_projected(embedding(table, tokens), None);
        let last = outputs
            .narrow(1, seq_length - 1, 1)
            .reshape([batch_size, self.layer.d_output()]);
        let logits: Tensor<2> = self.output.forward(match &self.head {
            Some(head) => relu(head.forward(last)),
            None => last,
        });
        logits.unsqueeze_dim(1)
    }

    fn state_size(&self, seq_length: usize) -> usize {
        self.layer.state_size(seq_length)
    }
}
