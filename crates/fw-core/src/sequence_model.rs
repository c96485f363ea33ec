//! A recurrent layer with what stands around it: an embedding before it, and a head behind it that answers.

use alloc::format;
use alloc::vec::Vec;

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::module::embedding;
use burn::tensor::{Device, Int, Tensor, TensorData};
use num_traits::Float;
use serde::{Deserialize, Serialize};

use crate::error::{require, require_size};
use crate::ops::project_linear;
use crate::{AnyLayer, ConfigError, LayerConfig, Recurrent};

/// Configuration of a [`SequenceModel`] whose layer is one of this crate: what is written into files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SequenceModelConfig {
    /// The recurrent layer.
    pub layer: LayerConfig,
    /// What stands before and behind it.
    pub around: Surroundings,
}

/// What stands before and behind the layer of a [`SequenceModel`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Surroundings {
    /// What is read.
    pub reads: Reads,
    /// Width of the ReLU layer between the recurrent layer and the answer; 0 leaves it out.
    pub d_head: usize,
    /// Width of an answer.
    pub d_output: usize,
    /// At which steps the model answers.
    pub answers: Answers,
}

/// What a [`SequenceModel`] reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// One of so many tokens at each step.
    Tokens {
        /// How many there are.
        n_tokens: usize,
        /// Width of a token's embedding. 0 leaves it out: the layer reads one-hot vectors.
        d_embedding: usize,
        /// Whether a ReLU follows the embedding.
        #[serde(default = "as_in_ba")]
        relu: bool,
        /// Standard deviation of the embedding's start values, which are normal.
        embedding_std: f64,
    },
    /// A vector at each step, which the layer reads as it is.
    Vectors {
        /// Its width.
        d_input: usize,
    },
}

/// As in Ba et al. 2016, and in every file that does not say.
fn as_in_ba() -> bool {
    true
}

/// At which steps a [`SequenceModel`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answers {
    /// At every step.
    EveryStep,
    /// After the last step alone.
    LastStep,
    /// After the last step alone, but several answers, all made of what the layer yields there, to which a vector that says which answer it is
    /// is added: what a sequence is compressed into is said again. Answer i has `sin(i / 10000^(2j / d))` and the cosine of the same in turn, for j from 0 on, d being the layer's width.
    /// Without a ReLU layer (`d_head`) the place could only shift the logits.
    FromLastStep {
        /// How many, at least 1.
        n_answers: usize,
    },
}

/// What a model reads.
#[derive(Clone, Debug)]
pub enum Inputs {
    /// `[batch_size, seq_length]`, the token 0 behind the end of a shorter sequence
    Tokens(Tensor<2, Int>),
    /// `[batch_size, seq_length, d_input]`, zeros behind the end of a shorter sequence
    Vectors(Tensor<3>),
}

impl Inputs {
    /// The last step alone.
    pub fn last_step(&self) -> Inputs {
        match self {
            Inputs::Tokens(tokens) => {
                let last = tokens.dims()[1] - 1;
                Inputs::Tokens(tokens.clone().narrow(1, last, 1))
            }
            Inputs::Vectors(vectors) => {
                let last = vectors.dims()[1] - 1;
                Inputs::Vectors(vectors.clone().narrow(1, last, 1))
            }
        }
    }
}

/// A recurrent layer R between what is read and what is answered.
///
/// ```text
/// x_t      = relu(E[token_t])                 or E[token_t], or a one-hot vector, or the vector that is read
/// y_t      = R(x_1 .. x_t)                    t = 1..T
/// logits_t = relu(y_t W + b) W' + b'          or y_t W' + b'; at every step, after the last one, or several of the last one
/// ```
///
/// where E is [`embedding`](Self::embedding), W and b are [`head`](Self::head), and W' and b' [`output`](Self::output).
///
/// # Shapes
/// - inputs: tokens `[batch_size, seq_length]`, or vectors `[batch_size, seq_length, d_input]`
/// - logits: `[batch_size, seq_length, d_output]`, `[batch_size, 1, d_output]` or `[batch_size, n_answers, d_output]`
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{Answers, GruConfig, Inputs, Reads, Surroundings};
///
/// let device = Device::flex();
/// let around = Surroundings {
///     reads: Reads::Tokens { n_tokens: 10, d_embedding: 4, relu: true, embedding_std: 1.0 },
///     d_head: 0,
///     d_output: 3,
///     answers: Answers::LastStep,
/// };
/// let gru = GruConfig::new(around.d_layer_input(), 8).init(&device);
/// let model = around.init(gru, &device);
/// let (logits, state) = model.logits_from(Inputs::Tokens(Tensor::zeros([2, 5], &device)), None);
/// assert_eq!(logits.dims(), [2, 1, 3]);
/// assert_eq!(state.dims(), [2, 8]);
/// ```
#[derive(Module, Debug)]
pub struct SequenceModel<R: Module> {
    /// E, if tokens are embedded.
    pub embedding: Option<Embedding>,
    /// R.
    pub layer: R,
    /// The ReLU layer, if there is one.
    pub head: Option<Linear>,
    /// What answers.
    pub output: Linear,
    /// 0 where vectors are read.
    n_tokens: usize,
    has_relu: bool,
    /// How many answers are made of the last step; 0 where every step is answered.
    n_of_last_step: usize,
}

impl Surroundings {
    /// The width that the recurrent layer has to read.
    pub fn d_layer_input(&self) -> usize {
        match self.reads {
            Reads::Vectors { d_input } => d_input,
            Reads::Tokens {
                n_tokens,
                d_embedding: 0,
                ..
            } => n_tokens,
            Reads::Tokens { d_embedding, .. } => d_embedding,
        }
    }

    /// The model around a layer, with fresh parameters on `device`.
    pub fn init<R: Recurrent>(&self, layer: R, device: &Device) -> SequenceModel<R> {
        let d_layer = layer.d_output();
        let (head, d_last) = match self.d_head {
            0 => (None, d_layer),
            width => (Some(LinearConfig::new(d_layer, width).init(device)), width),
        };
        let (n_tokens, has_relu, embedding) = match self.reads {
            Reads::Vectors { .. } => (0, false, None),
            Reads::Tokens {
                n_tokens,
                d_embedding,
                relu,
                embedding_std: std,
            } => {
                let initializer = Initializer::Normal { mean: 0.0, std };
                let table = EmbeddingConfig::new(n_tokens, d_embedding);
                let table = table.with_initializer(initializer);
                let table = (d_embedding > 0).then(|| table.init(device));
                (n_tokens, relu, table)
            }
        };
        SequenceModel {
            embedding,
            layer,
            head,
            output: LinearConfig::new(d_last, self.d_output).init(device),
            n_tokens,
            has_relu,
            n_of_last_step: match self.answers {
                Answers::EveryStep => 0,
                Answers::LastStep => 1,
                Answers::FromLastStep { n_answers } => n_answers,
            },
        }
    }
}

impl SequenceModelConfig {
    /// Checks what stands around the layer, and that the layer reads what is before it. A layer's own configuration is checked when it is built.
    ///
    /// # Errors
    /// A size of 0, a standard deviation that is not above 0, or a layer of another width.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let Surroundings {
            reads,
            d_output,
            answers,
            ..
        } = &self.around;
        require_size("d_output", *d_output)?;
        if let Answers::FromLastStep { n_answers } = answers {
            require_size("n_answers", *n_answers)?;
        }
        match reads {
            Reads::Vectors { d_input } => require_size("d_input", *d_input)?,
            Reads::Tokens {
                n_tokens,
                embedding_std: std,
                ..
            } => {
                require_size("n_tokens", *n_tokens)?;
                let is_positive = std.is_finite() && *std > 0.0;
                require(is_positive, "embedding_std", std, "be a number above 0")?;
            }
        }
        let (read, given) = (self.layer.d_input(), self.around.d_layer_input());
        let value = format!("{read}, and what is before the layer is {given} wide");
        let rule = "be the same";
        require(read == given, "d_input", value, rule)
    }

    /// The model, with fresh parameters on `device`.
    ///
    /// # Errors
    /// If a layer's configuration breaks a rule.
    pub fn init(&self, device: &Device) -> Result<SequenceModel<AnyLayer>, ConfigError> {
        self.validate()?;
        Ok(self.around.init(self.layer.init(device)?, device))
    }
}

impl<R: Recurrent> SequenceModel<R> {
    /// What is answered: logits.
    ///
    /// # Panics
    /// As [`logits_from`](Self::logits_from).
    pub fn logits(&self, inputs: Inputs) -> Tensor<3> {
        self.logits_from(inputs, None).0
    }

    /// What is answered from a state, or else from the layer's first; and the state after the last step.
    ///
    /// # Panics
    /// If what is read is not what the model reads: vectors for tokens, or another width; or if there is no step.
    pub fn logits_from(&self, inputs: Inputs, state: Option<R::State>) -> (Tensor<3>, R::State) {
        let (outputs, state) = self.outputs(inputs, state);
        let last_step = || {
            let last = outputs.dims()[1] - 1;
            outputs.clone().narrow(1, last, 1)
        };
        let outputs = match self.n_of_last_step {
            0 => outputs,
            1 => last_step(),
            n_answers => with_places(last_step(), n_answers),
        };
        let outputs = match &self.head {
            Some(head) => relu(project_linear(head, outputs)),
            None => outputs,
        };
        (project_linear(&self.output, outputs), state)
    }

    /// What the layer reads, `[batch_size, seq_length, any]`.
    pub fn vectors(&self, inputs: Inputs) -> Tensor<3> {
        match inputs {
            Inputs::Vectors(vectors) => vectors,
            Inputs::Tokens(tokens) => embedding(self.token_table(), tokens),
        }
    }

    /// What the layer reads for each token there is, `[n_tokens, any]`.
    fn token_table(&self) -> Tensor<2> {
        match &self.embedding {
            Some(table) if self.has_relu => relu(table.weight.val()),
            Some(table) => table.weight.val(),
            None => {
                assert!(
                    self.n_tokens > 0,
                    "tokens are read; the model reads vectors"
                );
                Tensor::eye(self.n_tokens, &self.output.weight.val().device())
            }
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
}

/// One step `[batch_size, 1, width]` as many times, each time with a vector added that says which it is.
fn with_places(step: Tensor<3>, n: usize) -> Tensor<3> {
    let [batch_size, _, width] = step.dims();
    let number = |place: usize, channel: usize| {
        let rate = Float::powf(
            10_000.0_f64,
            -((channel - channel % 2) as f64) / width as f64,
        );
        let (sine, cosine) = Float::sin_cos(place as f64 * rate);
        if channel.is_multiple_of(2) {
            sine
        } else {
            cosine
        }
    };
    let places = (0..n).flat_map(|place| (0..width).map(move |channel| number(place, channel)));
    let places = TensorData::new(places.collect::<Vec<f64>>(), [1, n, width]);
    let places = Tensor::from_data(places, (&step.device(), step.dtype()));
    step.expand([batch_size, n, width]) + places
}
