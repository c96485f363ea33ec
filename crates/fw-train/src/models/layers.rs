//! The recurrent layer of an experiment, by kind, with its settings.

use burn::tensor::Device;
use fw_core::{
    Activation, AssociativeLstmConfig, ConfigError, ControllerKind, ElmanConfig, ExecutionPath,
    FastWeightsConfig, GruConfig, HiddenInitializer, InitialMemory, InitialValue, InitialWeights,
    Lstm, LstmConfig, MemoryForm, NtmConfig, Stack, WrittenState,
};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::models::delta_net::DeltaNetSettings;
use crate::models::encoder_decoder::EncoderDecoderSettings;
use crate::models::recall::{Limit, SabSettings, SelfAttentionSettings, TbpttSettings};
use crate::models::{Layer, require_layers, require_width};
use crate::settings::{Section, unknown_kind};
use crate::tasks::Task;

/// Declares the layers: their kinds on the command line and a line about each.
macro_rules! layers {
    ($($variant:ident($settings:ty), $kind:literal, $about:literal;)*) => {
        /// The recurrent layer of an experiment, by kind.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(tag = "kind")]
        pub enum LayerConfig {
            $(#[doc = $about] #[serde(rename = $kind)] $variant($settings),)*
        }

        impl LayerConfig {
            /// Each kind's name and a line about it.
            pub const KINDS: &[(&str, &str)] = &[$(($kind, $about),)*];

            pub(super) fn from_section(kind: &str, section: Section) -> Result<Self, Error> {
                match kind {
                    $($kind => Ok(LayerConfig::$variant(section.parse()?)),)*
                    _ => Err(unknown_kind("model", kind, Self::KINDS)),
                }
            }

            /// The kind's name.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(LayerConfig::$variant(_) => $kind,)*
                }
            }
        }
    };
}

layers! {
    FastWeights(FastWeightsSettings), "fast-weights",
        "recurrent net with fast weights (Ba et al. 2016)";
    DeltaNet(DeltaNetSettings), "delta-net",
        "heads of fast weights without a hidden state: DeltaNet, Gated DeltaNet, Kimi delta attention, DeltaProduct (Yang et al. 2024 and after)";
    Rnn(RnnSettings), "rnn",
        "Elman network; layer_norm = true normalises it";
    Irnn(WidthSettings), "irnn",
        "Elman network with relu and an identity start (Le et al. 2015)";
    Lstm(LstmSettings), "lstm",
        "long short-term memory, n_layers of it upon each other";
    Gru(GruSettings), "gru",
        "gated recurrent unit; layer_norm = true normalises it";
    ALstm(ALstmSettings), "a-lstm",
        "Associative LSTM: LSTM gates over a holographic memory (Danihelka et al. 2016)";
    NtmLstm(NtmLstmSettings), "ntm-lstm",
        "Neural Turing Machine with an LSTM as its controller (Graves et al. 2014)";
    NtmFf(NtmFfSettings), "ntm-ff",
        "Neural Turing Machine with a feed-forward controller (Graves et al. 2014)";
    Sab(SabSettings), "sab",
        "Sparse Attentive Backtracking over a cell: lstm, gru, rnn or fast-weights (Ke et al. 2018)";
    SelfAttention(SelfAttentionSettings), "self-attention",
        "a cell with attention to all its past states, trained by full backpropagation";
    Tbptt(TbpttSettings), "tbptt",
        "a cell trained by truncated backpropagation through time";
    EncoderDecoder(EncoderDecoderSettings), "encoder-decoder",
        "one net reads the source, another says the target; what it reaches of the source is model.interface";
    Own(OwnSettings), "own",
        "a layer of a program of one's own, see examples/own-layer; only that program can train or run it";
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
        write: WrittenState = WrittenState::Final,
        activation: Activation = Activation::Relu,
        input_gain: f64 = 1.0,
        norm_gain: f64 = 0.5,
        hidden_initializer: HiddenInitializer = HiddenInitializer::ScaledIdentity(0.05),
        form: MemoryForm = MemoryForm::Auto,
        path: ExecutionPath = ExecutionPath::Auto,
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
        initial_reads: InitialValue = InitialValue::Learned,
        initial_controller: InitialValue = InitialValue::Learned,
        path: ExecutionPath = ExecutionPath::Auto,
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
        initial_reads: InitialValue = InitialValue::Learned,
        path: ExecutionPath = ExecutionPath::Auto,
    }
}

pub(super) use settings;

settings! {
    /// A layer that a program of one's own has made: see [`Study`](crate::compare::Study).
    OwnSettings {
        name: String = String::new(),
        d_hidden: usize = 0,
    }
}

impl OwnSettings {
    pub(crate) fn only_in_its_program(&self) -> Error {
        Error::usage(format!(
            "model.kind is own: the layer {} exists in the program that trains it alone",
            self.name
        ))
    }
}

/// Where the source of a task ends, for a model that reads it with a net of its own.
fn source_length(task: &dyn Task) -> Result<usize, Error> {
    task.source_length().ok_or_else(|| {
        Error::usage(
            "model.kind is encoder-decoder; the task must turn a source into a target, as transduction and copy-memory do",
        )
    })
}

/// What to do with a layer whose type depends on the configuration.
pub(super) trait WithLayer {
    type Output;

    fn run<R: Layer>(self, layer: R) -> Result<Self::Output, Error>;
}

impl LayerConfig {
    /// Whether what it carries from step to step grows without end.
    pub(crate) fn grows(&self) -> bool {
        match self {
            LayerConfig::Sab(sab) => sab.max_memories == Limit::Unlimited,
            LayerConfig::SelfAttention(_) => true,
            LayerConfig::FastWeights(fast) => fast.form == fw_core::MemoryForm::Attention,
            _ => false,
        }
    }

    /// The layer as files describe it; nothing, where it is not one of fw-core's.
    pub(super) fn in_file(&self, d_input: usize) -> Option<fw_core::LayerConfig> {
        use fw_core::LayerConfig as File;
        Some(match self {
            LayerConfig::FastWeights(settings) => File::FastWeights(settings.layer(d_input)),
            LayerConfig::DeltaNet(settings) => File::DeltaNet(settings.layers(d_input)),
            LayerConfig::Rnn(settings) => File::Elman(settings.layer(d_input)),
            LayerConfig::Irnn(settings) => {
                File::Elman(ElmanConfig::irnn(d_input, settings.d_hidden))
            }
            LayerConfig::Lstm(settings) => File::Lstm(settings.layers(d_input)),
            LayerConfig::Gru(settings) => File::Gru(settings.layer(d_input)),
            LayerConfig::ALstm(settings) => File::AssociativeLstm(settings.layer(d_input)),
            LayerConfig::NtmLstm(settings) => File::Ntm(settings.layer(d_input)),
            LayerConfig::NtmFf(settings) => File::Ntm(settings.layer(d_input)),
            LayerConfig::Sab(settings) => settings.wrapped().in_file(d_input),
            LayerConfig::SelfAttention(settings) => settings.wrapped().in_file(d_input),
            LayerConfig::Tbptt(settings) => settings.wrapped().in_file(d_input),
            LayerConfig::EncoderDecoder(_) | LayerConfig::Own(_) => return None,
        })
    }

    /// What a report calls the mechanism: its kind, or the name that tells more.
    pub fn name(&self) -> String {
        match self {
            LayerConfig::Own(settings) => settings.name.clone(),
            LayerConfig::EncoderDecoder(settings) => {
                format!("{} with {}", self.kind(), settings.interface.name())
            }
            _ => self.kind().to_owned(),
        }
    }

    /// Width of the recurrent layer, or of its controller.
    pub fn d_hidden(&self) -> usize {
        match self {
            LayerConfig::FastWeights(settings) => settings.d_hidden,
            LayerConfig::DeltaNet(settings) => settings.d_hidden,
            LayerConfig::Rnn(settings) => settings.d_hidden,
            LayerConfig::Irnn(settings) => settings.d_hidden,
            LayerConfig::Lstm(settings) => settings.d_hidden,
            LayerConfig::Gru(settings) => settings.d_hidden,
            LayerConfig::ALstm(settings) => settings.d_hidden,
            LayerConfig::NtmLstm(settings) => settings.d_controller,
            LayerConfig::NtmFf(settings) => settings.d_controller,
            LayerConfig::Sab(settings) => settings.d_hidden,
            LayerConfig::SelfAttention(settings) => settings.d_hidden,
            LayerConfig::Tbptt(settings) => settings.d_hidden,
            LayerConfig::EncoderDecoder(settings) => settings.d_hidden,
            LayerConfig::Own(settings) => settings.d_hidden,
        }
    }

    /// Builds the layer and hands it to `action`.
    pub(super) fn with_layer<A: WithLayer>(
        &self,
        d_input: usize,
        task: &dyn Task,
        device: &Device,
        action: A,
    ) -> Result<A::Output, Error> {
        match self {
            LayerConfig::FastWeights(settings) => {
                action.run(settings.layer(d_input).try_init(device)?)
            }
            LayerConfig::DeltaNet(settings) => action.run(settings.layer(d_input, device)?),
            LayerConfig::Rnn(settings) => action.run(settings.layer(d_input).try_init(device)?),
            LayerConfig::Irnn(settings) => {
                action.run(ElmanConfig::irnn(d_input, settings.d_hidden).try_init(device)?)
            }
            LayerConfig::Lstm(settings) => action.run(settings.layer(d_input, device)?),
            LayerConfig::Gru(settings) => action.run(settings.layer(d_input).try_init(device)?),
            LayerConfig::ALstm(settings) => action.run(settings.layer(d_input).try_init(device)?),
            LayerConfig::NtmLstm(settings) => action.run(settings.layer(d_input).try_init(device)?),
            LayerConfig::NtmFf(settings) => action.run(settings.layer(d_input).try_init(device)?),
            LayerConfig::Sab(settings) => settings.wrapped().with_layer(d_input, device, action),
            LayerConfig::SelfAttention(settings) => {
                settings.wrapped().with_layer(d_input, device, action)
            }
            LayerConfig::Tbptt(settings) => settings.wrapped().with_layer(d_input, device, action),
            LayerConfig::EncoderDecoder(settings) => {
                settings.with_layer(d_input, source_length(task)?, device, action)
            }
            LayerConfig::Own(settings) => Err(settings.only_in_its_program()),
        }
    }

    /// Checks the settings, with an input width that is known to be fine, and whether they fit the task.
    pub(super) fn validate(&self, task: &dyn Task) -> Result<(), Error> {
        require_width("model.d_hidden", self.d_hidden())?;
        match self {
            LayerConfig::FastWeights(settings) => settings.layer(1).validate(),
            LayerConfig::DeltaNet(settings) => return settings.validate(),
            LayerConfig::Rnn(settings) => settings.layer(1).validate(),
            LayerConfig::Irnn(settings) => ElmanConfig::irnn(1, settings.d_hidden).validate(),
            LayerConfig::Lstm(settings) => {
                require_layers(settings.n_layers)?;
                settings.one_layer(1).validate()
            }
            LayerConfig::Gru(settings) => settings.layer(1).validate(),
            LayerConfig::ALstm(settings) => settings.layer(1).validate(),
            LayerConfig::NtmLstm(settings) => settings.layer(1).validate(),
            LayerConfig::NtmFf(settings) => settings.layer(1).validate(),
            LayerConfig::Sab(settings) => return settings.wrapped().validate(),
            LayerConfig::SelfAttention(settings) => return settings.wrapped().validate(),
            LayerConfig::Tbptt(settings) => return settings.wrapped().validate(),
            LayerConfig::EncoderDecoder(settings) => {
                source_length(task)?;
                return settings.validate();
            }
            LayerConfig::Own(settings) => {
                let name = &settings.name;
                return require(!name.is_empty(), "model.name", "empty", "be a name");
            }
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
        let layers = self.layers(d_input);
        let layers = layers.iter().map(|layer| layer.try_init(device));
        Stack::try_new(layers.collect::<Result<_, _>>()?)
    }

    fn layers(&self, d_input: usize) -> Vec<LstmConfig> {
        let widths = std::iter::once(d_input).chain(std::iter::repeat(self.d_hidden));
        let widths = widths.take(self.n_layers);
        widths.map(|d_input| self.one_layer(d_input)).collect()
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

/// What the settings of both kinds of machine have in common.
macro_rules! machine {
    ($settings:expr, $d_input:expr) => {
        NtmConfig::new($d_input, $settings.d_controller)
            .with_n_layers($settings.n_layers)
            .with_memory_size($settings.memory_size)
            .with_word_size($settings.word_size)
            .with_n_read_heads($settings.n_read_heads)
            .with_n_write_heads($settings.n_write_heads)
            .with_shift_width($settings.shift_width)
            .with_initial_memory($settings.initial_memory)
            .with_initial_weights($settings.initial_weights)
            .with_initial_reads($settings.initial_reads)
            .with_path($settings.path)
    };
}

impl NtmLstmSettings {
    fn layer(&self, d_input: usize) -> NtmConfig {
        machine!(self, d_input)
            .with_controller(ControllerKind::Lstm)
            .with_forget_bias(self.forget_bias)
            .with_initial_controller(self.initial_controller)
    }
}

impl NtmFfSettings {
    fn layer(&self, d_input: usize) -> NtmConfig {
        machine!(self, d_input)
            .with_controller(ControllerKind::FeedForward)
            .with_activation(self.activation)
    }
}
