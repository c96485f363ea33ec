//! Runs that are trained further, that begin with the weights of others, and those that an earlier version has made.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::{fail, fw_train, json, numbers, stderr, succeed, train_tiny, train_with};

/// A rate that does not depend on how long it trains.
const CONSTANT: &[&str] = &[
    "--set",
    "optimizer.schedule=constant",
    "--set",
    "optimizer.decay_steps=0",
    "--set",
    "training.early_stop=never",
];

#[test]
fn a_run_that_has_ended_is_trained_further_as_if_it_had_not() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let longer = [CONSTANT, &["--set", "training.steps=100"]].concat();
    succeed(&mut train_tiny(here, "whole", &longer));
    succeed(&mut train_tiny(here, "run", CONSTANT));
    let first = json(here.join("run/result.json"));
    let resume = |steps: &str| {
        let mut command = fw_train(here);
        let setting = format!("training.steps={steps}");
        command.args(["train", "--resume", "run", "--set", &setting]);
        command
    };
    let message = fail(&mut resume("40"), 2);
    assert!(
        message.contains("training.steps is 40; it must be at least 60, the updates that are done"),
        "{message}"
    );
    assert!(here.join("run/result.json").is_file(), "nothing is lost");
    succeed(&mut resume("100"));
    assert_eq!(numbers(&here.join("run")), numbers(&here.join("whole")));

    // What was changed, and what it had come to, is in its record.
    let history = json(here.join("run/history.json"));
    assert_eq!(history[1]["step"], 60);
    assert_eq!(history[1]["result"]["test"], first["test"]);
    let change = &history[1]["changed"][0];
    assert_eq!(
        [&change["field"], &change["before"], &change["now"]],
        ["training.steps", "60", "100"]
    );
    let config = fs::read_to_string(here.join("run/config.toml")).expect("a file");
    assert!(config.contains("steps = 100"), "{config}");

    let other = ["train", "--resume", "run", "--set", "model.d_hidden=9"];
    let message = fail(fw_train(here).args(other), 2);
    assert!(
        message.contains("run was begun with model.d_hidden = 8; it cannot go on with 9")
            && message.contains("train --from run"),
        "{message}"
    );
}

#[test]
fn a_run_that_has_stopped_early_says_so_when_it_is_to_go_on() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let early = ["--set", "training.early_stop={ error = 0.95 }"];
    succeed(&mut train_tiny(here, "run", &early));
    let resume = |setting: &str| {
        let mut command = fw_train(here);
        let command = command.args(["train", "--resume", "run", "--set", setting]);
        let output = command.output().expect("the binary starts");
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let said = resume("training.steps=100");
    assert!(
        said.contains("training.early_stop is met after step 20: nothing more is trained"),
        "{said}"
    );
    resume("training.early_stop=never");
    assert_eq!(json(here.join("run/result.json"))["steps"], 100);
}

#[test]
fn a_new_run_begins_with_the_weights_of_another_on_a_harder_task() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let longer = [CONSTANT, &["--set", "training.steps=300"]].concat();
    succeed(&mut train_tiny(here, "runs/easy-seed0", &longer));
    let from = |out: &str, more: &[&str]| {
        let mut command = fw_train(here);
        command.args(["train", "--from", "runs/easy-seed0", "--out", out]);
        command.args([
            "--set",
            "training.steps=10",
            "--set",
            "training.evaluate_every=10",
        ]);
        command.args(more);
        command
    };
    // At a rate of next to nothing the weights stay what they were: the same answers on the same task.
    let still = ["--set", "optimizer.learning_rate=1e-30"];
    succeed(&mut from("still", &still));
    let test = |run: &str| json(here.join(run).join("result.json"))["test"].clone();
    assert_eq!(test("still"), test("runs/easy-seed0"));

    succeed(&mut from("hard", &["--set", "task.pairs=3"]));
    let history = json(here.join("hard/history.json"));
    let first = &history[0];
    assert!(
        first["from"]["run"]
            .as_str()
            .is_some_and(|run| run.ends_with("runs/easy-seed0"))
    );
    let fields = first["changed"].as_array().expect("changes");
    let fields: Vec<&str> = fields
        .iter()
        .filter_map(|change| change["field"].as_str())
        .collect();
    assert_eq!(
        fields,
        ["task.pairs", "training.evaluate_every", "training.steps"]
    );
    assert_ne!(test("hard"), test("runs/easy-seed0"));

    // What it is tested on is taken over, as long as it fits: two pairs take six steps.
    fs::write(
        here.join("sliced.toml"),
        "task = { kind = 'mqar', vocabulary = 8, pairs = 1, length = 9, validation_samples = 9, test_samples = 9 }\n\
         model = { kind = 'gru', d_hidden = 4 }\n\
         optimizer.kind = 'adam'\n\
         training = { steps = 2, log_every = 1, evaluate_every = 2, batch_size = 2 }\n\
         test.pairs = [1, 2]",
    )
    .expect("a file");
    succeed(fw_train(here).args(["train", "sliced.toml", "--out", "sliced"]));
    for (setting, n_slices) in [("task.seed=1", 2), ("task.length=4", 0)] {
        let mut again = fw_train(here);
        again.args([
            "train", "--from", "sliced", "--out", setting, "--set", setting,
        ]);
        let output = again.output().expect("the binary starts");
        let said = stderr(&output);
        assert!(output.status.success(), "{said}");
        let slices = json(here.join(setting).join("result.json"))["slices"].clone();
        assert_eq!(slices.as_array().map_or(0, Vec::len), n_slices, "{setting}");
        let left_out = "[test] and [training.curriculum] of sliced do not fit these settings: they are left out";
        assert_eq!(said.contains(left_out), n_slices == 0, "{said}");
    }

    // Without a name it is called by the run that it comes from; a file may say what it trains.
    fs::write(
        here.join("harder.toml"),
        "task = { kind = 'associative-retrieval', pairs = 3, train_samples = 640, test_samples = 50, validation_samples = 50 }\n\
         model = { kind = 'fast-weights', d_hidden = 8, d_embedding = 12, d_head = 0 }\n\
         optimizer.kind = 'adam'\n\
         training = { steps = 10, log_every = 10, evaluate_every = 10, batch_size = 16 }",
    )
    .expect("a file");
    succeed(fw_train(here).args(["train", "harder.toml", "--from", "runs/easy-seed0"]));
    assert!(here.join("runs/harder-seed0/result.json").is_file());
    succeed(fw_train(here).args(["train", "--from", "runs/easy-seed0", "--seed", "4"]));
    assert!(here.join("runs/easy-seed4/result.json").is_file());

    // A report does not average it with those that began anew.
    succeed(fw_train(here).args(["train", "harder.toml", "--out", "runs/harder-seed0-new"]));
    succeed(fw_train(here).args(["report", "runs", "--out", "report"]));
    let report = json(here.join("report/results.json"));
    let rows = report["sections"].as_array().expect("sections");
    let rows = rows
        .iter()
        .flat_map(|section| section["rows"].as_array().expect("rows"));
    assert_eq!(rows.count(), 4);

    for (setting, expected) in [
        (
            "model.kind=lstm",
            "runs/easy-seed0 cannot be trained from: model.kind is fast-weights there and lstm here",
        ),
        (
            "model.d_hidden=9",
            "[model] is d_hidden = 8 there and d_hidden = 9 here; it must be the same",
        ),
        ("task.kind=copy", "cannot be trained from"),
    ] {
        let message = fail(&mut from("no", &["--set", setting]), 2);
        assert!(message.contains(expected), "{message}");
        assert!(!here.join("no").exists());
    }
    let report = fs::read_to_string(here.join("report/report.md")).expect("a report");
    let note = "Begun with the weights of another run, whose updates are not counted";
    assert!(
        report.contains(note) && report.contains("(of easy)"),
        "{report}"
    );
}

/// Nothing of a run changes until all that it goes on from could be read.
#[test]
fn a_run_that_cannot_go_on_is_left_as_it_is() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    succeed(&mut train_tiny(here, "run", &[]));
    let files = [
        "result.json",
        "config.toml",
        "history.json",
        "samples.json",
        "metrics.jsonl",
    ];
    let read = || files.map(|file| fs::read(here.join("run").join(file)).expect("a file"));
    let before = read();
    let resume = || {
        let mut command = fw_train(here);
        command.args(["train", "--resume", "run", "--set", "training.steps=100"]);
        command
    };
    let environment = here.join("run/environment.json");
    let known = fs::read_to_string(&environment).expect("a file");
    fs::write(&environment, known.replace("\"flex\"", "\"cuda\"")).expect("a file");
    fail(&mut resume(), 2);
    assert!(read() == before, "no such device");
    fs::write(&environment, known).expect("a file");
    for file in ["model.bpk", "optimizer.bpk"] {
        let path = here.join("run/checkpoints/step-00000060").join(file);
        let whole = fs::read(&path).expect("a file");
        fs::write(&path, &whole[..whole.len() / 2]).expect("a file");
        fail(&mut resume(), 1);
        assert!(read() == before, "{file} is damaged");
        if file == "model.bpk" {
            // Nor does another run begin with it, or lay it to its settings.
            for more in [&[][..], &["--set", "model.decay=0.9"]] {
                let from = [
                    "train",
                    "--from",
                    "run",
                    "--checkpoint",
                    "last",
                    "--out",
                    "other",
                ];
                let message = fail(fw_train(here).args(from).args(more), 1);
                assert!(
                    message.contains("model.bpk is missing or damaged"),
                    "{message}"
                );
                assert!(!here.join("other").exists());
            }
        }
        fs::write(&path, whole).expect("a file");
    }

    // The same of the checkpoint that did best, an earlier one here, until it is taken away.
    let newest = here.join("run/checkpoints/step-00000060");
    let best = here.join("run/checkpoints/step-00000020");
    for entry in fs::read_dir(here.join("run/checkpoints")).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path != newest {
            fs::remove_dir_all(path).expect("a checkpoint");
        }
    }
    let copy = Command::new("cp").arg("-r").args([&newest, &best]).status();
    assert!(copy.is_ok_and(|status| status.success()));
    let mut progress = json(newest.join("progress.json"));
    progress["best"]["step"] = 20.into();
    fs::write(newest.join("progress.json"), progress.to_string()).expect("a file");
    fs::write(best.join("model.bpk"), "half").expect("a file");
    let message = fail(&mut resume(), 1);
    assert!(
        message.contains("step-00000020")
            && message.contains("goes on from the newest that is left"),
        "{message}"
    );
    assert!(read() == before, "the best is damaged");
    fs::remove_dir_all(best).expect("a checkpoint");
    let output = resume().output().expect("the binary starts");
    let said = stderr(&output);
    assert!(
        output.status.success()
            && said.contains("run: the checkpoint that did best is gone; the best is found anew"),
        "{said}"
    );
    assert_eq!(json(here.join("run/result.json"))["steps"], 100);
}

/// What is only for people keeps nobody from going on.
#[test]
fn damaged_notes_are_put_aside() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    succeed(&mut train_tiny(here, "run", &[]));
    for file in ["result.json", "history.json"] {
        fs::write(here.join("run").join(file), "{\"half").expect("a file");
    }
    succeed(fw_train(here).args(["test", "run"]));
    succeed(fw_train(here).args(["plot", "run"]));
    let mut resume = fw_train(here);
    resume.args(["train", "--resume", "run", "--set", "training.steps=100"]);
    let output = resume.output().expect("the binary starts");
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    for file in ["result", "history"] {
        let told = format!("run/{file}.json is damaged; it is now run/{file}.damaged.json");
        assert!(said.contains(&told), "{said}");
        let aside = here.join(format!("run/{file}.damaged.json"));
        assert_eq!(fs::read_to_string(aside).expect("a file"), "{\"half");
    }
    assert!(
        said.contains("the learning rate follows its schedule to the new end"),
        "{said}"
    );
    assert_eq!(json(here.join("run/result.json"))["steps"], 100);

    // Those that were put aside before stay.
    fs::write(here.join("run/history.json"), "again").expect("a file");
    let more = ["train", "--resume", "run", "--set", "training.steps=120"];
    succeed(fw_train(here).args(more));
    let aside = |name: &str| fs::read_to_string(here.join("run").join(name)).expect("a file");
    assert_eq!(aside("history.damaged.json"), "{\"half");
    assert_eq!(aside("history.damaged-2.json"), "again");
}

/// Folders that version 0.1.0 has made, by its kinds of tasks and states: finished, stopped within a curriculum, of a text.
#[test]
fn runs_of_version_0_1_0_are_used_as_they_are() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/runs/0.1.0");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(&fixtures)
        .arg(here.join("runs"))
        .status();
    assert!(copied.is_ok_and(|status| status.success()));
    let text = format!("task.text={}", fixtures.join("play.txt").display());
    let elsewhere = ["--set", text.as_str()];

    for (run, more) in [("finished", &[][..]), ("characters", &elsewhere[..])] {
        let run = format!("runs/{run}");
        let result = json(here.join(&run).join("result.json"));
        let tested = succeed(fw_train(here).args(["test", &run, "--json"]).args(more));
        let tested: Value = serde_json::from_str(&tested).expect("JSON");
        // Another processor rounds otherwise.
        let [now, then] = [&tested["loss"], &result["test"]["loss"]].map(|loss| loss.as_f64());
        let (now, then) = (now.expect("a loss"), then.expect("a loss"));
        assert!(
            (now - then).abs() < 1e-4 * then,
            "{run}: {now}, {then} then"
        );
        assert_eq!(tested["error"], result["test"]["error"], "{run}");
        succeed(fw_train(here).args(["sample", &run, "-n", "2"]).args(more));
        succeed(fw_train(here).args(["plot", &run]).args(more));
        // It has ended: it is left as it is.
        let before = fs::read(here.join(&run).join("metrics.jsonl")).expect("a file");
        succeed(fw_train(here).args(["train", "--resume", &run]).args(more));
        assert_eq!(
            before,
            fs::read(here.join(&run).join("metrics.jsonl")).expect("a file")
        );
    }
    let further = [
        "train",
        "--resume",
        "runs/characters",
        "--set",
        "training.steps=60",
    ];
    succeed(fw_train(here).args(further).args(elsewhere));
    assert_eq!(json(here.join("runs/characters/result.json"))["steps"], 60);

    let stopped = here.join("runs/stopped");
    let before = fs::read_to_string(stopped.join("metrics.jsonl")).expect("a file");
    succeed(fw_train(here).args(["train", "--resume", "runs/stopped"]));
    let after = fs::read_to_string(stopped.join("metrics.jsonl")).expect("a file");
    assert!(after.starts_with(&before), "what was recorded stays");
    assert_eq!(json(stopped.join("result.json"))["steps"], 200);
    assert_eq!(
        json(stopped.join("result.json"))["slices"][0]["setting"],
        "length"
    );

    succeed(fw_train(here).args(["report", "runs", "--out", "report"]));
    let report = fs::read_to_string(here.join("report/report.md")).expect("a report");
    for name in ["finished", "stopped", "characters"] {
        assert!(report.contains(name), "{name}: {report}");
    }
}

/// The version of Burn is that of the lock file, not a word in the source.
#[test]
fn a_run_tells_by_which_build_it_was_made_and_continued() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    succeed(&mut train_tiny(here, "run", &[]));
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let lock: toml::Table = fs::read_to_string(lock)
        .expect("a lock file")
        .parse()
        .expect("TOML");
    let packages = lock["package"].as_array().expect("packages");
    let burn = packages
        .iter()
        .find(|package| package["name"].as_str() == Some("burn"));
    let burn = burn
        .and_then(|burn| burn["version"].as_str())
        .expect("a version");
    assert_eq!(json(here.join("run/environment.json"))["burn"], burn);

    // As an older build would have left it.
    fs::remove_file(here.join("run/result.json")).expect("a file");
    let environment = here.join("run/environment.json");
    let old = fs::read_to_string(&environment)
        .expect("a file")
        .replace(burn, "0.21.9");
    fs::write(&environment, old).expect("a file");
    fs::remove_file(here.join("run/history.json")).expect("a file");
    let mut resume = fw_train(here);
    let output = resume
        .args(["train", "--resume", "run"])
        .output()
        .expect("the binary starts");
    let said = stderr(&output);
    assert!(
        said.contains("run was trained by fw-train 0.1.0 with Burn 0.21.9; it goes on by "),
        "{said}"
    );
    assert_eq!(json(here.join("run/history.json"))[0]["burn"], burn);

    // A run of both builds is not averaged with one of the newer alone.
    succeed(&mut train_tiny(here, "other", &["--seed", "1"]));
    succeed(fw_train(here).args(["report", "run", "other", "--out", "report"]));
    let report = json(here.join("report/results.json"));
    let rows = report["sections"][0]["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2, "{report}");
}

/// What is printed to be typed can be typed, whatever the folder is called.
#[test]
#[cfg(unix)]
fn printed_commands_can_be_typed() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path().join("it's a $HOME; of \"runs\"");
    fs::create_dir(&here).expect("a folder");
    let program = assert_cmd::cargo::cargo_bin!("fw-train");
    let typed = |line: &str| {
        let path = format!(
            "{}:{}",
            program.parent().expect("a folder").display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let mut command = Command::new("sh");
        command
            .current_dir(&here)
            .env("PATH", path)
            .args(["-c", line]);
        succeed(&mut command)
    };
    for out in ["my run", "-x", "a'b"] {
        let printed = succeed(&mut train_with(
            &here,
            &format!("./{out}"),
            super::TINY,
            &[],
        ));
        let commands = printed
            .lines()
            .last()
            .and_then(|line| line.strip_prefix("look at it:  "));
        for command in commands.expect("commands").split("  |  ") {
            typed(command);
        }
        // In the way: how to go on is said.
        let message = fail(
            &mut train_with(&here, &format!("./{out}"), super::TINY, &[]),
            2,
        );
        let command = message.split('`').nth(1).expect("a command");
        typed(command);
    }
    // In the default place, and not finished.
    let deep = here.join("runs/default-seed0");
    fs::create_dir_all(deep.parent().expect("a folder")).expect("a folder");
    fs::rename(here.join("my run"), &deep).expect("a folder");
    fs::remove_file(deep.join("result.json")).expect("a file");
    let settings = ["--set", "training.steps=1", "--set", "training.log_every=1"];
    let mut again = fw_train(&here);
    again
        .args(["train", "--set", "training.evaluate_every=1"])
        .args(settings);
    let output = again.output().expect("the binary starts");
    let said = stderr(&output);
    let (_, command) = said.split_once("is not finished: ").expect("a hint");
    let (command, _) = command.split_once(" would continue it").expect("a command");
    typed(command);
}
