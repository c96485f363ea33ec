//! Training on a GPU through the real binary. Runs with `--features wgpu`; a software Vulkan driver is enough.
#![cfg(feature = "wgpu")]

use std::process::Command;

#[test]
fn a_model_trains_on_wgpu_and_is_tested_on_flex_with_the_same_error() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let run = |arguments: &[&str]| -> String {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("fw-train"));
        let output = command
            .current_dir(folder.path())
            .args(arguments)
            .output()
            .expect("it starts");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    };
    let listed = run(&["list"]);
    assert!(
        !listed.contains("Vulkan or Metal (not in this build)"),
        "{listed}"
    );
    run(&[
        "train",
        "--device",
        "wgpu",
        "--out",
        "run",
        "--set",
        "training.steps=4",
        "--set",
        "training.log_every=2",
        "--set",
        "training.evaluate_every=2",
        "--set",
        "task.pairs=2",
        "--set",
        "task.validation_samples=100",
        "--set",
        "task.test_samples=100",
    ]);
    let tested = run(&["test", "run", "--json", "--device", "flex"]);
    let tested: serde_json::Value = serde_json::from_str(&tested).expect("JSON");
    let result = std::fs::read(folder.path().join("run/result.json")).expect("a result");
    let result: serde_json::Value = serde_json::from_slice(&result).expect("JSON");
    let loss = |value: &serde_json::Value| value["loss"].as_f64().expect("a loss");
    let (on_flex, on_wgpu) = (loss(&tested), loss(&result["test"]));
    // Single precision on both.
    assert!(
        (on_flex - on_wgpu).abs() < 1e-3 * on_flex,
        "{on_flex} {on_wgpu}"
    );
}
