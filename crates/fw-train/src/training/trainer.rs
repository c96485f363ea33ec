//! One call of `train` or `resume`: from where it begins to the result.

use std::thread;

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::Device;
use fw_core::{AnyLayer, AnyState, Recurrent};

use crate::experiment::Experiment;
use crate::models::{self, Layer, Model, Tracer};
use crate::tasks::{Split, Task};
use crate::training::checkpoint::{Checkpoint, Progress};
use crate::training::evaluate::{Evaluation, evaluate, evaluate_text};
use crate::training::history;
use crate::training::parameters::{first_non_finite_parameter, learned_parameters};
use crate::training::record::{RunResult, SliceResult};
use crate::training::replica::{Replica, Share};
use crate::training::run_folder::RunFolder;
use crate::training::samples::keep_samples;
use crate::training::team::{Team, sum_gradients, with_summed_gradients};
use crate::training::trained::SavedModel;
use crate::training::update_loop::UpdateLoop;
use crate::{CheckpointChoice, Error};

/// Where a training begins.
struct Start {
    model: Model,
    optimizer: ModuleOptimizer,
    /// What the next window of a text goes on from.
    state: Option<AnyState>,
    progress: Progress,
}

/// One call of `train` or `resume`.
pub(super) struct Trainer<'a> {
    pub run: &'a RunFolder,
    pub experiment: &'a Experiment,
    pub task: &'a dyn Task,
    /// Those that the run was begun on, with autodiff.
    devices: Vec<Device>,
    pub is_on_cpu: bool,
    /// What tells what the layer did.
    trace: Tracer,
    /// What is written down of it, of a run that was there before.
    pub next: Option<history::Session>,
}

impl<'a> Trainer<'a> {
    /// Of a run that is there, on the devices that it was begun on.
    pub fn new(run: &'a RunFolder, experiment: &'a Experiment) -> Result<Self, Error> {
        let devices = run.environment()?.devices;
        let opened = devices.open()?.into_iter();
        Ok(Trainer {
            run,
            experiment,
            task: experiment.task.task(),
            devices: opened.map(Device::autodiff).collect(),
            is_on_cpu: devices.kind.is_cpu(),
            trace: models::trace,
            next: None,
        })
    }

    /// Trains the model of the experiment to its end.
    pub fn run_model(self) -> Result<RunResult, Error> {
        let model = &self.experiment.model;
        self.until_finished(|trainer, seed| model.init(trainer.task, seed, &trainer.devices[0]))
    }

    /// The same around a layer of the caller's own.
    pub fn run_layer<R: Layer>(
        mut self,
        init: impl Fn(usize, &Device) -> R,
    ) -> Result<RunResult, Error> {
        self.trace = |layer, input| models::trace_as::<R>(layer, input).unwrap_or_default();
        let model = &self.experiment.model;
        self.until_finished(|trainer, seed| {
            let device = &trainer.devices[0];
            model.with_layer(trainer.task, seed, device, |d_input, device| {
                Ok(AnyLayer::new(init(d_input, device)))
            })
        })
    }

    /// Trains as often as it begins anew, each time with a model of another seed.
    fn until_finished(
        mut self,
        init: impl Fn(&Self, u64) -> Result<Model, Error>,
    ) -> Result<RunResult, Error> {
        loop {
            let restarts = match self.run.has_checkpoint()? {
                true => {
                    let checkpoint = self.run.checkpoint(CheckpointChoice::Last)?;
                    checkpoint.load_progress()?.restarts
                }
                false => 0,
            };
            let seed = self.experiment.training.seed_of_start(restarts);
            if let Some(result) = self.train(init(&self, seed)?)? {
                return Ok(result);
            }
            // It is written down.
            self.next = None;
        }
    }

    /// Trains a model to its end, or until it has to begin anew with another: nothing comes out then.
    fn train(&self, model: Model) -> Result<Option<RunResult>, Error> {
        let several = self.devices.len() > 1;
        let _summing = several.then(|| sum_gradients(&self.devices));
        let start = self.start(model)?;
        // All that it goes on from could be read: only now is anything of a run changed that was there.
        if let Some(next) = &self.next {
            self.run
                .continue_with(self.experiment, next.clone(), false)?;
        }
        thread::scope(|scope| {
            let replicas = self.replicas(start.model, start.optimizer, start.state);
            let team = Team::start(scope, replicas);
            let ended = UpdateLoop::new(self, team, start.progress)?.run()?;
            ended
                .map(|(model, progress)| self.finish(&model, &progress))
                .transpose()
        })
    }

    /// Evaluates a model where it is trained; with several devices, on the first.
    pub fn evaluate(&self, model: &Model, task: &dyn Task, split: Split) -> Evaluation {
        let (model, device) = (model.valid(), self.devices[0].clone().inner());
        let of_text = match self.experiment.training.carry_state {
            true => evaluate_text(&model, task, split, &device),
            false => None,
        };
        of_text.unwrap_or_else(|| evaluate(&model, task, split, &device))
    }

    /// Where to begin: the newest checkpoint, or the weights of another run, or the fresh model.
    fn start(&self, model: Model) -> Result<Start, Error> {
        let optimizer = self.experiment.optimizer.init();
        Checkpoint::remove_unfinished(&self.run.checkpoints())?;
        if Checkpoint::all(&self.run.checkpoints())?.is_empty() {
            let progress = Progress::none(self.digests());
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
            let state = model.layer.state_from_data(data, &self.devices[0]);
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
    fn replicas(
        &self,
        model: Model,
        optimizer: ModuleOptimizer,
        state: Option<AnyState>,
    ) -> Vec<Replica<'a>> {
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

    /// An error unless a number is finite: training has diverged.
    pub fn check_finite(
        &self,
        step: usize,
        what: &'static str,
        value: f64,
        model: &Model,
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
    fn finish(&self, model: &Model, progress: &Progress) -> Result<RunResult, Error> {
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
        let samples = keep_samples(
            &model.valid(),
            self.trace,
            self.task,
            &self.devices[0].clone().inner(),
        );
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
            state_size: model.layer.state_size(self.task.seq_length()),
            task: self.experiment.task.kind().to_owned(),
            model: self.experiment.model.layer.kind().to_owned(),
            d_hidden: self.experiment.model.layer.d_hidden(),
            seed: self.experiment.training.seed,
        };
        self.run.write_result(&result)?;
        Ok(result)
    }
}
