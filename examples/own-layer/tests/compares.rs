//! The example does what it says.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn run(folder: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_own-layer"))
        .arg(folder)
        .args([
            "training.steps=60",
            "training.log_every=10",
            "training.evaluate_every=20",
        ])
        .args([
            "task.length=10",
            "task.test_samples=50",
            "test.length=[10, 20]",
        ])
        .output()
        .expect("the example starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    text
}

#[test]
fn own_layers_stand_beside_an_lstm_in_one_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("study");
    let first = run(&out);
    let results = std::fs::read(out.join("results.json")).expect("results");
    let results: Value = serde_json::from_slice(&results).expect("JSON");
    let rows = results["sections"][0]["rows"].as_array().expect("rows");
    let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["leaky", "lstm", "min-gru"]);
    for row in rows {
        let runs = row["runs"].as_array().expect("runs");
        assert_eq!(runs.len(), 3);
        for run in runs {
            assert_eq!(run["result"]["slices"].as_array().map(Vec::len), Some(2));
        }
    }
    let page = std::fs::read_to_string(out.join("report.html")).expect("a page");
    assert!(page.contains("min-gru"));
    // What has ended is not trained again, and says the same.
    assert_eq!(run(&out), first);
}
