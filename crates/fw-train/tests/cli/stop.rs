//! Signals that stop a training in the middle.

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{fw_train, numbers, stderr, succeed, train_tiny};

/// Starts a command; sends it a signal once `is_time`, and returns how it ended.
pub fn signalled(command: &mut Command, signal: &str, is_time: impl Fn() -> bool) -> Output {
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let child: Child = child.expect("the binary starts");
    let started = Instant::now();
    while !is_time() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it never begins"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(sent.is_ok_and(|status| status.success()));
    child.wait_with_output().expect("it has ended")
}

#[test]
fn a_run_that_was_stopped_between_evaluations_goes_on_with_the_same_numbers() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let more = [
        "--set",
        "training.steps=2000",
        "--set",
        "training.evaluate_every=1000",
    ];
    succeed(&mut train_tiny(here, "whole", &more));
    for signal in ["-INT", "-TERM", "-HUP", "-USR1", "-USR2", "-XCPU"] {
        let run = here.join(signal);
        let has_record = || fs::metadata(run.join("metrics.jsonl")).is_ok_and(|log| log.len() > 0);
        let out = format!("./{signal}");
        let output = signalled(
            &mut not_ignored(&train_tiny(here, &out, &more)),
            signal,
            has_record,
        );
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(130), "{told}");
        assert!(
            told.contains("stopping after the next record; Ctrl-C again stops at once"),
            "{told}"
        );
        let goes_on = format!(" of 2000; fw-train train --resume {out} goes on from there");
        assert!(told.contains(&goes_on), "{told}");
        let entries = fs::read_dir(run.join("checkpoints")).expect("a checkpoint");
        let names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert!(
            names.len() == 1 && names[0] != "step-00001000",
            "{names:?} is of no evaluation"
        );

        succeed(fw_train(here).args(["train", "--resume", &out]));
        assert_eq!(numbers(&run), numbers(&here.join("whole")));
    }
}

/// The same command, with no signal ignored: a shell that runs tests in the background has them ignore Ctrl-C.
pub fn not_ignored(command: &Command) -> Command {
    through(command, &["env", "--default-signal"])
}

/// The same command, run by another.
fn through(command: &Command, by: &[&str]) -> Command {
    let mut outer = Command::new(by[0]);
    outer.args(&by[1..]).arg(command.get_program());
    outer.args(command.get_args()).stdin(Stdio::null());
    if let Some(folder) = command.get_current_dir() {
        outer.current_dir(folder);
    }
    outer
}

/// As `nohup` and a shell that starts a command in the background leave it.
#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let train = train_tiny(here, "run", &["--set", "training.steps=2000"]);
    for (signal, by) in [
        ("-HUP", &["nohup"][..]),
        ("-INT", &["env", "--ignore-signal=INT"]),
        ("-USR1", &["env", "--ignore-signal=USR1"]),
    ] {
        let run = here.join("run");
        let has_record = || fs::metadata(run.join("metrics.jsonl")).is_ok_and(|log| log.len() > 0);
        let output = signalled(&mut through(&train, by), signal, has_record);
        assert!(output.status.success(), "{signal}: {}", stderr(&output));
        fs::remove_dir_all(run).expect("a folder");
    }
}

/// Whoever measures what a case costs takes its child along, however it ends.
#[cfg(target_os = "linux")]
#[test]
fn a_measurement_ends_with_whoever_asked_for_it() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let mut cost = fw_train(here);
    // It would take minutes.
    let case = [
        "--models",
        "ntm-lstm",
        "--lengths",
        "20000",
        "--widths",
        "128",
        "--batch-size",
        "64",
    ];
    let mut cost = cost
        .arg("cost")
        .args(case)
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let parent = format!("PPid:\t{}", cost.id());
    let child_of = || {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut statuses = processes.map(|process| process.path());
        statuses.find(|process| {
            let status = fs::read_to_string(process.join("status")).unwrap_or_default();
            status.lines().any(|line| line == parent)
        })
    };
    let started = Instant::now();
    let child = loop {
        if let Some(child) = child_of() {
            break child;
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it never begins"
        );
        std::thread::sleep(Duration::from_millis(5));
    };
    let _ = Command::new("kill")
        .args(["-KILL", &cost.id().to_string()])
        .status();
    cost.wait().expect("it has ended");
    let is_there = || {
        let status = fs::read_to_string(child.join("stat")).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    };
    let killed = Instant::now();
    while is_there() {
        assert!(
            killed.elapsed() < Duration::from_secs(20),
            "its child goes on"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
