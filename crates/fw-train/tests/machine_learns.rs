//! A Neural Turing Machine learns: a small task to a stated accuracy, at a fixed seed. A process of its own, since the
//! random numbers that parameters are drawn from are the process's.

use fw_train::training::train;
use fw_train::{DeviceName, Experiment};

/// A feed-forward controller remembers nothing by itself: what it says again it has written and read.
#[test]
fn a_machine_learns_to_copy_and_goes_on_beyond_the_lengths_it_saw() {
    let settings = "task.kind = 'copy'\n\
                    task.bits = 4\n\
                    task.length = [1, 8]\n\
                    task.validation_length = 12\n\
                    task.test_samples = 200\n\
                    model.kind = 'ntm-ff'\n\
                    model.d_controller = 32\n\
                    model.memory_size = 16\n\
                    model.word_size = 8\n\
                    optimizer.kind = 'adam'\n\
                    optimizer.learning_rate = 0.005\n\
                    optimizer.clip = { norm = 1.0 }\n\
                    training.steps = 1500\n\
                    training.batch_size = 8\n\
                    training.log_every = 250\n\
                    training.evaluate_every = 250\n\
                    training.early_stop = { loss = 0.2 }\n";
    let document = settings.parse().expect("valid TOML");
    let experiment = Experiment::from_document(document, &[]).expect("a valid experiment");
    let folder = tempfile::TempDir::new().expect("a folder");
    let result = train(&folder.path().join("run"), &experiment, DeviceName::Flex);
    let result = result.expect("training ends");
    // Guessing costs 18 bits on average, and 48 at length 12.
    assert!(result.test.loss < 0.2, "{:?}", result.test);
    assert!(result.validation.loss < 0.5, "{:?}", result.validation);
    assert!(result.test.perfect.is_some_and(|share| share > 0.99));
}
