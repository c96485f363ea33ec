//! The models learn: a small task to a stated accuracy, at a fixed seed.

use fw_train::training::{RunResult, train};
use fw_train::{DeviceName, Experiment};

/// Two pairs and 16 units, 3,000 steps.
fn train_small(model: &str) -> RunResult {
    // As in the experiments: the start values under which fast weights learn soonest, and Burn's for the LSTM.
    let start = match model {
        "fast-weights" => "model.embedding_std = 0.3\nmodel.input_gain = 2.0",
        _ => "",
    };
    let settings = format!(
        "task.kind = 'associative-retrieval'\n\
         task.pairs = 2\n\
         task.test_samples = 4000\n\
         task.validation_samples = 1000\n\
         model.kind = '{model}'\n\
         model.d_hidden = 16\n\
         {start}\n\
         optimizer.kind = 'adam'\n\
         optimizer.learning_rate = 0.002\n\
         optimizer.schedule = {{ linear = 0.02 }}\n\
         optimizer.decay_steps = 1000\n\
         training.steps = 3000\n"
    );
    let document = settings.parse().expect("valid TOML");
    let experiment = Experiment::from_document(document, &[]).expect("a valid experiment");
    let folder = tempfile::TempDir::new().expect("a folder");
    let run = folder.path().join("run");
    train(&run, &experiment, DeviceName::Flex).expect("training ends")
}

/// One test, since the random numbers that parameters are drawn from are the process's.
#[test]
fn fast_weights_learn_two_pairs_in_steps_that_do_not_suffice_an_lstm_of_the_same_size() {
    let fast = train_small("fast-weights");
    assert!(fast.test.error < 0.10, "fast weights: {:?}", fast.test);
    let lstm = train_small("lstm");
    assert!(lstm.test.error > 0.25, "lstm: {:?}", lstm.test);
}
