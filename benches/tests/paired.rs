//! `benches/paired` on the real worker.

use std::path::Path;
use std::process::{Command, Output};

fn paired(arguments: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("paired");
    Command::new(program)
        .args(arguments)
        .output()
        .expect("Python starts")
}

/// A number of a cell, before what stands in brackets.
fn number(cell: &str) -> f64 {
    let number = cell.split_whitespace().next().expect("a number");
    number.parse().expect(cell)
}

#[test]
fn a_build_beside_itself_takes_about_as_long_and_as_much_memory() {
    let worker = env!("CARGO_BIN_EXE_fw-bench-worker");
    let line = [
        "--suite",
        "cells",
        "--variants",
        "lstm,gru",
        "--grid",
        "4,9,3,8,1;2,5,3,8,1",
    ];
    let rounds = ["--rounds", "5", "--seconds", "0.05"];
    let output = paired(&[&[worker, worker], &line[..], &rounds[..]].concat());
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| lstm") || line.starts_with("| gru"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let names: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(names, ["lstm", "gru", "lstm", "gru"], "{text}");
    for row in rows {
        let [old, new, ratio] = [2, 3, 4].map(|column: usize| number(row[column]));
        assert!(old > 0.0 && new > 0.0, "{text}");
        // Beside other tests a turn of 0.05 s says little, but a unit or a side that is mistaken is off by more.
        assert!((0.2..5.0).contains(&ratio), "{text}");
    }
}

#[test]
fn what_cannot_be_measured_is_said() {
    let worker = env!("CARGO_BIN_EXE_fw-bench-worker");
    for (arguments, message) in [
        (
            &["nothing-of-this-name", worker][..],
            "'nothing-of-this-name' is neither a revision of this repository",
        ),
        (
            &[worker, worker, "--grid", "1,2"],
            "--grid is '1,2'; it must be lines of 5 whole numbers",
        ),
        (
            &[worker, worker, "--variants", "lstm"],
            "--variants has 'lstm'; the suite fast-weights has fused, composed",
        ),
        (
            &[worker, worker, "--rounds", "0"],
            "--rounds is 0; it must be at least 1",
        ),
    ] {
        let output = paired(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(text.contains(message), "{text}");
    }
}
