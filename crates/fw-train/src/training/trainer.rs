//! The training loop.

use std::thread::{self, Scope};
use std::time::Instant;

use burn::optim::ModuleOptimizer;
use burn::tensor::Device;
use fw_core::RecurrentState;

use crate::experiment::Experiment;
use crate::files::to_be_typed;
use crate::models::{Layer, Model, WithModel};
use crate::tasks::{Format, Split, Task};
use crate::training::checkpoint::{Best, Checkpoint, Progress};
use crate::training::evaluate::{Evaluation, evaluate, evaluate_text};
use crate::training::history;
use crate::training::memory::{peak_memory, reset_peak_memory};
use crate::training::parameters::{first_non_finite_parameter, learned_parameters};
use crate::training::progress::ProgressDisplay;
use crate::training::record::{Record, RecordSplit, RunResult, SliceResult};
use crate::training::replica::{Replica, Share, Update};
use crate::training::run_folder::RunFolder;
use crate::training::samples::keep_samples;
use crate::training::stop::is_stop_asked_for;
use crate::training::team::{Logged, Team, sum_gradients, with_summed_gradients};
use crate::training::trained::SavedModel;
use crate::training::{Curriculum, EarlyStop};
use crate::{CheckpointChoice, Error};

/// Where a training begins.
struct Start<M: Model> {
    model: M,
    optimizer: ModuleOptimizer,
    /// What the next window of a text goes on from.
    state: Option<M::State>,
    progress: Progress,
}

/// One call of `train` or `resume`.
pub(super) struct Session<'a> {
    run: &'a RunFolder,
    experiment: &'a Experiment,
    task: &'a dyn Task,
    /// Those that the run was begun on, with autodiff.
    devices: Vec<Device>,
    is_on_cpu: bool,
    /// What is written down of it, of a run that was there before.
    pub(super) next: Option<history::Session>,
}

/// Trains a model to its end, or until it has to begin anew with another: nothing comes out then.
impl WithModel for &Session<'_> {
    type Output = Option<RunResult>;

    fn run<M: Model>(self, model: M) -> Result<Option<RunResult>, Error> {
        let several = self.devices.len() > 1;
        let _summing = several.then(|| sum_gradients(&self.devices));
        thread::scope(|scope| self.train(scope, model))
    }
}

impl<'a> Session<'a> {
    /// Trains the model of the experiment to its end.
    pub(super) fn run_model(self) -> Result<RunResult, Error> {
        let model = &self.experiment.model;
        self.until_finished(|session, seed| {
            model.with_model(session.task, seed, &session.devices[0], session)
        })
    }

    /// The same around a layer of the caller's own.
    pub(super) fn run_layer<R: Layer>(
        self,
        init: impl Fn(usize, &Device) -> R,
    ) -> Result<RunResult, Error> {
        let model = &self.experiment.model;
        self.until_finished(|session, seed| {
            model.with_own_layer(session.task, seed, &session.devices[0], &init, session)
        })
    }

    /// Trains as often as it begins anew, each time with a model of another seed.
    fn until_finished(
        mut self,
        train: impl Fn(&Self, u64) -> Result<Option<RunResult>, Error>,
    ) -> Result<RunResult, Error> {
        loop {
            let restarts = match self.run.has_checkpoint()? {
                true => {
                    self.run
                        .checkpoint(CheckpointChoice::Last)?
                        .load_progress()?
                        .restarts
                }
                false => 0,
            };
            let seed = self.experiment.training.seed_of_start(restarts);
            if let Some(result) = train(&self, seed)? {
                return Ok(result);
            }
            // It is written down.
            self.next = None;
        }
    }

    fn train<'scope, M: Model + 'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        model: M,
    ) -> Result<Option<RunResult>, Error>
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
            let scheduled = self.experiment.optimizer.learning_rate(step, config.steps);
            let rate = scheduled * config.rate_factor(progress.stage);
            let logged = team.update(Update {
                step,
                stage: progress.stage,
                rate,
                is_logged: is_last || step.is_multiple_of(config.log_every),
            });
            let model = team.leader.model();
            progress.step = step;
            progress.begins_anew = false;
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
                if self.has_mastered(&progress, evaluation) {
                    progress.stage += 1;
                    progress.stage_begun_at = step;
                    // After the last step for a run that is trained further.
                    if !is_last {
                        display.began_stage(&progress, self.experiment);
                    }
                } else if self.is_late_at_first_stage(&progress) {
                    display.stuck(&progress, evaluation, self.experiment);
                }
                if self.has_failed(&progress) {
                    if !is_last {
                        display.begins_anew(&progress, self.experiment);
                    }
                    progress.begin_anew();
                }
                self.write_checkpoint(&team, &progress)?;
                // After the last step for a run that is trained further.
                if progress.begins_anew && !is_last {
                    display.finish();
                    return Ok(None);
                }
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
        self.finish(team.leader.model(), &progress).map(Some)
    }

    /// Of a run that is there, on the devices that it was begun on.
    pub(super) fn new(run: &'a RunFolder, experiment: &'a Experiment) -> Result<Self, Error> {
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
                restarts: 0,
                stage_begun_at: 0,
                begins_anew: false,
                best: None,
                evaluations_without_improvement: 0,
                data: self.digests(),
            };
            let first = self.run.history().into_iter().next();
            let origin = first.and_then(|session| session.from);
            let model = match origin {
                None => model,
                Some(origin) => {
                    let saved = SavedModel::of_origin(&origin.run, origin.step)?;
                    let model = saved.load_model(model)?;
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
        let mut progress = checkpoint.load_progress()?;
        let state = checkpoint.load_state()?.map(|data| {
            let state = M::State::from_data(data, &self.devices[0]);
            state.map_err(|error| Error::run(self.run.path(), error.to_string()))
        });
        let mut state = state.transpose()?;
        let data = self.digests();
        if !progress.data.is_empty() && progress.data != data {
            // What was best on other data is no yardstick, and what was read of them is not what comes before these.
            progress.forget_best();
            state = None;
        }
        progress.data = data;
        match self.run.best_of(&progress)? {
            // In the end it is what is tested.
            Some(best) if best.step < progress.step => drop(best.load_model(model.clone())?),
            Some(_) => {}
            None => {
                tell!(
                    "{}: the checkpoint that did best is gone; the best is found anew",
                    self.run.path().display()
                );
                progress.forget_best();
            }
        }
        let (model, optimizer) = match progress.begins_anew {
            true => (model, optimizer),
            false => (
                checkpoint.load_model(model)?,
                checkpoint.load_optimizer(optimizer)?,
            ),
        };
        Ok(Start {
            model,
            optimizer,
            state,
            progress,
        })
    }

    /// SHA-256 of each file of the task itself.
    fn digests(&self) -> Vec<String> {
        let files = self.task.files().into_iter();
        files.map(|file| file.sha256).collect()
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
            && curriculum.is_some_and(|curriculum| {
                curriculum
                    .until
                    .is_reached_by(evaluation.error, evaluation.loss)
            })
    }

    /// Whether this is the first evaluation after [`Curriculum::LATE`] of the updates, and the first task is not mastered.
    fn is_late_at_first_stage(&self, progress: &Progress) -> bool {
        let config = &self.experiment.training;
        let late = (Curriculum::LATE * config.steps as f64).ceil() as usize;
        let is_first = (late..late + config.evaluate_every).contains(&progress.step);
        config.curriculum.is_some() && progress.stage == 0 && is_first
    }

    /// Whether training is to begin anew, since it has not mastered an easier task in time.
    fn has_failed(&self, progress: &Progress) -> bool {
        let curriculum = self.experiment.training.curriculum.as_ref();
        let after = curriculum.and_then(|curriculum| curriculum.restart_after);
        let updates = progress.step - progress.stage_begun_at;
        let is_due = after.is_some_and(|after| updates >= after);
        let is_fresh = || {
            let first = self.run.history().into_iter().next();
            first.is_none_or(|session| session.from.is_none())
        };
        !self.is_at_last_stage(progress) && is_due && is_fresh()
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
        let checkpoint = match self.run.best_of(progress)? {
            Some(checkpoint) => checkpoint,
            None => self.run.checkpoint(CheckpointChoice::Last)?,
        };
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
            restarts: progress.restarts - usize::from(progress.begins_anew),
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
    /// From the next update on.
    fn begin_anew(&mut self) {
        self.restarts += 1;
        self.stage = 0;
        self.stage_begun_at = self.step;
        self.begins_anew = true;
    }

    /// The next evaluation is the best.
    fn forget_best(&mut self) {
        self.best = None;
        self.evaluations_without_improvement = 0;
    }

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
