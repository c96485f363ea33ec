//! Nets in files: written from a run, read in its place, and those that come with the program.

use std::fs;

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use fw_core::weights::{Convention, Weights};
use fw_core::{AnyLayer, Inputs, SequenceModel};
use tempfile::TempDir;

use super::{fail, fw_train, numbers, stderr, succeed, train_tiny, train_with};

/// A small experiment of every kind of layer that fw-core has: the kind, and more settings.
const KINDS: &[&[&str]] = &[
    &["model.kind=fast-weights"],
    &[
        "model.kind=delta-net",
        "model.n_layers=2",
        "model.decay=channel",
        "model.gate_rank=3",
    ],
    &["model.kind=rnn", "model.layer_norm=true"],
    &["model.kind=irnn"],
    &["model.kind=lstm", "model.n_layers=2"],
    &["model.kind=gru"],
    &["model.kind=a-lstm"],
    &[
        "model.kind=ntm-lstm",
        "model.memory_size=8",
        "model.word_size=4",
    ],
    &[
        "model.kind=ntm-ff",
        "model.memory_size=8",
        "model.word_size=4",
    ],
    &["model.kind=sab", "model.cell=gru"],
    &["model.kind=sab", "model.cell=fast-weights"],
    &["model.kind=self-attention", "model.cell=rnn"],
    &["model.kind=tbptt"],
];

/// What is asked for of any layer: the width has another name in a Turing machine.
fn settings<'a>(kind: &[&'a str]) -> Vec<&'a str> {
    let width = match kind[0].starts_with("model.kind=ntm") {
        true => "model.d_controller=8",
        false => "model.d_hidden=8",
    };
    let tiny = super::TINY.iter().copied();
    let mut all: Vec<&str> = tiny
        .filter(|setting| !setting.starts_with("model."))
        .collect();
    all.extend(kind);
    all.extend([
        width,
        "model.d_embedding=5",
        "model.d_head=4",
        "training.steps=20",
    ]);
    all
}

/// A test of the file prints what a test of the run prints, and so does the net that a program makes of it with fw-core alone.
#[test]
fn a_file_is_the_net_of_its_run() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    for (index, kind) in KINDS.iter().enumerate() {
        let (run, file) = (format!("run{index}"), format!("net{index}.safetensors"));
        succeed(&mut train_with(here, &run, &settings(kind), &[]));
        let printed = succeed(fw_train(here).args(["export", &run, "--out", &file]));
        assert_eq!(printed.trim(), file);
        for command in [["test", "--json"], ["sample", "-n3"]] {
            let of =
                |trained: &str| succeed(fw_train(here).args([command[0], trained, command[1]]));
            assert_eq!(of(&run), of(&file), "{kind:?}");
        }

        let weights = Weights::open(here.join(&file)).expect("it was just written");
        let net = weights
            .sequence_model(&Device::flex())
            .expect("it says what it is");
        let sampled = succeed(fw_train(here).args(["sample", &file, "-n3"]));
        for line in sampled.lines().take(3) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (digit, share) = answer(&net, words[0]);
            assert_eq!(
                [words[4], words[5]],
                [digit.to_string(), format!("{share:.1}")],
                "{kind:?}"
            );
        }
    }
}

/// The digit that a net answers, and how sure it is, in percent.
fn answer(net: &SequenceModel<AnyLayer>, question: &str) -> (usize, f32) {
    let alphabet = "abcdefghijklmnopqrstuvwxyz0123456789?";
    let tokens = question
        .chars()
        .map(|character| alphabet.find(character).expect("a token") as i64);
    let tokens: Vec<i64> = tokens.collect();
    let shape = [1, tokens.len()];
    let tokens = Tensor::from_data(TensorData::new(tokens, shape), &Device::flex());
    let shares = softmax(net.logits(Inputs::Tokens(tokens)), 2);
    let shares: Vec<f32> = shares.try_into_vec_as().expect("numbers");
    let best = (0..10).max_by(|one, other| shares[*one].total_cmp(&shares[*other]));
    let best = best.expect("ten digits");
    (best, 100.0 * shares[best])
}

#[test]
fn training_begins_with_a_file_as_with_its_run() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    succeed(&mut train_tiny(here, "run", &[]));
    succeed(fw_train(here).args(["export", "run", "--out", "net.safetensors"]));
    for (from, out) in [("run", "of-run"), ("net.safetensors", "of-file")] {
        let rate = "optimizer.learning_rate=0.001";
        succeed(fw_train(here).args(["train", "--from", from, "--out", out, "--set", rate]));
    }
    assert_eq!(
        numbers(&here.join("of-run")),
        numbers(&here.join("of-file"))
    );

    // A file of another net is refused, as another run is.
    let message = fail(
        fw_train(here).args([
            "train",
            "--from",
            "net.safetensors",
            "--set",
            "model.d_hidden=9",
        ]),
        2,
    );
    assert!(
        message.contains("net.safetensors cannot be trained from"),
        "{message}"
    );
}

#[test]
fn the_same_net_is_the_same_file_and_none_is_overwritten() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    succeed(&mut train_tiny(here, "run", &[]));
    for name in ["one", "two"] {
        succeed(fw_train(here).args(["export", "run", "--out", name]));
    }
    let [one, two] = ["one", "two"].map(|name| fs::read(here.join(name)).expect("a file"));
    assert!(one == two, "equal nets are equal files");
    fs::write(here.join("two"), "mine").expect("it can be written");
    let message = fail(fw_train(here).args(["export", "run", "--out", "two"]), 2);
    assert!(
        message.contains("two exists; nothing was overwritten"),
        "{message}"
    );
    assert_eq!(fs::read(here.join("two")).expect("a file"), b"mine");

    // A file is exported again as a run is.
    succeed(fw_train(here).args(["export", "one", "--out", "three"]));
    assert!(fs::read(here.join("three")).expect("a file") == one);

    // Its picture lies beside it.
    let printed = succeed(fw_train(here).args(["plot", "one"]));
    assert_eq!(
        printed.lines().collect::<Vec<_>>(),
        ["one.sample.svg", "one.sample.png"]
    );
    assert!(here.join("one.sample.png").is_file());
}

#[test]
fn pytorchs_names_and_back() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let kind = settings(&["model.kind=lstm", "model.n_layers=2"]);
    succeed(&mut train_with(here, "run", &kind, &[]));
    let export = [
        "export",
        "run",
        "--for",
        "pytorch",
        "--out",
        "net.safetensors",
    ];
    succeed(fw_train(here).args(export));
    let weights = Weights::open(here.join("net.safetensors")).expect("it was just written");
    let shapes = weights
        .names()
        .map(|name| (name, weights.shape(name).expect("it is there")));
    let of_layer = |behind: usize, width: usize| {
        [
            ("weight_ih", vec![32, width]),
            ("weight_hh", vec![32, 8]),
            ("bias_ih", vec![32]),
            ("bias_hh", vec![32]),
        ]
        .map(|(name, shape)| (format!("layer.{name}_l{behind}"), shape))
    };
    let around = [
        ("embedding.weight", vec![37, 5]),
        ("head.weight", vec![4, 8]),
        ("head.bias", vec![4]),
        ("output.weight", vec![10, 4]),
        ("output.bias", vec![10]),
    ];
    let mut expected: Vec<(String, Vec<usize>)> = around
        .map(|(name, shape)| (name.to_owned(), shape))
        .to_vec();
    expected.extend(of_layer(0, 5));
    expected.extend(of_layer(1, 8));
    expected.sort();
    let found: Vec<_> = shapes
        .map(|(name, shape)| (name.to_owned(), shape))
        .collect();
    assert_eq!(found, expected);

    // The file is still a net of this program's, also one that is renamed by another.
    let renamed = weights
        .under(Convention::Own, &Device::flex())
        .expect("its own names");
    renamed
        .write(here.join("renamed"))
        .expect("it can be written");
    succeed(fw_train(here).args(["test", "renamed", "--json"]));
    let more = [
        "train",
        "--from",
        "net.safetensors",
        "--out",
        "more",
        "--set",
        "training.steps=40",
    ];
    succeed(fw_train(here).args(more));
    let of = |trained: &str| succeed(fw_train(here).args(["test", trained, "--json"]));
    assert_eq!(of("run"), of("net.safetensors"));

    // What PyTorch has no layer for says so, and nothing is written.
    succeed(&mut train_tiny(here, "fast", &[]));
    let export = [
        "export",
        "fast",
        "--for",
        "pytorch",
        "--out",
        "fast.safetensors",
    ];
    let message = fail(fw_train(here).args(export), 2);
    assert!(
        message.contains("FastWeights has no names under PyTorch"),
        "{message}"
    );
    assert!(!here.join("fast.safetensors").exists());
}

#[test]
fn an_encoder_with_its_decoder_goes_into_files() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let settings = [
        "task.kind=copy-memory",
        "task.steps=5",
        "task.validation_samples=20",
        "task.test_samples=20",
        "model.kind=encoder-decoder",
        "model.d_hidden=6",
        "training.batch_size=8",
        "training.steps=20",
        "training.log_every=10",
        "training.evaluate_every=20",
        "optimizer.warmup_steps=0",
    ];
    succeed(&mut train_with(here, "run", &settings, &[]));
    succeed(fw_train(here).args(["export", "run", "--out", "net"]));
    let of = |trained: &str| succeed(fw_train(here).args(["sample", trained, "-n2"]));
    assert_eq!(of("run"), of("net"));
    // All names that PyTorch gives the nets and the linear maps around them.
    let export = ["export", "run", "--for", "pytorch", "--out", "torch"];
    succeed(fw_train(here).args(export));
    for (file, name) in [
        ("net", "layer.encoder.input.weight"),
        ("torch", "layer.encoder.weight_ih_l0"),
    ] {
        let weights = Weights::open(here.join(file)).expect("it was just written");
        assert!(weights.names().any(|known| known == name), "{file}");
        let net = weights.sequence_model(&Device::flex());
        assert!(net.is_ok(), "{file}: {net:?}");
    }
}

#[test]
fn a_file_that_is_no_net_or_damaged_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    succeed(&mut train_tiny(here, "run", &[]));
    succeed(fw_train(here).args(["export", "run", "--out", "net"]));
    let whole = fs::read(here.join("net")).expect("a file");

    let mut damaged = whole.clone();
    *damaged.last_mut().expect("it is not empty") ^= 1;
    fs::write(here.join("damaged"), damaged).expect("it can be written");
    let message = fail(fw_train(here).args(["sample", "damaged"]), 1);
    assert!(
        message.contains(
            "damaged is not a usable trained net: its weights are damaged: their SHA-256 is another"
        ),
        "{message}"
    );
    fs::write(here.join("cut"), &whole[..whole.len() - 1]).expect("it can be written");
    let message = fail(fw_train(here).args(["sample", "cut"]), 1);
    assert!(
        message.contains("cut cannot be read as weights (safetensors)"),
        "{message}"
    );

    let weights = Weights::open(here.join("net")).expect("it is whole");
    let bare = weights.names().map(|name| {
        let data = weights
            .numbers(name)
            .expect("it is whole")
            .expect("it is there");
        (name.to_owned(), data)
    });
    let bare = Weights::from_tensors(bare.collect::<Vec<_>>());
    bare.write(here.join("bare")).expect("it can be written");
    let message = fail(fw_train(here).args(["test", "bare"]), 1);
    assert!(
        message.contains(
            "it does not say how it was trained; give a file that `fw-train export` has written"
        ),
        "{message}"
    );

    // One of a later version says so, and is read as far as it is understood.
    let newer = weights.clone().with_metadata("version", "99.0.0");
    newer.write(here.join("newer")).expect("it can be written");
    let output = fw_train(here)
        .args(["test", "newer"])
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let told = "newer (it was written by version 99.0.0, which is newer than this one,";
    assert_eq!(
        stderr(&output).matches(told).count(),
        1,
        "{}",
        stderr(&output)
    );
    let message = fail(
        fw_train(here).args(["test", "net", "--checkpoint", "last"]),
        2,
    );
    assert!(
        message.contains("--checkpoint last: net is a file"),
        "{message}"
    );
    let later = newer.with_metadata("experiment", "[memory]\nkind = \"hologram\"\n");
    later.write(here.join("later")).expect("it can be written");
    let message = fail(fw_train(here).args(["test", "later"]), 1);
    assert!(message.contains("99.0.0"), "{message}");
}

/// Each net that comes with the program does its task before anything is trained.
#[test]
fn pretrained_nets_do_their_tasks() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let listed = succeed(fw_train(here).arg("list"));
    for (name, most) in [
        ("fast-weights-retrieval", 0.02),
        ("gated-delta-net-retrieval", 0.02),
        ("ntm-copy", 0.001),
        ("sab-copy-memory", 0.001),
    ] {
        assert!(listed.contains(&format!("  {name} ")), "{listed}");
        let few = [
            "test",
            "--pretrained",
            name,
            "--json",
            "--set",
            "task.test_samples=200",
        ];
        let printed = succeed(fw_train(here).args(few));
        let report: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
        let error = report["error"].as_f64().expect("a number");
        assert!(error <= most, "{name}: {error}");
        let printed = succeed(fw_train(here).args(["sample", "--pretrained", name, "-n1"]));
        assert!(!printed.is_empty());
    }
    let message = fail(fw_train(here).args(["sample", "--pretrained", "oracle"]), 2);
    assert!(
        message.contains("there is no pretrained net oracle; there are "),
        "{message}"
    );
    for command in ["sample", "test", "plot"] {
        let message = fail(fw_train(here).arg(command), 2);
        let told = "give a run's folder, a file that `export` has written, or --pretrained NAME";
        assert!(message.contains(told), "{message}");
    }
    let printed = succeed(fw_train(here).args([
        "plot",
        "--pretrained",
        "ntm-copy",
        "--set",
        "task.length=8",
    ]));
    assert_eq!(
        printed.lines().collect::<Vec<_>>(),
        ["ntm-copy.sample.svg", "ntm-copy.sample.png"]
    );
}
