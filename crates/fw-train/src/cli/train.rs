//! `fw-train train`

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use clap::Args;

use crate::cli::output;
use crate::cli::signals::stop_on_signals;
use crate::device::{DeviceName, Devices};
use crate::experiment::Experiment;
use crate::tasks::AnswerFormat;
use crate::training::{self, RunFolder, RunResult};
use crate::{Error, settings};

/// Train a model, or continue a run that was stopped.
///
/// Without a file the default experiment is trained: fast weights, 20 units, on associative retrieval
/// with 4 pairs. The run's folder then holds all that `test`, `sample` and `plot` need. Ctrl-C stops after the next record, with a
/// checkpoint to continue from; pressed twice, at once.
#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    /// The experiment, a TOML file with the sections [task], [model], [optimizer] and [training]
    #[arg(conflicts_with = "resume")]
    experiment: Option<PathBuf>,

    /// Set one field of the experiment, for example training.steps=2000 (may be repeated); another kind, such as
    /// model.kind=lstm, begins its section with that kind's defaults
    #[arg(
        long = "set",
        value_name = "SECTION.FIELD=VALUE",
        conflicts_with = "resume"
    )]
    assignments: Vec<String>,

    /// The seed of the model's start values: short for --set training.seed=N
    #[arg(long, conflicts_with = "resume", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,

    /// The run's folder, which must not exist yet [default: runs/NAME-seedN]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,

    /// Continue the run in this folder from its newest checkpoint, as if it had never stopped
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,

    /// Where to compute: flex, ndarray, wgpu or cuda [default: the first of them that is in this build]
    #[arg(long, conflicts_with = "resume")]
    device: Option<DeviceName>,

    /// Which GPUs of that kind, as `list` numbers them, for example 1; several, as 0,1, share each batch (with --device cuda)
    /// [default: the one that the driver prefers]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N",
        conflicts_with = "resume"
    )]
    devices: Vec<usize>,

    /// Stop after the next record when standard input says so, and at once when it ends: whoever started this has ended
    #[arg(long, hide = true)]
    until_input_ends: bool,
}

impl TrainArgs {
    pub fn run(self) -> Result<(), Error> {
        if self.until_input_ends {
            std::thread::spawn(|| {
                // A line asks to stop. A failure to read is an end as well.
                for _ in std::io::stdin().lines().map_while(Result::ok) {
                    training::stop_flag().store(true, Ordering::Relaxed);
                }
                std::process::exit(1)
            });
        }
        stop_on_signals()?;
        if let Some(run) = &self.resume {
            let result = training::resume(run)?;
            let experiment = RunFolder::open(run)?.experiment(&[])?;
            return print_result(&experiment, &result, run);
        }
        let mut document = match &self.experiment {
            Some(path) => Experiment::read_document(path)?,
            None => Experiment::default_document(),
        };
        if let Some(seed) = self.seed {
            let is_seed =
                |text: &&String| text.split('=').next().unwrap_or("").trim() == "training.seed";
            if let Some(other) = self.assignments.iter().find(is_seed) {
                return Err(Error::usage(format!(
                    "--seed {seed} and --set {other} both say the seed; give one of them"
                )));
            }
            settings::set(&mut document, &format!("training.seed={seed}"))?;
        }
        let experiment = Experiment::from_document(document, &self.assignments)?;
        let out = match self.out {
            Some(out) => out,
            None => unused_folder(self.experiment.as_deref(), experiment.training.seed),
        };
        let devices = Devices {
            kind: self.device.unwrap_or_else(DeviceName::default_of_build),
            adapters: self.devices,
        };
        // Refused before anything is told.
        devices.open()?;
        tell!(
            "training {} ({} units, seed {}) on {} for {} steps of {}, on {devices} -> {}",
            experiment.model.layer.kind(),
            experiment.model.layer.d_hidden(),
            experiment.training.seed,
            experiment.task.kind(),
            experiment.training.steps,
            experiment.training.batch_size,
            out.display()
        );
        let result = training::train(&out, &experiment, devices)?;
        print_result(&experiment, &result, &out)
    }
}

/// `runs/NAME-seedN`, with a number behind it if that is taken; says which of those that are taken wait to be continued.
fn unused_folder(experiment: Option<&Path>, seed: u64) -> PathBuf {
    let stem = experiment.and_then(Path::file_stem);
    let name = stem.map_or("default".into(), |stem| stem.to_string_lossy());
    let first = format!("{name}-seed{seed}");
    let names = std::iter::once(first.clone()).chain((2..).map(|n| format!("{first}-{n}")));
    for name in names {
        let path = Path::new("runs").join(name);
        if !path.exists() {
            return path;
        }
        let run = RunFolder::open(&path).ok();
        if run.is_some_and(|run| matches!(run.result(), Ok(None))) {
            tell!(
                "{0} is not finished: train --resume {0} would continue it",
                path.display()
            );
        }
    }
    unreachable!("the names never end")
}

fn print_result(experiment: &Experiment, result: &RunResult, run: &Path) -> Result<(), Error> {
    let format = experiment.task.task().format();
    let best = match format.answer {
        AnswerFormat::Class { .. } => format!(
            "test error {:.2} %, validation error {:.2} %",
            100.0 * result.test.error,
            100.0 * result.validation.error
        ),
        _ => format!("test {}", result.test.in_words(format)),
    };
    output::line(format_args!(
        "{best} (step {} of {}), {:.0} s, {} parameters",
        result.best_step, result.steps, result.seconds, result.parameters
    ))?;
    output::line(format_args!(
        "look at it:  fw-train sample {0} -n 5  |  fw-train plot {0}",
        run.display()
    ))
}
