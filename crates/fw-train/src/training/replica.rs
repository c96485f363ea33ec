//! A copy of the model on one device, with its share of every batch.

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use fw_core::{AnyState, RecurrentState, StateData};

use crate::experiment::Experiment;
use crate::models::Model;
use crate::tasks::{Batch, Split};
use crate::training::clip::gradient_norm;
use crate::training::measure::{Numbers, Totals, measure};
use crate::training::order::{TrainingOrder, Windows};

const NO_UPDATE: &str = "an update that has begun is finished";

/// One update of the model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Update {
    /// Counted from 1.
    pub step: usize,
    /// Tasks of the curriculum that are mastered.
    pub stage: usize,
    /// The learning rate.
    pub rate: f64,
    /// Whether a record follows.
    pub is_logged: bool,
}

/// Part number `index`, from 0 on, of `number` parts of every batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub index: usize,
    pub number: usize,
}

impl Share {
    fn of(self, batch: &[u64]) -> &[u64] {
        let start = |index: usize| batch.len() * index / self.number;
        &batch[start(self.index)..start(self.index + 1)]
    }
}

/// A copy of the model on one device. All copies of a model begin alike and make the same updates, so that they stay alike as
/// far as their devices compute alike.
pub(super) struct Replica<'a> {
    /// Always there but for the moment in which the optimiser has it: an update in place needs the only copy.
    model: Option<Model>,
    pub optimizer: ModuleOptimizer,
    experiment: &'a Experiment,
    /// With autodiff.
    device: Device,
    share: Share,
    /// The order of samples, and the stage that it is of.
    order: Option<(usize, TrainingOrder)>,
    /// Sums since the last record, kept on the device so that no step waits for it.
    totals: Option<Totals>,
    /// What the next window of the text goes on from, where the state is carried.
    state: Option<AnyState>,
}

impl<'a> Replica<'a> {
    /// A model on `device`, which has autodiff.
    pub fn new(
        model: Model,
        optimizer: ModuleOptimizer,
        experiment: &'a Experiment,
        device: &Device,
        share: Share,
    ) -> Self {
        Replica {
            model: Some(model),
            optimizer,
            experiment,
            device: device.clone(),
            share,
            order: None,
            totals: None,
            state: None,
        }
    }

    /// Goes on from a state, or from none.
    pub fn with_state(self, state: Option<AnyState>) -> Self {
        Replica { state, ..self }
    }

    /// The state that the next window goes on from, if there is one.
    pub fn state(&self) -> Option<StateData> {
        self.state.as_ref().map(RecurrentState::to_data)
    }

    /// The model as it is now.
    pub fn model(&self) -> &Model {
        self.model.as_ref().expect(NO_UPDATE)
    }

    /// Makes an update. `answers_of_all` is told how many answers this share of the batch asks for, and tells how many
    /// the whole batch does. Before a record the norm of the gradients comes out, `[1]`, before they are clipped.
    pub fn update(
        &mut self,
        update: Update,
        answers_of_all: impl FnOnce(usize) -> usize,
    ) -> Option<Tensor<1>> {
        let model = self.model.take().expect(NO_UPDATE);
        let batch = self.batch(update);
        let carries = self.experiment.training.carry_state;
        let (logits, last) = model.logits_from(batch.inputs, self.state.take());
        self.state = carries.then(|| last.detach());

        let measured = measure(logits, batch.targets);
        let answers = measured.totals.answers();
        let objective = match self.share.number {
            1 => measured.objective,
            // Gradients are summed: each answer of the whole batch has to weigh the same.
            _ => measured.objective * (answers as f64 / answers_of_all(answers) as f64),
        };
        let gradients = GradientsParams::from_grads(objective.backward(), &model);
        self.totals = Some(match self.totals.take() {
            Some(totals) => totals.add(measured.totals),
            None => measured.totals,
        });

        let norm = update.is_logged.then(|| gradient_norm(&gradients, &model));
        let norm_of = |gradients: &_| {
            norm.clone()
                .unwrap_or_else(|| gradient_norm(gradients, &model))
        };
        let clip = self.experiment.optimizer.common.clip;
        let gradients = clip.apply(gradients, norm_of, &model);
        self.model = Some(self.optimizer.step(update.rate, model, gradients));
        norm
    }

    /// This share of the batch of an update. At the beginning of a pass over a text the state is forgotten.
    fn batch(&mut self, update: Update) -> Batch {
        let training = &self.experiment.training;
        let task = self.experiment.task_of_stage(update.stage).task();
        if training.carry_state {
            let windows = Windows::new(task, training.batch_size);
            let windows = windows.expect("a text that is long enough was asked for");
            if windows.is_first(update.step) {
                self.state = None;
            }
            let samples = windows.batch(task, update.step);
            return Batch::new(task.format(), &samples, &self.device);
        }
        let order = match self.order.take() {
            Some((stage, order)) if stage == update.stage => order,
            _ => TrainingOrder::new(task),
        };
        let (_, order) = self.order.insert((update.stage, order));
        let batch = order.batch(update.step, training.batch_size);
        let share = self.share.of(&batch).iter().copied();
        task.batch(Split::Train, share, &self.device)
    }

    /// The sums since this was asked last. Waits for the device.
    pub fn take_totals(&mut self) -> Numbers {
        let totals = self.totals.take();
        totals
            .expect("a record follows at least one step")
            .numbers()
    }
}
