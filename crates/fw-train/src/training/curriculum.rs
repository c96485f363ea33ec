//! What an evaluation decides: whether the next task comes, whether training begins anew, whether it ends.

use crate::experiment::Experiment;
use crate::tasks::{Format, Task};
use crate::training::checkpoint::{Best, Progress};
use crate::training::evaluate::Evaluation;
use crate::training::{Curriculum, EarlyStop};

impl Experiment {
    /// The task of the stage that training is in.
    pub(super) fn task_now(&self, progress: &Progress) -> &dyn Task {
        self.task_of_stage(progress.stage).task()
    }

    /// Whether training is at the task itself.
    pub(super) fn is_at_last_stage(&self, progress: &Progress) -> bool {
        progress.stage == self.easier.len()
    }

    /// Whether the next task of the curriculum comes.
    pub(super) fn has_mastered(&self, progress: &Progress, evaluation: Evaluation) -> bool {
        let curriculum = self.training.curriculum.as_ref();
        let reaches = |curriculum: &Curriculum| {
            let until = curriculum.until;
            until.is_reached_by(evaluation.error, evaluation.loss)
        };
        !self.is_at_last_stage(progress) && curriculum.is_some_and(reaches)
    }

    /// Whether this is the first evaluation after [`Curriculum::LATE`] of the updates, and the first task is not mastered.
    pub(super) fn is_late_at_first_stage(&self, progress: &Progress) -> bool {
        let config = &self.training;
        let late = (Curriculum::LATE * config.steps as f64).ceil() as usize;
        let is_first = (late..late + config.evaluate_every).contains(&progress.step);
        config.curriculum.is_some() && progress.stage == 0 && is_first
    }

    /// Whether an easier task has had all the updates in which it was to be mastered.
    pub(super) fn is_out_of_time(&self, progress: &Progress) -> bool {
        let curriculum = self.training.curriculum.as_ref();
        let after = curriculum.and_then(|curriculum| curriculum.restart_after);
        let updates = progress.step - progress.stage_begun_at;
        !self.is_at_last_stage(progress) && after.is_some_and(|after| updates >= after)
    }

    /// Whether training ends before its last step.
    pub(super) fn stops_early(&self, progress: &Progress) -> bool {
        if !self.is_at_last_stage(progress) {
            return false;
        }
        let best = progress.best.map(|best| best.evaluation);
        match self.training.early_stop {
            EarlyStop::Never => false,
            EarlyStop::Error(error) => best.is_some_and(|best| best.error <= error),
            EarlyStop::Loss(loss) => best.is_some_and(|best| best.loss <= loss),
            EarlyStop::Patience(patience) => progress.evaluations_without_improvement >= patience,
        }
    }
}

impl Progress {
    /// Of a training that has not begun.
    pub(super) fn none(data: Vec<String>) -> Self {
        Progress {
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
            data,
        }
    }

    /// From the next update on.
    pub(super) fn begin_anew(&mut self) {
        self.restarts += 1;
        self.stage = 0;
        self.stage_begun_at = self.step;
        self.begins_anew = true;
    }

    /// The next evaluation is the best.
    pub(super) fn forget_best(&mut self) {
        self.best = None;
        self.evaluations_without_improvement = 0;
    }

    /// Takes in an evaluation made now. Where classes are answered, the better one has the lower error, and of two equal errors the
    /// lower loss; elsewhere the other way round, since an error of 0 is not the end.
    pub(super) fn take_in(&mut self, evaluation: Evaluation, format: Format) {
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
