//! Sparse Attentive Backtracking and its baselines, the tasks that they are compared on, and curricula.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use super::{fail, fw_train, json, kill_after_first_checkpoint, numbers, succeed, train_with};

/// A net that recalls, trained in about a second, with a curriculum of two tasks.
const TINY_SAB: &[&str] = &[
    "task.kind=copy-memory",
    "task.steps=6",
    "task.symbols=2",
    "task.validation_samples=30",
    "task.test_samples=40",
    "model.kind=sab",
    "model.d_hidden=8",
    "model.top_k=3",
    "model.truncation_length=4",
    "optimizer.warmup_steps=0",
    "training.batch_size=8",
    "training.steps=80",
    "training.log_every=10",
    "training.evaluate_every=20",
    "training.curriculum={ setting = 'steps', values = [2, 4], until = { error = 1.0 } }",
];

fn data() -> String {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
    data.to_str().expect("text").to_owned()
}

#[test]
fn a_net_that_recalls_is_trained_tested_at_other_lengths_shown_and_drawn() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let mut train = train_with(here, "run", TINY_SAB, &[]);
    let output = train.output().expect("the binary starts");
    assert!(output.status.success(), "{}", super::stderr(&output));
    let shown = super::stderr(&output);
    assert!(
        shown.contains("curriculum: task.steps = 4 after step 20"),
        "{shown}"
    );
    assert!(
        shown.contains("curriculum: the task itself after step 40"),
        "{shown}"
    );
    assert!(!shown.contains("still at its first value"), "{shown}");
    let printed = String::from_utf8(output.stdout).expect("text");
    for words in [
        "test error",
        "nats",
        "where errors count",
        "of sequences perfect",
    ] {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    let result = json(here.join("run/result.json"));
    assert_eq!(result["model"], "sab");
    // LSTM over 10 one-hot tokens, W_h, W_m and v, output of [h ; s] to 9 classes.
    assert_eq!(
        result["parameters"],
        (10 + 8) * 32 + 32 + 2 * 64 + 8 + 16 * 9 + 9
    );
    // h and c, and a memory for each of ten steps.
    assert_eq!(result["state_size"], 16 + 10 * 8);
    assert!(result["test"]["counted_loss"].is_number());

    let later = "training.curriculum={ setting = 'steps', values = [2, 4], until = { error = 1.0 }, later_rate = 0.25 }";
    let constant = ["--set", "optimizer.schedule=constant", "--set", later];
    succeed(&mut train_with(here, "slower", TINY_SAB, &constant));
    let rates = numbers(&here.join("slower")).0;
    let rates = rates
        .iter()
        .filter_map(|record| record["learning_rate"].as_f64());
    let rates: Vec<f64> = rates.collect();
    let first = rates[0];
    // The first value takes 20 updates, two records.
    assert!(rates[..2].iter().all(|rate| *rate == first), "{rates:?}");
    assert!(
        rates[2..].iter().all(|rate| *rate == 0.25 * first),
        "{rates:?}"
    );
    // Each record says which task of the curriculum it is of.
    let (records, _) = numbers(&here.join("run"));
    let stages: Vec<u64> = records
        .iter()
        .filter(|record| record["split"] == "validation")
        .filter_map(|record| record["stage"].as_u64())
        .collect();
    assert_eq!(stages, [0, 1, 2, 2]);

    let text =
        succeed(fw_train(here).args(["test", "run", "--json", "--sweep", "task.steps=1,6,40"]));
    let reports: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(reports.len(), 3);
    assert_eq!(reports[1]["loss"], result["test"]["loss"]);

    let shown = succeed(fw_train(here).args(["sample", "run", "-n", "2"]));
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 9, "{shown}");
    let input = lines[1]
        .trim_start()
        .strip_prefix("input")
        .expect("an input")
        .trim();
    let target = lines[2]
        .trim_start()
        .strip_prefix("target")
        .expect("a target")
        .trim();
    assert_eq!(input.len(), 10);
    assert_eq!(target, format!("........{}", &input[..2]));
    assert!(lines[8].ends_with(" of 4 right"), "{shown}");

    succeed(fw_train(here).args(["plot", "run"]));
    let figure = fs::read_to_string(here.join("run/sample.svg")).expect("a figure");
    for words in [
        "recalled step, by the step that recalls it",
        "replay",
        "token",
        "class",
    ] {
        assert!(figure.contains(words), "{words}");
    }
    assert!(here.join("run/sample.png").exists());
}

#[test]
fn a_run_with_a_curriculum_that_was_killed_goes_on_with_the_same_numbers() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let longer = ["--set", "training.steps=200"];
    succeed(&mut train_with(here, "whole", TINY_SAB, &longer));
    let mut killed = train_with(here, "killed", TINY_SAB, &longer);
    killed.stdout(Stdio::null()).stderr(Stdio::null());
    kill_after_first_checkpoint(&mut killed, &here.join("killed"));
    succeed(fw_train(here).args(["train", "--resume", "killed"]));
    assert_eq!(numbers(&here.join("whole")), numbers(&here.join("killed")));
}

const RESTARTS: &str = "training.curriculum={ setting = 'steps', values = [2], until = { error = 0.0 }, restart_after = 30 }";

/// It has not mastered its first value after 40 and 80 updates, which are the first evaluations behind 30.
#[test]
fn a_training_that_does_not_leave_its_first_value_begins_anew() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let constant = "optimizer.schedule=constant";
    let rate = "optimizer.learning_rate=0.001";
    let of_steps = |steps| {
        let settings = [RESTARTS, constant, rate, steps];
        settings.map(|setting| ["--set", setting]).concat()
    };
    let settings = of_steps("training.steps=100");
    let mut train = train_with(here, "whole", TINY_SAB, &settings);
    let shown = super::stderr(&train.output().expect("the binary starts"));
    let anew = "task.steps = 2 is not mastered in time, so training begins anew after step";
    for told in [
        "40, with other start values (restart 1)",
        "80, with other start values (restart 2)",
    ] {
        assert!(shown.contains(&format!("{anew} {told}")), "{told}: {shown}");
    }
    let result = json(here.join("whole/result.json"));
    assert_eq!(
        (&result["restarts"], &result["steps"]),
        (&2.into(), &100.into())
    );
    // Other start values, each time others: the loss jumps where it has hardly moved before.
    let (records, _) = numbers(&here.join("whole"));
    let loss = |step: u64| {
        let at = |record: &&Value| record["step"] == step && record["split"] == "train";
        let record = records.iter().find(at).expect("a record");
        record["loss"].as_f64().expect("a number")
    };
    let moved = |from: u64, to: u64| (loss(to) - loss(from)).abs();
    assert!(moved(40, 50) > 5.0 * moved(30, 40), "{records:?}");
    assert!(moved(80, 90) > 5.0 * moved(70, 80), "{records:?}");
    assert!(moved(10, 50) > 0.01 && moved(50, 90) > 0.01, "{records:?}");
    // Whenever it is stopped.
    let mut killed = train_with(here, "killed", TINY_SAB, &settings);
    killed.stdout(Stdio::null()).stderr(Stdio::null());
    kill_after_first_checkpoint(&mut killed, &here.join("killed"));
    succeed(fw_train(here).args(["train", "--resume", "killed"]));
    assert_eq!(numbers(&here.join("whole")), numbers(&here.join("killed")));
    for steps in ["training.steps=40", "training.steps=60"] {
        succeed(&mut train_with(here, steps, TINY_SAB, &of_steps(steps)));
        let short = json(here.join(steps).join("result.json"));
        // One that was due after the last update has not been made.
        let made = u64::from(steps.ends_with("60"));
        assert_eq!(short["restarts"].as_u64().unwrap_or(0), made, "{steps}");
        let further = ["train", "--resume", steps, "--set", "training.steps=100"];
        succeed(fw_train(here).args(further));
        assert_eq!(numbers(&here.join("whole")), numbers(&here.join(steps)));
    }
    let report = succeed(fw_train(here).args(["report", "whole", "--out", "report"]));
    assert!(report.contains("report.md"), "{report}");
    let text = std::fs::read_to_string(here.join("report/report.md")).expect("a report");
    assert!(text.contains("| 100 (2 restarts) |"), "{text}");
    // Weights that were given are not thrown away.
    let from = ["train", "--from", "whole", "--out", "from"];
    let shown = fw_train(here)
        .args(from)
        .output()
        .expect("the binary starts");
    assert!(shown.status.success() && !super::stderr(&shown).contains(anew));
    assert_eq!(json(here.join("from/result.json"))["restarts"], Value::Null);
}

/// Every value has a time of its own, and a training that begins anew does so with the first. Most of the loss of a long wait is of the blanks,
/// which are learned at once, most of that of a short one of the symbols.
#[test]
fn a_training_that_does_not_get_beyond_a_later_value_begins_anew_with_the_first() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let later = "training.curriculum={ setting = 'steps', values = [30, 2], until = { loss = 0.5 }, restart_after = 60 }";
    let mut train = train_with(here, "run", TINY_SAB, &["--set", later]);
    train.args([
        "--set",
        "training.steps=300",
        "--set",
        "optimizer.learning_rate=0.02",
    ]);
    let shown = super::stderr(&train.output().expect("the binary starts"));
    let given_up = "task.steps = 2 is not mastered in time, so training begins anew";
    let came = "curriculum: task.steps = 2 after step";
    assert!(shown.contains(given_up), "{shown}");
    assert!(shown.matches(came).count() > 1, "{shown}");
    let (records, _) = numbers(&here.join("run"));
    let stages = records.iter().filter_map(|record| record["stage"].as_u64());
    let stages: Vec<u64> = stages.collect();
    assert!(stages.windows(2).any(|two| two == [1, 0]), "{stages:?}");
}

/// A stage that was mastered at the last step is the next one's beginning.
#[test]
fn a_run_that_ended_within_its_curriculum_is_trained_further_as_if_it_had_not() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let constant = [
        "--set",
        "optimizer.schedule=constant",
        "--set",
        "training.early_stop=never",
    ];
    succeed(&mut train_with(here, "whole", TINY_SAB, &constant));
    let short = [&constant[..], &["--set", "training.steps=20"]].concat();
    succeed(&mut train_with(here, "run", TINY_SAB, &short));
    let further = ["train", "--resume", "run", "--set", "training.steps=80"];
    succeed(fw_train(here).args(further));
    assert_eq!(numbers(&here.join("whole")), numbers(&here.join("run")));
}

#[test]
fn a_curriculum_that_is_never_mastered_is_tested_on_the_task_itself() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let hard = "training.curriculum={ setting = 'steps', values = [2], until = { error = 0.0 } }";
    let mut train = train_with(here, "run", TINY_SAB, &["--set", hard]);
    let shown = super::stderr(&train.output().expect("the binary starts"));
    let stuck = "curriculum: still at its first value, task.steps = 2, after 40 of 80 updates: ";
    assert_eq!(shown.matches(stuck).count(), 1, "{shown}");
    // However few updates there are.
    let few = ["--set", hard, "--set", "training.steps=5"];
    succeed(&mut train_with(here, "few", TINY_SAB, &few));
    let advice = "the next one comes at an error of 0 %. Most nets that learn a task have left it by now. Try optimizer.learning_rate";
    assert!(shown.contains(advice), "{shown}");
    let result = json(here.join("run/result.json"));
    assert_eq!(
        (&result["best_step"], &result["steps"]),
        (&80.into(), &80.into())
    );
    let test = succeed(fw_train(here).args(["test", "run", "--json"]));
    let test: Value = serde_json::from_str(&test).expect("JSON");
    assert_eq!(test["loss"], result["test"]["loss"]);
}

#[test]
fn every_task_trains_over_every_cell_and_its_answers_are_shown() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let mnist = format!("task.folder={}", data());
    let text = format!("task.text={}/tinyshakespeare.txt", data());
    let long = "task.length=9";
    for (index, (task, model, shown)) in [
        (
            vec![
                "adding",
                long,
                "task.validation_samples=20",
                "task.test_samples=20",
            ],
            vec!["sab", "model.cell=gru", "model.replay=false"],
            "off by ",
        ),
        (
            vec![
                "adding",
                long,
                "task.validation_samples=20",
                "task.test_samples=20",
            ],
            vec!["sab", "model.cell=fast-weights", "model.max_memories=3"],
            "off by ",
        ),
        (
            vec![
                "pixel-mnist",
                mnist.as_str(),
                "task.pixels_per_step=112",
                "task.permuted=true",
            ],
            vec!["tbptt", "model.cell=gru", "model.truncation_length=3"],
            " right",
        ),
        (
            vec!["characters", text.as_str(), "task.length=200"],
            vec!["self-attention", "model.cell=lstm"],
            " right",
        ),
        (
            vec!["characters", text.as_str(), "task.length=200"],
            vec!["sab", "model.cell=rnn", "model.top_k=unlimited"],
            " right",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let out = index.to_string();
        let (task_kind, model_kind) = (
            format!("task.kind={}", task[0]),
            format!("model.kind={}", model[0]),
        );
        let mut settings = vec![
            task_kind.as_str(),
            model_kind.as_str(),
            "model.d_hidden=6",
            "training.batch_size=4",
            "training.steps=4",
            "training.log_every=2",
            "training.evaluate_every=4",
        ];
        settings.extend(&task[1..]);
        settings.extend(&model[1..]);
        succeed(&mut train_with(here, &out, &settings, &[]));
        let test = &json(here.join(&out).join("result.json"))["test"];
        assert!(
            test["loss"].is_number() && test["error"].is_number(),
            "{out}"
        );
        let printed = succeed(fw_train(here).args(["sample", &out, "-n", "1"]));
        assert!(printed.contains(shown), "{printed}");
        succeed(fw_train(here).args(["plot", &out]));
        assert!(here.join(&out).join("sample.svg").exists(), "{out}");
    }
}

#[test]
fn data_writes_what_is_read_and_answered_of_every_format() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let write = |task: &str, set: &str, out: &str| {
        let mut command = fw_train(here);
        command.args([
            "data", task, "--set", set, "--split", "test", "-n", "3", "--out", out,
        ]);
        succeed(&mut command);
    };
    let tensors = |file: &str| -> Vec<(String, Vec<usize>)> {
        let bytes = fs::read(here.join(file)).expect("a file");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let mut tensors: Vec<_> = file
            .iter()
            .map(|(name, view)| (name.to_owned(), view.shape().to_vec()))
            .collect();
        tensors.sort();
        tensors
    };
    let line = |file: &str| -> Value {
        let text = fs::read_to_string(here.join(file)).expect("a file");
        serde_json::from_str(text.lines().next().expect("a line")).expect("JSON")
    };
    let named = |expected: &[(&str, &[usize])]| -> Vec<(String, Vec<usize>)> {
        let named = expected
            .iter()
            .map(|(name, shape)| (name.to_string(), shape.to_vec()));
        named.collect()
    };

    write("copy-memory", "task.steps=4", "copy.safetensors");
    write("copy-memory", "task.steps=4", "copy.jsonl");
    let steps: &[usize] = &[3, 24];
    let expected = [
        ("classes", steps),
        ("counts", steps),
        ("mask", steps),
        ("tokens", steps),
    ];
    assert_eq!(tensors("copy.safetensors"), named(&expected));
    let first = line("copy.jsonl");
    let (input, target) = (&first["input"], &first["target"]);
    let (input, target) = (
        input.as_str().expect("text"),
        target.as_str().expect("text"),
    );
    assert_eq!(input[..10], target[14..]);
    assert_eq!(first["classes"].as_array().map(Vec::len), Some(24));
    assert_eq!(first["counts"][13], false);
    assert_eq!(first["counts"][14], true);

    write("adding", "task.length=5", "adding.safetensors");
    write("adding", "task.length=5", "adding.jsonl");
    let expected: [(&str, &[usize]); 2] = [("inputs", &[3, 5, 2]), ("targets", &[3])];
    assert_eq!(tensors("adding.safetensors"), named(&expected));
    let first = line("adding.jsonl");
    let pairs = first["inputs"].as_array().expect("vectors");
    let marked = pairs.iter().filter(|pair| pair[1] == 1.0);
    let sum: f64 = marked.filter_map(|pair| pair[0].as_f64()).sum();
    assert!((sum - first["target"].as_f64().expect("a number")).abs() < 1e-6);

    let mnist = format!("task.folder={}", data());
    write("pixel-mnist", &mnist, "mnist.safetensors");
    let expected: [(&str, &[usize]); 2] = [("classes", &[3]), ("inputs", &[3, 784, 1])];
    assert_eq!(tensors("mnist.safetensors"), named(&expected));
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    for (setting, words) in [
        (
            "model.top_k=lots",
            "model.top_k is \"lots\"; it must be a number, or \"unlimited\"",
        ),
        (
            "model.cell=lstn",
            "model.cell is \"lstn\"; it must be \"lstm\", \"gru\", \"rnn\" or \"fast-weights\"",
        ),
        (
            "model.attention_interval=0",
            "attention_interval is 0; it must be at least 1",
        ),
        (
            "model.truncation_length=0",
            "truncation_length is 0; it must be at least 1",
        ),
        ("model.d_hidden=0", "d_hidden is 0; it must be at least 1"),
        (
            "task.steps=0",
            "task.steps is 0; it must be a number, or [least, most], from 1 to 100000",
        ),
        (
            "training.curriculum={ setting = 'step', values = [2], until = { error = 0.1 } }",
            "training.curriculum: in [task]: unknown field `step`",
        ),
        (
            "training.curriculum={ setting = 'steps', values = [2] }",
            "missing field `until`",
        ),
        (
            "training.curriculum={ setting = 'steps', values = [2], until = { error = 0.1 }, restart_after = 19 }",
            "training.curriculum.restart_after is 19; it must be at least training.evaluate_every (20)",
        ),
        (
            "training.curriculum={ setting = 'steps', values = [2], until = { error = 0.1 }, later_rate = 0.0 }",
            "training.curriculum.later_rate is 0; it must be a number above 0",
        ),
    ] {
        let message = fail(&mut train_with(here, "x", TINY_SAB, &["--set", setting]), 2);
        assert!(message.contains(words), "{setting}: {message}");
    }
    let no_kernel = [
        "--set",
        "model.cell=fast-weights",
        "--set",
        "model.path=fused",
    ];
    let message = fail(&mut train_with(here, "x", TINY_SAB, &no_kernel), 2);
    let rule = "model.path is fused; it must be auto or composed where the cell is fast-weights";
    assert!(message.contains(rule), "{message}");
    let missing = [
        "--set",
        "task.kind=pixel-mnist",
        "--set",
        "task.folder=nowhere",
    ];
    let other_task = |set: &&str| !set.starts_with("task.") && !set.contains("curriculum");
    let plain: Vec<&str> = TINY_SAB.iter().copied().filter(other_task).collect();
    let message = fail(&mut train_with(here, "x", &plain, &missing), 1);
    assert!(
        message.contains(
            "nowhere/t10k-images-idx3-ubyte cannot be used as data: there is no such file"
        ),
        "{message}"
    );
    assert!(!here.join("x").exists());
}
