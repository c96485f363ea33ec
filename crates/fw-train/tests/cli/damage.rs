//! What the binary does where something is missing, damaged, refused or in the way.

use std::fs;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{fail, fw_train, json, succeed, train_tiny};

#[test]
fn missing_and_damaged_runs_are_named() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    for command in [
        vec!["test"],
        vec!["sample"],
        vec!["plot"],
        vec!["train", "--resume"],
    ] {
        let message = fail(fw_train(here).args(&command).arg("nowhere"), 1);
        assert!(
            message.contains("nowhere is not a usable run folder: there is no such folder"),
            "{message}"
        );
        let message = fail(fw_train(here).args(&command).arg("."), 1);
        assert!(message.contains("it has no config.toml"), "{message}");
    }

    succeed(&mut train_tiny(here, "run", &[]));
    let checkpoints = here.join("run/checkpoints");
    let newest = checkpoints.join("step-00000060");
    for (file, commands) in [
        (
            "model.bpk",
            vec![vec!["test", "run", "--checkpoint", "last"]],
        ),
        (
            "progress.json",
            vec![vec!["test", "run"], vec!["sample", "run"]],
        ),
    ] {
        let whole = fs::read(newest.join(file)).expect("a file");
        fs::write(newest.join(file), &whole[..whole.len() / 2]).expect("a file");
        for arguments in commands {
            let message = fail(fw_train(here).args(arguments), 1);
            assert!(
                message.contains(&format!("{file} is missing or damaged")),
                "{message}"
            );
        }
        fs::write(newest.join(file), whole).expect("a file");
    }

    fs::remove_file(here.join("run/result.json")).expect("a file");
    let optimizer = newest.join("optimizer.bpk");
    let whole = fs::read(&optimizer).expect("a file");
    fs::write(&optimizer, &whole[..whole.len() / 2]).expect("a file");
    let message = fail(fw_train(here).args(["train", "--resume", "run"]), 1);
    assert!(
        message.contains("optimizer.bpk is missing or damaged"),
        "{message}"
    );

    fs::write(&optimizer, whole).expect("a file");

    // As long as it was, but not what it was.
    let mut model = fs::read(newest.join("model.bpk")).expect("a file");
    let last = model.len() - 1;
    model[last] ^= 1;
    fs::write(newest.join("model.bpk"), &model).expect("a file");
    let message = fail(fw_train(here).args(["train", "--resume", "run"]), 1);
    assert!(
        message.contains("model.bpk is missing or damaged (its CRC-32 is "),
        "{message}"
    );
    model[last] ^= 1;
    fs::write(newest.join("model.bpk"), &model).expect("a file");

    // The checkpoint is whole; what has changed is what it is for.
    let config = here.join("run/config.toml");
    let text = fs::read_to_string(&config).expect("a file");
    fs::write(&config, text.replace("d_hidden = 8", "d_hidden = 9")).expect("a file");
    let message = fail(
        fw_train(here).args(["test", "run", "--checkpoint", "last"]),
        1,
    );
    let expected =
        "model.bpk is whole, but it is not of the net that the run's config.toml describes";
    assert!(message.contains(expected), "{message}");
    fs::write(&config, text).expect("a file");

    fs::remove_dir_all(&checkpoints).expect("a folder");
    succeed(fw_train(here).args(["plot", "run", "run", "--out", "two.svg"]));
    let figure = fs::read_to_string(here.join("two.svg")).expect("a figure");
    // Each run in its colour: a line of the legend, and training and validation lines of loss and error, and the
    // training line of the gradient norm.
    for color in ["c0", "c1"] {
        let line = format!("{color}\" stroke-dasharray=");
        assert_eq!(figure.matches(&line).count(), 6, "{color}");
    }
    let message = fail(
        fw_train(here).args(["plot", "run", "--out", "run/config.toml"]),
        2,
    );
    assert!(message.contains("must end in .svg or .png"), "{message}");

    let message = fail(fw_train(here).args(["test", "run"]), 1);
    assert!(message.contains("it has no checkpoint yet"), "{message}");
    let message = fail(
        fw_train(here).args(["test", "run", "--set", "model.d_hidden=9"]),
        2,
    );
    assert!(
        message.contains("here only the task can be set"),
        "{message}"
    );
}

/// Every checkpoint is whole: a line that nobody can read keeps nobody from going on.
#[test]
fn a_damaged_record_is_named_kept_aside_and_left_out() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    succeed(&mut train_tiny(here, "run", &[]));
    let expected = super::numbers(&here.join("run"));
    let metrics = here.join("run/metrics.jsonl");
    let text = fs::read_to_string(&metrics).expect("a file");
    let lines: Vec<&str> = text.lines().collect();
    let half = &lines[2][..lines[2].len() / 2];
    let damaged = text.replace(lines[2], half);
    fs::write(&metrics, damaged).expect("a file");
    let told = |arguments: &[&str]| {
        let output = fw_train(here)
            .args(arguments)
            .output()
            .expect("the binary starts");
        assert!(output.status.success(), "{}", super::stderr(&output));
        super::stderr(&output)
    };
    let notice = "line 3 of run/metrics.jsonl is damaged, and left out";
    assert!(told(&["plot", "run"]).contains(notice));
    succeed(fw_train(here).args(["report", "run", "--out", "report"]));
    let report = fs::read_to_string(here.join("report/report.md")).expect("a report");
    assert!(report.contains(notice), "{report}");

    fs::remove_file(here.join("run/result.json")).expect("a file");
    let said = told(&["train", "--resume", "run"]);
    assert!(said.contains(notice), "{said}");
    let aside = fs::read_to_string(here.join("run/metrics.damaged.jsonl")).expect("a file");
    assert_eq!(aside, format!("{half}\n"));
    let (records, result) = super::numbers(&here.join("run"));
    assert_eq!(result, expected.1);
    let mut others = expected.0;
    others.remove(2);
    assert_eq!(records, others);

    // Without any record it goes on as well.
    fs::remove_file(here.join("run/result.json")).expect("a file");
    fs::remove_file(&metrics).expect("a file");
    succeed(fw_train(here).args(["train", "--resume", "run"]));
}

/// The questions of this task have gaps between them.
#[test]
fn a_picture_shows_the_steps_at_which_was_asked() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let settings = [
        "task.kind=mqar",
        "task.pairs=4",
        "task.length=32",
        "task.test_samples=8",
        "model.kind=gru",
        "model.d_hidden=4",
        "training.steps=2",
        "training.log_every=1",
        "training.evaluate_every=2",
    ];
    succeed(&mut super::train_with(here, "run", &settings, &[]));
    let mut data = fw_train(here);
    data.args([
        "data",
        "mqar",
        "--set",
        "task.pairs=4",
        "--set",
        "task.length=32",
    ]);
    data.args(["--split", "test", "-n", "8", "--out", "test.jsonl"]);
    succeed(&mut data);
    let samples = fs::read_to_string(here.join("test.jsonl")).expect("a file");
    for (index, line) in samples.lines().enumerate() {
        let sample: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let classes = sample["classes"].as_array().expect("classes");
        let asked: Vec<usize> = (1..)
            .zip(classes)
            .filter(|(_, class)| !class.is_null())
            .map(|(step, _)| step)
            .collect();
        let (first, last) = (asked[0], asked[3]);
        let number = index.to_string();
        let plot = ["plot", "run", "--sample", &number, "--out", "sample.svg"];
        succeed(fw_train(here).args(plot));
        let figure = fs::read_to_string(here.join("sample.svg")).expect("a figure");
        // Target, answer and error; both ends of their axes.
        for step in [first, last] {
            let label = format!(">{step}</text>");
            assert!(figure.matches(&label).count() >= 3, "{step}: {asked:?}");
        }
        let gaps = last - first + 1 - asked.len();
        assert_eq!(
            figure.matches("fill=\"#ececec\"").count(),
            3 * gaps,
            "{asked:?}"
        );
    }
}

#[test]
fn a_training_whose_lines_nobody_reads_goes_on() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let mut training = train_tiny(here, "run", &[])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(training.stderr.take());
    let status = training.wait().expect("an exit");
    assert!(status.success(), "{status}");
    assert!(here.join("run/result.json").is_file());
}

#[test]
fn a_run_that_waits_to_be_continued_is_named() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    succeed(&mut train_tiny(here, "runs/default-seed0", &[]));
    let again = || {
        let more = [
            "train",
            "--set",
            "training.steps=10",
            "--set",
            "training.log_every=10",
        ];
        let mut command = fw_train(here);
        command
            .args(more)
            .args(["--set", "training.evaluate_every=10"]);
        command.args(["--set", "task.train_samples=640"]);
        let output = command.output().expect("the binary starts");
        assert!(output.status.success());
        super::stderr(&output)
    };
    let hint = "runs/default-seed0 is not finished: fw-train train --resume runs/default-seed0 would continue it";
    let message = again();
    assert!(!message.contains("is not finished"), "{message}");
    assert!(here.join("runs/default-seed0-2/result.json").is_file());
    fs::remove_file(here.join("runs/default-seed0/result.json")).expect("a file");
    let message = again();
    assert!(message.contains(hint), "{message}");
}

#[test]
fn two_seeds_are_refused() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let message = fail(
        &mut train_tiny(here, "run", &["--seed", "5", "--set", "training.seed=3"]),
        2,
    );
    assert!(
        message.contains("--seed 5 and --set training.seed=3 both say the seed"),
        "{message}"
    );
    assert!(!here.join("run").exists());
}

#[test]
fn a_figure_that_is_refused_replaces_nothing() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    succeed(&mut train_tiny(here, "run", &[]));
    for sample in [["--set", "task.pairs=99"], ["--sample", "300"]] {
        fail(fw_train(here).args(["plot", "run"]).args(sample), 2);
        assert!(!here.join("run/curves.svg").exists());
    }
}

#[cfg(unix)]
#[test]
fn costs_that_cannot_be_measured_are_gaps() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    // With batches of 4,000, the longer sequence takes sixty gigabytes.
    let program = assert_cmd::cargo::cargo_bin!("fw-train");
    let script = format!(
        "ulimit -v 8000000; exec '{}' cost --models gru --lengths 24,20000 --widths 64 --batch-size 4000 --out cost",
        program.display()
    );
    let mut command = Command::new("sh");
    let message = fail(command.current_dir(here).args(["-c", &script]), 1);
    for expected in [
        "gru of width 64 could not be measured at length 20000",
        "cases could not be measured; the report lacks them",
    ] {
        assert!(message.contains(expected), "{message}");
    }
    let data = json(here.join("cost/cost.json"));
    assert_eq!(data["by_length"].as_array().map(Vec::len), Some(1));
}
