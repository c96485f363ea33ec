//! The models learn: a small task to a stated accuracy, at a fixed seed.

use fw_train::training::{RunResult, train};
use fw_train::{DeviceName, Experiment};

/// Two pairs and 16 units, 1,500 steps.
fn train_small(model: &str) -> RunResult {
    let settings = format!(
        "task.kind = 'associative-retrieval'\n\
         task.pairs = 2\n\
         task.test_samples = 4000\n\
         task.validation_samples = 1000\n\
         model.kind = '{model}'\n\
         model.d_hidden = 16\n\
         optimizer.kind = 'adam'\n\
         optimizer.learning_rate = 0.003\n\
         training.steps = 1500\n"
    );
    let document = settings.parse().expect("valid TOML");
    let experiment = Experiment::from_document(document, &[]).expect("a valid experiment");
    let folder = tempfile::TempDir::new().expect("a folder");
    let run = folder.path().join("run");
    train(&run, &experiment, DeviceName::Flex).expect("training ends")
}

/// One test, since the random numbers that parameters are drawn from are the process's.
#[test]
fn fast_weights_learn_two_pairs_and_an_lstm_of_the_same_size_does_not() {
    let fast = train_small("fast-weights");
    assert!(fast.test.error < 0.10, "fast weights: {:?}", fast.test);
    let lstm = train_small("lstm");
    assert!(lstm.test.error > 0.30, "lstm: {:?}", lstm.test);
}
