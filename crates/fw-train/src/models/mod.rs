//! Models: what an experiment trains.

mod heat_map;
mod sequence_classifier;
mod sequence_tagger;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use fw_core::{
    Activation, AssociativeLstmConfig, ConfigError, ControllerKind, ElmanConfig, FastWeightsConfig,
    Form, GruConfig, HiddenInitializer, InitialMemory, InitialWeights, Lstm, LstmConfig, NtmConfig,
    Path, Stack, Start, Write,
};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::settings::{Section, unknown_kind};
use crate::tasks::{Format, Inputs, Task};

pub use heat_map::{HeatMap, Layer};
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
    /// [`fw_core::Ntm`] with an LSTM as its controller.
    NtmLstm(NtmLstmSettings),
    /// [`fw_core::Ntm`] with a feed-forward controller.
    NtmFf(NtmFfSettings),
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
    /// See [`LstmConfig`]; `n_layers` of them upon each other.
    LstmSettings {
        d_hidden: usize = 20,
        n_layers: usize = 1,
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

settings! {
    /// See [`NtmConfig`].
    NtmLstmSettings {
        d_controller: usize = 100,
        n_layers: usize = 1,
        forget_bias: f64 = 1.0,
        memory_size: usize = 128,
        word_size: usize = 20,
        n_read_heads: usize = 1,
        n_write_heads: usize = 1,
        shift_width: usize = 3,
        initial_memory: InitialMemory = InitialMemory::Random,
        initial_weights: InitialWeights = InitialWeights::OneHot,
        initial_reads: Start = Start::Learned,
        initial_controller: Start = Start::Learned,
    }
}

settings! {
    /// See [`NtmConfig`].
    NtmFfSettings {
        d_controller: usize = 100,
        n_layers: usize = 1,
        activation: Activation = Activation::Tanh,
        memory_size: usize = 128,
        word_size: usize = 20,
        n_read_heads: usize = 1,
        n_write_heads: usize = 1,
        shift_width: usize = 3,
        initial_memory: InitialMemory = InitialMemory::Random,
        initial_weights: InitialWeights = InitialWeights::OneHot,
        initial_reads: Start = Start::Learned,
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
        (
            "ntm-lstm",
            "Neural Turing Machine with an LSTM as its controller (Graves et al. 2014)",
        ),
        (
            "ntm-ff",
            "Neural Turing Machine with a feed-forward controller (Graves et al. 2014)",
        ),
    ];

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
        let layer = match kind.as_str() {
            "fast-weights" => LayerConfig::FastWeights(section.parse()?),
            "rnn" => LayerConfig::Rnn(section.parse()?),
            "irnn" => LayerConfig::Irnn(section.parse()?),
            "lstm" => LayerConfig::Lstm(section.parse()?),
            "gru" => LayerConfig::Gru(section.parse()?),
            "a-lstm" => LayerConfig::ALstm(section.parse()?),
            "ntm-lstm" => LayerConfig::NtmLstm(section.parse()?),
            "ntm-ff" => LayerConfig::NtmFf(section.parse()?),
            _ => return Err(unknown_kind("model", &kind, Self::KINDS)),
        };
        layer.validate()?;
        Ok(ModelConfig { layer, classifier })
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
            LayerConfig::NtmLstm(_) => "ntm-lstm",
            LayerConfig::NtmFf(_) => "ntm-ff",
        }
    }

    /// Width of the recurrent layer, or of its controller.
    pub fn d_hidden(&self) -> usize {
        match &self.layer {
            LayerConfig::FastWeights(settings) => settings.d_hidden,
            LayerConfig::Rnn(settings) => settings.d_hidden,
            LayerConfig::Irnn(settings) => settings.d_hidden,
            LayerConfig::Lstm(settings) => settings.d_hidden,
            LayerConfig::Gru(settings) => settings.d_hidden,
            LayerConfig::ALstm(settings) => settings.d_hidden,
            LayerConfig::NtmLstm(settings) => settings.d_controller,
            LayerConfig::NtmFf(settings) => settings.d_controller,
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

/// What to do with a layer whose type depends on the configuration.
trait WithLayer {
    type Output;

    fn run<R: Layer>(self, layer: R) -> Result<Self::Output, Error>;
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

impl LayerConfig {
    /// Builds the layer and hands it to `action`.
    fn with_layer<A: WithLayer>(
        &self,
        d_input: usize,
        device: &Device,
        action: A,
    ) -> Result<A::Output, Error> {
        match self {
            LayerConfig::FastWeights(settings) => {
                action.run(settings.layer(d_input).try_init(device)?)
            }
            LayerConfig::Rnn(settings) => action.run(settings.layer(d_input).try_init(device)?),
            LayerConfig::Irnn(settings) => {
                action.run(ElmanConfig::irnn(d_input, settings.d_hidden).try_init(device)?)
            }
            LayerConfig::Lstm(settings) => action.run(settings.layer(d_input, device)?),
            LayerConfig::Gru(settings) => action.run(settings.layer(d_input).try_init(device)?),
            LayerConfig::ALstm(settings) => action.run(settings.layer(d_input).try_init(device)?),
            LayerConfig::NtmLstm(settings) => action.run(settings.layer(d_input).try_init(device)?),
            LayerConfig::NtmFf(settings) => action.run(settings.layer(d_input).try_init(device)?),
        }
    }

    /// Checks the settings, with an input width that is known to be fine.
    fn validate(&self) -> Result<(), Error> {
        match self {
            LayerConfig::FastWeights(settings) => settings.layer(1).validate(),
            LayerConfig::Rnn(settings) => settings.layer(1).validate(),
            LayerConfig::Irnn(settings) => ElmanConfig::irnn(1, settings.d_hidden).validate(),
            LayerConfig::Lstm(settings) => {
                let n_layers = settings.n_layers;
                let in_range = (1..=1000).contains(&n_layers);
                require(
                    in_range,
                    "model.n_layers",
                    n_layers,
                    "lie between 1 and 1000",
                )?;
                settings.one_layer(1).validate()
            }
            LayerConfig::Gru(settings) => settings.layer(1).validate(),
            LayerConfig::ALstm(settings) => settings.layer(1).validate(),
            LayerConfig::NtmLstm(settings) => settings.layer(1).validate(),
            LayerConfig::NtmFf(settings) => settings.layer(1).validate(),
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
    fn layer(&self, d_input: usize, device: &Device) -> Result<Stack<Lstm>, ConfigError> {
        let widths = std::iter::once(d_input).chain(std::iter::repeat(self.d_hidden));
        let layers = widths
            .take(self.n_layers)
            .map(|d_input| self.one_layer(d_input).try_init(device));
        Ok(Stack::new(layers.collect::<Result<_, _>>()?))
    }

    fn one_layer(&self, d_input: usize) -> LstmConfig {
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

impl NtmLstmSettings {
    fn layer(&self, d_input: usize) -> NtmConfig {
        NtmConfig::new(d_input, self.d_controller)
            .with_controller(ControllerKind::Lstm)
            .with_forget_bias(self.forget_bias)
            .with_initial_controller(self.initial_controller)
            .with_n_layers(self.n_layers)
            .with_memory_size(self.memory_size)
            .with_word_size(self.word_size)
            .with_n_read_heads(self.n_read_heads)
            .with_n_write_heads(self.n_write_heads)
            .with_shift_width(self.shift_width)
            .with_initial_memory(self.initial_memory)
            .with_initial_weights(self.initial_weights)
            .with_initial_reads(self.initial_reads)
    }
}

impl NtmFfSettings {
    fn layer(&self, d_input: usize) -> NtmConfig {
        NtmConfig::new(d_input, self.d_controller)
            .with_controller(ControllerKind::FeedForward)
            .with_activation(self.activation)
            .with_n_layers(self.n_layers)
            .with_memory_size(self.memory_size)
            .with_word_size(self.word_size)
            .with_n_read_heads(self.n_read_heads)
            .with_n_write_heads(self.n_write_heads)
            .with_shift_width(self.shift_width)
            .with_initial_memory(self.initial_memory)
            .with_initial_weights(self.initial_weights)
            .with_initial_reads(self.initial_reads)
    }
}
