//! `fw-train plot`

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::loaded::{ModelArgs, nothing_given};
use crate::cli::output;
use crate::error::require;
use crate::models::{SampleTrace, trace};
use crate::report::{check_figure_name, draw_curves, draw_heat_maps};
use crate::tasks::Split;
use crate::training::RunFolder;
use crate::{CheckpointChoice, Error};

/// Draw learning curves, several runs overlaid, and what a model did on a sample.
///
/// One run: curves.svg and curves.png in its folder, and sample.svg and sample.png: target, answer and error of a sample, and heat
/// maps of what the model wrote, read, recalled and attended to at each step. Several runs: curves.svg and curves.png here. A file that
/// `export` has written: its sample alone, beside it.
#[derive(Debug, Args)]
pub(super) struct PlotArgs {
    /// The folders of one or more runs, or a file that `export` has written
    runs: Vec<PathBuf>,

    /// A net that comes with the program instead: `list` names them
    #[arg(long, value_name = "NAME", conflicts_with = "runs")]
    pretrained: Option<String>,

    /// Only the curves, or with --sample only the sample, in this file: *.svg or *.png, replaced if it exists
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Which sample of the test split to draw [default: 0]
    #[arg(long, value_name = "INDEX")]
    sample: Option<u64>,

    /// Change the task of the sample, for example task.length=60 (may be repeated)
    #[arg(long = "set", value_name = "task.FIELD=VALUE")]
    assignments: Vec<String>,
}

impl PlotArgs {
    pub fn run(self) -> Result<(), Error> {
        self.out.as_deref().map_or(Ok(()), check_figure_name)?;
        if self.runs.is_empty() && self.pretrained.is_none() {
            return Err(nothing_given());
        }
        if let Some(net) = self.net() {
            let paths = self.paths(&net.with_extension("sample"));
            self.draw_sample(&paths)?;
            return print(&paths);
        }
        let runs = self
            .runs
            .iter()
            .map(|path| RunFolder::open(path))
            .collect::<Result<Vec<_>, _>>()?;
        let asks_for_sample = self.sample.is_some() || !self.assignments.is_empty();
        let single = match runs.as_slice() {
            [run] => Some(run),
            _ if asks_for_sample => {
                return Err(Error::usage(
                    "--sample and --set draw what one run did; give one folder",
                ));
            }
            _ => None,
        };
        // A sample may be refused, and is drawn first: nothing is replaced then.
        let mut drawn = Vec::new();
        if let Some(run) = single
            && (asks_for_sample || self.wants_sample(run)?)
        {
            let opened = run.experiment(&self.assignments)?;
            match opened.task.task().open() {
                // Curves need no data.
                Err(error) if !asks_for_sample => {
                    tell!("no sample is drawn: {}", error.in_full());
                }
                _ => {
                    drawn = self.paths(&run.path().join("sample"));
                    self.draw_sample(&drawn)?;
                }
            }
        }
        let only_sample = asks_for_sample && self.out.is_some();
        if !only_sample {
            for run in &runs {
                if let Some(told) = run.of_damaged(&run.metrics()?) {
                    tell!("{told}");
                }
            }
            let folder = single.map_or(Path::new(""), RunFolder::path);
            let paths = self.paths(&folder.join("curves"));
            draw_curves(&runs, &paths)?;
            print(&paths)?;
        }
        print(&drawn)
    }

    /// Whether a sample is drawn that nobody asks for: curves can be drawn from the first records on, a sample from the first
    /// checkpoint on.
    fn wants_sample(&self, run: &RunFolder) -> Result<bool, Error> {
        if self.out.is_some() || !run.has_checkpoint()? {
            return Ok(false);
        }
        let n_steps = run.experiment(&[])?.task.task().seq_length();
        if n_steps > MOST_DRAWN_STEPS {
            tell!(
                "a sample of {n_steps} steps is not drawn: at most {MOST_DRAWN_STEPS} can be told apart"
            );
        }
        Ok(n_steps <= MOST_DRAWN_STEPS)
    }

    /// The net whose sample alone is drawn: a file, or one that comes with the program.
    fn net(&self) -> Option<PathBuf> {
        let file = self.runs.first().filter(|_| self.runs.len() == 1);
        let file = file.filter(|path| path.is_file()).cloned();
        file.or_else(|| self.pretrained.as_ref().map(PathBuf::from))
    }

    /// The files of a figure.
    fn paths(&self, name: &Path) -> Vec<PathBuf> {
        if let Some(out) = &self.out {
            return vec![out.clone()];
        }
        let with = |extension: &str| {
            let mut path = name.as_os_str().to_owned();
            path.push(format!(".{extension}"));
            PathBuf::from(path)
        };
        ["svg", "png"].map(with).to_vec()
    }

    fn draw_sample(&self, paths: &[PathBuf]) -> Result<(), Error> {
        let split = Split::Test;
        let model = ModelArgs {
            run: self.runs.first().cloned(),
            pretrained: self.pretrained.clone(),
            split,
            checkpoint: CheckpointChoice::Best,
            assignments: self.assignments.clone(),
            device: None,
        };
        let loaded = model.load()?;
        let index = self.sample.unwrap_or(0);
        let task = loaded.experiment.task.task();
        task.range(split, index, 1)?;
        let n_steps = task.sample(split, index).input.seq_length();
        let rule =
            format!("have at most {MOST_DRAWN_STEPS} steps to be drawn; set the task to less");
        require(
            n_steps <= MOST_DRAWN_STEPS,
            "sample",
            format!("{n_steps} steps long"),
            &rule,
        )?;
        let (model, device) = (loaded.model()?, &loaded.device);
        let trace = SampleTrace::new(&model, trace, task, split, index, device);
        let title = format!(
            "{} on {}: sample {index} of the {} split, checkpoint of step {}",
            loaded.experiment.model.layer.kind(),
            loaded.experiment.task.kind(),
            split.name(),
            loaded.saved.step()
        );
        paths
            .iter()
            .try_for_each(|path| draw_heat_maps(&title, &trace, path))
    }
}

/// More cannot be told apart, and make a file of hundreds of megabytes.
const MOST_DRAWN_STEPS: usize = 2000;

fn print(paths: &[PathBuf]) -> Result<(), Error> {
    paths
        .iter()
        .try_for_each(|path| output::line(format_args!("{}", path.display())))
}
