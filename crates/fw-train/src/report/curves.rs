//! Learning curves: loss, error and gradient norm by step, several runs overlaid.
use crate::Error;
use crate::training::RunFolder;
use std::path::Path;
/// x
pub fn draw_curves(_runs: &[RunFolder], _path: &Path) -> Result<(), Error> {
    Ok(())
}
