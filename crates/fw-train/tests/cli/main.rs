//! The real binary, from the outside.

mod browser;
mod compare;
mod damage;
mod data;
mod delta_net;
mod export;
mod further;
mod goals;
mod list;
mod machines;
mod recall;
#[cfg(unix)]
mod stop;
mod text;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// An experiment that trains in about a second.
const TINY: &[&str] = &[
    "task.pairs=2",
    "task.train_samples=640",
    "task.validation_samples=200",
    "task.test_samples=300",
    "model.d_hidden=8",
    "model.d_embedding=12",
    "optimizer.warmup_steps=0",
    "model.d_head=0",
    "training.batch_size=16",
    "training.steps=60",
    "training.log_every=10",
    "training.evaluate_every=20",
];

fn fw_train(folder: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("fw-train"));
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// `train` of the tiny experiment into `out`, with more arguments.
fn train_tiny(folder: &Path, out: &str, more: &[&str]) -> Command {
    train_with(folder, out, TINY, more)
}

fn train_with(folder: &Path, out: &str, settings: &[&str], more: &[&str]) -> Command {
    let mut command = fw_train(folder);
    command.args(["train", "--out", out]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    command.args(more);
    command
}

#[track_caller]
fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("the binary starts");
    assert!(output.status.success(), "{command:?}\n{}", stderr(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// The message of a command that fails with the given exit code.
#[track_caller]
fn fail(command: &mut Command, code: i32) -> String {
    let output = command.output().expect("the binary starts");
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{message}");
    message
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(path: PathBuf) -> Value {
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// Every number that a run has written, without times.
fn numbers(run: &Path) -> (Vec<Value>, Value) {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let without_seconds = |mut value: Value| {
        let object = value.as_object_mut().expect("an object");
        let seconds = object.remove("seconds");
        assert!(seconds.is_some_and(|seconds| seconds.is_number()));
        object
            .retain(|field, _| !["milliseconds_per_step", "peak_memory"].contains(&field.as_str()));
        value
    };
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record"));
    (
        lines.map(without_seconds).collect(),
        without_seconds(json(run.join("result.json"))),
    )
}

#[test]
fn the_number_of_threads_changes_no_number() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    for threads in ["1", "3"] {
        succeed(train_tiny(here, threads, &[]).env("RAYON_NUM_THREADS", threads));
    }
    assert_eq!(numbers(&here.join("1")), numbers(&here.join("3")));
}

#[test]
fn the_fused_and_the_composed_path_train_alike() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let losses = ["fused", "composed"].map(|path| {
        let setting = format!("model.path={path}");
        succeed(&mut train_tiny(here, path, &["--set", &setting]));
        let (records, _) = numbers(&here.join(path));
        let losses = records
            .iter()
            .map(|record| record["loss"].as_f64().expect("a loss"));
        losses.collect::<Vec<f64>>()
    });
    for (fused, composed) in losses[0].iter().zip(&losses[1]) {
        assert!((fused - composed).abs() < 1e-3, "{losses:?}");
    }
}

#[test]
fn train_then_test_sample_and_plot() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let printed = succeed(&mut train_tiny(here, "run", &[]));
    assert!(printed.contains("test error"), "{printed}");

    let result = json(here.join("run/result.json"));
    for (field, expected) in [("task", "associative-retrieval"), ("model", "fast-weights")] {
        assert_eq!(result[field], expected);
    }
    assert_eq!(result["steps"], 60);
    assert_eq!(result["seed"], 0);
    // Embedding 37*12; C, b, W, gain and bias: 12*8 + 8 + 64 + 16; output 8*10 + 10.
    assert_eq!(result["parameters"], 37 * 12 + 12 * 8 + 8 + 64 + 16 + 90);
    // Seven steps of eight numbers, and the hidden state.
    assert_eq!(result["state_size"], 7 * 8 + 8);
    for split in ["test", "validation"] {
        assert!(result[split]["error"].is_number() && result[split]["loss"].is_number());
    }
    let config = fs::read_to_string(here.join("run/config.toml")).expect("a configuration");
    assert!(
        config.contains("fast_learning_rate = 0.5"),
        "defaults are written out: {config}"
    );
    assert_eq!(json(here.join("run/environment.json"))["device"], "flex");

    let text = succeed(fw_train(here).args(["test", "run", "--json"]));
    let tested: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(tested["error"], result["test"]["error"]);
    assert_eq!(tested["loss"], result["test"]["loss"]);
    assert_eq!(tested["samples"], 300);
    let longer = succeed(fw_train(here).args(["test", "run", "--set", "task.pairs=5"]));
    assert!(longer.contains("on the test split"), "{longer}");

    let samples = succeed(fw_train(here).args(["sample", "run", "-n", "4"]));
    let lines: Vec<&str> = samples.lines().collect();
    assert_eq!(lines.len(), 5, "{samples}");
    assert!(
        lines[0].contains("??") && lines[0].contains(" target ") && lines[0].contains(" answer ")
    );
    assert!(lines[4].ends_with("of 4 right"));

    succeed(fw_train(here).args(["plot", "run"]));
    let figure = fs::read_to_string(here.join("run/curves.svg")).expect("a figure");
    for text in [
        "<svg",
        "loss (nats)",
        "error (%)",
        "gradient norm",
        "step",
        "run",
    ] {
        assert!(figure.contains(text), "{text}");
    }
}

#[test]
fn the_same_seed_gives_the_same_numbers_and_another_seed_others() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    succeed(&mut train_tiny(here, "one", &["--seed", "3"]));
    succeed(&mut train_tiny(here, "two", &["--seed", "3"]));
    succeed(&mut train_tiny(here, "other", &["--seed", "4"]));
    assert_eq!(numbers(&here.join("one")), numbers(&here.join("two")));
    assert_ne!(numbers(&here.join("one")).0, numbers(&here.join("other")).0);
}

#[test]
fn a_run_that_was_killed_goes_on_with_the_same_numbers() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    // The schedule, the momentum and the order of later passes all have to be right again.
    let longer = [
        "--set",
        "training.steps=400",
        "--set",
        "optimizer.warmup_steps=30",
        "--set",
        "optimizer.schedule={ cosine = 0.1 }",
    ];
    for (kind, optimizer, clip) in [
        ("fast-weights", "adam", "{ norm = 1.0 }"),
        ("a-lstm", "adam-w", "none"),
        ("lstm", "rms-prop", "none"),
        ("gru", "sgd", "{ value = 0.1 }"),
        ("rnn", "sgd", "none"),
        ("irnn", "adam", "{ norm = 1.0 }"),
    ] {
        let settings = [
            format!("model.kind={kind}"),
            format!("optimizer.kind={optimizer}"),
            format!("optimizer.clip={clip}"),
        ];
        let mut more = longer.to_vec();
        more.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let (whole, killed) = (format!("{kind}-whole"), format!("{kind}-killed"));
        succeed(&mut train_tiny(here, &whole, &more));

        let mut command = train_tiny(here, &killed, &more);
        kill_after_first_checkpoint(command.stderr(Stdio::null()), &here.join(&killed));
        assert!(
            !here.join(&killed).join("result.json").exists(),
            "it was killed too late to tell"
        );
        succeed(fw_train(here).args(["train", "--resume", &killed]));
        assert_eq!(
            numbers(&here.join(&killed)),
            numbers(&here.join(&whole)),
            "{kind}"
        );

        let samples = |run: &str| succeed(fw_train(here).args(["sample", run, "-n", "20"]));
        assert_eq!(samples(&killed), samples(&whole), "{kind}");
    }
}

/// Starts a training and kills it, without a chance to clean up, once it has written a checkpoint.
fn kill_after_first_checkpoint(command: &mut Command, run: &Path) {
    let mut child: Child = command.spawn().expect("the binary starts");
    wait_for_checkpoint(run);
    child.kill().expect("the process can be killed");
    child.wait().expect("the process ends");
}

fn wait_for_checkpoint(run: &Path) {
    let deadline = Instant::now() + Duration::from_secs(120);
    let has_checkpoint = || {
        let entries = fs::read_dir(run.join("checkpoints"))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("step-"))
            .count()
            > 0
    };
    while !has_checkpoint() {
        assert!(Instant::now() < deadline, "no checkpoint in two minutes");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_run_without_a_checkpoint_or_with_half_a_record_goes_on_too() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    succeed(&mut train_tiny(here, "whole", &[]));
    let expected = numbers(&here.join("whole"));

    // Killed before the first checkpoint.
    succeed(&mut train_tiny(here, "early", &[]));
    fs::remove_file(here.join("early/result.json")).expect("a file");
    fs::remove_dir_all(here.join("early/checkpoints")).expect("a folder");
    succeed(fw_train(here).args(["train", "--resume", "early"]));
    assert_eq!(numbers(&here.join("early")), expected);

    // Killed while writing a record, and while writing a checkpoint.
    fs::remove_file(here.join("early/result.json")).expect("a file");
    let metrics = here.join("early/metrics.jsonl");
    let text = fs::read_to_string(&metrics).expect("metrics");
    fs::write(&metrics, format!("{text}{{\"step\":70,\"spl")).expect("a file");
    fs::create_dir(here.join("early/checkpoints/.unfinished-x")).expect("a folder");
    succeed(fw_train(here).args(["train", "--resume", "early"]));
    assert_eq!(numbers(&here.join("early")), expected);
    assert!(!here.join("early/checkpoints/.unfinished-x").exists());
}

#[test]
fn two_processes_do_not_train_one_run() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let mut command = train_tiny(here, "run", &["--set", "training.steps=100000"]);
    let mut first = command
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    wait_for_checkpoint(&here.join("run"));
    let message = fail(fw_train(here).args(["train", "--resume", "run"]), 1);
    first.kill().expect("the process can be killed");
    first.wait().expect("the process ends");
    assert!(
        message.contains("another process is training it"),
        "{message}"
    );
}

#[test]
fn variants_of_the_experiment_train() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    for (out, setting) in [
        ("one-hot", "model.d_embedding=0"),
        ("head", "model.d_head=5"),
        ("fresh", "task.fresh=true"),
        ("decay", "optimizer.weight_decay=0.1"),
        ("late", "optimizer.decay_steps=20"),
        ("matrix", "model.form=matrix"),
        ("early-write", "model.write=preliminary"),
    ] {
        succeed(&mut train_tiny(here, out, &["--set", setting]));
        let result = json(here.join(out).join("result.json"));
        assert!(
            result["test"]["loss"]
                .as_f64()
                .is_some_and(|loss| loss < 4.0),
            "{out}: {result}"
        );
    }
    // One-hot vectors of 37 tokens straight into 8 units; no embedding.
    let result = json(here.join("one-hot/result.json"));
    assert_eq!(result["parameters"], 37 * 8 + 8 + 64 + 16 + 90);
    // Two forms of one sum give the same numbers but for rounding.
    succeed(&mut train_tiny(
        here,
        "attention",
        &["--set", "model.form=attention"],
    ));
    let loss = |run: &str| json(here.join(run).join("result.json"))["test"]["loss"].as_f64();
    let (matrix, attention) = (
        loss("matrix").expect("a loss"),
        loss("attention").expect("a loss"),
    );
    assert!(
        (matrix - attention).abs() < 1e-3 * matrix,
        "{matrix} {attention}"
    );
    assert_eq!(
        json(here.join("matrix/result.json"))["state_size"],
        8 * 8 + 8
    );
}

#[test]
#[cfg(unix)]
fn a_reader_that_stops_reading_is_no_error() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    succeed(&mut train_tiny(here, "run", &[]));
    let binary = assert_cmd::cargo::cargo_bin!("fw-train")
        .display()
        .to_string();
    let script = format!("set -o pipefail; '{binary}' sample run -n 300 | head -n 1");
    let line = succeed(Command::new("bash").args(["-c", &script]).current_dir(here));
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn resuming_a_run_that_has_ended_changes_nothing() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let first = succeed(&mut train_tiny(here, "run", &[]));
    let before = fs::read(here.join("run/metrics.jsonl")).expect("metrics");
    let again = succeed(fw_train(here).args(["train", "--resume", "run"]));
    assert_eq!(first, again);
    assert_eq!(
        before,
        fs::read(here.join("run/metrics.jsonl")).expect("metrics")
    );
}

#[test]
fn early_stop_ends_a_run() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    succeed(&mut train_tiny(
        here,
        "run",
        &["--set", "training.early_stop={ error = 0.95 }"],
    ));
    assert_eq!(json(here.join("run/result.json"))["steps"], 20);
    let loss = ["--set", "training.early_stop={ loss = 100.0 }"];
    succeed(&mut train_tiny(here, "loss", &loss));
    assert_eq!(json(here.join("loss/result.json"))["steps"], 20);
    // With a rate this low nothing improves: evaluations at 20 (the first is the best), 40, 60.
    let idle = [
        "--set",
        "training.early_stop={ patience = 1 }",
        "--set",
        "optimizer.learning_rate=1e-30",
    ];
    succeed(&mut train_tiny(here, "idle", &idle));
    assert_eq!(json(here.join("idle/result.json"))["steps"], 40);
}

#[test]
fn data_writes_the_sequences_that_training_sees() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let data = |more: &[&str]| {
        let mut command = fw_train(here);
        command.args(["data", "associative-retrieval"]).args(more);
        command
    };
    succeed(&mut data(&[
        "--split",
        "train",
        "-n",
        "3",
        "--out",
        "train.jsonl",
    ]));
    let text = fs::read_to_string(here.join("train.jsonl")).expect("a file");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 3);
    for line in &lines {
        let input = line["input"].as_str().expect("text");
        let asked = input.chars().last().expect("a question");
        let value = input.chars().nth(input.find(asked).expect("was shown") + 1);
        assert_eq!(line["target"].as_str(), value.map(String::from).as_deref());
        assert_eq!(line["tokens"].as_array().map(Vec::len), Some(11));
    }

    let settings = ["--set", "task.pairs=3", "-n", "5", "--first", "2"];
    succeed(&mut data(
        &[
            &settings[..],
            &["--split", "test", "--out", "test.safetensors"],
        ]
        .concat(),
    ));
    let bytes = fs::read(here.join("test.safetensors")).expect("a file");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let numbers = |name: &str| -> Vec<i64> {
        let view = tensors.tensor(name).expect("a tensor");
        let numbers = view
            .data()
            .chunks(8)
            .map(|bytes| bytes.try_into().expect("eight bytes"));
        numbers.map(i64::from_le_bytes).collect()
    };
    assert_eq!(tensors.tensor("tokens").expect("tokens").shape(), [5, 9]);
    succeed(&mut data(
        &[&settings[..], &["--split", "test", "--out", "test.jsonl"]].concat(),
    ));
    let text = fs::read_to_string(here.join("test.jsonl")).expect("a file");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let (mut tokens, mut classes) = (Vec::new(), Vec::new());
    for line in lines {
        tokens.extend(
            line["tokens"]
                .as_array()
                .expect("tokens")
                .iter()
                .filter_map(Value::as_i64),
        );
        classes.extend(line["class"].as_i64());
    }
    assert_eq!((numbers("tokens"), numbers("classes")), (tokens, classes));

    let message = fail(&mut data(&["-n", "3", "--out", "train.jsonl"]), 2);
    assert!(
        message.contains("exists; nothing was overwritten"),
        "{message}"
    );
    let left = fs::read_to_string(here.join("train.jsonl")).expect("a file");
    assert_eq!(left.lines().count(), 3);
    let message = fail(&mut data(&["-n", "3", "--out", "train.csv"]), 2);
    assert!(
        message.contains("must end in .jsonl or .safetensors"),
        "{message}"
    );
    let message = fail(
        &mut data(&["-n", "30000", "--split", "test", "--out", "more.jsonl"]),
        2,
    );
    assert!(message.contains("the test split has 20000"), "{message}");
    assert!(!here.join("more.jsonl").exists());
}

#[test]
fn list_names_what_this_build_has() {
    let folder = TempDir::new().expect("a folder");
    let listed = succeed(fw_train(folder.path()).arg("list"));
    for name in [
        "associative-retrieval",
        "repeat-copy",
        "ntm-lstm",
        "fast-weights",
        "a-lstm",
        "delta-net",
        "gru",
        "adam-w",
        "rms-prop",
        "flex",
        "FW_INSTRUCTIONS: one of scalar",
    ] {
        assert!(listed.contains(name), "{name}: {listed}");
    }
}

#[test]
fn bad_settings_are_refused_before_anything_is_written() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    for (setting, expected) in [
        ("model.d_hiden=3", "in [model]: unknown field `d_hiden`"),
        (
            "model.d_hidden=-3",
            "model.d_hidden is -3; it must be a whole number, not negative",
        ),
        ("model.d_hidden=0", "d_hidden is 0; it must be at least 1"),
        ("model.decay=1.5", "decay is 1.5; it must lie in [0, 1]"),
        (
            "model.kind=transformer",
            "model.kind is \"transformer\"; it must be one of: fast-weights",
        ),
        (
            "task.kind=copying",
            "task.kind is \"copying\"; it must be one of: associative-retrieval",
        ),
        (
            "task.pairs=27",
            "task.pairs is 27; it must lie between 1 and 26",
        ),
        (
            "optimizer.kind=adamw",
            "optimizer.kind is \"adamw\"; it must be one of: adam",
        ),
        (
            "optimizer.clip={ norm = 0.0 }",
            "optimizer.clip.norm is 0; it must be a number above 0",
        ),
        (
            "training.steps=0",
            "training.steps is 0; it must be at least 1",
        ),
        (
            "training.early_stop={ loss = -1.0 }",
            "training.early_stop.loss is -1; it must be a number of at least 0",
        ),
        ("steps=3", "write it as section.field=value"),
        (
            "trainings.steps=3",
            "[trainings] is not a section of an experiment",
        ),
    ] {
        let message = fail(&mut train_tiny(here, "run", &["--set", setting]), 2);
        assert!(
            message.starts_with("error: ") && message.contains(expected),
            "{setting}: {message}"
        );
        assert!(!here.join("run").exists(), "{setting}");
    }
    fs::write(here.join("broken.toml"), "[task\nkind = 1").expect("a file");
    let message = fail(fw_train(here).args(["train", "broken.toml"]), 2);
    assert!(
        message.contains("broken.toml is not valid TOML"),
        "{message}"
    );
    let message = fail(fw_train(here).args(["train", "absent.toml"]), 1);
    assert!(message.contains("cannot read absent.toml"), "{message}");
    let message = fail(fw_train(here).args(["train", "--speed", "9"]), 2);
    assert!(
        message.contains("unexpected argument '--speed'"),
        "{message}"
    );
    assert!(!here.join("runs").exists());
}

#[test]
fn a_device_that_is_not_in_this_build_is_refused_with_what_to_do() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    if !cfg!(feature = "cuda") {
        let message = fail(&mut train_tiny(here, "run", &["--device", "cuda"]), 2);
        assert!(
            message.contains("device cuda is not in this build, which has: flex"),
            "{message}"
        );
        assert!(message.contains("--features cuda"), "{message}");
    }
    let message = fail(&mut train_tiny(here, "run", &["--device", "tpu"]), 2);
    assert!(
        message.contains("it must be one of: flex, ndarray, wgpu, cuda"),
        "{message}"
    );
    let arguments = ["--device", "flex", "--devices", "0,1"];
    let message = fail(&mut train_tiny(here, "run", &arguments), 2);
    assert!(
        message.contains("--devices 0,1: it chooses among GPUs, and flex is the CPU"),
        "{message}"
    );
    assert!(!here.join("run").exists());
}

#[test]
fn an_existing_folder_is_never_overwritten() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    fs::create_dir(here.join("mine")).expect("a folder");
    fs::write(here.join("mine/notes.txt"), "keep").expect("a file");
    let message = fail(&mut train_tiny(here, "mine", &[]), 2);
    assert!(
        message.contains("mine exists; nothing was overwritten. Choose another --out"),
        "{message}"
    );
    let left: Vec<_> = fs::read_dir(here.join("mine")).expect("a folder").collect();
    assert_eq!(left.len(), 1);
}

#[test]
fn training_that_diverges_stops_and_says_where() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let more = [
        "--set",
        "optimizer.kind=sgd",
        "--set",
        "optimizer.learning_rate=1e30",
    ];
    let message = fail(&mut train_tiny(here, "run", &more), 1);
    assert!(
        message.contains("training diverged at step 10: the loss is not finite"),
        "{message}"
    );
    assert!(message.contains("first in parameter "), "{message}");
    assert!(
        message.contains("no checkpoint was written yet"),
        "{message}"
    );
    assert!(!here.join("run/result.json").exists());
}

#[test]
fn help_tells_a_newcomer_where_to_begin() {
    let folder = TempDir::new().expect("a folder");
    let help = succeed(fw_train(folder.path()).arg("--help"));
    assert!(help.contains("Begin with `fw-train train`"), "{help}");
    for command in ["train", "test", "sample", "plot", "list", "data"] {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command}: {help}"
        );
        let help = succeed(fw_train(folder.path()).args([command, "--help"]));
        assert!(help.contains("Usage: fw-train"), "{help}");
    }
}

/// It is an experiment again, and the same one.
#[test]
fn the_whole_experiment_is_printed_and_nothing_is_trained() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let settings = [
        "--set",
        "model.kind=gru",
        "--set",
        "task.pairs=2",
        "--seed",
        "3",
    ];
    let printed = succeed(
        fw_train(here)
            .args(["train", "--print-config"])
            .args(settings),
    );
    assert!(
        printed.contains("kind = \"gru\"") && printed.contains("seed = 3"),
        "{printed}"
    );
    assert!(
        fs::read_dir(here).expect("a folder").next().is_none(),
        "nothing is written"
    );
    fs::write(here.join("gru.toml"), &printed).expect("it can be written");
    let again = succeed(fw_train(here).args(["train", "gru.toml", "--print-config"]));
    assert_eq!(again, printed);
    let message = fail(
        fw_train(here).args(["train", "--print-config", "--set", "model.kind=oracle"]),
        2,
    );
    assert!(message.contains("oracle"), "{message}");
}
