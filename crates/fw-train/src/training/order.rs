//! In which order training goes over its samples.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::tasks::{Sample, Split, Task};

/// The random streams of orders begin behind those of the splits.
const FIRST_ORDER_STREAM: u64 = 1 << 32;

/// The sample that comes at each position: every sample once in each pass, in an order of that pass's own, or the
/// position itself where samples are endless. A function of the data seed and the position alone.
pub struct TrainingOrder {
    seed: u64,
    n_samples: Option<u64>,
    pass: u64,
    /// The samples of this pass, each below 2^32 (`MAX_SAMPLES`).
    order: Vec<u32>,
}

impl TrainingOrder {
    pub fn new(task: &dyn Task) -> Self {
        let mut order = TrainingOrder {
            seed: task.seed(),
            n_samples: task.n_samples(Split::Train),
            pass: 0,
            order: Vec::new(),
        };
        order.shuffle(0);
        order
    }

    /// The samples of update `step`, counted from 1.
    pub fn batch(&mut self, step: usize, batch_size: usize) -> Vec<u64> {
        let first = (step as u64 - 1) * batch_size as u64;
        (first..first + batch_size as u64)
            .map(|position| self.at(position))
            .collect()
    }

    fn at(&mut self, position: u64) -> u64 {
        let Some(n_samples) = self.n_samples else {
            return position;
        };
        let pass = position / n_samples;
        if pass != self.pass {
            self.shuffle(pass);
        }
        u64::from(self.order[(position % n_samples) as usize])
    }

    fn shuffle(&mut self, pass: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(FIRST_ORDER_STREAM + pass);
        self.pass = pass;
        self.order = (0..self.n_samples.unwrap_or(0))
            .map(|index| index as u32)
            .collect();
        self.order.shuffle(&mut rng);
    }
}

/// The windows of a text that is read in order, at as many places at a time as there are sequences in a batch: place b begins at the
/// b-th of as many equal parts of the text. The last window of a part is as long as what is left. When the parts are read they are read
/// again.
pub struct Windows {
    batch_size: usize,
    /// Steps of a part.
    part: usize,
    /// Steps of a window.
    length: usize,
}

impl Windows {
    /// Nothing, if the task has no text, or one so short that a part has not two windows.
    pub fn new(task: &dyn Task, batch_size: usize) -> Option<Self> {
        let (part, length) = (
            task.text_length(Split::Train)? / batch_size,
            task.seq_length(),
        );
        (part >= 2 * length).then_some(Windows {
            batch_size,
            part,
            length,
        })
    }

    /// The window that comes at update `step`, counted from 1.
    fn window(&self, step: usize) -> usize {
        (step - 1) % self.part.div_ceil(self.length)
    }

    /// Whether a pass over the text begins with update `step`.
    pub fn is_first(&self, step: usize) -> bool {
        self.window(step) == 0
    }

    /// The samples of update `step`.
    pub fn batch(&self, task: &dyn Task, step: usize) -> Vec<Sample> {
        let first = self.window(step) * self.length;
        let length = self.length.min(self.part - first);
        let places = (0..self.batch_size).map(|place| place * self.part + first);
        let window = |first| task.text_window(Split::Train, first, length);
        places.filter_map(window).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::AssociativeRetrieval;
    use crate::tasks::tests::{repository_data, task_from};

    #[test]
    fn windows_of_a_text_follow_one_another_at_every_place() {
        let path = repository_data().join("tinyshakespeare.txt");
        let settings = format!(
            "kind = 'characters'\ntext = '{}'\nlength = 30\nsplits = [301, 40, 40]",
            path.display()
        );
        let config = task_from(&settings).expect("a task");
        let task = config.task();
        let whole = std::fs::read_to_string(&path).expect("the text");
        // 300 steps: three parts of 100, each of three windows and a shorter one.
        let windows = Windows::new(task, 3).expect("long enough");
        let read = |step| -> Vec<String> {
            let samples = windows.batch(task, step).into_iter();
            let texts = samples.map(|sample| task.input_text(sample.tokens()));
            texts.collect()
        };
        for step in 1..=4 {
            let first = 30 * (step - 1);
            let last = (first + 30).min(100);
            let expected = [0, 100, 200].map(|part| &whole[part + first..part + last]);
            assert_eq!(read(step), expected, "update {step}");
        }
        assert_eq!(read(5), read(1));
        let begins: Vec<bool> = (1..=6).map(|step| windows.is_first(step)).collect();
        assert_eq!(begins, [true, false, false, false, true, false]);
        assert!(
            Windows::new(task, 6).is_none(),
            "50 steps have no two windows"
        );
    }

    #[test]
    fn each_pass_visits_every_sample_once_in_its_own_order() {
        let task = AssociativeRetrieval {
            train_samples: 60,
            ..Default::default()
        };
        let mut order = TrainingOrder::new(&task);
        let mut passes: Vec<Vec<u64>> = Vec::new();
        for pass in 0..2 {
            let steps = pass * 3 + 1..=pass * 3 + 3;
            passes.push(steps.flat_map(|step| order.batch(step, 20)).collect());
        }
        assert_ne!(passes[0], passes[1]);
        for mut pass in passes {
            pass.sort_unstable();
            assert_eq!(pass, (0..60).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_batch_depends_on_its_step_alone() {
        let task = AssociativeRetrieval {
            train_samples: 50,
            ..Default::default()
        };
        let mut from_the_start = TrainingOrder::new(&task);
        let steps: Vec<_> = (1..=9).map(|step| from_the_start.batch(step, 16)).collect();
        assert_eq!(TrainingOrder::new(&task).batch(9, 16), steps[8]);
    }

    #[test]
    fn endless_samples_are_never_repeated() {
        let task = AssociativeRetrieval {
            fresh: true,
            ..Default::default()
        };
        assert_eq!(
            TrainingOrder::new(&task).batch(1_000_000, 2),
            [1_999_998, 1_999_999]
        );
    }
}
