//! The configuration of an mLSTM, and its start values.

use burn::config::Config;
use burn::module::Param;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use super::{MLstm, Options};
use crate::delta_net::linear;
use crate::error::{expect_valid, require, require_finite, require_size};
use crate::initializer::given;
use crate::{ConfigError, ExecutionPath, HeadsLayerNorm};

/// Configuration of [`MLstm`].
#[derive(Config, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MLstmConfig {
    /// Width of the input, at least 1.
    pub d_input: usize,
    /// H, the heads, each with a memory of its own, at least 1.
    pub n_heads: usize,
    /// K, the width of a query and of a key in each head, at least 1.
    pub d_key: usize,
    /// V, the width of a value in each head, at least 1. Default `None`: twice `d_key`.
    pub d_value: Option<usize>,
    /// Width of the output, at least 1. Default `None`: `d_input`, so that layers can stand upon each other with what goes around them.
    pub d_output: Option<usize>,
    /// c, which the gates stay below before their exponential and their sigmoid, by `c tanh(x / c)`: above 0. Default 15; `None` leaves them as they are.
    #[config(default = "Some(15.0)")]
    pub gate_cap: Option<f64>,
    /// Start value of the input gates' biases: any finite number. Default 0; xLSTM 7B begins with -10, so that a large net is at first hardly written to.
    #[config(default = 0.0)]
    pub input_gate_bias: f64,
    /// ε of the norm of the heads' outputs, what keeps its division finite: above 0. Default 1e-6.
    #[config(default = 1e-6)]
    pub epsilon: f64,
    /// How a sequence is computed. Default [`ExecutionPath::Auto`]: fused where there is a kernel.
    #[config(default = "ExecutionPath::Auto")]
    pub path: ExecutionPath,
}

/// The most of any size: products of sizes stay far from what a number can hold.
const MOST: usize = 1 << 20;

impl MLstmConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// A size of 0 or above 2^20, a cap or an epsilon that is not above 0, or a bias that is no number.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("d_input", self.d_input),
            ("n_heads", self.n_heads),
            ("d_key", self.d_key),
            ("d_value", self.d_value()),
            ("d_output", self.d_output.unwrap_or(self.d_input)),
        ];
        for (field, size) in sizes {
            require_size(field, size)?;
            require(size <= MOST, field, size, "be at most 1048576")?;
        }
        for (field, number) in [("gate_cap", self.gate_cap), ("epsilon", Some(self.epsilon))] {
            if let Some(number) = number {
                let positive = number.is_finite() && number > 0.0;
                require(positive, field, number, "be a number above 0")?;
            }
        }
        require_finite("input_gate_bias", self.input_gate_bias)
    }

    fn d_value(&self) -> usize {
        self.d_value.unwrap_or(self.d_key.saturating_mul(2))
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) finds an error; [`try_init`](Self::try_init) returns it instead.
    #[track_caller]
    pub fn init(&self, device: &Device) -> MLstm {
        expect_valid(self.try_init(device))
    }

    /// The layer, with fresh parameters on `device`.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn try_init(&self, device: &Device) -> Result<MLstm, ConfigError> {
        self.validate()?;
        let d_value = self.d_value();
        let (d_keys, d_values) = (self.n_heads * self.d_key, self.n_heads * d_value);
        let map = |d_output| linear([self.d_input, d_output], None, device);
        let gate = |bias| Linear {
            bias: Some(bias),
            ..LinearConfig::new(self.d_input, self.n_heads)
                .with_initializer(Initializer::Zeros)
                .init(device)
        };
        let input_bias = Initializer::Constant {
            value: self.input_gate_bias,
        };
        Ok(MLstm {
            q: map(d_keys),
            k: map(d_keys),
            v: map(d_values),
            ogate_preact: map(d_values),
            igate_preact: gate(input_bias.init([self.n_heads], device)),
            fgate_preact: gate(forget_biases(self.n_heads, device)),
            multihead_norm: HeadsLayerNorm::init(d_values, false, device),
            out_proj: linear(
                [d_values, self.d_output.unwrap_or(self.d_input)],
                None,
                device,
            ),
            options: Options {
                n_heads: self.n_heads,
                d_key: self.d_key,
                d_value,
                gate_cap: self.gate_cap,
                epsilon: self.epsilon,
                path: self.path,
            },
        })
    }
}

/// b_f: from 3 to 6, at equal distances.
fn forget_biases(n_heads: usize, device: &Device) -> Param<Tensor<1>> {
    let apart = 3.0 / (n_heads.max(2) - 1) as f64;
    given([n_heads], move |head| 3.0 + apart * head as f64, device)
}
