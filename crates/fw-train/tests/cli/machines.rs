//! Tasks of vectors and bits, and the Neural Turing Machines that are trained on them.

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use super::{
    fail, fw_train, json, kill_after_first_checkpoint, numbers, succeed, train_tiny, train_with,
};

/// A machine that trains on a task of vectors in about a second.
const TINY_MACHINE: &[&str] = &[
    "task.kind=copy",
    "task.bits=3",
    "task.length=[1, 4]",
    "task.validation_length=6",
    "task.validation_samples=30",
    "task.test_samples=40",
    "model.kind=ntm-lstm",
    "model.d_controller=8",
    "model.memory_size=10",
    "model.word_size=4",
    "optimizer.kind=rms-prop",
    "optimizer.learning_rate=0.003",
    "optimizer.clip={ value = 10.0 }",
    "training.batch_size=4",
    "training.steps=60",
    "training.log_every=10",
    "training.evaluate_every=20",
];

#[test]
fn a_machine_that_was_killed_goes_on_with_the_same_numbers() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    for more in [
        &["model.initial_weights=learned", "model.n_read_heads=2"][..],
        &[
            "model.kind=ntm-ff",
            "model.d_controller=8",
            "model.memory_size=10",
            "model.initial_memory={ constant = 1e-6 }",
            "model.initial_weights=one-hot",
            "optimizer.kind=adam",
        ],
    ] {
        let mut settings = vec!["--set", "training.steps=300"];
        settings.extend(more.iter().flat_map(|setting| ["--set", setting]));
        let (whole, killed) = (more.len().to_string(), format!("{}-killed", more.len()));
        succeed(&mut train_with(here, &whole, TINY_MACHINE, &settings));
        let mut command = train_with(here, &killed, TINY_MACHINE, &settings);
        kill_after_first_checkpoint(command.stderr(Stdio::null()), &here.join(&killed));
        assert!(!here.join(&killed).join("result.json").exists());
        succeed(fw_train(here).args(["train", "--resume", &killed]));
        assert_eq!(numbers(&here.join(&killed)), numbers(&here.join(&whole)));
    }
}

#[test]
fn a_machine_is_trained_tested_at_other_lengths_shown_and_drawn() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let printed = succeed(&mut train_with(here, "run", TINY_MACHINE, &[]));
    for words in ["bits per sequence", "error per bit", "of sequences perfect"] {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    let result = json(here.join("run/result.json"));
    assert_eq!(result["model"], "ntm-lstm");
    // LSTM reads 4 + 4 numbers: (8 + 8) 32 + 32; heads of 4 + 6 and of 4 + 6 + 8 numbers; output; starts of h, c, r. The memory is fixed.
    let heads = 8 * 10 + 10 + 8 * 18 + 18;
    assert_eq!(
        result["parameters"],
        16 * 32 + 32 + heads + (8 + 4) * 3 + 3 + 8 + 8 + 4
    );
    // h and c, memory, what was read, two weightings.
    assert_eq!(result["state_size"], 8 + 8 + 40 + 4 + 20);
    let loss = result["test"]["loss"].as_f64().expect("a loss");
    assert!(loss > 0.0 && loss < 3.0 * 4.0 * 1.5, "{loss}");
    assert!(result["test"]["perfect"].is_number());
    assert!(
        result["test"].get("optimal").is_none(),
        "0 is the best there is"
    );

    let text = succeed(fw_train(here).args([
        "test",
        "run",
        "--json",
        "--sweep",
        "task.length=1,[2, 3],9",
    ]));
    let reports: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let sets: Vec<_> = reports
        .iter()
        .map(|report| report["set"].as_str())
        .collect();
    assert_eq!(
        sets,
        ["task.length=1", "task.length=[2, 3]", "task.length=9"].map(Some)
    );
    let losses: Vec<f64> = reports
        .iter()
        .filter_map(|report| report["loss"].as_f64())
        .collect();
    assert!(losses[0] < losses[1] && losses[1] < losses[2], "{losses:?}");
    let alone = succeed(fw_train(here).args(["test", "run", "--json", "--set", "task.length=9"]));
    let alone: Value = serde_json::from_str(&alone).expect("JSON");
    assert_eq!(alone["loss"], reports[2]["loss"]);
    let message = fail(
        fw_train(here).args(["test", "run", "--sweep", "task.length"]),
        2,
    );
    assert!(
        message.contains("write it as task.field=value,value"),
        "{message}"
    );
    let message = fail(
        fw_train(here).args(["test", "run", "--sweep", "task.length=3,0"]),
        2,
    );
    assert!(
        message.contains("task.length is 0; it must be"),
        "{message}"
    );

    let shown =
        succeed(fw_train(here).args(["sample", "run", "-n", "2", "--set", "task.length=5"]));
    assert_eq!(shown.matches("  input  ").count(), 2, "{shown}");
    assert_eq!(shown.matches("  answer ").count(), 2, "{shown}");
    assert!(shown.contains("of 2 perfect"), "{shown}");

    let drawn = succeed(fw_train(here).args(["plot", "run"]));
    assert_eq!(drawn.lines().count(), 4, "{drawn}");
    let figure = |name: &str| fs::read_to_string(here.join(name)).expect("a figure");
    for text in [
        "loss (bits per sequence)",
        "error per bit (%)",
        "sequences seen",
    ] {
        assert!(figure("run/curves.svg").contains(text), "{text}");
    }
    for title in [
        "target",
        "answer",
        "error",
        "input, all steps",
        "adds",
        "reads",
        "write weightings",
        "read weightings",
    ] {
        let title = format!("<tspan font-weight=\"bold\">{title}</tspan>");
        assert!(figure("run/sample.svg").contains(&title), "{title}");
    }
    for name in ["run/curves.png", "run/sample.png"] {
        let bytes = fs::read(here.join(name)).expect("a figure");
        assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n", "{name}");
        assert!(
            bytes.len() > 10_000,
            "{name}: {} bytes are an empty page",
            bytes.len()
        );
    }
    succeed(fw_train(here).args([
        "plot",
        "run",
        "--sample",
        "3",
        "--set",
        "task.length=9",
        "--out",
        "nine.svg",
    ]));
    assert!(figure("nine.svg").contains(">19</text>"), "19 steps");
    let message = fail(
        fw_train(here).args(["plot", "run", "--sample", "40", "--out", "x.svg"]),
        2,
    );
    assert!(message.contains("the test split has 40"), "{message}");
    let message = fail(
        fw_train(here).args(["plot", "run", "run", "--sample", "1"]),
        2,
    );
    assert!(message.contains("give one folder"), "{message}");

    let long = ["plot", "run", "--set", "task.length=5000"];
    let message = fail(fw_train(here).args(long), 2);
    assert!(
        message.contains("at most 2000 steps to be drawn"),
        "{message}"
    );
    for other in ["task.bits=4", "task.kind=n-grams"] {
        let message = fail(fw_train(here).args(["test", "run", "--set", other]), 2);
        assert!(
            message.contains("this changes what the model reads"),
            "{message}"
        );
    }

    succeed(&mut train_tiny(here, "tokens", &[]));
    let message = fail(fw_train(here).args(["plot", "run", "tokens"]), 2);
    assert!(message.contains("they cannot share a figure"), "{message}");
    let drawn = succeed(fw_train(here).args(["plot", "tokens", "--sample", "1"]));
    assert!(drawn.contains("tokens/sample.svg"), "{drawn}");
    let figure = fs::read_to_string(here.join("tokens/sample.svg")).expect("a figure");
    for words in ["attention to earlier steps", "target", "class"] {
        assert!(figure.contains(words), "{words}");
    }
}

#[test]
fn every_task_of_vectors_trains_every_kind_of_model() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    for (index, (task, model)) in [
        (
            &["repeat-copy", "task.repeats=[1, 2]", "task.length=[1, 2]"],
            "ntm-ff",
        ),
        (
            &["associative-recall", "task.items=[2, 3]", "task.bits=2"],
            "fast-weights",
        ),
        (&["n-grams", "task.length=12", "task.order=3"], "lstm"),
        (&["n-grams", "task.length=12", "task.order=3"], "delta-net"),
        (&["priority-sort", "task.items=4", "task.outputs=2"], "gru"),
    ]
    .into_iter()
    .enumerate()
    {
        let out = index.to_string();
        let kind = format!("task.kind={}", task[0]);
        let model = format!("model.kind={model}");
        let settings = [
            kind.as_str(),
            task[1],
            task[2],
            "task.validation_samples=20",
            "task.test_samples=20",
            &model,
            "training.steps=20",
            "training.batch_size=4",
            "training.log_every=10",
            "training.evaluate_every=20",
        ];
        succeed(&mut train_with(here, &out, &settings, &[]));
        let test = &json(here.join(&out).join("result.json"))["test"];
        assert!(
            test["loss"].is_number() && test["perfect"].is_number(),
            "{out}"
        );
        // Six bits an item: one of two or three may stand twice.
        let is_open = ["n-grams", "associative-recall"].contains(&task[0]);
        assert_eq!(test.get("optimal").is_some(), is_open, "{out}");
        assert_eq!(test.get("optimal_error").is_some(), is_open, "{out}");
        succeed(fw_train(here).args(["plot", &out]));
    }
    let message = fail(
        &mut train_with(here, "x", TINY_MACHINE, &["--set", "model.d_embedding=3"]),
        2,
    );
    let expected = "model.d_embedding is set; it must be left out where the task has vectors";
    assert!(message.contains(expected), "{message}");
    let constant = [
        "--set",
        "model.initial_memory={ constant = 1e-6 }",
        "--set",
        "model.initial_weights=zero",
    ];
    let message = fail(&mut train_with(here, "x", TINY_MACHINE, &constant), 2);
    assert!(
        message.contains("initial_weights is zero; it must be one-hot or learned when"),
        "{message}"
    );
    assert!(!here.join("x").exists());
}

#[test]
fn data_writes_the_vectors_that_training_sees() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let data = |out: &str| {
        let mut command = fw_train(here);
        command.args([
            "data",
            "copy",
            "--set",
            "task.bits=2",
            "--set",
            "task.length=[1, 3]",
        ]);
        command.args(["-n", "6", "--split", "test", "--out", out]);
        command
    };
    succeed(&mut data("test.jsonl"));
    succeed(&mut data("test.safetensors"));
    let text = fs::read_to_string(here.join("test.jsonl")).expect("a file");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let bytes = fs::read(here.join("test.safetensors")).expect("a file");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let numbers = |name: &str| -> Vec<f32> {
        let view = tensors.tensor(name).expect("a tensor");
        let numbers = view
            .data()
            .chunks(4)
            .map(|bytes| bytes.try_into().expect("four bytes"));
        numbers.map(f32::from_le_bytes).collect()
    };
    let view = tensors.tensor("inputs").expect("inputs");
    let [n, steps, d_input] = view.shape() else {
        panic!("three axes");
    };
    assert_eq!((*n, *d_input), (6, 3));
    let (inputs, targets, mask) = (numbers("inputs"), numbers("targets"), numbers("mask"));
    for (index, line) in lines.iter().enumerate() {
        for t in 0..*steps {
            let step = index * steps + t;
            for column in 0..3 {
                let expected = line["inputs"][t][column].as_f64().unwrap_or(0.0);
                assert_eq!(f64::from(inputs[step * 3 + column]), expected);
            }
            let target = &line["targets"][t];
            assert_eq!(mask[step] == 1.0, target.is_array());
            for column in 0..2 {
                let expected = target[column].as_f64().unwrap_or(0.0);
                assert_eq!(f64::from(targets[step * 2 + column]), expected);
            }
        }
    }
}
