//! What the repository's documents and experiment files say holds.

use std::path::{Path, PathBuf};

use clap::Parser;
use fw_train::Experiment;
use fw_train::cli::Cli;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file below a folder with the given ending.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "runs" && !name.starts_with('.') {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_experiment_file_is_valid() {
    // Where the data of some of them is looked for, as the documents' commands do.
    std::env::set_current_dir(repository()).expect("the repository");
    let paths = files(&repository().join("experiments"), ".toml");
    assert!(
        !paths.is_empty(),
        "no experiments in {}",
        repository().display()
    );
    for path in paths {
        let document = Experiment::read_document(&path).expect("valid TOML");
        if let Err(error) = Experiment::from_document(document, &[]) {
            panic!("{}: {error}", path.display());
        }
    }
}

#[test]
fn every_command_in_the_documents_can_be_typed() {
    let mut commands = 0;
    for path in files(&repository(), ".md") {
        let text = std::fs::read_to_string(&path).expect("a document");
        for line in text.lines() {
            let arguments = line
                .trim()
                .strip_prefix("cargo run --release -- ")
                .or_else(|| line.trim().strip_prefix("fw-train "));
            let Some(arguments) = arguments else { continue };
            let arguments = arguments.split('#').next().unwrap_or_default();
            // Quotes are the shell's.
            let words = arguments
                .split_whitespace()
                .map(|word| word.replace(['\'', '"'], ""));
            let parsed = Cli::try_parse_from(std::iter::once("fw-train".to_owned()).chain(words));
            assert!(
                parsed.is_ok(),
                "{}: {line}\n{}",
                path.display(),
                parsed.unwrap_err()
            );
            commands += 1;
        }
    }
    assert!(commands > 0, "no commands in the documents");
}

/// The README shows the table that `benches/peers/run` wrote.
#[test]
fn the_table_of_speeds_is_the_measured_one() {
    let read = |path: &str| std::fs::read_to_string(repository().join(path)).expect("a document");
    let measured = read("benches/peers/results/fast-weights.md");
    let table: Vec<&str> = measured
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(table.len() > 2, "no table in the results");
    assert!(
        read("README.md").contains(&table.join("\n")),
        "the README shows other numbers than {table:#?}"
    );
}
