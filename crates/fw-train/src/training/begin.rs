//! How a training begins: anew, with the weights of another run, or where it stopped.

use std::path::Path;

use burn::tensor::Device;

use crate::device::Devices;
use crate::error::require;
use crate::experiment::Experiment;
use crate::files::{absolute, to_be_typed};
use crate::models::Layer;
use crate::plain::to_table;
use crate::settings::{self, Change};
use crate::tasks::{DataFile, Split};
use crate::training::history::{self, BURN, Origin, VERSION};
use crate::training::optimizer::Schedule;
use crate::training::order::Windows;
use crate::training::record::{Environment, RunResult};
use crate::training::run_folder::RunFolder;
use crate::training::trained::Trained;
use crate::training::trainer::Trainer;
use crate::{CheckpointChoice, Error};

/// Trains a new run in a folder that does not exist yet.
///
/// # Errors
/// If the folder exists, the devices are not to be had, a file cannot be written, or training diverges.
pub fn train(
    path: &Path,
    experiment: &Experiment,
    devices: impl Into<Devices>,
) -> Result<RunResult, Error> {
    // Before anything is written.
    experiment.model.in_file(experiment.task.task())?;
    let run = create(path, experiment, devices.into(), None)?;
    run_to_end(&run, experiment)
}

/// The same for a run whose first weights are those of another run's checkpoint, or of a file that was [exported](crate::training::export) from one. The optimiser begins anew.
///
/// # Errors
/// As [`train`], and if the other run's net is not the one that `experiment` describes.
pub fn train_from(
    path: &Path,
    experiment: &Experiment,
    devices: impl Into<Devices>,
    other: &Path,
    choice: CheckpointChoice,
) -> Result<RunResult, Error> {
    // Before anything is written.
    experiment.model.in_file(experiment.task.task())?;
    let from = Trained::open(other)?;
    let trained = from.experiment(&[])?;
    let refused = |field: &str, [there, here]: [&str; 2]| {
        Err(Error::usage(format!(
            "{} cannot be trained from: {field} is {there} there and {here} here; it must be the same, since the weights are of that net",
            other.display()
        )))
    };
    let [there, here] = [&trained.task, &experiment.task];
    if there.alphabet() != here.alphabet() {
        let alphabets =
            [there, here].map(|task| format!("{:?}", task.alphabet().unwrap_or("none")));
        return refused("task.alphabet", [&alphabets[0], &alphabets[1]]);
    }
    if there.task().format() != here.task().format() {
        let formats =
            [there, here].map(|task| format!("{} ({:?})", task.kind(), task.task().format()));
        return refused("what is read and answered", [&formats[0], &formats[1]]);
    }
    let devices = devices.into();
    let saved = from.saved(choice)?;
    let [before, now] = [&trained, experiment].map(|experiment| to_table(&experiment.model));
    let different = settings::differences(&before, &now);
    let kinds = [&trained, experiment].map(|experiment| experiment.model.layer.kind());
    if kinds[0] != kinds[1] {
        return refused("model.kind", kinds);
    }
    let device = &devices.open()?[0];
    let load = |experiment: &Experiment| {
        let (model, task) = (&experiment.model, experiment.task.task());
        saved.load_model(model.init(task, 0, device)?)
    };
    // A checkpoint that is damaged fits nothing.
    load(&trained)?;
    // Many settings leave the weights as they are: whether they fit is tried.
    if !different.is_empty() && load(experiment).is_err() {
        let [there, here] = [0, 1].map(|side| {
            let values = different.iter().map(|change| match side {
                0 => format!("{} = {}", change.field, change.before),
                _ => format!("{} = {}", change.field, change.now),
            });
            values.collect::<Vec<_>>().join(", ")
        });
        return refused("[model]", [&there, &here]);
    }
    let origin = Origin {
        run: absolute(other)?,
        step: saved.step(),
    };
    let [before, now] = [&trained, experiment].map(to_table);
    let changed = settings::differences(&before, &now);
    let run = create(path, experiment, devices, Some((origin, changed)))?;
    run_to_end(&run, experiment)
}

/// Goes on with a run that was stopped, from its newest checkpoint and on the same devices, with the same numbers as if
/// it had not been (on several devices: if they compute alike). A run that has ended is left as it is.
///
/// # Errors
/// If the folder is not that of a run, its data have changed, the devices are not to be had, a file cannot be written, or
/// training diverges.
pub fn resume(path: &Path) -> Result<RunResult, Error> {
    resume_with(path, &Resume::default())
}

/// With what a run goes on.
#[derive(Clone, Debug, Default)]
pub struct Resume {
    /// Settings that change, `section.field=value`: how long it trains (`training.steps`, `training.early_stop`), and where its data lie
    /// (`task.text`, `task.folder` and the names of files in such a folder).
    pub assignments: Vec<String>,
    /// Whether it goes on with data that are not those that it has read before.
    pub allows_other_data: bool,
}

/// Settings with which a run may go on otherwise than it was begun: those that no number depends on which was computed before. A learning
/// rate that falls towards the end of the training falls towards the new end from then on.
const MAY_CHANGE: [&str; 7] = [
    "training.steps",
    "training.early_stop",
    "task.text",
    "task.folder",
    "task.train",
    "task.validation",
    "task.test",
];

/// [`resume`] with more updates than were asked for at first, or with data that lie elsewhere.
///
/// # Errors
/// As [`resume`], and if a setting may not change.
pub fn resume_with(path: &Path, with: &Resume) -> Result<RunResult, Error> {
    let run = RunFolder::open(path)?;
    let before = run.experiment(&[])?;
    let experiment = Experiment::from_document(run.document()?, &with.assignments)?;
    let tables = [&before, &experiment].map(to_table);
    let changed = settings::differences(&tables[0], &tables[1]);
    for change in &changed {
        let is_within = |field: &&&str| {
            let rest = change.field.strip_prefix(**field);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if !MAY_CHANGE.iter().any(|field| is_within(&field)) {
            return Err(Error::usage(format!(
                "{} was begun with {} = {}; it cannot go on with {}: only {} may change. A new run can \
                 begin with its weights: train --from {}",
                path.display(),
                change.field,
                change.before,
                change.now,
                MAY_CHANGE.join(", "),
                to_be_typed(path)
            )));
        }
    }
    // How long it trains: where its data lie changes nothing about a run that has ended.
    let goes_further = changed
        .iter()
        .any(|change| change.field.starts_with("training."));
    let _lock = run.lock()?;
    let ended = match goes_further {
        true => None,
        false => run.result()?,
    };
    if let Some(result) = ended {
        match changed.is_empty() {
            true => tell!(
                "{} has ended, and is left as it is; --set training.steps=MORE trains it further",
                path.display()
            ),
            false => {
                let next = next_session(&run, &experiment, changed, with.allows_other_data)?;
                run.continue_with(&experiment, next, true)?;
            }
        }
        return Ok(result);
    }
    let mut trainer = Trainer::new(&run, &experiment)?;
    let next = next_session(&run, &experiment, changed, with.allows_other_data)?;
    say_of_rates(&before, &experiment, next.step);
    trainer.next = Some(next);
    trainer.run_model()
}

/// Says what becomes of a learning rate that follows the length of the training.
fn say_of_rates(before: &Experiment, now: &Experiment, step: usize) {
    let rate = |experiment: &Experiment, step: usize| {
        let steps = experiment.training.steps;
        experiment
            .optimizer
            .learning_rate(step.clamp(1, steps), steps)
    };
    let (last, next) = (rate(before, step), rate(now, step + 1));
    let has_schedule = now.optimizer.common.schedule != Schedule::Constant;
    if has_schedule && before.training.steps != now.training.steps {
        tell!(
            "the learning rate follows its schedule to the new end: it was {last:.3e} at step {step} and is {next:.3e} after it"
        );
    }
}

/// Another session of a run, if nothing speaks against it.
fn next_session(
    run: &RunFolder,
    experiment: &Experiment,
    changed: Vec<Change>,
    allows_other_data: bool,
) -> Result<history::Session, Error> {
    let step = match run.has_checkpoint()? {
        true => run.checkpoint(CheckpointChoice::Last)?.step,
        false => 0,
    };
    require(
        experiment.training.steps >= step,
        "training.steps",
        experiment.training.steps,
        &format!("be at least {step}, the updates that are done"),
    )?;
    let data = open(experiment)?;
    if !allows_other_data && let Some(told) = run.other_data(&data) {
        return Err(Error::usage(format!(
            "{told}. With --other-data the run goes on all the same"
        )));
    }
    say_of_versions(run)?;
    let mut session = history::Session::now(step, data);
    session.changed = changed;
    Ok(session)
}

/// Opens the data of all tasks of an experiment, says what has to be said of them, and returns their files: its own, and those of other
/// tasks that are not the same.
fn open(experiment: &Experiment) -> Result<Vec<DataFile>, Error> {
    let task = experiment.task.task();
    task.open()?;
    let mut files = task.files();
    let easier = (1..).zip(&experiment.easier);
    let easier = easier.map(|(n, task)| (format!("the curriculum's task {n}"), task));
    let slices = experiment.slices.iter().map(|slice| {
        let whose = format!("test.{} = {}", slice.setting, slice.value);
        (whose, &slice.task)
    });
    for (whose, other) in easier.chain(slices) {
        other.task().open()?;
        let others = other.task().files().into_iter();
        let new: Vec<DataFile> = others
            .filter(|file| !files.iter().any(|known| known.is_same(file)))
            .map(|file| file.of_another_task(&whose))
            .collect();
        files.extend(new);
    }
    if let Some(note) = task.note() {
        tell!("{note}");
    }
    let training = &experiment.training;
    if training.carry_state && Windows::new(task, training.batch_size).is_none() {
        let n = task.text_length(Split::Train).unwrap_or(0);
        let most = n / (2 * task.seq_length());
        let rule = format!(
            "be at most {most}, for each to have two windows of the text, of which one goes on from the other"
        );
        require(false, "training.batch_size", training.batch_size, &rule)?;
    }
    Ok(files)
}

/// Says that a run goes on by another build than it was begun by.
fn say_of_versions(run: &RunFolder) -> Result<(), Error> {
    let environment = run.environment()?;
    let last = run.history().pop();
    let (version, burn) = match last {
        Some(session) => (session.version, session.burn),
        None => (environment.version, environment.burn),
    };
    if (version.as_str(), burn.as_str()) != (VERSION, BURN) {
        tell!(
            "{} was trained by fw-train {version} with Burn {burn}; it goes on by {VERSION} with {BURN}",
            run.path().display()
        );
    }
    Ok(())
}

/// Trains a layer of the caller's own, which `init` makes for the width that it has to read; `[model]` is of kind `own`. A run that
/// is there is continued, or left as it is if it has ended.
///
/// # Errors
/// As [`train`] and [`resume`], and if the run that is there was made with another experiment.
pub fn train_layer<R: Layer>(
    path: &Path,
    experiment: &Experiment,
    devices: impl Into<Devices>,
    init: impl Fn(usize, &Device) -> R,
) -> Result<RunResult, Error> {
    let is_new = !path.exists();
    let run = match is_new {
        true => create(path, experiment, devices.into(), None)?,
        false => RunFolder::open(path)?,
    };
    run.require_settings(experiment)?;
    if let Some(result) = run.result()? {
        return Ok(result);
    }
    let _lock = run.lock()?;
    let mut trainer = Trainer::new(&run, experiment)?;
    if !is_new {
        trainer.next = Some(next_session(&run, experiment, Vec::new(), false)?);
    }
    trainer.run_layer(init)
}

fn create(
    path: &Path,
    experiment: &Experiment,
    devices: Devices,
    from: Option<(Origin, Vec<Change>)>,
) -> Result<RunFolder, Error> {
    let number = devices.open()?.len();
    let carries = experiment.training.carry_state;
    let rule = "be false on several devices";
    require(
        number == 1 || !carries,
        "training.carry_state",
        carries,
        rule,
    )?;
    require(
        experiment.training.batch_size >= number,
        "training.batch_size",
        experiment.training.batch_size,
        &format!("be at least the number of devices ({number})"),
    )?;
    let mut first = history::Session::now(0, open(experiment)?);
    if let Some((origin, changed)) = from {
        first.from = Some(origin);
        first.changed = changed;
    }
    RunFolder::create(path, experiment, &Environment::now(devices), first)
}

fn run_to_end(run: &RunFolder, experiment: &Experiment) -> Result<RunResult, Error> {
    let _lock = run.lock()?;
    Trainer::new(run, experiment)?.run_model()
}
