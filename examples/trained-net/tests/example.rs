//! The example answers, and PyTorch computes the same from the same file.

use std::path::{Path, PathBuf};
use std::process::Command;

use burn::tensor::{Device, Tensor, TensorData};
use fw_core::Inputs;
use fw_core::weights::Weights;
use serde_json::Value;

const QUESTIONS: [&str; 4] = ["c9k8j3f1??c", "a1b2c3d4??d", "x0y5z7w0??z", "q3p3o2n1??n"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn net() -> PathBuf {
    root().join("crates/fw-train/pretrained/fast-weights-retrieval.safetensors")
}

#[test]
fn questions_are_answered() {
    let output = Command::new(env!("CARGO_BIN_EXE_trained-net"))
        .arg(net())
        .args(QUESTIONS)
        .output()
        .expect("the example starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answers: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(answers, ["9", "4", "7", "1"], "{text}");
}

#[test]
fn a_question_that_is_none_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_trained-net"))
        .arg(net())
        .arg("c9 ??c")
        .output()
        .expect("the example starts");
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("c9 ??c: a question has letters, digits and question marks"),
        "{told}"
    );
}

/// `in_pytorch.json` is what the script has printed; where PyTorch is at hand the script is run again.
#[test]
fn pytorch_computes_the_same() {
    let kept = std::fs::read_to_string(root().join("examples/trained-net/in_pytorch.json"));
    check(&kept.expect("it is there"));
    let has_pytorch = Command::new("python3")
        .args(["-c", "import torch, safetensors"])
        .output();
    if has_pytorch.is_ok_and(|output| output.status.success()) {
        let script = root().join("examples/trained-net/in_pytorch.py");
        let output = Command::new("python3")
            .arg(script)
            .arg(net())
            .args(QUESTIONS)
            .output();
        let output = output.expect("it starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        check(&String::from_utf8_lossy(&output.stdout));
    }
}

/// Each line of JSON has the logits that this crate computes, to a millionth of the largest of them.
#[track_caller]
fn check(lines: &str) {
    let device = Device::flex();
    let weights = Weights::open(net()).expect("it is there");
    let net = weights.sequence_model(&device).expect("it says what it is");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), QUESTIONS.len());
    for (line, question) in lines.into_iter().zip(QUESTIONS) {
        assert_eq!(line["question"], question);
        let alphabet = "abcdefghijklmnopqrstuvwxyz0123456789?";
        let tokens = question
            .chars()
            .map(|character| alphabet.find(character).expect("a token") as i64);
        let tokens: Vec<i64> = tokens.collect();
        let shape = [1, tokens.len()];
        let tokens = Tensor::from_data(TensorData::new(tokens, shape), &device);
        let logits: Vec<f32> = net
            .logits(Inputs::Tokens(tokens))
            .try_into_vec_as()
            .expect("numbers");
        let expected: Vec<f64> = serde_json::from_value(line["logits"].clone()).expect("numbers");
        assert_eq!(logits.len(), expected.len());
        let largest = expected
            .iter()
            .fold(1.0, |most: f64, logit| most.max(logit.abs()));
        for (logit, expected) in logits.into_iter().zip(expected) {
            let error = (f64::from(logit) - expected).abs() / largest;
            assert!(error < 1e-6, "{question}: {logit} is not {expected}");
        }
    }
}
