//! All tasks of a comparison beside each other.

use std::path::Path;

use crate::report::comparison::numbers::{Summary, natural_order};
use crate::report::comparison::{Comparison, TaskSection};

/// A net in each row, a task in each column, and the mean of all in the last.
pub(super) struct Overview {
    /// Above each column.
    pub columns: Vec<String>,
    /// A name, and as many cells as there are columns but the first.
    pub rows: Vec<(String, Vec<String>)>,
    /// What a reader has to know to read it.
    pub legend: String,
}

impl Comparison {
    /// Nothing, where there is one task, tasks are not judged alike, or no net is trained on two.
    pub(super) fn overview(&self) -> Option<Overview> {
        let first = self.sections.first()?;
        let name = first.score_name();
        let is_alike = |section: &TaskSection| section.score_name() == name;
        if self.sections.len() < 2 || !self.sections.iter().all(is_alike) {
            return None;
        }
        // Settings of one task, `TASK.SETTING`, are one column.
        let mut tasks: Vec<(String, Vec<&TaskSection>)> = Vec::new();
        for (section, task) in self.sections.iter().zip(self.tasks()) {
            match tasks.iter_mut().find(|(known, _)| *known == task) {
                Some((_, sections)) => sections.push(section),
                None => tasks.push((task, vec![section])),
            }
        }
        let rows = || self.sections.iter().flat_map(|section| &section.rows);
        let mut names: Vec<&str> = rows().map(|row| row.name.as_str()).collect();
        names.sort_by_cached_key(|name| natural_order(name));
        names.dedup();
        let n_of = |name: &str| rows().filter(|row| row.name == *name).count();
        names.retain(|name| n_of(name) > 1);
        if names.is_empty() {
            return None;
        }
        let rows = names.into_iter().map(|name| {
            let scores = tasks.iter().map(|(_, sections)| {
                let of_each = sections.iter().map(|section| {
                    let row = section.rows.iter().find(|row| row.name == name)?;
                    let scores = section.scores(row).into_iter().map(|(_, score)| score);
                    Some(Summary::of(&scores.collect::<Vec<f64>>())?.mean)
                });
                mean(of_each)
            });
            let scores: Vec<Option<f64>> = scores.collect();
            let all = mean(scores.iter().copied());
            let cells = scores.into_iter().chain([all]);
            let text =
                |score: Option<f64>| score.map_or("-".to_owned(), |score| first.score_text(score));
            (name.to_owned(), cells.map(text).collect())
        });
        let rows = rows.collect();
        let labels = tasks.into_iter().map(|(task, _)| task);
        let columns = [String::new()].into_iter().chain(labels);
        Some(Overview {
            columns: columns.chain(["mean".to_owned()]).collect(),
            rows,
            legend: format!(
                "{name} on the test split of each task, mean over seeds; where a task has several settings, mean over these. The last column is the mean over tasks."
            ),
        })
    }

    /// What each section's task is called: by the folder of its runs up to a dot, where each has one of its own, else by its title.
    fn tasks(&self) -> Vec<String> {
        let folder = |path: &Path| {
            let name = path.parent()?.file_name()?;
            Some(name.to_string_lossy().into_owned())
        };
        let of_section = |section: &TaskSection| {
            let mut folders = section.rows.iter().map(|row| folder(&row.any().path));
            let first = folders.next()??;
            folders
                .all(|other| other.as_ref() == Some(&first))
                .then_some(first)
        };
        let folders: Vec<Option<String>> = self.sections.iter().map(of_section).collect();
        let is_own = |(index, folder): (usize, &Option<String>)| {
            folder.is_some() && !folders[..index].contains(folder)
        };
        match folders.iter().enumerate().all(is_own) {
            true => {
                let names = folders.iter().flatten();
                let task = |name: &String| name.split('.').next().unwrap_or(name).to_owned();
                names.map(task).collect()
            }
            false => {
                let titles = self.sections.iter().map(|section| section.title.clone());
                titles.collect()
            }
        }
    }
}

/// Nothing, if one is not there.
fn mean(scores: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let scores: Option<Vec<f64>> = scores.collect();
    Some(Summary::of(&scores?)?.mean)
}

impl Overview {
    /// As a table of Markdown.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = line(&self.columns) + "|---|";
        text += &"---:|".repeat(self.columns.len() - 1);
        text.push('\n');
        for (name, cells) in &self.rows {
            let name = name.replace('|', "\\|");
            text += &line(&[&[name], cells.as_slice()].concat());
        }
        format!("{text}\n{}\n\n", self.legend)
    }
}
