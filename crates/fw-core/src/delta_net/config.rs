//! The configuration of a DeltaNet.

use burn::config::Config;
use burn::nn::Initializer;
use burn::tensor::Device;

use super::convolution::ShortConvolution;
use super::gate::{GateProjection, HeadNorm, init_rate, init_time_step, linear};
use super::options::{DecayKind, Eigenvalues, FeatureMap, KeyNorm, OutputGate, WriteStrength};
use super::{DeltaNet, Options};
use crate::error::{expect_valid, require, require_size};
use crate::{ConfigError, ExecutionPath, WriteRule};

/// Configuration of [`DeltaNet`].
///
/// [`new`](Self::new) is the DeltaNet of Yang et al. 2024; [`gated`](Self::gated), [`kimi`](Self::kimi) and [`product`](Self::product) are what came
/// after it. Each field can be set on any of them.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fw_core::{DeltaNetConfig, Eigenvalues, Recurrent};
///
/// // Two heads of 16 numbers.
/// let config = DeltaNetConfig::gated(8, 2, 16).with_eigenvalues(Eigenvalues::Signed);
/// let layer = config.init(&Device::flex());
/// let (output, state) = layer.forward(Tensor::zeros([4, 10, 8], &Device::flex()), None);
/// assert_eq!(output.dims(), [4, 10, 8]);
/// assert_eq!(state.memory.dims(), [4, 2, 16, 32]);
/// ```
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeltaNetConfig {
    /// Width of the input, at least 1.
    pub d_input: usize,
    /// H, the heads, each with a memory of its own, at least 1.
    pub n_heads: usize,
    /// K, the width of a query and of a key in each head, at least 1.
    pub d_key: usize,
    /// V, the width of a value in each head, at least 1. Default `None`: `d_key`.
    pub d_value: Option<usize>,
    /// Width of the output, at least 1. Default `None`: `d_input`, so that layers can stand upon each other with what goes around them.
    pub d_output: Option<usize>,
    /// What a write adds to the memory. Default [`WriteRule::Delta`]; [`WriteRule::Sum`] with a write strength of one is linear attention.
    #[config(default = "WriteRule::Delta")]
    pub rule: WriteRule,
    /// What fades before each step's writes. Default [`DecayKind::None`].
    #[config(default = "DecayKind::None")]
    pub decay: DecayKind,
    /// n, how often a step writes, one write after another, at least 1. Default 1.
    #[config(default = 1)]
    pub writes_per_step: usize,
    /// The range of the write strength β. Default [`Eigenvalues::Positive`].
    #[config(default = "Eigenvalues::Positive")]
    pub eigenvalues: Eigenvalues,
    /// Where β comes from. Default [`WriteStrength::Learned`].
    #[config(default = "WriteStrength::Learned")]
    pub write_strength: WriteStrength,
    /// Steps that the short convolution of queries, keys and values sees, its own among them, at least 1. Default 4; without one (`None`) a memory
    /// is much harder to use, since no key can be made of the step before its value.
    #[config(default = "Some(4)")]
    pub convolution: Option<usize>,
    /// φ, what queries and keys go through. Default [`FeatureMap::Silu`].
    #[config(default = "FeatureMap::Silu")]
    pub feature_map: FeatureMap,
    /// How queries and keys are normalised, head by head. Default [`KeyNorm::L2`].
    #[config(default = "KeyNorm::L2")]
    pub key_norm: KeyNorm,
    /// What the heads' outputs are multiplied with. Default [`OutputGate::None`].
    #[config(default = "OutputGate::None")]
    pub output_gate: OutputGate,
    /// Width between the two maps of a decay for each channel and of an output gate, at least 1, if there is one of these. Default `None`: one map.
    pub gate_rank: Option<usize>,
    /// Whether the heads' outputs are normalised by their root mean square. Default true: what a memory holds has no scale of its own.
    #[config(default = true)]
    pub output_norm: bool,
    /// ε of that norm, what keeps its division finite: above 0. Default 1e-5.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// How a sequence is computed. Default [`ExecutionPath::Auto`]: fused where there is a kernel.
    #[config(default = "ExecutionPath::Auto")]
    pub path: ExecutionPath,
    /// Start values of the linear maps. Default `None`: uniform in ±1/√n, where n is the width of what a map reads.
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub initializer: Option<Initializer>,
}

/// The most of any size: products of sizes stay far from what a number can hold.
const MOST: usize = 1 << 20;

impl DeltaNetConfig {
    /// Gated DeltaNet (Yang, Kautz, Hatamizadeh 2024): each head fades as the input says, values are twice as wide as keys, and a SiLU gate is on the
    /// output.
    pub fn gated(d_input: usize, n_heads: usize, d_key: usize) -> Self {
        DeltaNetConfig::new(d_input, n_heads, d_key)
            .with_d_value(Some(2 * d_key))
            .with_decay(DecayKind::Head)
            .with_output_gate(OutputGate::Silu)
    }

    /// Kimi delta attention (Kimi team 2025): each key channel fades as the input says, and a sigmoid gate is on the output. What gates has rank
    /// `d_key`: with values of another width, set [`gate_rank`](Self::gate_rank) to theirs, as the authors do.
    pub fn kimi(d_input: usize, n_heads: usize, d_key: usize) -> Self {
        DeltaNetConfig::new(d_input, n_heads, d_key)
            .with_decay(DecayKind::Channel)
            .with_output_gate(OutputGate::Sigmoid)
            .with_gate_rank(Some(d_key))
    }

    /// Gated DeltaProduct (Siems et al. 2025): [`gated`](Self::gated) with two writes a step and eigenvalues of both signs.
    pub fn product(d_input: usize, n_heads: usize, d_key: usize) -> Self {
        DeltaNetConfig::gated(d_input, n_heads, d_key)
            .with_writes_per_step(2)
            .with_eigenvalues(Eigenvalues::Signed)
    }

    /// Checks every field.
    ///
    /// # Errors
    /// A size of 0 or above 2^20, a gate's rank where nothing has such a gate, or an epsilon that is not above 0.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("d_input", Some(self.d_input)),
            ("n_heads", Some(self.n_heads)),
            ("d_key", Some(self.d_key)),
            ("d_value", self.d_value),
            ("d_output", self.d_output),
            ("writes_per_step", Some(self.writes_per_step)),
            ("convolution", self.convolution),
            ("gate_rank", self.gate_rank),
        ];
        for (field, size) in sizes {
            if let Some(size) = size {
                require_size(field, size)?;
                require(size <= MOST, field, size, "be at most 1048576")?;
            }
        }
        if let Some(rank) = self.gate_rank {
            let has_gate = self.decay == DecayKind::Channel || self.output_gate != OutputGate::None;
            require(
                has_gate,
                "gate_rank",
                rank,
                "be None where there is neither a decay for each channel nor an output gate",
            )?;
        }
        let positive = self.epsilon.is_finite() && self.epsilon > 0.0;
        require(positive, "epsilon", self.epsilon, "be a number above 0")
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds an error; [`try_init`](Self::try_init) returns it instead.
    #[track_caller]
    pub fn init(&self, device: &Device) -> DeltaNet {
        expect_valid(self.try_init(device))
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn try_init(&self, device: &Device) -> Result<DeltaNet, ConfigError> {
        self.validate()?;
        let options = self.options();
        let (n_heads, writes) = (self.n_heads, self.writes_per_step);
        let (d_keys, d_values) = (n_heads * self.d_key, n_heads * options.d_value);
        let initializer = self.initializer.as_ref();
        let map = |d_output| linear([self.d_input, d_output], initializer, device);
        let gate = |d_output, bias| {
            let sizes = [self.d_input, d_output];
            GateProjection::init(sizes, self.gate_rank, bias, initializer, device)
        };
        let convolution = |channels| {
            let size = self.convolution?;
            Some(ShortConvolution::init(channels, size, device))
        };
        let is_learned = self.write_strength == WriteStrength::Learned;
        let (by_head, by_channel) = (
            self.decay == DecayKind::Head,
            self.decay == DecayKind::Channel,
        );
        // As the authors of each begin.
        let (n_decays, least_rate) = match self.decay {
            DecayKind::None => (None, 0.0),
            DecayKind::Head => (Some(n_heads), 0.0),
            DecayKind::Channel => (Some(d_keys), 1.0),
        };
        let is_gated = self.output_gate != OutputGate::None;
        Ok(DeltaNet {
            q_proj: map(d_keys),
            k_proj: map(writes * d_keys),
            v_proj: map(writes * d_values),
            b_proj: is_learned.then(|| map(writes * n_heads)),
            a_proj: by_head.then(|| map(n_heads)),
            f_proj: by_channel.then(|| gate(d_keys, false)),
            a_log: n_decays.map(|_| init_rate(n_heads, least_rate, device)),
            dt_bias: n_decays.map(|n| init_time_step(n, device)),
            q_conv1d: convolution(d_keys),
            k_conv1d: convolution(writes * d_keys),
            v_conv1d: convolution(writes * d_values),
            g_proj: is_gated.then(|| gate(d_values, true)),
            o_norm: self
                .output_norm
                .then(|| HeadNorm::init(options.d_value, device)),
            o_proj: linear(
                [d_values, self.d_output.unwrap_or(self.d_input)],
                initializer,
                device,
            ),
            options,
        })
    }

    fn options(&self) -> Options {
        Options {
            n_heads: self.n_heads,
            d_key: self.d_key,
            d_value: self.d_value.unwrap_or(self.d_key),
            rule: self.rule,
            decay: self.decay,
            writes: self.writes_per_step,
            eigenvalues: self.eigenvalues,
            convolution: self.convolution,
            feature_map: self.feature_map,
            key_norm: self.key_norm,
            output_gate: self.output_gate,
            epsilon: self.epsilon,
            path: self.path,
        }
    }
}
