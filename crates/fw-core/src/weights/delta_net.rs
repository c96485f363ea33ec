//! Delta networks as flash-linear-attention has them.

use super::WeightsError;
use super::portable::{Convention, Parameters, Portable, turned, unsupported};
use crate::DeltaNet;

/// Under [`Convention::PyTorch`] the names of flash-linear-attention's `DeltaNet`, `GatedDeltaNet`, `KimiDeltaAttention` and `GatedDeltaProduct`, whose defaults
/// are [`DeltaNetConfig::new`](crate::DeltaNetConfig::new), [`gated`](crate::DeltaNetConfig::gated), [`kimi`](crate::DeltaNetConfig::kimi) and
/// [`product`](crate::DeltaNetConfig::product).
impl Portable for DeltaNet {
    const NAME: &'static str = "DeltaNet";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        match convention {
            Convention::PyTorch => Ok(turned(self, |name| match name.as_str() {
                "a_log" => "A_log".to_owned(),
                _ => name,
            })),
            _ => Err(unsupported::<Self>(convention)),
        }
    }
}
