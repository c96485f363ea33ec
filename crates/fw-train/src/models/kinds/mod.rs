//! The kinds of recurrent layers: a file each, and one table.

mod a_lstm;
mod attention;
mod delta_net;
mod encoder_decoder;
mod fast_weights;
mod gated_convolution;
mod gru;
mod heads;
mod irnn;
mod lstm;
mod mlstm;
mod ntm_ff;
mod ntm_lstm;
mod own;
mod recurrent_delta_net;
mod rnn;
mod rwkv7;
mod sab;
mod self_attention;
mod slstm;
mod tbptt;
mod wrapped;

use burn::tensor::Tensor;
use fw_core::{AnyLayer, Blocks, LayerConfig, Recurrent};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeMap, Serializer};
use toml::{Table, Value};

use crate::Error;
use crate::error::require;
use crate::models::heat_map::{Layer, MapPairs};
use crate::plain::to_table;
use crate::settings::{self, Field, Section, fields, has_field, schema, unknown_kind};
use crate::tasks::Task;

/// All kinds, in the order in which they are listed.
pub const KINDS: &[&dyn Kind] = &[
    &fast_weights::FastWeights,
    &delta_net::DeltaNet,
    &recurrent_delta_net::RecurrentDeltaNet,
    &mlstm::MLstm,
    &rwkv7::Rwkv7,
    &rnn::Rnn,
    &irnn::Irnn,
    &lstm::Lstm,
    &gru::Gru,
    &slstm::SLstm,
    &a_lstm::ALstm,
    &ntm_lstm::NtmLstm,
    &ntm_ff::NtmFf,
    &sab::Sab,
    &attention::Attention,
    &self_attention::SelfAttention,
    &gated_convolution::GatedConvolution,
    &tbptt::Tbptt,
    &encoder_decoder::EncoderDecoder,
    &own::Own,
];

/// A kind of recurrent layer: how it is called, and how settings become a layer of `fw-core`.
pub trait Kind: Sync {
    /// Its name in an experiment.
    fn name(&self) -> &'static str;

    /// A line about it.
    fn about(&self) -> &'static str;

    /// Its settings, each with its default.
    fn settings(&self) -> Settings;

    /// The layer that settings describe.
    ///
    /// # Errors
    /// If a setting is of the wrong type, or breaks a rule that is not one of the layer's configuration.
    fn layer(&self, given: &Given) -> Result<LayerConfig, Error>;

    /// Checks settings, of a layer whose input is of some width.
    ///
    /// # Errors
    /// If a setting is of the wrong type, or breaks a rule.
    fn validate(&self, given: &Given) -> Result<(), Error> {
        Ok(self.layer(given)?.validate()?)
    }

    /// What each step of one sample did, if the layer is of this kind and has something to look at.
    fn trace(&self, _layer: &AnyLayer, _input: &Tensor<3>) -> Option<MapPairs> {
        None
    }

    /// Whether what it carries from step to step grows without end.
    fn grows(&self, _given: &Given) -> bool {
        false
    }

    /// Whether it is built for a source of some length.
    fn reads_source(&self) -> bool {
        false
    }

    /// What a report calls it: its name, or one that tells more.
    fn title(&self, _given: &Given) -> String {
        self.name().to_owned()
    }
}

/// The settings of a kind: the fields of a configuration of `fw-core`, but for some, and others of the kind's own.
pub struct Settings(Vec<Field>);

impl Settings {
    /// The fields of a configuration, with the values that it has; what is read is known elsewhere.
    fn of<C: JsonSchema + serde::Serialize>(config: &C) -> Self {
        Settings(fields(config)).without(&["d_input"])
    }

    /// Without some of them.
    fn without(mut self, names: &[&str]) -> Self {
        self.0.retain(|field| !names.contains(&field.name.as_str()));
        self
    }

    /// With others, which come instead of those that are called the same.
    fn and<C: JsonSchema + serde::Serialize>(mut self, own: &C) -> Self {
        for field in fields(own) {
            self.0.retain(|other| other.name != field.name);
            self.0.push(field);
        }
        self.0.sort_by(|one, other| one.name.cmp(&other.name));
        self
    }

    /// The fields, in the order of their names.
    pub fn fields(&self) -> &[Field] {
        &self.0
    }
}

/// What is said of a layer: by its settings, and by what stands around it.
pub struct Given<'a> {
    values: &'a Table,
    /// Width of what the layer reads.
    pub d_input: usize,
    /// Where the source of the task ends, if it turns one into a target.
    pub source_length: Option<usize>,
}

impl Given<'_> {
    /// The settings that are the kind's own.
    fn own<T: DeserializeOwned + JsonSchema>(&self) -> Result<T, Error> {
        let schema = schema::<T>();
        let is_own = |(field, _): &(&String, &Value)| has_field(&schema, field);
        let values = self.values.iter().filter(is_own);
        let values = values.map(|(field, value)| (field.clone(), value.clone()));
        settings::parse("model", values.collect())
    }

    /// A configuration with the settings in place of its own values, but for some that mean something else there.
    fn over<C>(&self, config: &C, but: &[&str]) -> Result<C, Error>
    where
        C: serde::Serialize + DeserializeOwned + JsonSchema,
    {
        let schema = schema::<C>();
        let mut table = to_table(config);
        for (field, value) in self.values {
            if has_field(&schema, field) && !but.contains(&field.as_str()) {
                table.insert(field.clone(), value.clone());
            }
        }
        settings::parse("model", table)
    }

    /// A number that the settings say.
    fn number(&self, field: &str) -> Option<usize> {
        let number = self.values.get(field)?.as_integer()?;
        usize::try_from(number).ok()
    }
}

/// The recurrent layer of an experiment: its kind and every setting.
#[derive(Clone)]
pub struct LayerSettings {
    kind: &'static dyn Kind,
    values: Table,
}

impl LayerSettings {
    pub(super) fn from_section(
        kind: &str,
        section: Section,
        task: &dyn Task,
    ) -> Result<Self, Error> {
        let mut all = KINDS.iter();
        let Some(known) = all.find(|known| known.name() == kind) else {
            let names: Vec<&str> = KINDS.iter().map(|kind| kind.name()).collect();
            return Err(unknown_kind("model", kind, &names));
        };
        let settings = known.settings();
        let fields = settings.fields();
        let (name, given) = section.into_parts();
        settings::only_known(name, &given, fields.iter().map(|field| field.name.as_str()))?;
        let values = fields.iter().filter_map(|field| {
            let given = given.get(&field.name).cloned();
            let given = given.map(|value| field.normal(value));
            Some((field.name.clone(), given.or(field.default.clone())?))
        });
        let layer = LayerSettings {
            kind: *known,
            values: values.collect(),
        };
        require_width("model.d_hidden", layer.d_hidden())?;
        // With an input width that is known to be fine.
        known.validate(&layer.given(1, task.source_length()))?;
        Ok(layer)
    }

    fn given(&self, d_input: usize, source_length: Option<usize>) -> Given<'_> {
        Given {
            values: &self.values,
            d_input,
            source_length,
        }
    }

    /// The layer as `fw-core` has it, for an input of some width.
    ///
    /// # Errors
    /// If only the program that has made the layer can build it.
    pub fn config(&self, d_input: usize, task: &dyn Task) -> Result<LayerConfig, Error> {
        self.kind.layer(&self.given(d_input, task.source_length()))
    }

    /// The kind's name.
    pub fn kind(&self) -> &'static str {
        self.kind.name()
    }

    /// Whether what it carries from step to step grows without end.
    pub(crate) fn grows(&self) -> bool {
        self.kind.grows(&self.given(1, None))
    }

    /// Whether only the program that has made the layer can build it.
    pub(crate) fn is_of_program(&self) -> bool {
        self.kind.name() == own::Own.name()
    }

    /// Whether it is built for a source of some length.
    pub(crate) fn reads_source(&self) -> bool {
        self.kind.reads_source()
    }

    /// What a report calls the mechanism: its kind, or the name that tells more.
    pub fn title(&self) -> String {
        self.kind.title(&self.given(1, None))
    }

    /// Width of the recurrent layer, or of its controller.
    pub fn d_hidden(&self) -> usize {
        let given = self.given(1, None);
        let width = given.number("d_hidden").or(given.number("d_controller"));
        width.unwrap_or(0)
    }
}

impl std::fmt::Debug for LayerSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {:?}", self.kind(), self.values)
    }
}

impl PartialEq for LayerSettings {
    fn eq(&self, other: &Self) -> bool {
        (self.kind(), &self.values) == (other.kind(), &other.values)
    }
}

impl Serialize for LayerSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1 + self.values.len()))?;
        map.serialize_entry("kind", self.kind())?;
        for (field, value) in &self.values {
            map.serialize_entry(field, value)?;
        }
        map.end()
    }
}

/// What each step of one sample did, `[1, seq_length, d_input]`, of whatever kind a layer is.
pub type Tracer = fn(&AnyLayer, &Tensor<3>) -> MapPairs;

/// What is told by the kinds; of blocks, block by block.
pub fn trace(layer: &AnyLayer, input: &Tensor<3>) -> MapPairs {
    if let Some(blocks) = layer.downcast_ref::<Blocks<AnyLayer>>() {
        return trace_blocks(blocks, input);
    }
    let mut told = KINDS.iter().filter_map(|kind| kind.trace(layer, input));
    told.next().unwrap_or_default()
}

fn trace_blocks(blocks: &Blocks<AnyLayer>, input: &Tensor<3>) -> MapPairs {
    let numbers = 1..=blocks.blocks.len();
    let signal = blocks.project(input.clone());
    let (_, maps) = blocks.through(signal, numbers, |layer, signal, number| {
        let mut maps = trace(layer, &signal);
        for map in maps.iter_mut().flatten().flatten() {
            map.title = format!("{}, block {number}", map.title);
        }
        (layer.forward(signal, None).0, maps)
    });
    maps.into_iter().flatten().collect()
}

/// What a layer tells, if it is of this type.
pub(crate) fn trace_as<R: Layer>(layer: &AnyLayer, input: &Tensor<3>) -> Option<MapPairs> {
    let layer = layer.downcast_ref::<R>()?;
    Some(layer.trace(input.clone(), None).0)
}

/// Wider layers are refused: a slip of the keyboard would else end for lack of memory.
const MOST_UNITS: usize = 65_536;

pub(super) fn require_width(field: &str, width: usize) -> Result<(), Error> {
    require(width <= MOST_UNITS, field, width, "be at most 65,536")
}

/// How many layers stand upon each other, for kinds that have it as a setting.
#[derive(serde::Serialize, serde::Deserialize, JsonSchema)]
struct Depth {
    /// Layers upon each other: between 1 and 1000. Default 1.
    n_layers: usize,
}

impl Depth {
    const DEFAULT: Depth = Depth { n_layers: 1 };

    /// What each of the layers reads, from the input on.
    fn inputs(self, d_input: usize, d_hidden: usize) -> Result<impl Iterator<Item = usize>, Error> {
        require(
            (1..=1000).contains(&self.n_layers),
            "model.n_layers",
            self.n_layers,
            "lie between 1 and 1000",
        )?;
        let widths = std::iter::once(d_input).chain(std::iter::repeat(d_hidden));
        Ok(widths.take(self.n_layers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::AroundSettings;

    /// Else what is said of the layer would be taken for what stands around it.
    #[test]
    fn no_kind_has_a_setting_that_is_called_as_one_of_what_stands_around_it() {
        let around = AroundSettings::fields();
        for kind in KINDS {
            for field in kind.settings().fields() {
                let is_taken = around.iter().any(|other| other.name == field.name);
                assert!(!is_taken, "{}: {}", kind.name(), field.name);
            }
        }
    }
}
