//! A layer of this crate by its configuration, as files have it.

use alloc::vec::Vec;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{
    AnyLayer, AssociativeLstm, AssociativeLstmConfig, Attention, AttentionConfig, Blocks,
    BlocksConfig, ConfigError, DeltaNet, DeltaNetConfig, Elman, ElmanConfig, EncoderDecoder,
    EncoderDecoderConfig, FastWeights, FastWeightsConfig, GatedConvolution, GatedConvolutionConfig,
    Gru, GruConfig, Lstm, LstmConfig, MLstm, MLstmConfig, Ntm, NtmConfig, Recurrent, RecurrentCell,
    RecurrentDeltaNet, RecurrentDeltaNetConfig, Rwkv7, Rwkv7Config, SLstm, SLstmConfig, Sab,
    SabConfig, Stack,
};

/// A recurrent layer of this crate, by kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LayerConfig {
    /// [`FastWeights`](crate::FastWeights).
    FastWeights(FastWeightsConfig),
    /// [`DeltaNet`](crate::DeltaNet)s upon each other.
    DeltaNet(Vec<DeltaNetConfig>),
    /// [`Elman`](crate::Elman).
    Elman(ElmanConfig),
    /// [`Lstm`](crate::Lstm)s upon each other.
    Lstm(Vec<LstmConfig>),
    /// [`Gru`](crate::Gru).
    Gru(GruConfig),
    /// [`AssociativeLstm`](crate::AssociativeLstm).
    AssociativeLstm(AssociativeLstmConfig),
    /// [`Ntm`](crate::Ntm).
    Ntm(NtmConfig),
    /// [`Sab`](crate::Sab) over a cell.
    Sab {
        /// What wraps the cell.
        sab: SabConfig,
        /// The cell.
        cell: CellConfig,
    },
    /// [`RecurrentDeltaNet`](crate::RecurrentDeltaNet).
    RecurrentDeltaNet(RecurrentDeltaNetConfig),
    /// [`SLstm`](crate::SLstm).
    SLstm(SLstmConfig),
    /// [`MLstm`](crate::MLstm).
    MLstm(MLstmConfig),
    /// [`Rwkv7`](crate::Rwkv7).
    Rwkv7(Rwkv7Config),
    /// [`Attention`](crate::Attention).
    Attention(AttentionConfig),
    /// [`GatedConvolution`](crate::GatedConvolution).
    GatedConvolution(GatedConvolutionConfig),
    /// [`Blocks`](crate::Blocks) around layers.
    Blocks {
        /// What stands around the layers.
        around: BlocksConfig,
        /// From the input on.
        layers: Vec<LayerConfig>,
    },
    /// [`EncoderDecoder`](crate::EncoderDecoder): two nets, each with parameters of its own.
    EncoderDecoder {
        /// What stands around the nets.
        around: EncoderDecoderConfig,
        /// Either net.
        net: NetConfig,
    },
}

/// A net of an [`EncoderDecoder`](crate::EncoderDecoder), by kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NetConfig {
    /// [`Lstm`](crate::Lstm).
    Lstm(LstmConfig),
    /// [`Ntm`](crate::Ntm).
    Ntm(NtmConfig),
    /// [`DeltaNet`](crate::DeltaNet)s upon each other.
    DeltaNet(Vec<DeltaNetConfig>),
}

/// A cell that [`Sab`](crate::Sab) wraps, by kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CellConfig {
    /// [`Elman`](crate::Elman).
    Elman(ElmanConfig),
    /// [`Lstm`](crate::Lstm).
    Lstm(LstmConfig),
    /// [`Gru`](crate::Gru).
    Gru(GruConfig),
    /// [`FastWeights`](crate::FastWeights).
    FastWeights(FastWeightsConfig),
}

impl LayerConfig {
    /// Width of what the layer reads; 0 of no layers.
    pub(crate) fn d_input(&self) -> usize {
        self.with(|config| config.width_of_input())
    }

    /// Checks every field of the configuration.
    ///
    /// # Errors
    /// If one breaks a rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.with(|config| config.check())
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use fw_core::{GruConfig, LayerConfig, Recurrent};
    ///
    /// let device = Device::flex();
    /// let layer = LayerConfig::Gru(GruConfig::new(3, 4)).init(&device)?;
    /// let (output, _) = layer.forward(Tensor::zeros([2, 5, 3], &device), None);
    /// assert_eq!(output.dims(), [2, 5, 4]);
    /// # Ok::<(), fw_core::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// If the configuration breaks a rule.
    pub fn init(&self, device: &Device) -> Result<AnyLayer, ConfigError> {
        self.with(|config| config.any_layer(device))
    }

    /// Does something with the configuration, whichever it is.
    fn with<T>(&self, what: impl FnOnce(&dyn AnyConfig) -> T) -> T {
        match self {
            LayerConfig::FastWeights(config) => what(config),
            LayerConfig::DeltaNet(configs) => what(configs),
            LayerConfig::Elman(config) => what(config),
            LayerConfig::Lstm(configs) => what(configs),
            LayerConfig::Gru(config) => what(config),
            LayerConfig::AssociativeLstm(config) => what(config),
            LayerConfig::Ntm(config) => what(config),
            LayerConfig::Sab { sab, cell } => match cell {
                CellConfig::Elman(cell) => what(&Wrapped(sab, cell)),
                CellConfig::Lstm(cell) => what(&Wrapped(sab, cell)),
                CellConfig::Gru(cell) => what(&Wrapped(sab, cell)),
                CellConfig::FastWeights(cell) => what(&Wrapped(sab, cell)),
            },
            LayerConfig::EncoderDecoder { around, net } => match net {
                NetConfig::Lstm(net) => what(&Twice(around, net)),
                NetConfig::Ntm(net) => what(&Twice(around, net)),
                NetConfig::DeltaNet(nets) => what(&Twice(around, nets)),
            },
            LayerConfig::RecurrentDeltaNet(config) => what(config),
            LayerConfig::SLstm(config) => what(config),
            LayerConfig::MLstm(config) => what(config),
            LayerConfig::Rwkv7(config) => what(config),
            LayerConfig::Attention(config) => what(config),
            LayerConfig::GatedConvolution(config) => what(config),
            LayerConfig::Blocks { around, layers } => what(&InBlocks(around, layers)),
        }
    }
}

/// A configuration of a layer of any type.
trait AnyConfig {
    fn width_of_input(&self) -> usize;
    fn check(&self) -> Result<(), ConfigError>;
    fn any_layer(&self, device: &Device) -> Result<AnyLayer, ConfigError>;
}

/// A configuration of a layer.
trait Config {
    type Layer: Recurrent<State: 'static> + OfFiles + 'static;

    fn d_input(&self) -> usize;
    fn validate(&self) -> Result<(), ConfigError>;
    fn layer(&self, device: &Device) -> Result<Self::Layer, ConfigError>;
}

#[cfg(feature = "weights")]
use crate::weights::Portable as OfFiles;
/// What a layer must be able to do to be put into files: without these, nothing.
#[cfg(not(feature = "weights"))]
trait OfFiles {}
#[cfg(not(feature = "weights"))]
impl<R: Recurrent> OfFiles for R {}

impl<C: Config> AnyConfig for C {
    fn width_of_input(&self) -> usize {
        self.d_input()
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.validate()
    }

    fn any_layer(&self, device: &Device) -> Result<AnyLayer, ConfigError> {
        let layer = self.layer(device)?;
        #[cfg(feature = "weights")]
        return Ok(AnyLayer::portable(layer));
        #[cfg(not(feature = "weights"))]
        Ok(AnyLayer::new(layer))
    }
}

macro_rules! configs {
    ($($config:ty => $layer:ty;)*) => {$(
        impl Config for $config {
            type Layer = $layer;

            fn d_input(&self) -> usize {
                self.d_input
            }

            fn validate(&self) -> Result<(), ConfigError> {
                <$config>::validate(self)
            }

            fn layer(&self, device: &Device) -> Result<$layer, ConfigError> {
                self.try_init(device)
            }
        }
    )*};
}

configs! {
    FastWeightsConfig => FastWeights;
    DeltaNetConfig => DeltaNet;
    ElmanConfig => Elman;
    LstmConfig => Lstm;
    GruConfig => Gru;
    AssociativeLstmConfig => AssociativeLstm;
    NtmConfig => Ntm;
    RecurrentDeltaNetConfig => RecurrentDeltaNet;
    SLstmConfig => SLstm;
    MLstmConfig => MLstm;
    Rwkv7Config => Rwkv7;
    AttentionConfig => Attention;
    GatedConvolutionConfig => GatedConvolution;
}

/// Layers upon each other.
impl<C: Config> Config for Vec<C> {
    type Layer = Stack<C::Layer>;

    fn d_input(&self) -> usize {
        self.first().map_or(0, Config::d_input)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.iter().try_for_each(Config::validate)
    }

    fn layer(&self, device: &Device) -> Result<Self::Layer, ConfigError> {
        let layers = self.iter().map(|config| config.layer(device));
        Stack::try_new(layers.collect::<Result<_, _>>()?)
    }
}

/// A cell and what wraps it.
struct Wrapped<'a, C>(&'a SabConfig, &'a C);

impl<C: Config<Layer: RecurrentCell>> Config for Wrapped<'_, C> {
    type Layer = Sab<C::Layer>;

    fn d_input(&self) -> usize {
        self.1.d_input()
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.0.validate()?;
        self.1.validate()
    }

    fn layer(&self, device: &Device) -> Result<Self::Layer, ConfigError> {
        self.0.try_init(self.1.layer(device)?, device)
    }
}

/// Layers and the blocks around them.
struct InBlocks<'a>(&'a BlocksConfig, &'a [LayerConfig]);

impl Config for InBlocks<'_> {
    type Layer = Blocks<AnyLayer>;

    fn d_input(&self) -> usize {
        self.0.d_input
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.0.validate()?;
        self.1.iter().try_for_each(LayerConfig::validate)
    }

    fn layer(&self, device: &Device) -> Result<Self::Layer, ConfigError> {
        let layers = self.1.iter().map(|layer| layer.init(device));
        self.0.try_init(layers.collect::<Result<_, _>>()?, device)
    }
}

/// Two nets and what stands around them.
struct Twice<'a, C>(&'a EncoderDecoderConfig, &'a C);

impl<C: Config> Config for Twice<'_, C> {
    type Layer = EncoderDecoder<C::Layer>;

    fn d_input(&self) -> usize {
        self.1.d_input()
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.0.validate()?;
        self.1.validate()
    }

    fn layer(&self, device: &Device) -> Result<Self::Layer, ConfigError> {
        let [encoder, decoder] = [self.1.layer(device)?, self.1.layer(device)?];
        self.0.try_init(encoder, decoder, device)
    }
}
