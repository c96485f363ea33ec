//! The configuration of RWKV-7, and its start values.

use burn::config::Config;
use burn::nn::{Initializer, LinearConfig};
use burn::tensor::Device;
#[cfg(not(feature = "std"))]
#[allow(
    unused_imports,
    reason = "shadowed by std's own methods where another crate brings std in"
)]
use num_traits::Float as _;

use super::{LowRank, Options, Rwkv7};
use crate::delta_net::linear;
use crate::error::{expect_valid, require, require_size};
use crate::initializer::given;
use crate::{ConfigError, ExecutionPath, HeadsLayerNorm};

/// Configuration of [`Rwkv7`].
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rwkv7Config {
    /// Width of the input, at least 1.
    pub d_input: usize,
    /// H, the heads, each with a memory of its own, at least 1.
    pub n_heads: usize,
    /// K, the width of a receptance and of a key in each head, at least 1.
    pub d_key: usize,
    /// V, the width of a value in each head, at least 1. Default `None`: `d_key`.
    pub d_value: Option<usize>,
    /// Width of the output, at least 1. Default `None`: `d_input`, so that layers can stand upon each other with what goes around them.
    pub d_output: Option<usize>,
    /// Width between the two maps of the decay, at least 1. Default `None`: 2.5 √d_input times `d_key` / 64, rounded to a multiple of 32, at least 32.
    pub decay_rank: Option<usize>,
    /// Width between the two maps of the rate at which a key is replaced, at least 1. Default `None`: as for the decay.
    pub rate_rank: Option<usize>,
    /// Width between the two maps of the output gate, at least 1. Default `None`: 5 √d_input, rounded to a multiple of 32, at least 32.
    pub gate_rank: Option<usize>,
    /// ε of the norm of the heads' outputs, of which `d_key` times as much is added to their variance: above 0. Default 1e-5.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// How a sequence is computed. Default [`ExecutionPath::Auto`]: fused where there is a kernel.
    #[config(default = "ExecutionPath::Auto")]
    pub path: ExecutionPath,
}

/// The most of any size: products of sizes stay far from what a number can hold.
const MOST: usize = 1 << 20;

impl Rwkv7Config {
    /// Checks every field.
    ///
    /// # Errors
    /// A size of 0 or above 2^20, or an epsilon that is not above 0.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("d_input", Some(self.d_input)),
            ("n_heads", Some(self.n_heads)),
            ("d_key", Some(self.d_key)),
            ("d_value", self.d_value),
            ("d_output", self.d_output),
            ("decay_rank", self.decay_rank),
            ("rate_rank", self.rate_rank),
            ("gate_rank", self.gate_rank),
        ];
        for (field, size) in sizes {
            if let Some(size) = size {
                require_size(field, size)?;
                require(size <= MOST, field, size, "be at most 1048576")?;
            }
        }
        let positive = self.epsilon.is_finite() && self.epsilon > 0.0;
        require(positive, "epsilon", self.epsilon, "be a number above 0")
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds an error; [`try_init`](Self::try_init) returns it instead.
    #[track_caller]
    pub fn init(&self, device: &Device) -> Rwkv7 {
        expect_valid(self.try_init(device))
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn try_init(&self, device: &Device) -> Result<Rwkv7, ConfigError> {
        self.validate()?;
        let d_value = self.d_value.unwrap_or(self.d_key);
        let (d_input, n_heads, d_key) = (self.d_input, self.n_heads, self.d_key);
        let (d_keys, d_values) = (n_heads * d_key, n_heads * d_value);
        let rank = |factor: f64| {
            let width = factor * (d_input as f64).sqrt() / 32.0;
            32 * (width.round() as usize).max(1)
        };
        let of_keys = rank(2.5 * d_key as f64 / 64.0);
        let mix = |power: f64| {
            // The first channels see the step before alone, the last ones little of it.
            let share = move |channel: usize| 1.0 - (channel as f64 / d_input as f64).powf(power);
            given([1, 1, d_input], share, device)
        };
        let orthogonal = |d_output, gain| {
            LinearConfig::new(d_input, d_output)
                .with_bias(false)
                .with_initializer(Initializer::Orthogonal { gain })
                .init(device)
        };
        // From -1/2 to 1/2 over all channels, and from -1 to 1 over those of a head.
        let place = move |channel: usize| channel as f64 / (d_keys.max(2) - 1) as f64 - 0.5;
        let zigzag = move |channel: usize| {
            let half = (d_key.max(2) - 1) as f64 / 2.0;
            let number = ((channel % d_key) as f64 - half) / half;
            number * number.abs()
        };
        let decay =
            move |channel: usize| 6.0 * (place(channel) + 0.5) - 5.5 + 2.5 * zigzag(channel);
        let rate = move |channel: usize| 0.3 * zigzag(channel) + 0.4 * place(channel) - 0.19;
        let constant = |value| Initializer::Constant { value };
        let low_rank =
            |rank: usize, d_output: usize| LowRank::init([d_input, rank, d_output], device);
        Ok(Rwkv7 {
            x_r: mix(0.2),
            x_w: mix(0.9),
            x_k: mix(0.7),
            x_v: mix(0.7),
            x_a: mix(0.9),
            x_g: mix(0.2),
            k_k: given([d_keys], move |channel| 0.71 - 0.1 * place(channel), device),
            k_a: constant(1.02).init([d_keys], device),
            r_k: constant(-0.04).init([n_heads, d_key], device),
            r_proj: orthogonal(d_keys, 1.0),
            k_proj: orthogonal(d_keys, 0.1),
            v_proj: orthogonal(d_values, 1.0),
            w_lora: low_rank(self.decay_rank.unwrap_or(of_keys), d_keys).with_bias(given(
                [d_keys],
                decay,
                device,
            )),
            a_lora: low_rank(self.rate_rank.unwrap_or(of_keys), d_keys).with_bias(given(
                [d_keys],
                rate,
                device,
            )),
            g_lora: low_rank(self.gate_rank.unwrap_or(rank(5.0)), d_values),
            g_norm: HeadsLayerNorm::init(d_values, true, device),
            o_proj: linear([d_values, self.d_output.unwrap_or(d_input)], None, device),
            options: Options {
                n_heads,
                d_key,
                d_value,
                epsilon: self.epsilon,
                path: self.path,
            },
        })
    }
}
