//! `fw-train export`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fw_core::weights::Convention;

use crate::cli::output;
use crate::files::write_new;
use crate::training::{Trained, export};
use crate::{CheckpointChoice, Error};

/// Write a trained net to a file that other programs can read.
///
/// The file is safetensors: the weights, and in its metadata the configuration of the net, the experiment, versions and digests. `train --from FILE`, `test FILE`,
/// `sample FILE` and `plot FILE` take it like a run's folder; a Rust program makes the net of it with fw-core alone; with --for pytorch its names and orders are
/// those of PyTorch, for load_state_dict(strict=True).
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The run's folder, or a file that this has written
    run: PathBuf,

    /// The file, which must not exist yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Whose names and orders the weights have
    #[arg(long = "for", value_enum, default_value_t = For::FwCore)]
    reader: For,

    /// Which checkpoint: the one that did best on the validation split, or the newest
    #[arg(long, value_enum, default_value_t = CheckpointChoice::Best)]
    checkpoint: CheckpointChoice,
}

/// Who reads the file.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum For {
    /// This program, and programs that depend on fw-core
    FwCore,
    /// PyTorch: torch.nn's layers, pytorch-ntm's, flash-linear-attention's
    Pytorch,
}

impl ExportArgs {
    pub fn run(self) -> Result<(), Error> {
        let convention = match self.reader {
            For::FwCore => Convention::Own,
            For::Pytorch => Convention::PyTorch,
        };
        let trained = Trained::open(&self.run)?;
        let bytes = export(&trained, self.checkpoint, convention)?.to_bytes()?;
        write_new(&self.out, &bytes)?;
        output::line(format_args!("{}", self.out.display()))
    }
}
