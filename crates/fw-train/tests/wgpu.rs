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

#[test]
fn an_adapter_is_chosen_by_its_number() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let train = |devices: &str| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("fw-train"));
        command.current_dir(folder.path()).args([
            "train",
            "--device",
            "wgpu",
            "--devices",
            devices,
            "--out",
            "run",
            "--set",
            "training.steps=1",
            "--set",
            "task.validation_samples=1",
            "--set",
            "task.test_samples=1",
        ]);
        command.output().expect("it starts")
    };
    for (devices, rule) in [
        ("0,1", "--devices 0,1: wgpu trains on one device"),
        ("99", "--devices 99: 99 is none of the"),
    ] {
        let output = train(devices);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(rule), "{told}");
        assert!(!folder.path().join("run").exists());
    }
    let output = train("0");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && told.contains("on wgpu 0 ->"),
        "{told}"
    );
    let environment = std::fs::read(folder.path().join("run/environment.json"));
    let environment = environment.expect("an environment");
    let environment: serde_json::Value = serde_json::from_slice(&environment).expect("JSON");
    assert_eq!(environment["device"], "wgpu");
    assert_eq!(environment["devices"], serde_json::json!([0]));
}

/// With the drivers hidden from the Vulkan loader and from EGL's.
#[cfg(target_os = "linux")]
#[test]
fn without_an_adapter_it_is_said_what_to_install() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let output = Command::new(assert_cmd::cargo::cargo_bin!("fw-train"))
        .current_dir(folder.path())
        .args(["train", "--device", "wgpu", "--out", "run"])
        .envs([
            ("VK_DRIVER_FILES", "/nonexistent"),
            ("VK_ICD_FILENAMES", "/nonexistent"),
            ("__EGL_VENDOR_LIBRARY_FILENAMES", "/nonexistent"),
        ])
        .output()
        .expect("it starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("no adapter for device wgpu was found")
            && told.contains("mesa-vulkan-drivers"),
        "{told}"
    );
    assert!(!folder.path().join("run").exists());
}
