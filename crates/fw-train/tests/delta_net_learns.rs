//! A DeltaNet learns: a small task to a stated accuracy, at a fixed seed. A process of its own, since the random numbers that parameters are drawn from
//! are the process's.

use fw_train::training::train;
use fw_train::{DeviceName, Experiment};

/// Only a memory that is written by what stands beside a key can answer, and only with a convolution is a key beside its value.
#[test]
fn a_delta_net_looks_up_what_it_does_not_without_its_convolution() {
    let settings = "task.kind = 'mqar'\n\
                    task.vocabulary = 16\n\
                    task.pairs = 2\n\
                    task.length = 16\n\
                    task.test_samples = 500\n\
                    model.kind = 'delta-net'\n\
                    model.d_hidden = 16\n\
                    model.d_embedding = 32\n\
                    optimizer.kind = 'adam'\n\
                    optimizer.learning_rate = 0.005\n\
                    optimizer.clip = { norm = 1.0 }\n\
                    training.steps = 1000\n\
                    training.batch_size = 32\n\
                    training.log_every = 100\n\
                    training.evaluate_every = 100\n\
                    training.early_stop = { error = 0.001 }\n";
    let document: toml::Table = settings.parse().expect("valid TOML");
    let folder = tempfile::TempDir::new().expect("a folder");
    let run = |name: &str, assignments: &[String]| {
        let experiment = Experiment::from_document(document.clone(), assignments);
        let experiment = experiment.expect("a valid experiment");
        let result = train(&folder.path().join(name), &experiment, DeviceName::Flex);
        result.expect("training ends").test
    };
    let looks_up = run("with", &[]);
    assert!(looks_up.error < 0.02, "{looks_up:?}");
    let guesses = run("without", &["model.convolution=0".to_owned()]);
    assert!(guesses.error > 0.3, "{guesses:?}");
}
