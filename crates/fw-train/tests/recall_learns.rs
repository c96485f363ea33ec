//! Sparse Attentive Backtracking learns what lies behind its truncation: a small task to a stated accuracy, at a fixed seed. A process
//! of its own, since the random numbers that parameters are drawn from are the process's.

use fw_train::training::train;
use fw_train::{DeviceName, Experiment};

/// 30 steps lie between a symbol and its answer, and a gradient goes back five: only through recalled states does it
/// get there.
#[test]
fn sparse_attentive_backtracking_learns_what_truncated_backpropagation_does_not() {
    let settings = "task.kind = 'copy-memory'\n\
                    task.steps = 30\n\
                    task.symbols = 2\n\
                    model.kind = 'sab'\n\
                    model.d_hidden = 32\n\
                    model.top_k = 5\n\
                    model.truncation_length = 5\n\
                    optimizer.kind = 'adam'\n\
                    optimizer.learning_rate = 0.005\n\
                    optimizer.clip = { norm = 1.0 }\n\
                    training.steps = 2500\n\
                    training.batch_size = 32\n\
                    training.log_every = 100\n\
                    training.evaluate_every = 100\n\
                    training.early_stop = { error = 0.001 }\n";
    let curriculum =
        "training.curriculum = { setting = 'steps', values = [5, 10], until = { error = 0.02 } }";
    let document: toml::Table = settings.parse().expect("valid TOML");
    let folder = tempfile::TempDir::new().expect("a folder");
    let run = |name: &str, assignments: &[&str]| {
        let assignments: Vec<String> = assignments.iter().map(|text| text.to_string()).collect();
        let experiment = Experiment::from_document(document.clone(), &assignments);
        let experiment = experiment.expect("a valid experiment");
        let result = train(&folder.path().join(name), &experiment, DeviceName::Flex);
        result.expect("training ends").test
    };
    let curriculum = curriculum.replacen(" = ", "=", 1);
    let recalls = run("sab", &[&curriculum]);
    assert!(recalls.error < 0.01, "{recalls:?}");
    assert!(
        recalls.perfect.is_some_and(|share| share > 0.98),
        "{recalls:?}"
    );
    // The same net without its memories, on the task itself. Guessing errs 7 times in 8.
    let truncated = run(
        "tbptt",
        &[
            "model.kind=tbptt",
            "model.d_hidden=32",
            "model.truncation_length=5",
            "training.steps=1000",
        ],
    );
    assert!(truncated.error > 0.8, "{truncated:?}");
}
