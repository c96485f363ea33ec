//! The training loop.

use crate::Error;
use crate::files::to_be_typed;
use crate::models::Model;
use crate::tasks::Split;
use crate::training::checkpoint::{Checkpoint, Progress};
use crate::training::clock::Clock;
use crate::training::memory::{peak_memory, reset_peak_memory};
use crate::training::progress::ProgressDisplay;
use crate::training::record::{Record, RecordSplit};
use crate::training::replica::Update;
use crate::training::run_folder::MetricsLog;
use crate::training::stop::is_stop_asked_for;
use crate::training::team::{Logged, Team};
use crate::training::trainer::Trainer;

/// Update after update, with a record, an evaluation and a checkpoint now and then.
pub(super) struct UpdateLoop<'a> {
    trainer: &'a Trainer<'a>,
    team: Team<'a>,
    progress: Progress,
    log: MetricsLog,
    display: ProgressDisplay,
    clock: Clock,
    /// Loss and error of the last record.
    latest: (f64, f64),
}

impl<'a> UpdateLoop<'a> {
    pub fn new(
        trainer: &'a Trainer<'a>,
        team: Team<'a>,
        progress: Progress,
    ) -> Result<Self, Error> {
        let config = &trainer.experiment.training;
        reset_peak_memory();
        Ok(UpdateLoop {
            log: trainer.run.metrics_after(&progress)?,
            display: ProgressDisplay::new(&progress, config, trainer.task.format()),
            clock: Clock::start(&progress),
            latest: (f64::NAN, f64::NAN),
            trainer,
            team,
            progress,
        })
    }

    /// Goes on to the end of the training: the model as it is then. Nothing, where training begins anew.
    pub fn run(mut self) -> Result<Option<(Model, Progress)>, Error> {
        let experiment = self.trainer.experiment;
        let config = &experiment.training;
        self.say_if_it_is_done();
        while self.progress.step < config.steps && !experiment.stops_early(&self.progress) {
            let step = self.progress.step + 1;
            let is_last = step == config.steps;
            let rate = experiment.optimizer.learning_rate(step, config.steps)
                * config.rate_factor(self.progress.stage);
            let logged = self.team.update(Update {
                step,
                stage: self.progress.stage,
                rate,
                is_logged: is_last || step.is_multiple_of(config.log_every),
            });
            self.progress.step = step;
            self.progress.begins_anew = false;

            let is_recorded = logged.is_some();
            if let Some(logged) = logged {
                self.record(logged, rate)?;
            }
            let evaluates = is_last || step.is_multiple_of(config.evaluate_every);
            if evaluates {
                self.evaluate(is_last)?;
                // After the last step for a run that is trained further.
                if self.progress.begins_anew && !is_last {
                    self.display.finish();
                    return Ok(None);
                }
            }
            if is_stop_asked_for() {
                self.display.stopping();
            }
            // Only here, since a checkpoint in the middle of a record's window could not be resumed exactly.
            if self.display.is_stopping() && is_recorded && !is_last {
                return Err(self.stop(!evaluates));
            }
        }
        self.display.finish();
        Ok(Some((self.team.leader.model().clone(), self.progress)))
    }

    fn say_if_it_is_done(&self) {
        let (progress, experiment) = (&self.progress, self.trainer.experiment);
        let is_within = progress.step > 0 && progress.step < experiment.training.steps;
        if is_within && experiment.stops_early(progress) {
            self.display.tell(&format!(
                "training.early_stop is met after step {}: nothing more is trained (--set training.early_stop=never goes on)",
                progress.step
            ));
        }
    }

    /// A line of `metrics.jsonl` on what was trained since the last one.
    fn record(&mut self, logged: Logged, rate: f64) -> Result<(), Error> {
        let step = self.progress.step;
        self.clock.tell(&mut self.progress);
        let means = logged.totals.means(self.trainer.task.format());
        self.latest = (means.loss, means.error);
        let norm = f64::from(logged.norm.into_scalar::<f32>());
        let model = self.team.leader.model();
        let check = |what, number| self.trainer.check_finite(step, what, number, model);
        check("loss", means.loss)?;
        check("gradient", norm)?;
        self.log.write(&Record {
            step,
            split: RecordSplit::Train,
            stage: self.stage(),
            loss: means.loss,
            counted_loss: means.counted_loss,
            error: means.error,
            perfect: means.perfect,
            optimal: None,
            gradient_norm: Some(norm),
            learning_rate: Some(rate),
            seconds: self.progress.seconds,
        })?;
        self.display.trained(step, self.latest);
        Ok(())
    }

    /// An evaluation on the validation split, what it decides, and a checkpoint.
    fn evaluate(&mut self, is_last: bool) -> Result<(), Error> {
        let trainer = self.trainer;
        let experiment = trainer.experiment;
        let progress = &mut self.progress;
        progress.peak_memory = progress.peak_memory.max(of_cpu(trainer));
        let (model, task) = (self.team.leader.model(), experiment.task_now(progress));
        let evaluation = self
            .clock
            .apart(|| trainer.evaluate(model, task, Split::Validation));
        trainer.check_finite(progress.step, "validation loss", evaluation.loss, model)?;
        self.clock.tell(progress);
        if experiment.is_at_last_stage(progress) {
            progress.take_in(evaluation, trainer.task.format());
        }
        let record = Record::validation(&self.progress, self.stage(), evaluation);
        self.log.write(&record)?;
        self.log.sync()?;

        let (progress, display) = (&mut self.progress, &mut self.display);
        display.evaluated(progress, evaluation, self.latest);
        if experiment.has_mastered(progress, evaluation) {
            progress.stage += 1;
            progress.stage_begun_at = progress.step;
            // After the last step for a run that is trained further.
            if !is_last {
                display.began_stage(progress, experiment);
            }
        } else if experiment.is_late_at_first_stage(progress) {
            display.stuck(progress, evaluation, experiment);
        }
        if experiment.is_out_of_time(progress) && trainer.run.is_fresh() {
            if !is_last {
                display.begins_anew(progress, experiment);
            }
            progress.begin_anew();
        }
        self.write_checkpoint()?;
        // Evaluations take larger batches: what is told is what training takes.
        reset_peak_memory();
        Ok(())
    }

    /// Ends before the last step, with a checkpoint if there is none yet of this step.
    fn stop(mut self, is_ahead: bool) -> Error {
        self.display.finish();
        if is_ahead {
            self.clock.tell(&mut self.progress);
            let peak = self.progress.peak_memory.max(of_cpu(self.trainer));
            self.progress.peak_memory = peak;
            if let Err(error) = self.log.sync().and_then(|()| self.write_checkpoint()) {
                return error;
            }
        }
        Error::Stopped(format!(
            "stopped after step {} of {}; fw-train train --resume {} goes on from there",
            self.progress.step,
            self.trainer.experiment.training.steps,
            to_be_typed(self.trainer.run.path())
        ))
    }

    /// The stage of a curriculum, where there is one.
    fn stage(&self) -> Option<usize> {
        let has_curriculum = !self.trainer.experiment.easier.is_empty();
        has_curriculum.then_some(self.progress.stage)
    }

    fn write_checkpoint(&mut self) -> Result<(), Error> {
        let leader = &self.team.leader;
        self.clock.apart(|| {
            Checkpoint::write(
                &self.trainer.run.checkpoints(),
                leader.model(),
                &leader.optimizer,
                leader.state().as_ref(),
                &self.progress,
            )
        })
    }
}

/// What this process held at most; nothing, where tensors lie on a device of their own.
fn of_cpu(trainer: &Trainer) -> Option<u64> {
    peak_memory().filter(|_| trainer.is_on_cpu)
}
