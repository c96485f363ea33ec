//! The worker answers as `benches/peers/bench.py` expects.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// The answers to some requests, after the greeting.
fn answers(requests: &[Value]) -> Vec<Value> {
    let mut worker = Command::new(env!("CARGO_BIN_EXE_fw-bench-worker"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the worker starts");
    let mut stdin = worker.stdin.take().expect("piped");
    for request in requests {
        writeln!(stdin, "{request}").expect("the worker reads");
    }
    drop(stdin);
    let output = worker.wait_with_output().expect("the worker ends");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().skip(1);
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn request(variant: &str, check: bool) -> Value {
    let sizes = match variant.split('-').next() {
        Some("ntm") => json!({"batch_size": 3, "length": 4}),
        Some("sab") => json!({
            "batch_size": 3, "steps": 9, "d_hidden": 6, "top_k": 3, "attention_interval": 2, "truncation_length": 5
        }),
        Some("delta") => json!({
            "batch_size": 2, "seq_length": 37, "n_heads": 3, "d_key": 5, "d_value": 6, "decays": 1, "writes": 2
        }),
        _ => {
            json!({"batch_size": 3, "seq_length": 7, "d_input": 5, "d_hidden": 6, "inner_steps": 2})
        }
    };
    json!({"variant": variant, "sizes": sizes, "seconds": 0.0, "check": check})
}

#[test]
fn both_paths_compute_the_same() {
    for paths in [
        ["fused", "composed"],
        ["ntm-fused", "ntm-composed"],
        ["sab-fused", "sab-composed"],
        ["delta", "delta-composed"],
    ] {
        let answers = answers(&paths.map(|variant| request(variant, true)));
        let [fused, composed] = [0, 1].map(|path: usize| -> [f64; 2] {
            serde_json::from_value(answers[path]["fingerprint"].clone()).expect("two numbers")
        });
        for (fused, composed) in fused.iter().zip(composed) {
            assert!(
                (fused - composed).abs() < 1e-4 * composed.abs(),
                "{paths:?}: {fused} is not {composed}"
            );
        }
    }
}

#[test]
fn every_variant_of_ours_can_be_timed() {
    let variants = [
        "fused",
        "composed",
        "lstm",
        "gru",
        "rnn",
        "burn-lstm",
        "burn-gru",
        "burn-rnn",
        "ntm-fused",
        "ntm-composed",
        "sab-fused",
        "sab-composed",
        "delta",
        "delta-composed",
    ];
    let answers = answers(&variants.map(|variant| request(variant, false)));
    for (variant, answer) in variants.iter().zip(answers) {
        assert!(
            answer["ms"][0].as_f64().is_some_and(|ms| ms > 0.0),
            "{variant}: {answer}"
        );
    }
}

#[test]
fn an_unknown_variant_is_named() {
    let answers = answers(&[request("torch-none", false)]);
    assert_eq!(answers[0]["error"], "no variant is called torch-none");
}
