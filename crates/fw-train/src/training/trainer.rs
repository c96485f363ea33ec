//! The training loop.

use std::path::Path;
use std::thread::{self, Scope};
use std::time::Instant;

use burn::optim::ModuleOptimizer;
use burn::tensor::Device;
use fw_core::RecurrentState;

use crate::device::Devices;
use crate::error::require;
use crate::experiment::Experiment;
use crate::files::{absolute, to_be_typed};
use crate::models::{Layer, LayerConfig, Model, WithModel};
use crate::settings::{self, Change};
use crate::tasks::{DataFile, Format, Split, Task};
use crate::training::EarlyStop;
use crate::training::checkpoint::{Best, Checkpoint, Progress};
use crate::training::evaluate::{Evaluation, evaluate, evaluate_text};
use crate::training::history::{self, BURN, Origin, VERSION};
use crate::training::memory::{peak_memory, reset_peak_memory};
use crate::training::optimizer::Schedule;
use crate::training::order::Windows;
use crate::training::parameters::{first_non_finite_parameter, learned_parameters};
use crate::training::progress::ProgressDisplay;
use crate::training::replica::{Replica, Share, Update};
use crate::training::run_folder::{
    Environment, Record, RecordSplit, RunFolder, RunResult, SliceResult,
};
use crate::training::samples::keep_samples;
use crate::training::stop::is_stop_asked_for;
use crate::training::team::{Logged, Team, sum_gradients, with_summed_gradients};
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
    if let LayerConfig::Own(own) = &experiment.model.layer {
        return Err(own.only_in_its_program());
    }
    let run = create(path, experiment, devices.into(), None)?;
    run_to_end(&run, experiment)
}

/// The same for a run whose first weights are those of another run's checkpoint. The optimiser begins anew.
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
    if let LayerConfig::Own(own) = &experiment.model.layer {
        return Err(own.only_in_its_program());
    }
    let run = RunFolder::open(other)?;
    let trained = run.experiment(&[])?;
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
    let checkpoint = run.checkpoint(choice)?;
    let [before, now] =
        [&trained, experiment].map(|experiment| settings::table_of(&experiment.model));
    let different = settings::differences(&before, &now);
    let kinds = [&trained, experiment].map(|experiment| experiment.model.layer.kind());
    if kinds[0] != kinds[1] {
        return refused("model.kind", kinds);
    }
    // Many settings leave the weights as they are: whether they fit is tried.
    let (model, task) = (&experiment.model, experiment.task.task());
    if !different.is_empty()
        && model
            .with_model(task, 0, &devices.open()?[0], Load(&checkpoint))
            .is_err()
    {
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
        step: checkpoint.step,
    };
    let [before, now] = [&trained, experiment].map(settings::table_of);
    let changed = settings::differences(&before, &now);
    let run = create(path, experiment, devices, Some((origin, changed)))?;
    run_to_end(&run, experiment)
}

/// Loads a checkpoint into a model, to see whether it fits.
struct Load<'a>(&'a Checkpoint);

impl WithModel for Load<'_> {
    type Output = ();

    fn run<M: Model>(self, model: M) -> Result<(), Error> {
        self.0.load_model(model).map(drop)
    }
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
    let tables = [&before, &experiment].map(settings::table_of);
    let changed = settings::differences(&tables[0], &tables[1]);
    for change in &changed {
        let is_within = |field: &&&str| {
            let rest = change.field.strip_prefix(**field);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if !MAY_CHANGE.iter().any(|field| is_within(&field)) {
            return Err(Error::usage(format!(
                "{} was begun with {} = {}; it cannot go on with {}, but only with others of {}. A new run can begin with its \
                 weights: train --from {}",
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
    let mut session = Session::new(&run, &experiment)?;
    let next = next_session(&run, &experiment, changed, with.allows_other_data)?;
    say_of_rates(&before, &experiment, next.step);
    session.next = Some(next);
    session.run_model()
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
    init: impl FnOnce(usize, &Device) -> R,
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
    let mut session = Session::new(&run, experiment)?;
    if !is_new {
        session.next = Some(next_session(&run, experiment, Vec::new(), false)?);
    }
    let (task, seed) = (session.task, experiment.training.seed);
    let device = session.devices[0].clone();
    let model = &experiment.model;
    model.with_own_layer(task, seed, &device, init, session)
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
    Session::new(run, experiment)?.run_model()
}

/// Where a training begins.
struct Start<M: Model> {
    model: M,
    optimizer: ModuleOptimizer,
    /// What the next window of a text goes on from.
    state: Option<M::State>,
    progress: Progress,
}

/// One call of `train` or `resume`.
struct Session<'a> {
    run: &'a RunFolder,
    experiment: &'a Experiment,
    task: &'a dyn Task,
    /// Those that the run was begun on, with autodiff.
    devices: Vec<Device>,
    is_on_cpu: bool,
    /// What is written down of it, of a run that was there before.
    next: Option<history::Session>,
}

impl WithModel for Session<'_> {
    type Output = RunResult;

    fn run<M: Model>(self, model: M) -> Result<RunResult, Error> {
        let several = self.devices.len() > 1;
        let _summing = several.then(|| sum_gradients(&self.devices));
        thread::scope(|scope| self.train(scope, model))
    }
}

impl<'a> Session<'a> {
    fn run_model(self) -> Result<RunResult, Error> {
        let (task, seed) = (self.task, self.experiment.training.seed);
        let (model, device) = (&self.experiment.model, self.devices[0].clone());
        model.with_model(task, seed, &device, self)
    }

    fn train<'scope, M: Model + 'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        model: M,
    ) -> Result<RunResult, Error>
    where
        'a: 'scope,
    {
        let config = &self.experiment.training;
        let Start {
            model,
            optimizer,
            state,
            mut progress,
        } = self.start(model)?;
        // All that it goes on from could be read: only now is anything of a run changed that was there.
        if let Some(next) = &self.next {
            if self.run.other_data(&next.data).is_some() {
                // What was best on other data is no yardstick.
                progress.best = None;
                progress.evaluations_without_improvement = 0;
            }
            self.run
                .continue_with(self.experiment, next.clone(), false)?;
        }
        let mut team = Team::start(scope, self.replicas(model, optimizer, state));
        let mut log = self.run.metrics_after(&progress)?;
        let has_curriculum = !self.experiment.easier.is_empty();
        let mut display = ProgressDisplay::new(&progress, config, self.task.format());
        let earlier = progress.seconds;
        let started = Instant::now();
        let mut latest = (f64::NAN, f64::NAN);
        // Time that the last checkpoint took, which it could not hold itself.
        let mut writing = 0.0;
        reset_peak_memory();
        if progress.step > 0 && progress.step < config.steps && self.should_stop(&progress) {
            display.tell(&format!(
                "training.early_stop is met after step {}: nothing more is trained (--set training.early_stop=never goes on)",
                progress.step
            ));
        }

        while progress.step < config.steps && !self.should_stop(&progress) {
            let step = progress.step + 1;
            let is_last = step == config.steps;
            let rate = self.experiment.optimizer.learning_rate(step, config.steps);
            let logged = team.update(Update {
                step,
                stage: progress.stage,
                rate,
                is_logged: is_last || step.is_multiple_of(config.log_every),
            });
            let model = team.leader.model();
            progress.step = step;
            let is_recorded = logged.is_some();
            let evaluates = is_last || step.is_multiple_of(config.evaluate_every);

            if let Some(Logged { norm, totals }) = logged {
                progress.seconds = earlier + started.elapsed().as_secs_f64();
                let means = totals.means(self.task.format());
                latest = (means.loss, means.error);
                let norm = f64::from(norm.into_scalar::<f32>());
                self.check_finite(step, "loss", means.loss, model)?;
                self.check_finite(step, "gradient", norm, model)?;
                log.write(&Record {
                    step,
                    split: RecordSplit::Train,
                    stage: has_curriculum.then_some(progress.stage),
                    loss: means.loss,
                    counted_loss: means.counted_loss,
                    error: means.error,
                    perfect: means.perfect,
                    optimal: None,
                    gradient_norm: Some(norm),
                    learning_rate: Some(rate),
                    seconds: progress.seconds,
                })?;
                display.trained(step, latest);
            }
            if evaluates {
                let evaluating = Instant::now();
                progress.peak_memory = progress.peak_memory.max(self.peak_memory());
                let task = self.task_now(&progress);
                let evaluation = self.evaluate(model, task, Split::Validation);
                self.check_finite(step, "validation loss", evaluation.loss, model)?;
                progress.seconds = earlier + started.elapsed().as_secs_f64();
                progress.evaluation_seconds += writing + evaluating.elapsed().as_secs_f64();
                let written = Instant::now();
                if self.is_at_last_stage(&progress) {
                    progress.take_in(evaluation, self.task.format());
                }
                let stage = has_curriculum.then_some(progress.stage);
                log.write(&Record::validation(&progress, stage, evaluation))?;
                log.sync()?;
                display.evaluated(&progress, evaluation, latest);
                if !is_last && self.has_mastered(&progress, evaluation) {
                    progress.stage += 1;
                    display.began_stage(&progress, self.experiment);
                }
                self.write_checkpoint(&team, &progress)?;
                writing = written.elapsed().as_secs_f64();
                // Evaluations take larger batches: what is told is what training takes.
                reset_peak_memory();
            }
            if is_stop_asked_for() {
                display.stopping();
            }
            // Only here, since a checkpoint in the middle of a record's window could not be resumed exactly.
            if display.is_stopping() && is_recorded && !is_last {
                display.finish();
                if !evaluates {
                    progress.evaluation_seconds += writing;
                    progress.peak_memory = progress.peak_memory.max(self.peak_memory());
                    log.sync()?;
                    self.write_checkpoint(&team, &progress)?;
                }
                return Err(Error::Stopped(format!(
                    "stopped after step {step} of {}; fw-train train --resume {} goes on from there",
                    config.steps,
                    to_be_typed(self.run.path())
                )));
            }
        }
        display.finish();
        self.finish(team.leader.model(), &progress)
    }

    fn new(run: &'a RunFolder, experiment: &'a Experiment) -> Result<Self, Error> {
        let devices = run.environment()?.devices;
        let opened = devices.open()?.into_iter();
        Ok(Session {
            run,
            experiment,
            task: experiment.task.task(),
            devices: opened.map(Device::autodiff).collect(),
            is_on_cpu: devices.kind.is_cpu(),
            next: None,
        })
    }

    /// Evaluates a model where it is trained; with several devices, on the first.
    fn evaluate<M: Model>(&self, model: &M, task: &dyn Task, split: Split) -> Evaluation {
        let (model, device) = (model.valid(), self.devices[0].clone().inner());
        let of_text = match self.experiment.training.carry_state {
            true => evaluate_text(&model, task, split, &device),
            false => None,
        };
        of_text.unwrap_or_else(|| evaluate(&model, task, split, &device))
    }

    fn write_checkpoint<M: Model>(&self, team: &Team<M>, progress: &Progress) -> Result<(), Error> {
        Checkpoint::write(
            &self.run.checkpoints(),
            team.leader.model(),
            &team.leader.optimizer,
            team.leader.state().as_ref(),
            progress,
        )
    }

    /// Where to begin: the newest checkpoint, or the weights of another run, or the fresh model.
    fn start<M: Model>(&self, model: M) -> Result<Start<M>, Error> {
        let optimizer = self.experiment.optimizer.init();
        Checkpoint::remove_unfinished(&self.run.checkpoints())?;
        if Checkpoint::all(&self.run.checkpoints())?.is_empty() {
            let progress = Progress {
                step: 0,
                seconds: 0.0,
                evaluation_seconds: 0.0,
                peak_memory: None,
                stage: 0,
                best: None,
                evaluations_without_improvement: 0,
            };
            let first = self.run.history().into_iter().next();
            let origin = first.and_then(|session| session.from);
            let model = match origin {
                None => model,
                Some(origin) => {
                    let folder = RunFolder::open(&origin.run)?.checkpoints();
                    let model = Checkpoint::at(&folder, origin.step)?.load_model(model)?;
                    // From here on the other run is not needed.
                    let folder = self.run.checkpoints();
                    Checkpoint::write(&folder, &model, &optimizer, None, &progress)?;
                    model
                }
            };
            return Ok(Start {
                model,
                optimizer,
                state: None,
                progress,
            });
        }
        let checkpoint = self.run.checkpoint(CheckpointChoice::Last)?;
        let state = checkpoint.load_state()?.map(|data| {
            let state = M::State::from_data(data, &self.devices[0]);
            state.map_err(|error| Error::run(self.run.path(), error.to_string()))
        });
        Ok(Start {
            model: checkpoint.load_model(model)?,
            optimizer: checkpoint.load_optimizer(optimizer)?,
            state: state.transpose()?,
            progress: checkpoint.load_progress()?,
        })
    }

    /// A copy of the model for each device, with its share of every batch.
    fn replicas<M: Model>(
        &self,
        model: M,
        optimizer: ModuleOptimizer,
        state: Option<M::State>,
    ) -> Vec<Replica<'a, M>> {
        let number = self.devices.len();
        let replica = |index, model, device| {
            let share = Share { index, number };
            Replica::new(model, optimizer.clone(), self.experiment, device, share)
        };
        match self.devices.as_slice() {
            [device] => vec![replica(0, model, device).with_state(state)],
            several => {
                let copy = |device| with_summed_gradients(model.clone().fork(device));
                let several = several.iter().enumerate();
                let replicas = several.map(|(index, device)| replica(index, copy(device), device));
                replicas.collect()
            }
        }
    }

    /// The task of the stage that training is in.
    fn task_now(&self, progress: &Progress) -> &dyn Task {
        self.experiment.task_of_stage(progress.stage).task()
    }

    /// Whether training is at the task itself.
    fn is_at_last_stage(&self, progress: &Progress) -> bool {
        progress.stage == self.experiment.easier.len()
    }

    /// Whether the next task of the curriculum comes.
    fn has_mastered(&self, progress: &Progress, evaluation: Evaluation) -> bool {
        let curriculum = self.experiment.training.curriculum.as_ref();
        !self.is_at_last_stage(progress)
            && curriculum.is_some_and(|curriculum| curriculum.until.by(evaluation))
    }

    /// What this process held at most; nothing, where tensors lie on a device of their own.
    fn peak_memory(&self) -> Option<u64> {
        peak_memory().filter(|_| self.is_on_cpu)
    }

    fn should_stop(&self, progress: &Progress) -> bool {
        if !self.is_at_last_stage(progress) {
            return false;
        }
        let best = progress.best.map(|best| best.evaluation);
        match self.experiment.training.early_stop {
            EarlyStop::Never => false,
            EarlyStop::Error(error) => best.is_some_and(|best| best.error <= error),
            EarlyStop::Loss(loss) => best.is_some_and(|best| best.loss <= loss),
            EarlyStop::Patience(patience) => progress.evaluations_without_improvement >= patience,
        }
    }

    fn check_finite<M: Model>(
        &self,
        step: usize,
        what: &'static str,
        value: f64,
        model: &M,
    ) -> Result<(), Error> {
        if value.is_finite() {
            return Ok(());
        }
        let checkpoints = Checkpoint::all(&self.run.checkpoints())?;
        let kept = checkpoints
            .last()
            .map_or("no checkpoint was written yet".to_owned(), |last| {
                format!("the checkpoint of step {} is kept", last.step)
            });
        Err(Error::NotFinite {
            step,
            what,
            parameter: first_non_finite_parameter(model),
            advice: format!(
                "try a lower optimizer.learning_rate or optimizer.clip = {{ norm = 1.0 }}; {kept}"
            ),
        })
    }

    /// Tests the best checkpoint and writes the result.
    fn finish<M: Model>(&self, model: &M, progress: &Progress) -> Result<RunResult, Error> {
        let checkpoint = self.run.checkpoint(CheckpointChoice::Best)?;
        let model = checkpoint.load_model(model.clone())?;
        let on = |task, split| self.evaluate(&model, task, split);
        let test = on(self.task, Split::Test);
        self.check_finite(progress.step, "test loss", test.loss, &model)?;
        let validation = match progress.best {
            Some(best) => best.evaluation,
            // A curriculum that was never mastered.
            None => on(self.task, Split::Validation),
        };
        let slices = self.experiment.slices.iter().map(|slice| SliceResult {
            setting: slice.setting.clone(),
            value: slice.value.clone(),
            evaluation: on(slice.task.task(), Split::Test),
        });
        let slices = slices.collect();
        let samples = keep_samples(&model.valid(), self.task, &self.devices[0].clone().inner());
        self.run.write_samples(&samples)?;
        let result = RunResult {
            test,
            validation,
            steps: progress.step,
            best_step: checkpoint.step,
            slices,
            seconds: progress.seconds,
            milliseconds_per_step: Some(
                1000.0 * (progress.seconds - progress.evaluation_seconds) / progress.step as f64,
            ),
            peak_memory: progress.peak_memory,
            parameters: learned_parameters(&model),
            state_size: model.state_size(self.task.seq_length()),
            task: self.experiment.task.kind().to_owned(),
            model: self.experiment.model.layer.kind().to_owned(),
            d_hidden: self.experiment.model.layer.d_hidden(),
            seed: self.experiment.training.seed,
        };
        self.run.write_result(&result)?;
        Ok(result)
    }
}

impl Progress {
    /// Takes in an evaluation made now. Where classes are answered, the better one has the lower error, and of two equal errors the
    /// lower loss; elsewhere the other way round, since an error of 0 is not the end.
    fn take_in(&mut self, evaluation: Evaluation, format: Format) {
        let rank = |evaluation: Evaluation| match format.is_ranked_by_error() {
            true => (evaluation.error, evaluation.loss),
            false => (evaluation.loss, evaluation.error),
        };
        let better = self
            .best
            .is_none_or(|best| rank(evaluation) < rank(best.evaluation));
        if better {
            self.best = Some(Best {
                step: self.step,
                evaluation,
            });
            self.evaluations_without_improvement = 0;
        } else {
            self.evaluations_without_improvement += 1;
        }
    }
}
