//! Causal attention with a softmax.

use fw_core::{AttentionConfig, LayerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Given, Kind, Settings, require_width};
use crate::Error;
use crate::error::require;

pub(super) struct Attention;

/// What is said otherwise than in fw-core's configuration.
#[derive(Serialize, Deserialize, JsonSchema)]
struct OwnSettings {
    /// Width of what the layer yields, at least 1. Default 64.
    d_hidden: usize,
    /// D, the width of a query, a key and a value in each head, at least 1. Where it is not set: `d_hidden` / `n_heads`.
    d_key: Option<usize>,
}

const DEFAULT: OwnSettings = OwnSettings {
    d_hidden: 64,
    d_key: None,
};

fn base(d_input: usize) -> AttentionConfig {
    AttentionConfig::new(d_input, 1, DEFAULT.d_hidden)
}

impl Kind for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn about(&self) -> &'static str {
        "causal attention with a softmax, without a recurrent net: the yardstick, whose state grows (Vaswani et al. 2017)"
    }

    fn settings(&self) -> Settings {
        Settings::of(&base(1)).without(&["d_output"]).and(&DEFAULT)
    }

    fn layer(&self, given: &Given) -> Result<LayerConfig, Error> {
        let own: OwnSettings = given.own()?;
        let mut config: AttentionConfig = given.over(&base(given.d_input), &["d_key"])?;
        let (d_hidden, n_heads) = (own.d_hidden, config.n_heads);
        require(n_heads >= 1, "model.n_heads", n_heads, "be at least 1")?;
        let divides = own.d_key.is_some() || d_hidden.is_multiple_of(n_heads);
        let rule = format!("divide model.d_hidden, {d_hidden}, where model.d_key is not set");
        require(divides, "model.n_heads", n_heads, &rule)?;
        config.d_key = own.d_key.unwrap_or(d_hidden / n_heads);
        config.d_output = Some(d_hidden);
        let width = n_heads.saturating_mul(config.d_key);
        require_width("model.n_heads x model.d_key", width)?;
        Ok(LayerConfig::Attention(config))
    }

    fn grows(&self, _given: &Given) -> bool {
        true
    }
}
