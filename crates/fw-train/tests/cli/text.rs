//! Models of text: what they write, and a state that goes on from window to window.

use std::fs;
#[cfg(unix)]
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use super::{fail, fw_train, json, numbers, succeed, train_with};

/// A text that is learned within a second: what comes next depends on the letter before last.
const PERIOD: &str = "abcadaeb";

fn settings<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let all = [
        "task.kind=characters",
        "task.text=text",
        "task.length=8",
        "model.kind=lstm",
        "model.d_hidden=24",
        "optimizer.kind=adam",
        "optimizer.learning_rate=0.02",
        "optimizer.schedule=constant",
        "optimizer.decay_steps=0",
        "training.batch_size=8",
        "training.steps=300",
        "training.log_every=50",
        "training.evaluate_every=100",
        "training.early_stop=never",
    ];
    [&all[..], more].concat()
}

#[test]
fn a_net_writes_what_it_has_learned() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    fs::write(here.join("text"), PERIOD.repeat(300)).expect("a file");
    succeed(&mut train_with(here, "run", &settings(&[]), &[]));
    let generate = |more: &[&str]| succeed(fw_train(here).args(["generate", "run"]).args(more));

    let written = generate(&["--prime", "abcada", "-n", "34", "--temperature", "0"]);
    assert_eq!(written, PERIOD.repeat(5) + "\n", "the prime, then 34 more");
    // Choices are those of the seed, and freer when it is hotter.
    let hot = |seed: &str| {
        generate(&[
            "--prime",
            "a",
            "-n",
            "60",
            "--temperature",
            "9",
            "--seed",
            seed,
        ])
    };
    assert_eq!(hot("1"), hot("1"));
    assert_ne!(hot("1"), hot("2"));
    assert_eq!(hot("1").chars().count(), 62);
    assert_ne!(
        hot("1"),
        generate(&["--prime", "a", "-n", "60", "--seed", "1"])
    );

    let message = fail(
        fw_train(here).args(["generate", "run", "--prime", "xyz"]),
        2,
    );
    assert!(
        message.contains("--prime has the character 'x'; it must be made of those that the run was trained on: \"abcde\""),
        "{message}"
    );
    // Without a prime it begins with a symbol that it knows.
    assert!(generate(&["-n", "5"]).starts_with('a'));
    let message = fail(
        fw_train(here).args(["generate", "run", "--prime", "a", "--temperature", "-1"]),
        2,
    );
    assert!(
        message.contains("--temperature is -1; it must be a number of at least 0"),
        "{message}"
    );
    succeed(&mut super::train_tiny(here, "other", &[]));
    let message = fail(fw_train(here).args(["generate", "other"]), 2);
    assert!(message.contains("which is no text"), "{message}");
}

/// The text comes as it is written, and a reader that has enough is no error.
#[test]
#[cfg(unix)]
fn a_text_is_streamed() {
    use std::io::Read;

    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    fs::write(here.join("text"), PERIOD.repeat(300)).expect("a file");
    let short = ["training.steps=50"];
    succeed(&mut train_with(
        here,
        "run",
        &settings(&short),
        &["--set", "training.evaluate_every=50"],
    ));
    // It would take minutes.
    let mut command = fw_train(here);
    command.args(["generate", "run", "--prime", "a", "-n", "100000000"]);
    let mut writing = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut output = writing.stdout.take().expect("a pipe");
    let mut first = [0; 40];
    output.read_exact(&mut first).expect("forty letters");
    assert!(
        first
            .iter()
            .all(|letter| PERIOD.as_bytes().contains(letter))
    );
    drop(output);
    let status = writing.wait().expect("an end");
    assert!(status.success(), "{status}");
}

#[test]
fn a_state_that_is_carried_sees_across_windows() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    // Windows of one symbol: without the symbol before, three letters may follow an a.
    fs::write(here.join("text"), PERIOD.repeat(300)).expect("a file");
    let windows = ["task.length=1"];
    let carries = ["task.length=1", "training.carry_state=true"];
    succeed(&mut train_with(here, "without", &settings(&windows), &[]));
    succeed(&mut train_with(here, "with", &settings(&carries), &[]));
    let test = |run: &str, more: &[&str]| -> Value {
        let text = succeed(fw_train(here).args(["test", run, "--json"]).args(more));
        serde_json::from_str(&text).expect("JSON")
    };
    let error = |tested: &Value| tested["error"].as_f64().expect("an error");
    // Half of the letters are an a, and what follows it is open to who sees it alone: c, d, e or b.
    let (without, with) = (test("without", &[]), test("with", &[]));
    assert!(error(&without) > 0.3, "{without}");
    assert!(error(&with) < error(&without) - 0.1, "{with} {without}");
    assert_eq!(
        (&without["carry_state"], &with["carry_state"]),
        (&false.into(), &true.into())
    );
    assert_eq!(
        json(here.join("with/result.json"))["test"]["loss"],
        with["loss"]
    );

    // Window by window it is a net that has not learned to begin.
    let apart = test("with", &["--carry-state=false"]);
    assert!(error(&apart) > error(&with), "{apart}");
    assert!(with["samples"].is_null() && apart["samples"].is_number());
    let sweep = ["test", "with", "--sweep", "task.length=2,3"];
    let message = fail(fw_train(here).args(sweep), 2);
    assert!(
        message.contains("whatever the length of a window"),
        "{message}"
    );
    succeed(&mut super::train_tiny(here, "other", &[]));
    let message = fail(fw_train(here).args(["test", "other", "--carry-state"]), 2);
    assert!(
        message.contains("has no text that goes on from sample to sample"),
        "{message}"
    );
}

/// The state that the next window goes on from is in the checkpoint.
#[test]
fn a_training_that_carries_its_state_goes_on_with_the_same_numbers() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let letter = |n: u32| char::from(b'a' + (n * n / 7 % 11) as u8);
    fs::write(here.join("text"), (0..3000).map(letter).collect::<String>()).expect("a file");
    for (kind, sizes) in [
        ("lstm", ["model.d_hidden=6", "model.n_layers=2"]),
        ("fast-weights", ["model.d_hidden=6", "model.decay=0.9"]),
        ("delta-net", ["model.d_hidden=6", "model.n_layers=2"]),
        ("ntm-lstm", ["model.d_controller=6", "model.memory_size=5"]),
        ("sab", ["model.d_hidden=6", "model.max_memories=9"]),
    ] {
        let kind_setting = format!("model.kind={kind}");
        let settings = [
            "task.kind=characters",
            "task.text=text",
            "task.length=8",
            &kind_setting,
            sizes[0],
            sizes[1],
            "optimizer.schedule=constant",
            "optimizer.decay_steps=0",
            "training.batch_size=4",
            "training.log_every=5",
            "training.evaluate_every=20",
            "training.early_stop=never",
            "training.carry_state=true",
        ];
        let (whole, cut) = (format!("{kind}-whole"), format!("{kind}-cut"));
        let steps = |steps| ["--set", steps];
        succeed(&mut train_with(
            here,
            &whole,
            &settings,
            &steps("training.steps=60"),
        ));
        // It ends in the middle of a pass over the text, and is trained further.
        succeed(&mut train_with(
            here,
            &cut,
            &settings,
            &steps("training.steps=40"),
        ));
        assert!(
            here.join(&cut)
                .join("checkpoints/step-00000040/state.safetensors")
                .is_file()
        );
        let resume = ["train", "--resume", &cut, "--set", "training.steps=60"];
        succeed(fw_train(here).args(resume));
        assert_eq!(
            numbers(&here.join(&cut)),
            numbers(&here.join(&whole)),
            "{kind}"
        );
    }
}

#[test]
fn what_cannot_carry_a_state_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    fs::write(here.join("text"), PERIOD.repeat(400)).expect("a file");
    let few = [
        "--set",
        "training.carry_state=true",
        "--set",
        "training.batch_size=1000",
    ];
    let settings = [
        "task.kind=characters",
        "task.text=text",
        "task.length=8",
        "model.kind=gru",
    ];
    let message = fail(&mut train_with(here, "no", &settings, &few), 2);
    // 90 % of 3,200 letters, one less to predict, and two windows for each.
    assert!(
        message.contains("training.batch_size is 1000; it must be at most 179"),
        "{message}"
    );
    let message = fail(&mut super::train_tiny(here, "no", &few[..2]), 2);
    assert!(
        message.contains("training.carry_state is true; it must be false"),
        "{message}"
    );
    let curriculum =
        "training.curriculum={ setting = 'length', values = [4], until = { loss = 1.0 } }";
    let both = ["--set", "training.carry_state=true", "--set", curriculum];
    let message = fail(&mut train_with(here, "no", &settings, &both), 2);
    assert!(
        message.contains("training.curriculum is set; it must be left out"),
        "{message}"
    );
    let grows = [
        "--set",
        "training.carry_state=true",
        "--set",
        "model.kind=sab",
    ];
    let message = fail(&mut train_with(here, "no", &settings[..3], &grows), 2);
    assert!(
        message.contains("what the layer carries is sab; it must be of a size that does not grow"),
        "{message}"
    );
    assert!(!here.join("no").exists());
}
