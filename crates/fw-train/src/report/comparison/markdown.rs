//! A comparison as Markdown, with its figures beside it.

use std::fmt::Write;

use crate::report::comparison::table::ResultTable;
use crate::report::comparison::{Comparison, Row, TaskSection};
use crate::training::Environment;

impl Comparison {
    /// `report.md`
    pub(super) fn markdown(&self) -> String {
        let mut text = "# Comparison\n\n".to_owned();
        // What is written to a string cannot fail.
        for note in &self.notes {
            let _ = writeln!(text, "{note}\n");
        }
        if !self.skipped.is_empty() {
            text.push_str("Left out, since they could not be read:\n\n");
            for skipped in &self.skipped {
                let _ = writeln!(text, "- {}", skipped.replace('\n', " "));
            }
            text.push('\n');
        }
        if let Some(overview) = self.overview() {
            let _ = writeln!(text, "## All tasks\n\n{}", overview.markdown().trim_end());
            text.push('\n');
        }
        for (index, section) in self.sections.iter().enumerate() {
            let _ = writeln!(text, "## {}\n", section.title);
            text.push_str(&section.table().markdown(section));
            for note in &section.notes {
                let _ = writeln!(text, "{note}\n");
            }
            if let Some(table) = section.grid_table() {
                text.push_str(&table.markdown(section));
            }
            if let Some(table) = section.goal_table() {
                text.push_str(&table.markdown(section));
            }
            for (_, table) in section.slice_tables() {
                text.push_str(&table.markdown(section));
            }
            for (name, chart) in section.charts() {
                let path = section.figure_name(index, name);
                let _ = writeln!(text, "![{}](figures/{path}.svg)\n", chart.in_words());
            }
            let _ = writeln!(text, "{}\n", section.made());
        }
        text
    }
}

impl TaskSection {
    /// Where and when the runs were made.
    pub(super) fn made(&self) -> String {
        let environments = || self.rows.iter().map(|row| &row.any().environment);
        let unique = |texts: Vec<String>| {
            let mut texts = texts;
            texts.sort();
            texts.dedup();
            texts.join(" or ")
        };
        let runs = self
            .rows
            .iter()
            .flat_map(|row| row.runs.iter().chain(&row.unfinished));
        let mut dates: Vec<&str> = runs
            .clone()
            .map(|run| {
                run.environment
                    .started
                    .split('T')
                    .next()
                    .unwrap_or_default()
            })
            .collect();
        dates.sort_unstable();
        let seconds: f64 = self
            .rows
            .iter()
            .flat_map(Row::results)
            .map(|result| result.seconds)
            .sum();
        let (first, last) = (dates.first().unwrap_or(&""), dates.last().unwrap_or(&""));
        format!(
            "Made {} with version {}, Burn {}, on {}, {} of {}; {} of training in all.",
            if first == last {
                format!("on {first}")
            } else {
                format!("from {first} to {last}")
            },
            unique(environments().map(|of| of.version.clone()).collect()),
            unique(environments().map(|of| of.burn.clone()).collect()),
            unique(environments().map(|of| of.devices.to_string()).collect()),
            match unique(
                runs.map(|run| run.environment.threads.to_string())
                    .collect()
            )
            .as_str()
            {
                "1" => "a thread a run".to_owned(),
                threads => format!("{threads} threads a run"),
            },
            unique(environments().map(Environment::machine).collect()),
            super::numbers::duration(seconds)
        )
    }
}

impl ResultTable {
    fn markdown(&self, section: &TaskSection) -> String {
        let mut text = format!("| {} |\n|---|", self.columns.join(" | "));
        text.push_str(&"---:|".repeat(self.columns.len() - 1));
        text.push('\n');
        for (row, cells) in &self.rows {
            let cells = cells.iter().map(|cell| match cell.is_best {
                true => format!("**{}**", cell.text),
                false => cell.text.clone(),
            });
            let cells: Vec<String> = cells.collect();
            let _ = writeln!(
                text,
                "| {} | {} |",
                section.rows[*row].name.replace('|', "\\|"),
                cells.join(" | ")
            );
        }
        format!("{text}\n{}\n\n", self.legend.join(" "))
    }
}
