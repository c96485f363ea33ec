//! DeltaNets and what became of them, from the outside.

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use super::{
    fail, fw_train, json, kill_after_first_checkpoint, numbers, succeed, train_tiny, train_with,
};

/// A net with two heads that trains in about a second.
const TINY_NET: &[&str] = &[
    "task.kind=mqar",
    "task.vocabulary=12",
    "task.pairs=2",
    "task.length=10",
    "task.validation_samples=40",
    "task.test_samples=40",
    "model.kind=delta-net",
    "model.d_hidden=8",
    "model.n_heads=2",
    "optimizer.kind=adam",
    "training.batch_size=8",
    "training.steps=60",
    "training.log_every=10",
    "training.evaluate_every=20",
];

/// What the papers call the nets: settings, and the numbers of a state of 8 units and 2 heads.
const NAMED: [(&str, &[&str], usize); 4] = [
    // 2 memories of 4 x 4, and three steps of queries, keys and values of 8 numbers each.
    ("delta-net", &[], 2 * 16 + 3 * 24),
    (
        "gated",
        &["decay=head", "d_value=8", "output_gate=silu"],
        2 * 32 + 3 * (8 + 8 + 16),
    ),
    (
        "kimi",
        &["decay=channel", "output_gate=sigmoid", "gate_rank=4"],
        2 * 16 + 3 * 24,
    ),
    (
        "product",
        &[
            "decay=head",
            "d_value=8",
            "output_gate=silu",
            "writes_per_step=2",
            "eigenvalues=signed",
        ],
        2 * 32 + 3 * (8 + 16 + 32),
    ),
];

fn assignments(settings: &[&str]) -> Vec<String> {
    let each = settings.iter();
    each.flat_map(|setting| ["--set".to_owned(), format!("model.{setting}")])
        .collect()
}

fn with(settings: &[String]) -> Vec<&str> {
    settings.iter().map(String::as_str).collect()
}

#[test]
fn each_net_of_the_papers_is_trained_tested_at_other_lengths_shown_and_drawn() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    for (name, settings, state_size) in NAMED {
        let more = assignments(settings);
        succeed(&mut train_with(here, name, TINY_NET, &with(&more)));
        let result = json(here.join(name).join("result.json"));
        assert_eq!(result["model"], "delta-net");
        assert_eq!(result["state_size"], state_size, "{name}");
        let sweep = ["test", name, "--json", "--sweep", "task.pairs=1,2"];
        let text = succeed(fw_train(here).args(sweep));
        let reports = text.lines();
        let reports: Vec<Value> = reports
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(reports[1]["loss"], result["test"]["loss"], "{name}");
        succeed(fw_train(here).args(["sample", name, "-n", "1"]));

        succeed(fw_train(here).args(["plot", name]));
        let figure = fs::read_to_string(here.join(name).join("sample.svg")).expect("a figure");
        let fades = !settings.iter().all(|setting| !setting.starts_with("decay"));
        let strengths = match name {
            "product" => "strengths of 2 writes, the heads of one below those of the one before",
            _ => "write strength",
        };
        for (words, is_there) in [
            ("how well each write is recalled, head 1", true),
            ("how well each write is recalled, head 2", true),
            (strengths, true),
            ("share of the memory left before a write", fades),
        ] {
            assert_eq!(figure.contains(words), is_there, "{name}: {words}");
        }
    }
    // 12 tokens and a blank: Q, K and V of 8 numbers, β of 2, their convolutions, a norm of 4, 8 to 8. Then six classes.
    let layer = 13 * (3 * 8 + 2) + 4 * 3 * 8 + 4 + 8 * 8;
    let result = json(here.join("delta-net/result.json"));
    assert_eq!(result["parameters"], layer + (8 + 1) * 6);
}

#[test]
fn layers_upon_each_other_are_drawn_each() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let more = assignments(&[
        "n_layers=2",
        "n_heads=1",
        "write_strength=one",
        "convolution=0",
    ]);
    succeed(&mut train_with(here, "run", TINY_NET, &with(&more)));
    let result = json(here.join("run/result.json"));
    assert_eq!(result["state_size"], 2 * 8 * 8);
    succeed(fw_train(here).args(["plot", "run"]));
    let figure = fs::read_to_string(here.join("run/sample.svg")).expect("a figure");
    for layer in ["layer 1", "layer 2"] {
        let title = format!("how well each write is recalled, {layer}");
        assert!(figure.contains(&title), "{title}");
    }
    assert!(!figure.contains("write strength"), "it is always 1");
}

#[test]
fn a_net_that_was_killed_goes_on_with_the_same_numbers() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let mut more = assignments(NAMED[3].1);
    more.extend(["--set".to_owned(), "training.steps=300".to_owned()]);
    let more = with(&more);
    succeed(&mut train_with(here, "whole", TINY_NET, &more));
    let mut command = train_with(here, "killed", TINY_NET, &more);
    kill_after_first_checkpoint(command.stderr(Stdio::null()), &here.join("killed"));
    assert!(!here.join("killed/result.json").exists());
    succeed(fw_train(here).args(["train", "--resume", "killed"]));
    assert_eq!(numbers(&here.join("killed")), numbers(&here.join("whole")));
}

#[test]
fn one_net_writes_the_memory_from_which_another_says_the_target() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let settings = [
        "task.kind=copy-memory",
        "task.steps=3",
        "task.symbols=2",
        "task.validation_samples=20",
        "task.test_samples=20",
        "model.kind=encoder-decoder",
        "model.interface=delta-net",
        "model.d_hidden=8",
        "model.n_heads=2",
        "training.batch_size=4",
        "training.steps=20",
        "training.log_every=10",
        "training.evaluate_every=20",
    ];
    succeed(&mut train_with(here, "run", &settings, &[]));
    let result = json(here.join("run/result.json"));
    assert_eq!(result["state_size"], 2 * 16 + 3 * 24);
    succeed(fw_train(here).args(["plot", "run"]));
    let figure = fs::read_to_string(here.join("run/sample.svg")).expect("a figure");
    assert!(figure.contains("how well each write is recalled, head 2"));
    let odd = ["--set", "model.n_heads=3"];
    let message = fail(&mut train_with(here, "x", &settings, &odd), 2);
    assert!(message.contains("model.n_heads is 3"), "{message}");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    for (setting, words) in [
        ("d_hidden=0", "model.d_hidden is 0; it must be at least 1"),
        (
            "d_hidden=1000000",
            "model.d_hidden is 1000000; it must be at most 65,536",
        ),
        ("n_heads=0", "model.n_heads is 0; it must be at least 1"),
        (
            "n_heads=3",
            "model.n_heads is 3; it must divide model.d_hidden, 8, where model.d_key is not set",
        ),
        (
            "n_layers=0",
            "model.n_layers is 0; it must lie between 1 and 1000",
        ),
        ("d_key=0", "d_key is 0; it must be at least 1"),
        ("d_value=0", "d_value is 0; it must be at least 1"),
        ("d_key=40000", "is 80000; it must be at most 65,536"),
        (
            "writes_per_step=0",
            "writes_per_step is 0; it must be at least 1",
        ),
        (
            "rule=delt",
            "model.rule is \"delt\"; it must be \"delta\" or \"sum\"",
        ),
        ("decay=0.9", "model.decay is 0.9"),
        (
            "decay=heads",
            "model.decay is \"heads\"; it must be \"none\", \"head\" or \"channel\"",
        ),
        (
            "gate_rank=4",
            "gate_rank is 4; it must be None where there is neither a decay for each channel nor an output gate",
        ),
        ("epsilon=0.0", "epsilon is 0; it must be a number above 0"),
        ("heads=2", "unknown field `heads`"),
    ] {
        let setting = format!("model.{setting}");
        let message = fail(
            &mut train_with(here, "x", TINY_NET, &["--set", &setting]),
            2,
        );
        assert!(message.contains(words), "{setting}: {message}");
        assert!(!here.join("x").exists(), "{setting}");
    }
}

#[test]
fn the_fused_and_the_composed_path_train_alike() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let loss = |path: &str| {
        let setting = format!("model.path={path}");
        let more = ["--set", "model.kind=delta-net", "--set", &setting];
        succeed(&mut train_tiny(here, path, &more));
        let result = json(here.join(path).join("result.json"));
        result["test"]["loss"].as_f64().expect("a loss")
    };
    let (fused, composed) = (loss("fused"), loss("composed"));
    assert!(
        (fused - composed).abs() < 1e-3 * composed,
        "{fused} {composed}"
    );
}
