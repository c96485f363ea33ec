//! The sizes of heads that lie side by side.

use super::require_width;
use crate::Error;
use crate::error::require;

/// What settings say of them.
pub(super) struct Heads {
    pub(super) d_hidden: usize,
    pub(super) n_heads: usize,
    pub(super) d_key: Option<usize>,
    pub(super) d_value: Option<usize>,
}

/// The width of a key in each head; or else the setting that breaks a rule.
pub(super) fn check_heads(heads: Heads) -> Result<usize, Error> {
    let Heads {
        d_hidden,
        n_heads,
        d_key,
        d_value,
    } = heads;
    let at_least_one = |field: &str, size: usize| require(size >= 1, field, size, "be at least 1");
    at_least_one("model.d_hidden", d_hidden)?;
    at_least_one("model.n_heads", n_heads)?;
    let divides = d_key.is_some() || d_hidden.is_multiple_of(n_heads);
    let rule = format!("divide model.d_hidden, {d_hidden}, where model.d_key is not set");
    require(divides, "model.n_heads", n_heads, &rule)?;
    let d_key = d_key.unwrap_or(d_hidden / n_heads);
    // A product of sizes stays far from what a number can hold.
    let all_heads = |size: usize| n_heads.saturating_mul(size);
    require_width("model.n_heads x model.d_key", all_heads(d_key))?;
    if let Some(d_value) = d_value {
        require_width("model.n_heads x model.d_value", all_heads(d_value))?;
    }
    Ok(d_key)
}
