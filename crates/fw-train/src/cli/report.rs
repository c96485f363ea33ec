//! `fw-train report`

use std::path::{Path, PathBuf};

use clap::Args;

use crate::Error;
use crate::cli::output;
use crate::report::Comparison;
use crate::training::Threshold;

/// Make a report of runs from their folders: tables, curves, and what each did on the same samples.
///
/// It writes report.html, one file that needs nothing else, report.md with its figures, results.csv and results.json. Runs that differ in
/// their seeds alone are one row. Nothing is trained or changed.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Folders of runs, or folders that hold such
    #[arg(required = true)]
    runs: Vec<PathBuf>,

    /// Where to write the report [default: the folder that was given; with several, this folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// What on the validation split counts as learned, for the column of updates that it took: error=SHARE, from 0 to 1, or loss=NUMBER [default:
    /// error=0.05 for classes; loss=1 for bits; loss=0.001 for numbers]
    #[arg(long, value_name = "error=X|loss=X")]
    threshold: Option<Threshold>,
}

impl ReportArgs {
    pub fn run(self) -> Result<(), Error> {
        let out = match (self.out, self.runs.as_slice()) {
            (Some(out), _) => out,
            (None, [folder]) => folder.clone(),
            (None, _) => PathBuf::from("."),
        };
        write_report(&self.runs, &out, self.threshold)?;
        Ok(())
    }
}

/// Writes the report of some runs and says where; an error, if some could not be read.
pub(super) fn write_report(
    runs: &[PathBuf],
    out: &Path,
    threshold: Option<Threshold>,
) -> Result<(), Error> {
    let comparison = Comparison::read(runs, threshold)?;
    comparison.write(out)?;
    for name in ["report.html", "report.md", "results.csv", "results.json"] {
        output::line(format_args!("{}", out.join(name).display()))?;
    }
    match comparison.skipped.as_slice() {
        [] => Ok(()),
        skipped => Err(Error::Incomplete(format!(
            "left out of the report, since they could not be read:\n  {}",
            skipped.join("\n  ")
        ))),
    }
}
