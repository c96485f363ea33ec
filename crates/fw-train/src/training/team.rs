//! Several devices that train one model, each on its share of every batch; or one, on all of it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::distributed::{DistributedConfig, DistributedContext, ReduceOperation};
use burn::tensor::{Device, Tensor};

use crate::models::Model;
use crate::training::measure::Numbers;
use crate::training::replica::{Replica, Update};

/// Has Burn sum gradients over these devices, those of all models that [`with_summed_gradients`] has prepared, as long as
/// the context lives.
pub(super) fn sum_gradients(devices: &[Device]) -> DistributedContext {
    let all_reduce_op = ReduceOperation::Sum;
    DistributedContext::init(devices.to_vec(), DistributedConfig { all_reduce_op })
}

/// A model whose gradients Burn sums over all devices within the backward pass.
pub(super) fn with_summed_gradients(model: Model) -> Model {
    struct Mark;
    impl ModuleMapper for Mark {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, tensor, mapper) = param.consume();
            let tensor = match tensor.is_require_grad() {
                true => tensor.set_distributed(id),
                false => tensor,
            };
            Param::from_mapped_value(id, tensor, mapper)
        }
    }
    model.map(&mut Mark)
}

/// What a record tells of an update.
pub(super) struct Logged {
    /// Norm of the gradients before clipping, `[1]`.
    pub norm: Tensor<1>,
    /// Sums since the last record.
    pub totals: Numbers,
}

/// The replicas of a model. That of the first device is with the caller, each of the others in a thread of its own, which ends
/// when this is dropped. The backward passes wait for one another, since Burn sums the gradients within them.
pub(super) struct Team<'a> {
    pub leader: Replica<'a>,
    helpers: Vec<Helper>,
    _guard: Option<EndTogether>,
}

/// The leader's ends of what connects it to a helper. That all wait for the answers of all, before each backward pass, also keeps
/// one from beginning it before the others have ended the last, which Burn could not tell apart.
struct Helper {
    updates: Sender<Update>,
    answers: Receiver<usize>,
    answers_of_all: Sender<usize>,
    totals: Receiver<Numbers>,
}

/// Why nobody waits for a replica that is gone.
const TOGETHER: &str = "a replica that fails ends the program";

impl<'a> Team<'a> {
    /// Starts a thread for every replica but the first.
    pub fn start<'scope>(scope: &'scope Scope<'scope, '_>, mut replicas: Vec<Replica<'a>>) -> Self
    where
        'a: 'scope,
    {
        let leader = replicas.remove(0);
        let helpers = replicas.into_iter().map(|mut replica| {
            let (updates, next_update) = channel::<Update>();
            let (own_answers, answers) = channel();
            let (answers_of_all, all_answers) = channel();
            let (own_totals, totals) = channel();
            scope.spawn(move || {
                let _guard = EndTogether;
                for update in next_update {
                    replica.update(update, |answers| {
                        own_answers.send(answers).expect(TOGETHER);
                        all_answers.recv().expect(TOGETHER)
                    });
                    if update.is_logged {
                        own_totals.send(replica.take_totals()).expect(TOGETHER);
                    }
                }
            });
            Helper {
                updates,
                answers,
                answers_of_all,
                totals,
            }
        });
        let helpers: Vec<Helper> = helpers.collect();
        Team {
            leader,
            _guard: (!helpers.is_empty()).then_some(EndTogether),
            helpers,
        }
    }

    /// Makes an update of all replicas.
    pub fn update(&mut self, update: Update) -> Option<Logged> {
        for helper in &self.helpers {
            helper.updates.send(update).expect(TOGETHER);
        }
        let norm = self.leader.update(update, |own| {
            let others = self.helpers.iter();
            let others = others.map(|helper| helper.answers.recv().expect(TOGETHER));
            let all = own + others.sum::<usize>();
            for helper in &self.helpers {
                helper.answers_of_all.send(all).expect(TOGETHER);
            }
            all
        });
        let norm = norm?;
        let own = self.leader.take_totals();
        let others = self.helpers.iter();
        let totals = others.map(|helper| helper.totals.recv().expect(TOGETHER));
        Some(Logged {
            norm,
            totals: totals.fold(own, Numbers::add),
        })
    }
}

/// Ends the program where a thread panics that holds it: the other replicas would wait for ever for its gradients.
struct EndTogether;

impl Drop for EndTogether {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::exit(101);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use burn::module::ModuleVisitor;

    use super::*;
    use crate::experiment::Experiment;
    use crate::tasks::{Split, Targets};
    use crate::training::replica::Share;

    /// Sequences of different lengths, so that shares of a batch ask for different numbers of answers.
    fn experiment() -> Experiment {
        let text = "
            [task]
            kind = 'copy'
            length = 5
            [model]
            kind = 'lstm'
            d_hidden = 4
            [optimizer]
            kind = 'sgd'
            momentum = 0.0
            learning_rate = 1.0
            [training]
            batch_size = 5
        ";
        Experiment::from_document(text.parse().expect("TOML"), &[]).expect("an experiment")
    }

    const FIRST: Update = Update {
        step: 1,
        stage: 0,
        rate: 1.0,
        is_logged: true,
    };

    fn model(experiment: &Experiment, device: &Device) -> Model {
        let model = experiment.model.init(experiment.task.task(), 0, device);
        model.expect("a model")
    }

    fn numbers(model: &Model) -> Vec<f32> {
        struct All(Vec<f32>);
        impl ModuleVisitor for All {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let value = param.val().inner().try_into_vec_as::<f32>();
                self.0.extend(value.expect("numbers"));
            }
        }
        let mut all = All(Vec::new());
        model.visit(&mut all);
        all.0
    }

    #[test]
    fn the_gradients_of_all_shares_sum_to_that_of_the_batch() {
        let experiment = experiment();
        let device = Device::flex().autodiff();
        let model = model(&experiment, &device);
        let before = numbers(&model);
        let change = |share, answers_of_all: &dyn Fn(usize) -> usize| {
            let (model, optimizer) = (model.clone(), experiment.optimizer.init());
            let mut replica = Replica::new(model, optimizer, &experiment, &device, share);
            replica.update(FIRST, answers_of_all);
            let after = numbers(replica.model());
            let changes = after.iter().zip(&before);
            changes.map(|(after, before)| after - before).collect()
        };
        let share = |index, number| Share { index, number };
        let whole: Vec<f32> = change(share(0, 1), &|_| unreachable!("it is alone"));
        let batch = experiment.task.task().batch(Split::Train, 0..5, &device);
        let Targets::Bits { n_bits, .. } = batch.targets else {
            unreachable!("copy asks for bits")
        };
        let seen = RefCell::new(Vec::new());
        let parts: [Vec<f32>; 3] = [0, 1, 2].map(|index| {
            change(share(index, 3), &|own| {
                seen.borrow_mut().push(own);
                n_bits
            })
        });
        let seen = seen.into_inner();
        assert_eq!(seen.iter().sum::<usize>(), n_bits);
        assert!(seen[0] != seen[1], "{seen:?} would not test the weights");
        assert!(whole.iter().any(|change| change.abs() > 0.01));
        for (place, whole) in whole.iter().enumerate() {
            let sum: f32 = parts.iter().map(|part| part[place]).sum();
            assert!((sum - whole).abs() < 1e-6, "{place}: {sum} for {whole}");
        }
    }

    #[test]
    fn a_record_tells_of_all_shares() {
        let experiment = experiment();
        let told = |number: usize| {
            let device = Device::flex().autodiff();
            let model = model(&experiment, &device);
            let replicas = (0..number).map(|index| {
                let (model, optimizer) = (model.clone(), experiment.optimizer.init());
                let share = Share { index, number };
                Replica::new(model, optimizer, &experiment, &device, share)
            });
            let replicas = replicas.collect();
            std::thread::scope(|scope| {
                let mut team = Team::start(scope, replicas);
                let logged = team.update(FIRST).expect("a record follows");
                let quiet = Update {
                    is_logged: false,
                    step: 2,
                    ..FIRST
                };
                assert!(team.update(quiet).is_none());
                logged.totals.means(experiment.task.task().format())
            })
        };
        let alone = told(1);
        for number in [2, 3, 5] {
            let several = told(number);
            assert!((several.loss - alone.loss).abs() < 1e-4 * alone.loss);
            assert_eq!(several.error, alone.error);
            assert_eq!(several.perfect, alone.perfect);
        }
    }
}
