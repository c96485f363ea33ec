//! Causal attention with a softmax.

use fw_core::{AttentionConfig, LayerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::heads::{Heads, check_heads};
use super::{Given, Kind, Settings};
use crate::Error;

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
        config.d_key = check_heads(Heads {
            d_hidden: own.d_hidden,
            n_heads: config.n_heads,
            d_key: own.d_key,
            d_value: None,
        })?;
        config.d_output = Some(own.d_hidden);
        Ok(LayerConfig::Attention(config))
    }

    fn grows(&self, _given: &Given) -> bool {
        true
    }
}
