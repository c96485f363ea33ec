//! `fw-train plot`

use std::path::PathBuf;

use clap::Args;

use crate::Error;
use crate::cli::output;
use crate::report::draw_curves;
use crate::training::RunFolder;

/// Draw learning curves: loss, error and gradient norm by step, several runs overlaid.
#[derive(Debug, Args)]
pub(super) struct PlotArgs {
    /// The folders of one or more runs
    #[arg(required = true)]
    runs: Vec<PathBuf>,

    /// The SVG file, replaced if it exists [default: curves.svg in the folder of a single run, else here]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl PlotArgs {
    pub fn run(self) -> Result<(), Error> {
        let runs = self
            .runs
            .iter()
            .map(|path| RunFolder::open(path))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(out) = &self.out
            && out.extension().is_none_or(|extension| extension != "svg")
        {
            return Err(Error::usage(format!(
                "--out is {}; its name must end in .svg",
                out.display()
            )));
        }
        let out = self.out.unwrap_or_else(|| match runs.as_slice() {
            [run] => run.path().join("curves.svg"),
            _ => PathBuf::from("curves.svg"),
        });
        draw_curves(&runs, &out)?;
        output::line(format_args!("{}", out.display()))?;
        Ok(())
    }
}
