//! Settings of a DeltaNet and of what became of it.

use burn::tensor::Device;
use fw_core::{
    ConfigError, DecayKind, DeltaNet, DeltaNetConfig, Eigenvalues, ExecutionPath, FeatureMap,
    KeyNorm, OutputGate, Stack, WriteRule, WriteStrength,
};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::models::layers::settings;
use crate::models::{require_layers, require_width};

settings! {
    /// See [`DeltaNetConfig`]; `n_layers` of them upon each other. `d_hidden` is the width of what a layer yields, `d_key` is `d_hidden / n_heads` where it
    /// is not set, and a `convolution` of 0 steps leaves it out.
    DeltaNetSettings {
        d_hidden: usize = 20,
        n_layers: usize = 1,
        n_heads: usize = 1,
        d_key: Option<usize> = None,
        d_value: Option<usize> = None,
        rule: WriteRule = WriteRule::Delta,
        decay: DecayKind = DecayKind::None,
        writes_per_step: usize = 1,
        eigenvalues: Eigenvalues = Eigenvalues::Positive,
        write_strength: WriteStrength = WriteStrength::Learned,
        convolution: usize = 4,
        feature_map: FeatureMap = FeatureMap::Silu,
        key_norm: KeyNorm = KeyNorm::L2,
        output_gate: OutputGate = OutputGate::None,
        gate_rank: Option<usize> = None,
        output_norm: bool = true,
        epsilon: f64 = 1e-5,
        path: ExecutionPath = ExecutionPath::Auto,
    }
}

impl DeltaNetSettings {
    pub(super) fn validate(&self) -> Result<(), Error> {
        let at_least_one =
            |field: &str, size: usize| require(size >= 1, field, size, "be at least 1");
        at_least_one("model.d_hidden", self.d_hidden)?;
        at_least_one("model.n_heads", self.n_heads)?;
        require_layers(self.n_layers)?;
        require(
            self.d_key.is_some() || self.d_hidden.is_multiple_of(self.n_heads),
            "model.n_heads",
            self.n_heads,
            &format!(
                "divide model.d_hidden, {}, where model.d_key is not set",
                self.d_hidden
            ),
        )?;
        let (d_key, d_value) = (self.d_key(), self.d_value.unwrap_or(self.d_key()));
        // A product of sizes stays far from what a number can hold.
        let width = |size: usize| {
            self.n_heads
                .saturating_mul(self.writes_per_step)
                .saturating_mul(size)
        };
        require_width(
            "model.n_heads x model.writes_per_step x model.d_key",
            width(d_key),
        )?;
        require_width(
            "model.n_heads x model.writes_per_step x model.d_value",
            width(d_value),
        )?;
        require_width("model.convolution", self.convolution)?;
        require_width("model.gate_rank", self.gate_rank.unwrap_or(1))?;
        Ok(self.one_layer(1).validate()?)
    }

    pub(super) fn layer(
        &self,
        d_input: usize,
        device: &Device,
    ) -> Result<Stack<DeltaNet>, ConfigError> {
        let layers = self.layers(d_input);
        let layers = layers.iter().map(|layer| layer.try_init(device));
        Stack::try_new(layers.collect::<Result<_, _>>()?)
    }

    pub(super) fn layers(&self, d_input: usize) -> Vec<DeltaNetConfig> {
        let widths = std::iter::once(d_input).chain(std::iter::repeat(self.d_hidden));
        let widths = widths.take(self.n_layers);
        widths.map(|d_input| self.one_layer(d_input)).collect()
    }

    fn one_layer(&self, d_input: usize) -> DeltaNetConfig {
        DeltaNetConfig::new(d_input, self.n_heads, self.d_key())
            .with_d_value(self.d_value)
            .with_d_output(Some(self.d_hidden))
            .with_rule(self.rule)
            .with_decay(self.decay)
            .with_writes_per_step(self.writes_per_step)
            .with_eigenvalues(self.eigenvalues)
            .with_write_strength(self.write_strength)
            .with_convolution((self.convolution > 0).then_some(self.convolution))
            .with_feature_map(self.feature_map)
            .with_key_norm(self.key_norm)
            .with_output_gate(self.output_gate)
            .with_gate_rank(self.gate_rank)
            .with_output_norm(self.output_norm)
            .with_epsilon(self.epsilon)
            .with_path(self.path)
    }

    fn d_key(&self) -> usize {
        self.d_key.unwrap_or(self.d_hidden / self.n_heads.max(1))
    }
}
