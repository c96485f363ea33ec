//! Files of data: missing, moved, changed, large.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{fail, fw_train, json, stderr, succeed, train_with};

/// A text of a few thousand characters, which the number changes.
fn text(number: usize) -> String {
    (0..400)
        .map(|line| format!("line {line} of the text, {}.\n", (line * number) % 97))
        .collect()
}

/// A small character model.
const CHARACTERS: &[&str] = &[
    "task.kind=characters",
    "task.length=20",
    "model.kind=gru",
    "model.d_hidden=8",
    "training.batch_size=4",
    "training.steps=40",
    "training.log_every=10",
    "training.evaluate_every=20",
    "training.early_stop=never",
];

fn train_text(here: &Path, out: &str, text: &str, more: &[&str]) -> Command {
    let setting = format!("task.text={text}");
    let settings = [CHARACTERS, &[setting.as_str()]].concat();
    train_with(here, out, &settings, more)
}

/// What a command says on standard error.
#[track_caller]
fn told(command: &mut Command) -> String {
    let output = command.output().expect("the binary starts");
    assert!(output.status.success(), "{command:?}\n{}", stderr(&output));
    stderr(&output)
}

/// Two training images out of three files used to be taken for none.
#[test]
fn half_of_mnist_is_no_choice_to_do_without_the_rest() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
    fs::create_dir(here.join("mnist")).expect("a folder");
    for name in ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"] {
        fs::copy(data.join(name), here.join("mnist").join(name)).expect("a file");
    }
    let settings = [
        "task.kind=pixel-mnist",
        "task.folder=mnist",
        "task.pixels_per_step=28",
        "model.kind=gru",
        "model.d_hidden=4",
        "training.steps=2",
        "training.log_every=1",
        "training.evaluate_every=2",
        "training.batch_size=2",
    ];
    let said = told(&mut train_with(here, "whole", &settings, &[]));
    let note = "mnist has no training images of MNIST: its 10000 test images are split into 8000 to learn from";
    assert!(said.contains(note), "{said}");

    let labels = fs::read(data.join("t10k-labels-idx1-ubyte.gz")).expect("labels");
    let path = here.join("mnist/train-labels-idx1-ubyte.gz");
    fs::write(&path, labels).expect("a file");
    let message = fail(&mut train_with(here, "half", &settings, &[]), 1);
    assert!(
        message.contains("train-images-idx3-ubyte cannot be used as data: there is no such file"),
        "{message}"
    );
    assert!(!here.join("half").exists());
}

#[test]
fn a_text_that_was_changed_is_noticed() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    fs::write(here.join("play.txt"), text(3)).expect("a file");
    succeed(&mut train_text(here, "run", "play.txt", &[]));
    let read = &json(here.join("run/history.json"))[0]["data"][0];
    assert_eq!(read["name"], "text");
    assert_eq!(read["bytes"], text(3).len());
    let sum = succeed(Command::new("sha256sum").arg(here.join("play.txt")));
    assert!(sum.starts_with(read["sha256"].as_str().expect("a digest")));

    // As it was, nothing is said.
    let test = || {
        let mut command = fw_train(here);
        command.args(["test", "run"]);
        command
    };
    assert_eq!(told(&mut test()), "");

    // As long as it was, with the same characters.
    let changed = text(3).replacen("line 7 of", "line 8 of", 1);
    fs::write(here.join("play.txt"), &changed).expect("a file");
    let notice = "play.txt is not what run has read as its text: ";
    for command in [
        vec!["test", "run"],
        vec!["sample", "run", "-n", "1"],
        vec!["plot", "run", "--sample", "0"],
    ] {
        let said = told(fw_train(here).args(&command));
        assert!(said.contains(notice) && said.lines().count() == 1, "{said}");
    }
    fs::remove_file(here.join("run/result.json")).expect("a file");
    let message = fail(fw_train(here).args(["train", "--resume", "run"]), 2);
    assert!(
        message.contains(notice) && message.contains("With --other-data the run goes on"),
        "{message}"
    );
    assert!(!here.join("run/result.json").exists());
    succeed(fw_train(here).args(["train", "--resume", "run", "--other-data"]));
    // What it has read since is known from now on.
    assert_eq!(told(&mut test()), "");
    let history = json(here.join("run/history.json"));
    assert_eq!(history.as_array().map(Vec::len), Some(2));
    assert_ne!(
        history[1]["data"][0]["sha256"],
        history[0]["data"][0]["sha256"]
    );
}

/// Files that are new or gone are other data as well.
#[test]
fn files_that_a_run_did_not_know_are_noticed() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    fs::write(here.join("play.txt"), text(3)).expect("a file");
    fs::create_dir(here.join("parts")).expect("a folder");
    for name in ["train", "valid", "test"] {
        fs::write(here.join("parts").join(name), text(5)).expect("a file");
    }
    succeed(&mut train_text(here, "run", "play.txt", &[]));
    let other = ["--set", "task.text=parts"];
    let said = told(fw_train(here).args(["test", "run"]).args(other));
    assert!(
        said.contains("parts/train is read as train; run has read none such"),
        "{said}"
    );
    let more = ["train", "--resume", "run", "--set", "training.steps=60"];
    let message = fail(fw_train(here).args(more).args(other), 2);
    assert!(
        message.contains("With --other-data the run goes on"),
        "{message}"
    );

    // On other data, what was best before is none.
    succeed(fw_train(here).args(more).args(other).arg("--other-data"));
    assert_eq!(json(here.join("run/result.json"))["best_step"], 60);

    // A text that is only tested on is known as well.
    let tests = ["--set", "test.text=['play.txt', 'parts']"];
    succeed(&mut train_text(here, "tested", "play.txt", &tests));
    let read = json(here.join("tested/history.json"))[0]["data"].clone();
    let names: Vec<&str> = read
        .as_array()
        .expect("files")
        .iter()
        .filter_map(|file| file["name"].as_str())
        .collect();
    let others =
        ["train", "validation", "test"].map(|name| format!("test.text = \"parts\": {name}"));
    assert_eq!(names[0], "text");
    assert_eq!(names[1..], others);
    assert_eq!(told(fw_train(here).args(["test", "tested"])), "");
}

/// Runs on other data are no seeds of one experiment, and those whose data have only moved are.
#[test]
fn runs_on_other_data_are_not_averaged() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let rows = || {
        succeed(fw_train(here).args(["report", "runs", "--out", "report"]));
        let report = json(here.join("report/results.json"));
        let sections = report["sections"].as_array().expect("sections").iter();
        let rows = sections.map(|section| section["rows"].as_array().expect("rows").len());
        rows.sum::<usize>()
    };
    fs::create_dir(here.join("elsewhere")).expect("a folder");
    fs::write(here.join("play.txt"), text(3)).expect("a file");
    fs::write(here.join("elsewhere/play.txt"), text(3)).expect("a file");
    succeed(&mut train_text(here, "runs/a-seed0", "play.txt", &[]));
    succeed(&mut train_text(
        here,
        "runs/a-seed1",
        "elsewhere/play.txt",
        &["--seed", "1"],
    ));
    assert_eq!(rows(), 1);
    let changed = text(3).replacen("line 7 of", "line 8 of", 1);
    fs::write(here.join("play.txt"), &changed).expect("a file");
    succeed(&mut train_text(
        here,
        "runs/a-seed2",
        "play.txt",
        &["--seed", "2"],
    ));
    assert_eq!(rows(), 2);

    // Nor does a comparison go on with other data.
    fs::create_dir(here.join("files")).expect("a folder");
    fs::copy(
        here.join("runs/a-seed2/config.toml"),
        here.join("files/b.toml"),
    )
    .expect("a file");
    let compare = ["compare", "files", "--seeds", "1", "--out", "out"];
    succeed(fw_train(here).args(compare));
    fs::write(here.join("play.txt"), text(3)).expect("a file");
    let message = fail(fw_train(here).args(compare), 2);
    assert!(
        message.contains("is not what out/b-seed0 has read as its text"),
        "{message}"
    );
}

#[test]
fn a_run_whose_data_lie_elsewhere_is_used_all_the_same() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    fs::write(here.join("play.txt"), text(3)).expect("a file");
    succeed(&mut train_text(here, "runs/a-seed0", "play.txt", &[]));
    let tested = |more: &[&str]| {
        succeed(
            fw_train(here)
                .args(["test", "runs/a-seed0", "--json"])
                .args(more),
        )
    };
    let before = tested(&[]);
    fs::create_dir(here.join("new place")).expect("a folder");
    fs::rename(here.join("play.txt"), here.join("new place/text")).expect("a file");

    // What needs no data asks for none.
    succeed(fw_train(here).args(["report", "runs", "--out", "report"]));
    let said = told(fw_train(here).args(["plot", "runs/a-seed0"]));
    assert!(
        said.contains("play.txt cannot be used as data: there is no such file; task.text says"),
        "{said}"
    );
    assert!(here.join("runs/a-seed0/curves.svg").is_file());
    succeed(fw_train(here).args(["generate", "runs/a-seed0", "-n", "3"]));

    // What needs them says what is missing, and takes another path.
    let message = fail(fw_train(here).args(["test", "runs/a-seed0"]), 1);
    assert!(message.contains("play.txt"), "{message}");
    let elsewhere = ["--set", "task.text=new place/text"];
    assert_eq!(tested(&elsewhere), before);
    for command in ["sample", "plot"] {
        assert_eq!(
            told(
                fw_train(here)
                    .args([command, "runs/a-seed0"])
                    .args(elsewhere)
            ),
            ""
        );
    }
    fs::remove_file(here.join("runs/a-seed0/result.json")).expect("a file");
    let resume = ["train", "--resume", "runs/a-seed0"];
    fail(fw_train(here).args(resume), 1);
    succeed(fw_train(here).args(resume).args(elsewhere));
    assert_eq!(
        tested(&[]),
        before,
        "from now on it is known where they lie"
    );
}

#[test]
fn folders_of_text_are_read_by_whole_words_of_names() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let write = |name: &str, content: &[u8]| fs::write(here.join(name), content).expect("a file");
    fs::create_dir(here.join("ptb")).expect("a folder");
    for name in ["train.txt", "val.txt", "test.txt", "latest-contest.txt"] {
        write(&format!("ptb/{name}"), text(5).as_bytes());
    }
    write("ptb/._train.txt", &[0, 5, 22, 7]);
    succeed(&mut train_text(here, "words", "ptb", &[]));
    write("ptb/other.test.txt", text(6).as_bytes());
    let message = fail(&mut train_text(here, "two", "ptb", &[]), 1);
    assert!(
        message.contains("several files for test: other.test.txt, test.txt; task.test says which"),
        "{message}"
    );
    fs::rename(
        here.join("ptb/other.test.txt"),
        here.join("ptb/train-val.txt"),
    )
    .expect("a file");
    let message = fail(&mut train_text(here, "both", "ptb", &[]), 1);
    assert!(
        message.contains(
            "train-val.txt cannot be used as data: its name has words of train and of validation"
        ),
        "{message}"
    );
    fs::rename(
        here.join("ptb/train-val.txt"),
        here.join("ptb/other.test.txt"),
    )
    .expect("a file");
    let named = ["--set", "task.test=latest-contest.txt"];
    succeed(&mut train_text(here, "named", "ptb", &named));
    let read = &json(here.join("named/history.json"))[0]["data"];
    let path = read[2]["path"].as_str().expect("a path");
    assert!(path.ends_with("latest-contest.txt"), "{path}");
}

#[test]
fn a_byte_order_mark_is_no_character() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let with_mark = format!("\u{feff}{}", text(3));
    fs::write(here.join("plain.txt"), text(3)).expect("a file");
    fs::write(here.join("mark.txt"), with_mark).expect("a file");
    succeed(&mut train_text(here, "plain", "plain.txt", &[]));
    succeed(&mut train_text(here, "mark", "mark.txt", &[]));
    let result = |run: &str| json(here.join(run).join("result.json"))["test"].clone();
    assert_eq!(result("plain"), result("mark"));
    // A net that was trained without it reads a text with it.
    let other = ["test", "plain", "--set", "task.text=mark.txt"];
    succeed(fw_train(here).args(other));
}

#[test]
fn any_file_is_read_byte_by_byte_and_cut_by_count() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let bytes: Vec<u8> = (0..6000_u32).map(|n| (n * n % 251) as u8).collect();
    fs::write(here.join("enwik8"), &bytes).expect("a file");
    let message = fail(&mut train_text(here, "no", "enwik8", &[]), 1);
    assert!(
        message.contains("it is not UTF-8 text") && message.contains("task.symbols = \"bytes\""),
        "{message}"
    );
    let settings = [
        "--set",
        "task.symbols=bytes",
        "--set",
        "task.splits=[5000, 500, 400]",
    ];
    let printed = succeed(&mut train_text(here, "run", "enwik8", &settings));
    assert!(
        printed.contains(" bits per byte, wrong bytes "),
        "{printed}"
    );
    let tested = succeed(fw_train(here).args(["test", "run", "--json"]));
    let tested: serde_json::Value = serde_json::from_str(&tested).expect("JSON");
    assert_eq!(tested["samples"], 399 / 20);
    let sample = succeed(fw_train(here).args(["sample", "run", "-n", "1"]));
    assert!(sample.contains("\\x"), "{sample}");
    let settings = [
        "--set",
        "task.symbols=bytes",
        "--set",
        "task.splits=[5000, 500, 501]",
    ];
    let message = fail(&mut train_text(here, "more", "enwik8", &settings), 1);
    assert!(
        message.contains("it has 6000 bytes; task.splits asks for 6001"),
        "{message}"
    );
}

/// Two samples of a hundred megabytes used to take 7 seconds and 1.4 GB, and a sweep to read them once a length.
#[test]
#[cfg(target_os = "linux")]
fn a_large_text_takes_its_size_in_memory_and_is_read_once() {
    /// Time, and the most memory in bytes, of a command that succeeds.
    #[allow(clippy::zombie_processes, reason = "it is waited for, with its costs")]
    fn cost(command: &mut Command) -> (Duration, usize) {
        let started = Instant::now();
        let child = command.stdout(Stdio::null()).spawn();
        let child = child.expect("the binary starts");
        // SAFETY: numbers of zeros are valid ones to be overwritten; the child is waited for here alone.
        let (status, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            let mut status = 0;
            libc::wait4(child.id() as i32, &mut status, 0, &mut usage);
            (status, usage)
        };
        assert_eq!(status, 0, "{command:?}");
        (started.elapsed(), usage.ru_maxrss as usize * 1024)
    }
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    fs::write(here.join("small.txt"), text(3)).expect("a file");
    succeed(&mut train_text(here, "run", "small.txt", &[]));
    let size = 60_000_000;
    let large = text(7).repeat(size / text(7).len() + 1);
    fs::write(here.join("large.txt"), &large).expect("a file");

    let small = cost(fw_train(here).args(["sample", "run", "-n", "2"]));
    let mut sample = fw_train(here);
    sample.args(["sample", "run", "-n", "2", "--set", "task.text=large.txt"]);
    let once = cost(&mut sample);
    assert!(
        once.1 < small.1 + large.len() + 8_000_000,
        "{once:?}, of a small text {small:?}"
    );

    // Little is tested; what takes time is to read.
    let splits = "task.splits=[59000000, 3000, 3000]";
    let mut test = fw_train(here);
    test.args([
        "test",
        "run",
        "--set",
        "task.text=large.txt",
        "--set",
        splits,
    ]);
    let sweep = cost(test.args(["--sweep", "task.length=10,20,30,40,50,60"]));
    assert!(
        sweep.0 < 2 * once.0 + Duration::from_secs(2) && sweep.1 < once.1 + 16_000_000,
        "{sweep:?}, once {once:?}"
    );
}

/// What was best on other data is no yardstick, whenever they came; data of other tests are none for it.
#[test]
fn the_best_is_of_the_data_that_it_was_found_on() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    for (name, number) in [("play.txt", 3), ("other.txt", 5), ("tested.txt", 7)] {
        fs::write(here.join(name), text(number)).expect("a file");
    }
    let result = |run: &str| json(here.join(run).join("result.json"));
    let resume = |run: &str, more: &[&str]| {
        let mut command = fw_train(here);
        command.args(["train", "--resume", run]).args(more);
        command
    };
    let elsewhere = ["--set", "task.text=other.txt"];
    let longer = ["--set", "training.steps=60"];

    // A run that has ended reads nothing of its new data: they are other data still.
    succeed(&mut train_text(here, "ended", "play.txt", &[]));
    succeed(resume("ended", &elsewhere).arg("--other-data"));
    let said = told(fw_train(here).args(["test", "ended"]));
    assert!(said.contains("is not what ended has read"), "{said}");
    fail(&mut resume("ended", &longer), 2);
    succeed(resume("ended", &longer).arg("--other-data"));
    assert_eq!(result("ended")["best_step"], 60);

    // Ended before the first checkpoint on them.
    succeed(&mut train_text(here, "killed", "play.txt", &[]));
    let checkpoint = here.join("killed/checkpoints/step-00000040");
    let aside = here.join("aside");
    fs::rename(&checkpoint, &aside).expect("a checkpoint");
    let copy = Command::new("cp")
        .arg("-r")
        .args([&aside, &checkpoint])
        .status();
    assert!(copy.is_ok_and(|status| status.success()));
    let other = [&elsewhere[..], &longer, &["--other-data"]].concat();
    succeed(&mut resume("killed", &other));
    let whole = result("killed");
    assert_eq!(whole["best_step"], 60);
    fs::remove_file(here.join("killed/result.json")).expect("a result");
    fs::remove_dir_all(here.join("killed/checkpoints")).expect("checkpoints");
    fs::create_dir(here.join("killed/checkpoints")).expect("a folder");
    fs::rename(&aside, &checkpoint).expect("a checkpoint");
    succeed(&mut resume("killed", &[]));
    for number in ["best_step", "validation", "test"] {
        assert_eq!(result("killed")[number], whole[number], "{number}");
    }

    // A rate of 0 finds nothing better: the best stays that of step 20.
    let tests = [
        "--set",
        "test.text=['tested.txt']",
        "--set",
        "optimizer.learning_rate=1e-30",
    ];
    succeed(&mut train_text(here, "tested", "play.txt", &tests));
    assert_eq!(result("tested")["best_step"], 20);
    fs::write(here.join("tested.txt"), text(8)).expect("a file");
    fail(&mut resume("tested", &longer), 2);
    succeed(resume("tested", &longer).arg("--other-data"));
    assert_eq!(result("tested")["best_step"], 20);
}

/// Another text is read with the letters that the net knows.
#[test]
fn a_text_to_be_tested_on_is_read_with_the_alphabet_of_the_run() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    for (name, letters) in [
        ("all.txt", "hgfedcba"),
        ("few.txt", "gace"),
        ("new.txt", "ijklmnop"),
    ] {
        fs::write(here.join(name), letters.repeat(300)).expect("a file");
    }
    let few = ["--set", "test.text=['few.txt']"];
    succeed(&mut train_text(here, "few", "all.txt", &few));
    let slice = &json(here.join("few/result.json"))["slices"][0];
    let mut test = fw_train(here);
    test.args(["test", "few", "--set", "task.text=few.txt", "--json"]);
    let measured: serde_json::Value = serde_json::from_str(&succeed(&mut test)).expect("JSON");
    assert_eq!(slice["loss"], measured["loss"], "{slice}");

    let settings = [
        "test.text=['new.txt']",
        "training.curriculum={ setting = 'text', values = ['new.txt'], until = { error = 0.5 } }",
    ];
    for setting in settings {
        let message = fail(
            &mut train_text(here, "new", "all.txt", &["--set", setting]),
            1,
        );
        assert!(
            message.contains("'i'") && message.contains("task.alphabet"),
            "{message}"
        );
        assert!(!here.join("new").exists());
    }

    let carried = [
        "--set",
        "training.carry_state=true",
        "--set",
        "test.length=[5, 10]",
    ];
    let message = fail(&mut train_text(here, "carried", "all.txt", &carried), 2);
    assert!(
        message.contains("test.length: with training.carry_state"),
        "{message}"
    );
}
