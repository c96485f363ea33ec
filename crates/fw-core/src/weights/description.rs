//! What a file says of the layer or the model that it is of.

use burn::tensor::Device;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::portable::{Convention, Parameters, Portable};
use super::{Weights, WeightsError};
use crate::{
    AnyLayer, AssociativeLstm, AssociativeLstmConfig, ConfigError, DeltaNet, DeltaNetConfig, Elman,
    ElmanConfig, FastWeights, FastWeightsConfig, Gru, GruConfig, Lstm, LstmConfig, Ntm, NtmConfig,
    Recurrent, SequenceModel, SequenceModelConfig,
};

/// The key of metadata that holds a configuration.
const CONFIG: &str = "config";
/// That which says what it is a configuration of.
const KIND: &str = "kind";
/// That which says whose names the tensors have, where they are not this crate's own: PyTorch's.
const NAMES: &str = "names";
const PYTORCH: &str = "pytorch";
/// The version of this crate that has written a file.
const VERSION: &str = "version";
const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A configuration of a layer, which files hold beside the weights.
pub trait Described: Serialize + DeserializeOwned {
    /// What it is a configuration of.
    type Layer: Portable;

    /// What files call it.
    const KIND: &'static str;

    /// The layer, with fresh parameters.
    ///
    /// # Errors
    /// If the configuration breaks a rule.
    fn layer(&self, device: &Device) -> Result<Self::Layer, ConfigError>;
}

macro_rules! described {
    ($($config:ty => $layer:ty, $kind:literal;)*) => {$(
        impl Described for $config {
            type Layer = $layer;

            const KIND: &'static str = $kind;

            fn layer(&self, device: &Device) -> Result<$layer, ConfigError> {
                self.try_init(device)
            }
        }
    )*};
}

described! {
    FastWeightsConfig => FastWeights, "fast-weights";
    DeltaNetConfig => DeltaNet, "delta-net";
    ElmanConfig => Elman, "elman";
    LstmConfig => Lstm, "lstm";
    GruConfig => Gru, "gru";
    AssociativeLstmConfig => AssociativeLstm, "associative-lstm";
    NtmConfig => Ntm, "ntm";
}

/// What files call a [`SequenceModelConfig`].
const SEQUENCE_MODEL: &str = "sequence-model";

impl Weights {
    /// The weights of a layer under its own names, with its configuration: all that [`layer`](Self::layer) needs.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use fw_core::weights::Weights;
    /// use fw_core::{GruConfig, Recurrent};
    ///
    /// let device = Device::flex();
    /// let config = GruConfig::new(3, 4);
    /// let gru = config.init(&device);
    /// let file = Weights::of_layer(&gru, &config)?.to_bytes()?;
    ///
    /// let read = Weights::from_bytes(file)?.layer::<GruConfig>(&device)?;
    /// let input = Tensor::ones([1, 2, 3], &device);
    /// let outputs = [&gru, &read].map(|gru| gru.forward(input.clone(), None).0.into_data());
    /// assert_eq!(outputs[0], outputs[1]);
    /// # Ok::<(), fw_core::weights::WeightsError>(())
    /// ```
    ///
    /// # Errors
    /// If the layer's numbers cannot be read.
    pub fn of_layer<C: Described>(layer: &C::Layer, config: &C) -> Result<Self, WeightsError> {
        let weights = layer.to_weights(Convention::Own)?;
        Ok(weights.described_as(C::KIND, config))
    }

    /// The layer that a file is of, with its weights.
    ///
    /// # Errors
    /// If the file does not say that it is of such a layer, or its weights do not fit what it says.
    pub fn layer<C: Described>(&self, device: &Device) -> Result<C::Layer, WeightsError> {
        let config: C = self.config(C::KIND)?;
        let mut layer = config.layer(device)?;
        layer.load(self, Convention::Own)?;
        Ok(layer)
    }

    /// With what the weights are of.
    pub fn described_by(self, config: &SequenceModelConfig) -> Self {
        self.described_as(SEQUENCE_MODEL, config)
    }

    /// What kind of model and with which configuration the weights are of.
    ///
    /// # Errors
    /// If they say nothing of that, or that they are of something else.
    pub fn sequence_model_config(&self) -> Result<SequenceModelConfig, WeightsError> {
        self.config(SEQUENCE_MODEL)
    }

    /// The whole model that a file is of, with its weights: as `fw-train export` writes it, under its own names or PyTorch's.
    ///
    /// # Errors
    /// If the file does not say that it is of a model, or its weights do not fit what it says.
    pub fn sequence_model(&self, device: &Device) -> Result<SequenceModel<AnyLayer>, WeightsError> {
        let mut model = self.sequence_model_config()?.init(device)?;
        model.load(self, self.convention()?)?;
        Ok(model)
    }

    /// The weights of a described model under the names of a convention.
    ///
    /// # Errors
    /// If they are not of a model, do not fit it, or the convention cannot say them.
    pub fn under(&self, convention: Convention, device: &Device) -> Result<Self, WeightsError> {
        let mut renamed = self.sequence_model(device)?.to_weights(convention)?;
        renamed.origin = self.origin.clone();
        renamed.metadata = self.metadata.clone();
        renamed.metadata.remove(NAMES);
        if convention == Convention::PyTorch {
            renamed = renamed.with_metadata(NAMES, PYTORCH);
        }
        Ok(renamed)
    }

    /// Whose names the tensors of a described model have.
    ///
    /// # Errors
    /// If that is not known to this version.
    pub fn convention(&self) -> Result<Convention, WeightsError> {
        match self.metadata.get(NAMES).map(String::as_str) {
            None => Ok(Convention::Own),
            Some(PYTORCH) => Ok(Convention::PyTorch),
            Some(names) => {
                Err(self.not_understood(format!("has the names of {names}, which are not known")))
            }
        }
    }

    /// The version of this crate that has written the file, where that is newer than this one: what it says may then not be understood.
    pub fn newer_version(&self) -> Option<&str> {
        let version = self.metadata.get(VERSION)?;
        let numbers = |version: &str| -> Vec<u64> {
            let numbers = version.split(['.', '-', '+']);
            numbers.map_while(|number| number.parse().ok()).collect()
        };
        (numbers(version) > numbers(OWN_VERSION)).then_some(version.as_str())
    }

    fn described_as(self, kind: &str, config: &impl Serialize) -> Self {
        let config = serde_json::to_string(config).expect("a configuration can be written");
        self.with_metadata(KIND, kind)
            .with_metadata(CONFIG, config)
            .with_metadata(VERSION, OWN_VERSION)
    }

    fn not_understood(&self, mut problem: String) -> WeightsError {
        if let Some(version) = self.newer_version() {
            problem += &format!(
                " (it was written by fw-core {version}, which is newer than this one, {OWN_VERSION})"
            );
        }
        WeightsError::Description {
            origin: self.origin.clone(),
            problem,
        }
    }

    fn config<C: Serialize + DeserializeOwned>(&self, kind: &str) -> Result<C, WeightsError> {
        let told = self.metadata.get(KIND).zip(self.metadata.get(CONFIG));
        let Some((found, config)) = told else {
            return Err(self.not_understood("does not say what it is of".to_owned()));
        };
        if found != kind {
            return Err(self.not_understood(format!("is of a {found}, not of a {kind}")));
        }
        let failed = |problem: String| {
            let problem = format!("has a configuration that is not understood: {problem}");
            self.not_understood(problem)
        };
        let given: Value =
            serde_json::from_str(config).map_err(|error| failed(error.to_string()))?;
        let config: C =
            serde_json::from_value(given.clone()).map_err(|error| failed(error.to_string()))?;
        // What is not known would change what the net computes, and be left out without a word.
        let understood = serde_json::to_value(&config).expect("a configuration can be written");
        match unknown(&given, &understood) {
            None => Ok(config),
            Some(field) => Err(failed(format!("there is no field {field}"))),
        }
    }
}

/// A field that is given and was not understood.
fn unknown(given: &Value, understood: &Value) -> Option<String> {
    match (given, understood) {
        (Value::Object(given), Value::Object(understood)) => {
            given
                .iter()
                .find_map(|(field, value)| match understood.get(field) {
                    None => Some(field.clone()),
                    Some(known) => Some(format!("{field}.{}", unknown(value, known)?)),
                })
        }
        (Value::Array(given), Value::Array(understood)) => given
            .iter()
            .zip(understood)
            .find_map(|(given, known)| unknown(given, known)),
        _ => None,
    }
}

/// Under [`Convention::PyTorch`] the layer's names lie below `layer`, as those of a module with such fields: `embedding.weight`, `layer.weight_ih_l0`,
/// `head.weight`, `output.weight`.
impl<R: Recurrent + Portable> Portable for SequenceModel<R> {
    const NAME: &'static str = "SequenceModel";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        let mut all = Parameters::default();
        if let Some(embedding) = &self.embedding {
            all = all.part("embedding", embedding, convention)?;
        }
        all = all.part("layer", &self.layer, convention)?;
        if let Some(head) = &self.head {
            all = all.part("head", head, convention)?;
        }
        all.part("output", &self.output, convention)
    }
}
