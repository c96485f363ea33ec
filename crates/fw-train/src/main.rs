//! `fw-train`: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match fw_train::cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("error: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(reason) = cause {
                eprint!(": {reason}");
                cause = reason.source();
            }
            eprintln!();
            ExitCode::from(error.exit_code())
        }
    }
}
