//! Which runs belong together: rows, sections, and what has to be said of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::plain::to_table;
use crate::report::comparison::{RESULTS, Row, Run, TaskSection, numbers};
use crate::training::{GRID_FOLDER, Threshold};
use crate::{Error, settings};

/// The run folders among, or directly inside, some folders.
pub(super) fn run_folders(folders: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    // A hidden folder is one that was being made when its process was killed.
    let is_hidden = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with('.')
    };
    let is_run = |path: &Path| path.join("config.toml").is_file() && !is_hidden(path);
    let inside = |folder: &Path, wanted: &dyn Fn(&Path) -> bool| {
        let entries = std::fs::read_dir(folder).map_err(Error::file("read", folder))?;
        let paths = entries.flatten().map(|entry| entry.path());
        let mut inside: Vec<PathBuf> = paths.filter(|path| wanted(path)).collect();
        inside.sort();
        Ok::<_, Error>(inside)
    };
    // A folder for each task; one with results of its own is another comparison.
    let is_of_task = |path: &Path| {
        let is_own = path.file_name() == Some(GRID_FOLDER.as_ref()) || path.join(RESULTS).exists();
        path.is_dir() && !is_hidden(path) && !is_run(path) && !is_own
    };
    let mut found = Vec::new();
    for folder in folders {
        if is_run(folder) {
            found.push(folder.clone());
            continue;
        }
        let mut runs = inside(folder, &is_run)?;
        for of_task in inside(folder, &is_of_task)? {
            runs.extend(inside(&of_task, &is_run)?);
        }
        if runs.is_empty() {
            return Err(Error::usage(format!(
                "{} is no run and holds none; give a folder that `fw-train train` or `fw-train compare` has made",
                folder.display()
            )));
        }
        found.extend(runs);
    }
    // A folder and one within it may both be given.
    let mut known = BTreeSet::new();
    found.retain(|run| known.insert(run.clone()));
    Ok(found)
}

/// Runs that differ in their seeds alone, together.
pub(super) fn rows(runs: Vec<Run>, notes: &mut Vec<String>) -> Vec<Row> {
    let mut groups: BTreeMap<[String; 4], Vec<Run>> = BTreeMap::new();
    for run in runs {
        groups.entry(run.group()).or_default().push(run);
    }
    let mut rows: Vec<Row> = Vec::new();
    for mut runs in groups.into_values() {
        // Of two with one seed, the one that has ended comes first.
        runs.sort_by_key(|run| (run.seed(), run.result.is_none()));
        runs.dedup_by(|again, first| {
            let is_again = again.seed() == first.seed();
            if is_again {
                let [again, first] = [&again.path, &first.path].map(|path| path.display());
                notes.push(format!(
                    "{again} is the same experiment and seed as {first}: left out."
                ));
            }
            is_again
        });
        let (runs, unfinished) = runs.into_iter().partition(|run| run.result.is_some());
        let mut row = Row {
            name: String::new(),
            runs,
            unfinished,
        };
        row.name = row.any().name.clone();
        rows.push(row);
    }
    let versions: Vec<String> = rows
        .iter()
        .map(|row| {
            let environment = &row.any().environment;
            format!(
                "version {} with Burn {}",
                environment.version, environment.burn
            )
        })
        .collect();
    if let Some(other) = versions.iter().find(|version| **version != versions[0]) {
        notes.push(format!(
            "The runs are of different versions ({}, {other}): they stand in rows of their own, and are not averaged.",
            versions[0]
        ));
    }
    rows
}

/// A section for each task.
pub(super) fn sections(rows: Vec<Row>, threshold: Option<Threshold>) -> Vec<TaskSection> {
    let mut sections: Vec<TaskSection> = Vec::new();
    for row in rows {
        let task = &row.any().experiment.task;
        let known = sections.iter().position(|section| section.task == *task);
        let section = match known {
            Some(index) => &mut sections[index],
            None => {
                sections.push(TaskSection {
                    title: String::new(),
                    task: task.clone(),
                    notes: Vec::new(),
                    rows: Vec::new(),
                    threshold,
                });
                sections.last_mut().expect("one was pushed")
            }
        };
        section.rows.push(row);
    }
    let settings: Vec<toml::Table> = sections
        .iter()
        .map(|section| to_table(&section.task))
        .collect();
    for (index, section) in sections.iter_mut().enumerate() {
        tell_apart(&mut section.rows);
        section
            .rows
            .sort_by_cached_key(|row| numbers::natural_order(&row.name));
        section.title = title(&settings, index);
        section.notes = section_notes(section);
    }
    sections.sort_by_cached_key(|section| numbers::natural_order(&section.title));
    sections
}

/// Rows of one name get what they differ in behind it.
fn tell_apart(rows: &mut [Row]) {
    let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    let made: Vec<String> = rows
        .iter()
        .map(|row| {
            let run = row.any();
            format!("{}, {}", run.made_by, run.environment.devices)
        })
        .collect();
    let settings: Vec<toml::Table> = rows.iter().map(|row| row.any().settings()).collect();
    let data: Vec<String> = rows.iter().map(|row| digests(&row.any().data)).collect();
    for index in 0..rows.len() {
        let alike = |other: &usize| *other != index && names[*other] == names[index];
        let Some(other) = (0..rows.len()).find(alike) else {
            continue;
        };
        let difference = match made[index] != made[other] {
            true => made[index].clone(),
            false => match settings::difference(&settings[index], &settings[other]) {
                Some((field, [value, _])) => format!("{field} = {value}"),
                None if data[index] != data[other] => data[index].clone(),
                None => rows[index].any().path.display().to_string(),
            },
        };
        rows[index].name = format!("{} ({difference})", names[index]);
    }
}

/// Files of data by the beginning of their digests.
fn digests(data: &[(String, String)]) -> String {
    let digests = data
        .iter()
        .map(|(name, sha256)| format!("{name} {sha256:.12}"));
    together(digests, ", ").unwrap_or("data not written down".to_owned())
}

/// The task's kind, and the settings that tell it from the others of that kind.
fn title(tasks: &[toml::Table], index: usize) -> String {
    let task = &tasks[index];
    let kind = |task: &toml::Table| task.get("kind").cloned();
    let of_kind = tasks.iter().filter(|other| kind(other) == kind(task));
    let others: Vec<&toml::Table> = of_kind.collect();
    let differs = |(field, value): &(&String, &toml::Value)| {
        others.iter().any(|other| other.get(*field) != Some(*value))
    };
    let name = task.get("kind").and_then(toml::Value::as_str);
    let mut title = name.unwrap_or_default().to_owned();
    for (field, value) in task.iter().filter(differs) {
        title += &format!(", {} = {value}", field.replace('_', " "));
    }
    title
}

/// What has to be said of a section besides its tables.
fn section_notes(section: &TaskSection) -> Vec<String> {
    let notes = [
        missing_seeds,
        unfinished,
        budgets,
        trials,
        curricula,
        origins,
    ];
    notes.iter().filter_map(|note| note(section)).collect()
}

fn missing_seeds(section: &TaskSection) -> Option<String> {
    let finished = || section.rows.iter().filter(|row| !row.runs.is_empty());
    let most = finished().max_by_key(|row| row.runs.len())?;
    let seeds = |row: &Row| numbers::list(&row.seeds());
    let others = finished().filter(|row| row.seeds() != most.seeds());
    let others = together(
        others.map(|row| format!("{} has {}", row.name, seeds(row))),
        "; ",
    )?;
    let most = seeds(most);
    Some(format!("Not every row has the seeds {most}: {others}."))
}

fn unfinished(section: &TaskSection) -> Option<String> {
    let runs = section.rows.iter().flat_map(|row| &row.unfinished);
    let runs = runs.map(|run| {
        let step = run.records.last().map_or(0, |record| record.step);
        let steps = run.experiment.training.steps;
        format!("{} seed {} (step {step} of {steps})", run.name, run.seed())
    });
    let runs = together(runs, ", ")?;
    Some(format!("Not finished, and counted nowhere: {runs}."))
}

fn budgets(section: &TaskSection) -> Option<String> {
    let mut budgets: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for row in &section.rows {
        let training = &row.any().experiment.training;
        let budget = format!("{} x {}", training.steps, training.batch_size);
        budgets.entry(budget).or_default().push(&row.name);
    }
    let told = budgets
        .iter()
        .map(|(budget, names)| format!("{budget} for {}", names.join(", ")));
    let told = together(told, "; ").filter(|_| budgets.len() > 1)?;
    Some(format!(
        "The budgets differ (updates x batch size): {told}."
    ))
}

fn trials(section: &TaskSection) -> Option<String> {
    let mut numbers: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for row in &section.rows {
        let n = row.any().choice().map_or(0, |choice| choice.trials.len());
        numbers.entry(n).or_default().push(&row.name);
    }
    let told = numbers.iter().map(|(n, names)| match n {
        0 => format!("none for {}", names.join(", ")),
        n => format!("{n} for {}", names.join(", ")),
    });
    let told = together(told, "; ").filter(|_| numbers.len() > 1)?;
    Some(format!(
        "Not every row had as many trials before its settings were chosen: {told}."
    ))
}

fn origins(section: &TaskSection) -> Option<String> {
    let rows = section.rows.iter().filter_map(|row| {
        let (_, origin) = row.any().made_by.split_once(", from ")?;
        Some(format!("{} (of {origin})", row.name))
    });
    let rows = together(rows, ", ")?;
    Some(format!(
        "Begun with the weights of another run, whose updates are not counted, so that seeds of the model tell nothing: {rows}."
    ))
}

fn curricula(section: &TaskSection) -> Option<String> {
    let has_one = |row: &&Row| row.any().experiment.training.curriculum.is_some();
    let rows = section.rows.iter().filter(has_one);
    let rows = together(rows.map(|row| row.name.clone()), ", ")?;
    Some(format!(
        "Trained with a curriculum of easier tasks; their curves begin where they came to the task itself: {rows}."
    ))
}

/// Nothing, of nothing.
fn together(parts: impl Iterator<Item = String>, between: &str) -> Option<String> {
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| parts.join(between))
}
