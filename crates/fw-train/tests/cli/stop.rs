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
    for signal in ["-INT", "-TERM"] {
        let run = here.join(signal);
        let has_record = || fs::metadata(run.join("metrics.jsonl")).is_ok_and(|log| log.len() > 0);
        let out = format!("./{signal}");
        let output = signalled(&mut train_tiny(here, &out, &more), signal, has_record);
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
