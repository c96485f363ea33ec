//! Models: what an experiment trains.

mod sequence_classifier;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use fw_core::{
    Activation, AssociativeLstmConfig, ElmanConfig, FastWeightsConfig, Form, GruConfig,
    HiddenInitializer, LstmConfig, Path, Write,
};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::settings::{Section, unknown_kind};
use crate::tasks::Task;

pub use sequence_classifier::{SequenceClassifier, SequenceClassifierConfig};

/// What the training loop asks of a model.
pub trait Model: Module {
    /// The logits of each class after the last token.
    ///
    /// # Shapes
    /// - tokens: `[batch_size, seq_length]`
    /// - logits: `[batch_size, n_classes]`
    fn logits(&self, tokens: Tensor<2, Int>) -> Tensor<2>;

    /// Numbers carried for each sample after `seq_length` steps, in elements.
    fn state_size(&self, seq_length: usize) -> usize;
}

/// What to do with a model whose type depends on the configuration.
pub trait WithModel {
    /// What comes out.
    type Output;

    /// Does it.
    fn run<M: Model>(self, model: M) -> Result<Self::Output, Error>;
}

/// The model of an experiment: a recurrent layer between an embedding and a head.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelConfig {
    /// The recurrent layer, by kind.
    #[serde(flatten)]
    pub layer: LayerConfig,
    /// What stands before and after it.
    #[serde(flatten)]
    pub classifier: SequenceClassifierConfig,
}

/// The recurrent layer of an experiment, by kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum LayerConfig {
    /// [`fw_core::FastWeights`]
    FastWeights(FastWeightsSettings),
    /// [`fw_core::Elman`]
    Rnn(RnnSettings),
    /// [`fw_core::Elman`] with relu and an identity start.
    Irnn(WidthSettings),
    /// [`fw_core::Lstm`]
    Lstm(LstmSettings),
    /// [`fw_core::Gru`]
    Gru(GruSettings),
    /// [`fw_core::AssociativeLstm`]
    ALstm(ALstmSettings),
}

/// Declares a layer's settings with their defaults; each field means what it means in `fw-core`.
macro_rules! settings {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[allow(missing_docs, reason = "fields are documented at the layer's configuration")]
        pub struct $name { $(pub $field: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* }
            }
        }
    };
}

settings! {
    /// See [`FastWeightsConfig`].
    FastWeightsSettings {
        d_hidden: usize = 20,
        decay: f64 = 0.95,
        fast_learning_rate: f64 = 0.5,
        inner_steps: usize = 1,
        layer_norm: bool = true,
        normalize_preliminary: bool = false,
        epsilon: f64 = 1e-5,
        write: Write = Write::Final,
        activation: Activation = Activation::Relu,
        input_gain: f64 = 1.0,
        norm_gain: f64 = 0.5,
        hidden_initializer: HiddenInitializer = HiddenInitializer::ScaledIdentity(0.05),
        form: Form = Form::Auto,
        path: Path = Path::Auto,
    }
}

settings! {
    /// See [`ElmanConfig`].
    RnnSettings {
        d_hidden: usize = 20,
        activation: Activation = Activation::Tanh,
        layer_norm: bool = false,
        hidden_initializer: HiddenInitializer = HiddenInitializer::Uniform,
    }
}

settings! {
    /// See [`ElmanConfig::irnn`].
    WidthSettings {
        d_hidden: usize = 20,
    }
}

settings! {
    /// See [`LstmConfig`].
    LstmSettings {
        d_hidden: usize = 20,
        forget_bias: f64 = 1.0,
    }
}

settings! {
    /// See [`GruConfig`].
    GruSettings {
        d_hidden: usize = 20,
        layer_norm: bool = false,
    }
}

settings! {
    /// See [`AssociativeLstmConfig`].
    ALstmSettings {
        d_hidden: usize = 20,
        n_copies: usize = 8,
        forget_bias: f64 = 1.0,
        permutation_seed: u64 = 0,
    }
}

impl ModelConfig {
    /// Each kind's name and a line about it.
    pub const KINDS: &[(&str, &str)] = &[
        (
            "fast-weights",
            "recurrent net with fast weights (Ba et al. 2016)",
        ),
        ("rnn", "Elman network; layer_norm = true normalises it"),
        (
            "irnn",
            "Elman network with relu and an identity start (Le et al. 2015)",
        ),
        ("lstm", "long short-term memory"),
        (
            "gru",
            "gated recurrent unit; layer_norm = true normalises it",
        ),
        (
            "a-lstm",
            "Associative LSTM: LSTM gates over a holographic memory (Danihelka et al. 2016)",
        ),
    ];

    pub(crate) fn from_section(mut section: Section) -> Result<Self, Error> {
        let kind = section.take_kind()?;
        let classifier = section.take_keys(SequenceClassifierConfig::FIELDS);
        let layer = match kind.as_str() {
            "fast-weights" => LayerConfig::FastWeights(section.parse()?),
            "rnn" => LayerConfig::Rnn(section.parse()?),
            "irnn" => LayerConfig::Irnn(section.parse()?),
            "lstm" => LayerConfig::Lstm(section.parse()?),
            "gru" => LayerConfig::Gru(section.parse()?),
            "a-lstm" => LayerConfig::ALstm(section.parse()?),
            _ => return Err(unknown_kind("model", &kind, Self::KINDS)),
        };
        let config = ModelConfig {
            layer,
            classifier: classifier.parse()?,
        };
        config.layer.validate()?;
        config.classifier.validate()?;
        Ok(config)
    }

    /// The kind's name.
    pub fn kind(&self) -> &'static str {
        match self.layer {
            LayerConfig::FastWeights(_) => "fast-weights",
            LayerConfig::Rnn(_) => "rnn",
            LayerConfig::Irnn(_) => "irnn",
            LayerConfig::Lstm(_) => "lstm",
            LayerConfig::Gru(_) => "gru",
            LayerConfig::ALstm(_) => "a-lstm",
        }
    }

    /// Width of the recurrent layer.
    pub fn d_hidden(&self) -> usize {
        match &self.layer {
            LayerConfig::FastWeights(settings) => settings.d_hidden,
            LayerConfig::Rnn(settings) => settings.d_hidden,
            LayerConfig::Irnn(settings) => settings.d_hidden,
            LayerConfig::Lstm(settings) => settings.d_hidden,
            LayerConfig::Gru(settings) => settings.d_hidden,
            LayerConfig::ALstm(settings) => settings.d_hidden,
        }
    }

    /// Builds the model for a task, with parameters drawn from `seed`, and hands it to `action`.
    pub fn with_model<A: WithModel>(
        &self,
        task: &dyn Task,
        seed: u64,
        device: &Device,
        action: A,
    ) -> Result<A::Output, Error> {
        let d_input = self.classifier.d_layer_input(task);
        device.seed(seed);
        macro_rules! run {
            ($layer:expr) => {
                action.run(self.classifier.init(task, $layer.try_init(device)?, device))
            };
        }
        match &self.layer {
            LayerConfig::FastWeights(settings) => run!(settings.layer(d_input)),
            LayerConfig::Rnn(settings) => run!(settings.layer(d_input)),
            LayerConfig::Irnn(settings) => run!(ElmanConfig::irnn(d_input, settings.d_hidden)),
            LayerConfig::Lstm(settings) => run!(settings.layer(d_input)),
            LayerConfig::Gru(settings) => run!(settings.layer(d_input)),
            LayerConfig::ALstm(settings) => run!(settings.layer(d_input)),
        }
    }
}

impl LayerConfig {
    /// Checks the settings, with an input width that is known to be fine.
    fn validate(&self) -> Result<(), Error> {
        match self {
            LayerConfig::FastWeights(settings) => settings.layer(1).validate(),
            LayerConfig::Rnn(settings) => settings.layer(1).validate(),
            LayerConfig::Irnn(settings) => ElmanConfig::irnn(1, settings.d_hidden).validate(),
            LayerConfig::Lstm(settings) => settings.layer(1).validate(),
            LayerConfig::Gru(settings) => settings.layer(1).validate(),
            LayerConfig::ALstm(settings) => settings.layer(1).validate(),
        }?;
        Ok(())
    }
}

impl FastWeightsSettings {
    fn layer(&self, d_input: usize) -> FastWeightsConfig {
        FastWeightsConfig::new(d_input, self.d_hidden)
            .with_decay(self.decay)
            .with_fast_learning_rate(self.fast_learning_rate)
            .with_inner_steps(self.inner_steps)
            .with_layer_norm(self.layer_norm)
            .with_normalize_preliminary(self.normalize_preliminary)
            .with_epsilon(self.epsilon)
            .with_write(self.write)
            .with_activation(self.activation)
            .with_input_gain(self.input_gain)
            .with_norm_gain(self.norm_gain)
            .with_hidden_initializer(self.hidden_initializer)
            .with_form(self.form)
            .with_path(self.path)
    }
}

impl RnnSettings {
    fn layer(&self, d_input: usize) -> ElmanConfig {
        ElmanConfig::new(d_input, self.d_hidden)
            .with_activation(self.activation)
            .with_layer_norm(self.layer_norm)
            .with_hidden_initializer(self.hidden_initializer)
    }
}

impl LstmSettings {
    fn layer(&self, d_input: usize) -> LstmConfig {
        LstmConfig::new(d_input, self.d_hidden).with_forget_bias(self.forget_bias)
    }
}

impl GruSettings {
    fn layer(&self, d_input: usize) -> GruConfig {
        GruConfig::new(d_input, self.d_hidden).with_layer_norm(self.layer_norm)
    }
}

impl ALstmSettings {
    fn layer(&self, d_input: usize) -> AssociativeLstmConfig {
        AssociativeLstmConfig::new(d_input, self.d_hidden)
            .with_n_copies(self.n_copies)
            .with_forget_bias(self.forget_bias)
            .with_permutation_seed(self.permutation_seed)
    }
}
