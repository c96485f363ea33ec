//! What a person sees while a model trains.

use std::time::{Duration, Instant};

use crate::bars::{Bar, Bars, in_words};
use crate::experiment::Experiment;
use crate::tasks::Format;
use crate::training::checkpoint::{Best, Progress};
use crate::training::evaluate::{Evaluation, loss_number};
use crate::training::{Threshold, TrainingConfig};

/// Plain lines come at evaluations, and no more often than this in between.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// A progress bar on a terminal, plain lines elsewhere; both on standard error.
pub struct ProgressDisplay {
    bar: Option<Bars>,
    steps: usize,
    batch_size: usize,
    first_step: usize,
    started: Instant,
    last_line: Instant,
    best: Option<Best>,
    format: Format,
    is_stopping: bool,
}

impl ProgressDisplay {
    pub fn new(progress: &Progress, config: &TrainingConfig, format: Format) -> Self {
        let (steps, batch_size) = (config.steps, config.batch_size);
        let bar = Bars::on_terminal(&[Bar {
            template: "{bar:24} {pos}/{len} steps  {per_sec}  {msg}  {eta} left",
            length: steps,
            position: progress.step,
        }]);
        ProgressDisplay {
            bar,
            steps,
            batch_size,
            first_step: progress.step,
            started: Instant::now(),
            last_line: Instant::now(),
            best: progress.best,
            format,
            is_stopping: false,
        }
    }

    /// After a training record.
    pub fn trained(&mut self, step: usize, train: (f64, f64)) {
        match &self.bar {
            Some(bar) => bar.set(0, step, self.summary(train)),
            None if self.last_line.elapsed() >= LINE_INTERVAL => self.line(step, train),
            None => {}
        }
    }

    /// After an evaluation on the validation split.
    pub fn evaluated(&mut self, progress: &Progress, evaluation: Evaluation, train: (f64, f64)) {
        self.best = progress.best;
        match &self.bar {
            Some(bar) => bar.set(0, progress.step, self.summary(train)),
            None => {
                self.line(progress.step, train);
                tell!("  validation: {}", evaluation.in_words(self.format));
            }
        }
    }

    /// After the next task of a curriculum has come.
    pub fn began_stage(&self, progress: &Progress, experiment: &Experiment) {
        let Some(curriculum) = &experiment.training.curriculum else {
            return;
        };
        let next = match curriculum.values.get(progress.stage) {
            Some(value) => format!("task.{} = {value}", curriculum.setting),
            None => "the task itself".to_owned(),
        };
        self.tell(&format!(
            "  curriculum: {next} after step {}",
            progress.step
        ));
    }

    /// Before training begins anew.
    pub fn begins_anew(&self, progress: &Progress, experiment: &Experiment) {
        let Some(curriculum) = &experiment.training.curriculum else {
            return;
        };
        self.tell(&format!(
            "  curriculum: task.{} = {} is not mastered in time, so training begins anew after step {}, with other start values (restart {})",
            curriculum.setting,
            curriculum.values[progress.stage],
            progress.step,
            progress.restarts + 1
        ));
    }

    /// After an evaluation, late in the training, with the first task of the curriculum still not mastered.
    pub fn stuck(&self, progress: &Progress, evaluation: Evaluation, experiment: &Experiment) {
        let Some(curriculum) = &experiment.training.curriculum else {
            return;
        };
        let now = match curriculum.until {
            Threshold::Error(_) => format!("{:.1} % wrong", 100.0 * evaluation.error),
            Threshold::Loss(_) => {
                let unit = self.format.loss_unit();
                format!("{} {unit}", loss_number(evaluation.loss))
            }
        };
        self.tell(&format!(
            "  curriculum: still at its first value, task.{} = {}, after {} of {} updates: {now}, and the next one comes at {}. Most nets \
             that learn a task have left it by now. Try optimizer.learning_rate at twice or half of {}, optimizer.clip, an easier first \
             value, a higher training.curriculum.until, or another seed",
            curriculum.setting,
            curriculum.values[0],
            progress.step,
            self.steps,
            curriculum.until,
            experiment.optimizer.common.learning_rate,
        ));
    }

    /// While it is asked to stop; told once.
    pub fn stopping(&mut self) {
        if !self.is_stopping {
            self.is_stopping = true;
            self.tell("stopping after the next record; Ctrl-C again stops at once");
        }
    }

    /// Whether that was told.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    pub fn tell(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => tell!("{text}"),
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.leave();
        }
    }

    fn summary(&self, (loss, error): (f64, f64)) -> String {
        let best = self.best.map(|best| best.evaluation);
        let best = best.map_or(String::new(), |best| {
            match self.format.is_ranked_by_error() {
                true => format!(", validation {:.2} %", 100.0 * best.error),
                false => format!(", validation {}", loss_number(best.loss)),
            }
        });
        let unit = self.format.loss_unit();
        let loss = loss_number(loss);
        format!("{loss} {unit}, error {:.2} %{best}", 100.0 * error)
    }

    fn line(&mut self, step: usize, (loss, error): (f64, f64)) {
        self.last_line = Instant::now();
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = (step - self.first_step) as f64 / seconds;
        let sequences = rate * self.batch_size as f64;
        let left = Duration::from_secs_f64((self.steps - step) as f64 / rate.max(1e-9));
        tell!(
            "step {step}/{}  loss {}  error {:.2} %  {rate:.0} steps/s  {sequences:.0} sequences/s  {} left",
            self.steps,
            loss_number(loss),
            100.0 * error,
            in_words(left)
        );
    }
}
