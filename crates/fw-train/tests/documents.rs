//! What the repository's documents and experiment files say holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Parser;
use fw_train::cli::Cli;
use fw_train::compare::Entry;
use fw_train::tasks::TaskConfig;
use fw_train::{Error, Experiment};

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
        if let Err(error) = experiments_of(&path, &[]) {
            panic!("{}: {error}", path.display());
        }
    }
}

/// The experiments of a file: one, or those of a table with all that its grid tries.
fn experiments_of(path: &Path, assignments: &[String]) -> Result<Vec<Experiment>, Error> {
    let entries = Entry::read_all(&[path.to_owned()])?;
    let experiments = entries.iter().map(|entry| entry.experiments(assignments));
    let experiments: Result<Vec<_>, Error> = experiments.collect();
    Ok(experiments?.concat())
}

/// Each piece of code in a document: lines of blocks; and what stands between two backquotes, which may go over the end of a line.
fn code_of(text: &str) -> [Vec<String>; 2] {
    let mut code = Vec::new();
    let mut prose = String::new();
    let mut is_block = false;
    for line in text.lines() {
        match line.trim_start().starts_with("```") {
            true => is_block = !is_block,
            false if is_block => code.push(line.trim().to_owned()),
            false => prose += &format!("{} ", line.trim()),
        }
    }
    let within = prose.split('`').skip(1).step_by(2);
    [code, within.map(str::to_owned).collect()]
}

/// The words of a command, as a shell makes them: quotes hold words together, `#` begins a comment, `|` another command.
fn words_of(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote) = (String::new(), None);
    for character in command.chars().chain([' ']) {
        match (character, quote) {
            (end, Some(open)) if end == open => quote = None,
            (inside, Some(_)) => word.push(inside),
            ('\'' | '"', None) => quote = Some(character),
            ('#' | '|' | '&', None) if word.is_empty() => break,
            (' ', None) if word.is_empty() => {}
            (' ', None) => words.push(std::mem::take(&mut word)),
            (other, None) => word.push(other),
        }
    }
    words
}

/// The commands of this program in a document, as words behind its name.
fn commands_of(text: &str) -> Vec<Vec<String>> {
    /// A command without the program's name is one of these and something behind it.
    const NAMES: [&str; 9] = [
        "train ",
        "test ",
        "sample ",
        "generate ",
        "plot ",
        "compare ",
        "cost ",
        "report ",
        "data ",
    ];
    let [lines, within] = code_of(text);
    let behind_program = |code: &String| {
        ["cargo run --release -- ", "fw-train "]
            .iter()
            .find_map(|program| Some(code.split_once(program)?.1.to_owned()))
    };
    let short = |code: &&String| NAMES.iter().any(|name| code.starts_with(name));
    let arguments = lines.iter().chain(&within).filter_map(behind_program);
    let arguments = arguments.chain(within.iter().filter(short).cloned());
    let words = arguments.map(|arguments| words_of(&arguments));
    // What is left out, or stands for something, cannot be typed.
    let is_whole =
        |words: &Vec<String>| !words.is_empty() && !words.iter().any(|word| word.contains(".."));
    words.filter(is_whole).collect()
}

#[test]
fn every_command_in_the_documents_can_be_typed() {
    let mut commands = 0;
    for path in files(&repository(), ".md") {
        let text = std::fs::read_to_string(&path).expect("a document");
        for words in commands_of(&text) {
            let typed = ["fw-train".to_owned()].into_iter().chain(words.clone());
            // Help is an answer.
            if let Err(error) = Cli::try_parse_from(typed)
                && error.exit_code() != 0
            {
                panic!("{}: {words:?}\n{error}", path.display());
            }
            commands += 1;
        }
    }
    assert!(commands > 60, "{commands} commands in the documents");
}

/// Paths of the repository that commands name are there, and what they set are fields.
#[test]
fn every_path_and_every_setting_in_a_command_of_the_documents_is_there() {
    std::env::set_current_dir(repository()).expect("the repository");
    let mut fields: Vec<String> = Vec::new();
    for (kind, _) in TaskConfig::KINDS {
        let of_kind = TaskConfig::fields(kind).expect("a kind").into_iter();
        fields.extend(of_kind.map(|field| format!("task.{}", field.name)));
    }
    let (mut paths, mut settings) = (0, 0);
    for document in files(&repository(), ".md") {
        let text = std::fs::read_to_string(&document).expect("a document");
        for words in commands_of(&text) {
            let what = format!("{}: {words:?}", document.display());
            for (index, word) in words.iter().enumerate() {
                let is_path = ["experiments/", "data/", "docs/", "examples/", "crates/"];
                if !is_path.iter().any(|folder| word.starts_with(folder)) {
                    continue;
                }
                paths += 1;
                // What is written need not be there yet, but its folder.
                let is_written = index > 0 && words[index - 1] == "--out";
                let path = match is_written {
                    true => word.rsplit_once('/').map_or(".", |(folder, _)| folder),
                    false => word,
                };
                assert!(is_there(path), "{what}: there is no {path}");
            }
            let values = |option: &str| -> Vec<String> {
                let pairs = words.windows(2).filter(|pair| pair[0] == option);
                pairs.map(|pair| pair[1].clone()).collect()
            };
            let assignments = values("--set");
            settings += assignments.len();
            match words[0].as_str() {
                "train" | "compare" => {
                    let of_file = |word: &&String| word.ends_with(".toml") && is_there(word);
                    let given: Vec<&String> = words[1..].iter().filter(of_file).collect();
                    // Of runs it is not known here what they are.
                    if words
                        .iter()
                        .any(|word| word == "--resume" || word == "--from")
                    {
                        continue;
                    }
                    if given.is_empty() {
                        let document = Experiment::default_document();
                        let experiment = Experiment::from_document(document, &assignments);
                        assert!(experiment.is_ok(), "{what}: {}", experiment.unwrap_err());
                    }
                    for path in given {
                        let read = experiments_of(first_of(path).as_ref(), &assignments);
                        assert!(read.is_ok(), "{what}: {}", read.unwrap_err());
                    }
                }
                _ => {
                    for assignment in [assignments, values("--sweep")].concat() {
                        let field = assignment.split('=').next().unwrap_or_default();
                        assert!(fields.iter().any(|known| known == field), "{what}: {field}");
                    }
                }
            }
        }
    }
    assert!(
        paths > 25 && settings > 15,
        "{paths} paths, {settings} settings"
    );
}

/// The first path that a pattern with `*` in its name stands for, or the path itself.
fn first_of(pattern: &str) -> String {
    let (folder, name) = pattern.rsplit_once('/').unwrap_or((".", pattern));
    let pieces: Vec<&str> = name.split('*').collect();
    let fits = |found: &String| {
        let [begin, middle @ .., end] = pieces.as_slice() else {
            return found == name;
        };
        let rest = found
            .strip_prefix(begin)
            .and_then(|rest| rest.strip_suffix(end));
        let rest = middle.iter().try_fold(rest.unwrap_or("*"), |rest, piece| {
            Some(rest.split_once(piece)?.1)
        });
        rest.is_some_and(|rest| rest != "*")
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    format!(
        "{folder}/{}",
        names.find(fits).unwrap_or_else(|| name.to_owned())
    )
}

fn is_there(pattern: &str) -> bool {
    Path::new(&first_of(pattern)).exists()
}

/// What a document links to within the repository is there.
#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let mut links = 0;
    for document in files(&repository(), ".md") {
        let text = std::fs::read_to_string(&document).expect("a document");
        for behind in text.split("](").skip(1) {
            let link = behind.split([')', '#']).next().unwrap_or_default();
            if link.is_empty() || link.contains("://") {
                continue;
            }
            let path = document.with_file_name(link);
            assert!(path.exists(), "{}: {link}", document.display());
            links += 1;
        }
    }
    assert!(links > 30, "{links} links");
}

/// What stands behind a row that is a headline.
const HEADLINE: &str = "<!-- headline -->";

/// The numbers of `10 of 10` and of `seeds 0 to 9` in a row.
fn seeds_of(row: &str) -> Option<[u64; 4]> {
    let words: Vec<&str> = row
        .split(|character: char| !character.is_alphanumeric())
        .collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let number = |word: &str| word.parse::<u64>().ok();
    let reached = words.windows(3).find_map(|words| match words {
        [reached, "of", all] => Some((number(reached)?, number(all)?)),
        _ => None,
    });
    let seeds = words.windows(4).find_map(|words| match words {
        ["seeds", first, "to", last] => Some((number(first)?, number(last)?)),
        _ => None,
    });
    let ((reached, all), (first, last)) = (reached?, seeds?);
    Some([reached, all, first, last])
}

/// A headline says how many of ten seeds or more reach its goal, and which seeds they are; wherever it is shown it says the same, and the
/// list of headlines names all of them.
#[test]
fn every_headline_says_its_seeds_and_is_in_the_list() {
    let list = repository().join("experiments/README.md");
    let (mut listed, mut shown) = (BTreeMap::new(), BTreeMap::new());
    for path in files(&repository(), ".md") {
        let text = std::fs::read_to_string(&path).expect("a document");
        for row in text.lines().filter(|line| line.contains(HEADLINE)) {
            let what = format!("{}: {row}", path.display());
            let seeds = seeds_of(row).unwrap_or_else(|| panic!("`n of m`, `seeds a to b`? {what}"));
            let [reached, all, first, last] = seeds;
            assert_eq!(last + 1 - first, all, "{what}");
            assert!(reached <= all && all >= 10, "{what}");
            let name = row.replace(HEADLINE, "").replace("**", "");
            let name = name.split('|').nth(1).unwrap_or_default().trim().to_owned();
            let places = match path == list {
                true => &mut listed,
                false => &mut shown,
            };
            assert_eq!(*places.entry(name).or_insert(seeds), seeds, "{what}");
        }
    }
    assert_eq!(listed, shown, "the list, and what the documents show");
    assert!(listed.len() >= 10, "{listed:?}");
}

/// What the README says of speed is in the tables that `benches/peers/run` wrote: both times in one of their lines.
#[test]
fn speeds_are_the_measured_ones() {
    let read = |path: &str| std::fs::read_to_string(repository().join(path)).expect("a document");
    let readme = read("README.md");
    let is_speed = |row: &&str| row.starts_with('|') && row.contains("](benches/peers/results/");
    let mut n_rows = 0;
    for row in readme.lines().filter(is_speed) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, work, ours, peer, ratio, _] = cells[..] else {
            panic!("work, ours, fastest peer, times as fast? {row}");
        };
        let (_, link) = work.rsplit_once("](").expect("a link to the table");
        let table = read(link.trim_end_matches(')').trim_end_matches(')'));
        let mut lines = table.lines().map(|line| line.split('|').map(str::trim));
        let is_measured = lines.any(|line| {
            let cells: Vec<&str> = line.collect();
            [ours, peer, ratio]
                .iter()
                .all(|number| cells.contains(number))
        });
        assert!(
            is_measured,
            "{link} has no line with {ours}, {peer} and {ratio}"
        );
        n_rows += 1;
    }
    assert!(n_rows >= 4, "{n_rows} rows of speed");
}
