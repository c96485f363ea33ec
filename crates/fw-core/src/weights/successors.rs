//! An mLSTM as xlstm has it, RWKV-7 as flash-linear-attention has it, and the recurrent delta net of IDSIA/recurrent-fwp.

use super::WeightsError;
use super::portable::{Convention, Parameters, Portable, turned, unsupported};
use crate::{MLstm, RecurrentDeltaNet, Rwkv7};

/// Under [`Convention::PyTorch`] the names of `xlstm.xlstm_large.model.mLSTMLayer` with `weight_mode="single"`, those of xLSTM 7B.
impl Portable for MLstm {
    const NAME: &'static str = "MLstm";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        match convention {
            Convention::PyTorch => Ok(turned(self, |name| name)),
            _ => Err(unsupported::<Self>(convention)),
        }
    }
}

/// Under [`Convention::PyTorch`] the names of flash-linear-attention's `RWKV7Attention` with `layer_idx=0`.
impl Portable for Rwkv7 {
    const NAME: &'static str = "Rwkv7";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        match convention {
            // The function between two maps has a place in their list, too.
            Convention::PyTorch => Ok(turned(self, |name| {
                name.replace(".first.", ".lora.0.")
                    .replace(".second.", ".lora.2.")
            })),
            _ => Err(unsupported::<Self>(convention)),
        }
    }
}

/// Under [`Convention::PyTorch`] the names of `RecUpdateTanhFastFFlayer` of IDSIA/recurrent-fwp, without its `layer_norm`.
impl Portable for RecurrentDeltaNet {
    const NAME: &'static str = "RecurrentDeltaNet";

    fn parameters(&self, convention: Convention) -> Result<Parameters, WeightsError> {
        match convention {
            Convention::PyTorch => Ok(turned(self, |name| match name.as_str() {
                "r_q" | "r_k" | "r_v" => name.replace("r_", "R_"),
                _ => name,
            })),
            _ => Err(unsupported::<Self>(convention)),
        }
    }
}
