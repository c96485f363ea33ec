//! What the files of a comparison say: experiments by name, and what is tried for each before it is trained.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::Error;
use crate::error::require;
use crate::experiment::Experiment;
use crate::report::FIGURES_FOLDER;
use crate::settings;
use crate::training::GRID_FOLDER;

/// One experiment of a comparison.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name: that of its file, or of the net in a file of several, `TASK/NET` in one of several tasks.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// What the file says of it.
    pub(super) document: Table,
    /// What is tried first.
    pub grid: Option<Grid>,
}

/// Settings that are tried, each value with each of the others, before an experiment is trained: `[grid]`.
///
/// ```toml
/// [grid]
/// optimizer.learning_rate = [1e-3, 3e-3, 1e-2]
/// optimizer.weight_decay = [0.0, 0.1]
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// The model seed of all trials: one that no run of the comparison has, so that the choice knows nothing of these. Default 1000.
    pub seed: u64,
    /// `section.field`, and its values.
    pub settings: Vec<(String, Vec<Value>)>,
}

/// What one trial sets: `section.field`, and its value.
pub type Candidate = Vec<(String, Value)>;

const DEFAULT_SEED: u64 = 1000;

impl Grid {
    fn take(document: &mut Table) -> Result<Option<Self>, Error> {
        let mut grid = match document.remove("grid") {
            None => return Ok(None),
            Some(Value::Table(grid)) => grid,
            Some(other) => {
                return Err(Error::usage(format!(
                    "grid is {other}; it must be a section: [grid]"
                )));
            }
        };
        let seed = match grid.remove("seed") {
            None => DEFAULT_SEED,
            Some(seed) => {
                let number = seed.as_integer().and_then(|seed| u64::try_from(seed).ok());
                let rule = "be a whole number, not negative";
                require(number.is_some(), "grid.seed", &seed, rule)?;
                number.unwrap_or(DEFAULT_SEED)
            }
        };
        let mut all = Vec::new();
        for (section, fields) in grid {
            let path = format!("grid.{section}");
            let rule = "be of [model], [optimizer] or [training]: trials are compared on one task";
            let is_fair = ["model", "optimizer", "training"].contains(&section.as_str());
            require(is_fair, "what the grid tries", &path, rule)?;
            let Value::Table(fields) = fields else {
                let rule = "be fields of a section, such as optimizer.learning_rate = [1e-3, 1e-2]";
                return Err(Error::usage(format!("{path} is {fields}; it must {rule}")));
            };
            settings_of(&section, fields, &mut all)?;
        }
        let rule = "have a setting, such as optimizer.learning_rate = [1e-3, 1e-2]";
        require(!all.is_empty(), "[grid]", "empty", rule)?;
        Ok(Some(Grid {
            seed,
            settings: all,
        }))
    }

    /// What is set for all cannot be tried as well.
    pub(super) fn check_assignments(&self, assignments: &[String]) -> Result<(), Error> {
        let path = |assignment: &String| {
            let path = assignment.split('=').next().unwrap_or_default();
            path.trim().to_owned()
        };
        for (setting, _) in &self.settings {
            if let Some(assignment) = assignments.iter().find(|given| path(given) == *setting) {
                return Err(Error::usage(format!(
                    "--set {assignment}: the grid tries {setting}; leave one of them out"
                )));
            }
        }
        Ok(())
    }

    /// Every value with each of the others, the last setting changing first.
    pub fn candidates(&self) -> Vec<Candidate> {
        let mut all = vec![Candidate::new()];
        for (setting, values) in &self.settings {
            let longer = all.iter().flat_map(|begun| {
                values.iter().map(|value| {
                    let mut candidate = begun.clone();
                    candidate.push((setting.clone(), value.clone()));
                    candidate
                })
            });
            all = longer.collect();
        }
        all
    }
}

/// The lists of values in a section of the grid.
fn settings_of(
    path: &str,
    fields: Table,
    all: &mut Vec<(String, Vec<Value>)>,
) -> Result<(), Error> {
    for (field, values) in fields {
        let path = format!("{path}.{field}");
        match values {
            Value::Table(fields) => settings_of(&path, fields, all)?,
            Value::Array(values) => {
                let is_new = |(place, value): (usize, &Value)| !values[..place].contains(value);
                let holds = !values.is_empty() && values.iter().enumerate().all(is_new);
                let rule = "hold at least one value, and none twice";
                let text = Value::from(values.clone());
                require(holds, &format!("grid.{path}"), text, rule)?;
                let rule = "be left out: seeds are chosen with --seeds, and that of the trials is grid.seed";
                require(path != "training.seed", "grid.training.seed", "set", rule)?;
                all.push((path, values));
            }
            other => {
                return Err(Error::usage(format!(
                    "grid.{path} is {other}; it must be a list of values, such as [1, 2]"
                )));
            }
        }
    }
    Ok(())
}

impl Entry {
    /// The experiments of some files, and of the files in some folders.
    ///
    /// # Errors
    /// If a file cannot be read, a folder holds none, two experiments have the same name, or a file of several is not as it must be.
    pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Self>, Error> {
        let mut entries: Vec<Entry> = Vec::new();
        for file in experiment_files(paths)? {
            let of_file = Entry::of_file(&file);
            entries.extend(of_file.map_err(|error| {
                Error::usage(format!("{}: {}", file.display(), error.in_full()))
            })?);
        }
        let mut known: BTreeMap<&str, &Path> = BTreeMap::new();
        for Entry { name, file, .. } in &entries {
            if let Some(other) = known.insert(name, file) {
                return Err(Error::usage(format!(
                    "{} and {} have the same name, {name}, and so would their runs; compare them into two folders, or rename one",
                    other.display(),
                    file.display()
                )));
            }
        }
        Ok(entries)
    }

    /// The experiment of a file, or each of its tasks with each of its nets.
    fn of_file(file: &Path) -> Result<Vec<Self>, Error> {
        let mut document = Experiment::read_document(file)?;
        let grid = Grid::take(&mut document)?;
        let tasks = take_several(&mut document, "tasks", "task")?;
        let models = take_several(&mut document, "models", "model")?;
        let name = match (&tasks, &models) {
            (None, None) => {
                let stem = file.file_stem().unwrap_or_default();
                Some(stem.to_string_lossy().into_owned())
            }
            _ => None,
        };
        let one = || vec![(String::new(), None)];
        let several = |sections: Option<Vec<(String, Table)>>| match sections {
            None => one(),
            Some(sections) => {
                let named = sections.into_iter();
                named.map(|(name, table)| (name, Some(table))).collect()
            }
        };
        let (tasks, models) = (several(tasks), several(models));
        let mut entries = Vec::with_capacity(tasks.len() * models.len());
        for (task_name, task) in &tasks {
            for (model_name, model) in &models {
                let mut document = document.clone();
                for (section, table) in [("task", task), ("model", model)] {
                    if let Some(table) = table {
                        let common = document
                            .entry(section)
                            .or_insert_with(|| Table::new().into());
                        let Some(common) = common.as_table_mut() else {
                            return Err(Error::usage(format!(
                                "{section} is {common}; it must be a section: [{section}]"
                            )));
                        };
                        common.extend(table.clone());
                    }
                }
                let parts = [task_name.as_str(), model_name.as_str()];
                let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                entries.push(Entry {
                    name: name.clone().unwrap_or_else(|| parts.join("/")),
                    file: file.to_owned(),
                    document,
                    grid: grid.clone(),
                });
            }
        }
        Ok(entries)
    }

    /// The experiment with settings changed; with a grid each of its trials.
    ///
    /// # Errors
    /// If one is not valid.
    pub fn experiments(&self, assignments: &[String]) -> Result<Vec<Experiment>, Error> {
        let candidates = self.grid.as_ref().map(Grid::candidates);
        let candidates = candidates.unwrap_or_else(|| vec![Candidate::new()]);
        let experiments = candidates.iter().map(|candidate| {
            let document = self.document(assignments, candidate, 0)?;
            Experiment::from_document(document, &[])
        });
        experiments.collect()
    }

    /// The experiment with settings changed, with a seed.
    pub(super) fn document(
        &self,
        assignments: &[String],
        candidate: &Candidate,
        seed: u64,
    ) -> Result<Table, Error> {
        let mut document = self.document.clone();
        settings::set_all(&mut document, assignments)?;
        let tried = candidate
            .iter()
            .map(|(path, value)| format!("{path}={value}"));
        settings::set_all(&mut document, &tried.collect::<Vec<_>>())?;
        settings::set(&mut document, &format!("training.seed={seed}"))?;
        Ok(document)
    }
}

/// The sections `[names.NAME]`, each in place of one section; nothing, where there are none.
fn take_several(
    document: &mut Table,
    names: &str,
    name: &str,
) -> Result<Option<Vec<(String, Table)>>, Error> {
    let sections = match document.remove(names) {
        None => return Ok(None),
        Some(Value::Table(sections)) => sections,
        Some(other) => {
            return Err(Error::usage(format!(
                "{names} is {other}; it must be sections: [{names}.NAME]"
            )));
        }
    };
    let rule = format!("have at least one section, [{names}.NAME]");
    require(!sections.is_empty(), &format!("[{names}]"), "empty", &rule)?;
    let section = |(key, section): (String, Value)| {
        let is_name = !key.is_empty()
            && !key.starts_with('.')
            && ![GRID_FOLDER, FIGURES_FOLDER].contains(&key.as_str())
            && key
                .chars()
                .all(|letter| letter.is_alphanumeric() || "-_.".contains(letter));
        let rule = "be made of letters, digits, -, _ and ., not begin with a dot, and not be grid or figures: folders of runs are called by it";
        require(
            is_name,
            &format!("the name of a {name}"),
            format!("{key:?}"),
            rule,
        )?;
        match section {
            Value::Table(section) => Ok((key, section)),
            other => Err(Error::usage(format!(
                "{names}.{key} is {other}; it must be a section: [{names}.{key}]"
            ))),
        }
    };
    sections
        .into_iter()
        .map(section)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The files themselves, and those in the folders.
fn experiment_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(Error::file("read", path))?;
        let mut inside: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "toml")
            })
            .collect();
        if inside.is_empty() {
            return Err(Error::usage(format!(
                "{} holds no experiments; give a folder with *.toml files, or such files",
                path.display()
            )));
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Result<Vec<Entry>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("table.toml");
        std::fs::write(&path, text).expect("a file");
        let entries = Entry::read_all(std::slice::from_ref(&path));
        entries.map_err(|error| {
            let told = error.to_string();
            told.replace(&format!("{}: ", path.display()), "")
        })
    }

    #[test]
    fn experiments_are_the_files_and_those_in_folders_and_share_no_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["b.toml", "a.toml", "notes.md"] {
            std::fs::write(path(name), "").expect("a file");
        }
        let files = Entry::read_all(&[folder.path().to_owned()]).expect("files");
        let names: Vec<&str> = files.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        std::fs::create_dir(path("other")).expect("a folder");
        std::fs::write(path("other/a.toml"), "").expect("a file");
        let error = Entry::read_all(&[path("a.toml"), path("other/a.toml")]);
        let error = error.expect_err("one name").to_string();
        assert!(error.contains("have the same name, a, and"), "{error}");
        std::fs::create_dir(path("empty")).expect("a folder");
        let error = Entry::read_all(&[path("empty")]).expect_err("empty");
        assert!(error.to_string().contains("holds no experiments"));
    }

    #[test]
    fn a_file_of_several_is_each_task_with_each_net() {
        let text = "[task]\nlength = 3\n[tasks.one]\nkind = 'a'\n[tasks.two]\nkind = 'b'\nlength = 4\n\
                    [model]\nd_hidden = 5\n[models.gru]\nkind = 'gru'\n[models.wide]\nkind = 'lstm'\nd_hidden = 9\n\
                    [optimizer]\nkind = 'adam'\n";
        let all = entries(text).expect("entries");
        let told: Vec<String> = all
            .iter()
            .map(|entry| {
                let document = &entry.document;
                let (task, model) = (&document["task"], &document["model"]);
                format!(
                    "{} {} {} {}",
                    entry.name, task["kind"], task["length"], model["d_hidden"]
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                "one/gru \"a\" 3 5",
                "one/wide \"a\" 3 9",
                "two/gru \"b\" 4 5",
                "two/wide \"b\" 4 9"
            ]
        );
        let nets =
            entries("[models.gru]\nkind = 'gru'\n[models.lstm]\nkind = 'lstm'").expect("two");
        let names: Vec<&str> = nets.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["gru", "lstm"]);
    }

    #[test]
    fn a_grid_is_every_value_with_each_of_the_others() {
        let text = "[grid]\nseed = 7\noptimizer.learning_rate = [1e-3, 1e-2]\noptimizer.kind = ['sgd', 'adam']\n";
        let all = entries(text).expect("an entry");
        let grid = all[0].grid.as_ref().expect("a grid");
        assert_eq!(grid.seed, 7);
        let told: Vec<String> = grid
            .candidates()
            .iter()
            .map(|candidate| {
                let parts = candidate
                    .iter()
                    .map(|(path, value)| format!("{path} {value}"));
                parts.collect::<Vec<_>>().join(", ")
            })
            .collect();
        assert_eq!(
            told,
            [
                "optimizer.kind \"sgd\", optimizer.learning_rate 0.001",
                "optimizer.kind \"sgd\", optimizer.learning_rate 0.01",
                "optimizer.kind \"adam\", optimizer.learning_rate 0.001",
                "optimizer.kind \"adam\", optimizer.learning_rate 0.01"
            ]
        );
        let document = all[0].document(&[], &grid.candidates()[2], 5).expect("one");
        assert_eq!(
            document.to_string(),
            "[optimizer]\nkind = \"adam\"\nlearning_rate = 0.001\n\n[training]\nseed = 5\n",
            "another kind begins its section anew, and then the rate is set"
        );
    }

    #[test]
    fn what_is_no_table_of_experiments_is_said() {
        for (text, message) in [
            ("grid = 3", "grid is 3; it must be a section: [grid]"),
            ("[grid]", "[grid] is empty; it must have a setting"),
            (
                "[grid]\nseed = -1",
                "grid.seed is -1; it must be a whole number",
            ),
            (
                "[grid]\nrate = 3",
                "what the grid tries is grid.rate; it must be of [model], [optimizer] or [training]",
            ),
            (
                "[grid]\noptimizer.learning_rate = 3",
                "grid.optimizer.learning_rate is 3; it must be a list of values",
            ),
            (
                "[grid]\noptimizer.learning_rate = [3, 3]",
                "grid.optimizer.learning_rate is [3, 3]; it must hold at least one value, and none twice",
            ),
            (
                "[grid]\ntraining.seed = [3]",
                "grid.training.seed is set; it must be left out: seeds are chosen with --seeds",
            ),
            (
                "[models]",
                "[models] is empty; it must have at least one section, [models.NAME]",
            ),
            (
                "models = 3",
                "models is 3; it must be sections: [models.NAME]",
            ),
            (
                "[models]\ngru = 3",
                "models.gru is 3; it must be a section: [models.gru]",
            ),
            (
                "[grid]\noptimizer = 3",
                "grid.optimizer is 3; it must be fields of a section",
            ),
            (
                "[grid]\ntask.length = [3, 4]",
                "what the grid tries is grid.task; it must be of [model], [optimizer] or [training]",
            ),
            (
                "[tasks.grid]",
                "the name of a task is \"grid\"; it must be made of letters",
            ),
            (
                "[tasks.'a/b']",
                "the name of a task is \"a/b\"; it must be made of letters, digits",
            ),
        ] {
            let error = entries(text).expect_err(text);
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }
}
