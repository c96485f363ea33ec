//! `fw-train train`

use std::path::{Path, PathBuf};

use clap::Args;
use toml::{Table, Value};

use crate::cli::output;
use crate::cli::signals::{end_with_input, stop_on_signals};
use crate::device::{DeviceName, Devices};
use crate::experiment::Experiment;
use crate::files::{name_of_run, to_be_typed};
use crate::tasks::AnswerFormat;
use crate::training::{self, Resume, RunFolder, RunResult, Trained, without_tests};
use crate::{CheckpointChoice, Error, settings};

/// Train a model, or continue a run that was stopped.
///
/// Without a file the default experiment is trained: fast weights, 50 units, on associative retrieval
/// with 4 pairs. The run's folder then holds all that `test`, `sample` and `plot` need. Ctrl-C stops after the next record, with a
/// checkpoint to continue from; pressed twice, at once. Other signals that ask to stop do the same: SIGTERM, SIGHUP (a closed terminal),
/// SIGUSR1, SIGUSR2 and SIGXCPU (batch systems).
#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    /// The experiment, a TOML file with the sections [task], [model], [optimizer] and [training]
    #[arg(conflicts_with = "resume")]
    experiment: Option<PathBuf>,

    /// Set one field of the experiment, for example training.steps=2000 (may be repeated); another kind, such as
    /// model.kind=lstm, begins its section with that kind's defaults. With --resume only how long it trains, training.steps and
    /// training.early_stop, and where its data lie, for example task.text
    #[arg(long = "set", value_name = "SECTION.FIELD=VALUE")]
    assignments: Vec<String>,

    /// The seed of the model's start values: short for --set training.seed=N
    #[arg(long, conflicts_with = "resume", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,

    /// The run's folder, which must not exist yet [default: runs/NAME-seedN]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,

    /// Continue the run in this folder from its newest checkpoint, as if it had never stopped; one that has ended goes on with --set
    /// training.steps=MORE
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,

    /// Continue although the data are not those that the run has read before
    #[arg(long, requires = "resume", conflicts_with = "from")]
    other_data: bool,

    /// Begin a new run with the weights of the run in this folder, or of a file that `export` has written: on the experiment that they were
    /// trained by, or on the one that is given, changed by --set. The model's seed then changes nothing; --set task.seed=N changes the order of the samples
    #[arg(long, value_name = "RUN|FILE", conflicts_with = "resume")]
    from: Option<PathBuf>,

    /// Which checkpoint of that run
    #[arg(long, value_enum, requires = "from", default_value_t = CheckpointChoice::Best)]
    checkpoint: CheckpointChoice,

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

    /// Print the whole experiment that would run, with every default written out, and train nothing
    #[arg(long, conflicts_with_all = ["resume", "out"])]
    print_config: bool,

    /// The experiment itself, instead of a file
    #[arg(long, hide = true, value_name = "TOML", conflicts_with_all = ["experiment", "resume", "from"])]
    document: Option<String>,

    /// Stop after the next record when standard input says so, and at once when it ends: whoever started this has ended
    #[arg(long, hide = true)]
    until_input_ends: bool,
}

impl TrainArgs {
    pub fn run(self) -> Result<(), Error> {
        if self.until_input_ends {
            end_with_input();
        }
        stop_on_signals()?;
        if let Some(run) = &self.resume {
            let with = Resume {
                assignments: self.assignments,
                allows_other_data: self.other_data,
            };
            let result = training::resume_with(run, &with)?;
            let experiment = RunFolder::open(run)?.experiment(&[])?;
            return print_result(&experiment, &result, run);
        }
        let from = self.from.as_deref().map(Trained::open).transpose()?;
        if let Some(note) = from.as_ref().and_then(Trained::note) {
            output::note(&note);
        }
        let given = self.document.as_deref().map(Experiment::parse_document);
        let mut document = match (&self.experiment, &from) {
            _ if given.is_some() => given.transpose()?.unwrap_or_default(),
            (Some(path), None) => Experiment::read_document(path)?,
            (Some(path), Some(from)) => {
                let mut document = Experiment::read_document(path)?;
                take_alphabet(&mut document, &from.document()?);
                document
            }
            (None, Some(from)) => document_of(from, &self.assignments)?,
            (None, None) => Experiment::default_document(),
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
        if self.print_config {
            return output::line(format_args!("{}", experiment.to_toml().trim_end()));
        }
        if let (Some(_), Some(seed)) = (&self.from, self.seed) {
            tell!(
                "--seed {seed}: with --from no number depends on the model's seed; --set task.seed=N changes the order of samples"
            );
        }
        let out = match self.out {
            Some(out) => out,
            None => {
                let from = self.from.as_deref().map(name_of_run).transpose()?;
                let stem = self.experiment.as_deref().and_then(Path::file_stem);
                let name = stem
                    .map(|stem| stem.to_string_lossy().into_owned())
                    .or(from);
                unused_folder(name.as_deref(), experiment.training.seed)
            }
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
        let result = match &self.from {
            None => training::train(&out, &experiment, devices)?,
            Some(from) => training::train_from(&out, &experiment, devices, from, self.checkpoint)?,
        };
        print_result(&experiment, &result, &out)
    }
}

/// The experiment of a net whose weights are taken. Where the task is another, its `[test]` and its curriculum need not fit.
fn document_of(trained: &Trained, assignments: &[String]) -> Result<Table, Error> {
    let document = trained.document()?;
    if Experiment::from_document(document.clone(), assignments).is_ok() {
        return Ok(document);
    }
    let own = without_tests(document.clone(), assignments);
    if own != document {
        tell!(
            "[test] and [training.curriculum] of {} do not fit these settings: they are left out",
            trained.path().display()
        );
    }
    Ok(own)
}

/// A text is read with the characters that the weights are for.
fn take_alphabet(document: &mut Table, trained: &Table) {
    let field = |document: &Table, field: &str| document.get("task")?.get(field).cloned();
    let is_alike = |name| field(document, name) == field(trained, name);
    if !is_alike("kind") || field(document, "symbols") == Some("bytes".into()) {
        return;
    }
    if let (Some(alphabet), Some(Value::Table(task))) =
        (field(trained, "alphabet"), document.get_mut("task"))
    {
        task.entry("alphabet").or_insert(alphabet);
    }
}

/// `runs/NAME-seedN`, with a number behind it if that is taken; says which of those that are taken wait to be continued.
fn unused_folder(name: Option<&str>, seed: u64) -> PathBuf {
    let name = name.unwrap_or("default");
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
                "{} is not finished: fw-train train --resume {} would continue it",
                path.display(),
                to_be_typed(&path)
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
    for goal in &experiment.goals {
        let is_reached = match goal.is_reached_by(result) {
            true => "reached",
            false => "not reached",
        };
        output::line(format_args!("goal, {goal}: {is_reached}"))?;
    }
    let more = match format.answer {
        AnswerFormat::Text { .. } => format!("  |  fw-train generate {}", to_be_typed(run)),
        _ => String::new(),
    };
    output::line(format_args!(
        "look at it:  fw-train sample {0} -n 5  |  fw-train plot {0}{more}",
        to_be_typed(run)
    ))
}
