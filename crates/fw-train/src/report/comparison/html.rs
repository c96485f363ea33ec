//! A comparison as one HTML file that needs nothing else.

use maud::{Markup, PreEscaped, html};
use serde_json::{Value, json};

use crate::report::comparison::numbers::{duration, percent};
use crate::report::comparison::overview::Overview;
use crate::report::comparison::table::{ResultTable, restarts_text};
use crate::report::comparison::{Comparison, Row, Run, TaskSection};
use crate::report::page::{page, wide};
use crate::training::loss_number;

impl Comparison {
    /// `report.html`
    pub(super) fn html(&self) -> String {
        let body = html! {
            @for note in &self.notes {
                p.note { (note) }
            }
            @if !self.skipped.is_empty() {
                div.note {
                    p { "Left out, since they could not be read:" }
                    ul {
                        @for skipped in &self.skipped { li { (skipped) } }
                    }
                }
            }
            @if self.sections.len() > 1 {
                nav aria-label="Tasks" {
                    ul {
                        @for (index, section) in self.sections.iter().enumerate() {
                            li { a href={ "#task-" (index) } { (section.title) } }
                        }
                    }
                }
            }
            @if let Some(overview) = self.overview() {
                section {
                    h2 { "All tasks" }
                    (overview.html())
                }
            }
            @for (index, section) in self.sections.iter().enumerate() {
                (section.html(index))
            }
        };
        page("Comparison", &body)
    }
}

impl TaskSection {
    fn html(&self, index: usize) -> Markup {
        let (kind, about) = self.task.kind_and_about();
        html! {
            section id={ "task-" (index) } {
                h2 { (self.title) }
                p.about { b { (kind) } ": " (about) "." }
                (self.table().html(self, index, "Results, sizes and costs"))
                @for note in &self.notes {
                    p.note { (note) }
                }
                @if let Some(table) = self.grid_table() {
                    (table.html(self, index, "The grid"))
                }
                @if let Some(table) = self.goal_table() {
                    (table.html(self, index, "Goals"))
                }
                @for (setting, table) in self.slice_tables() {
                    (table.html(self, index, &format!("By {}", setting.replace('_', " "))))
                }
                (self.figures_html(index))
                (self.samples_html(index))
                h3 { "Where each number comes from" }
                p { (self.made()) }
                @for (row, of_row) in self.rows.iter().enumerate() {
                    (of_row.details_html(self, &format!("run-{index}-{row}")))
                }
            }
        }
    }

    fn figures_html(&self, index: usize) -> Markup {
        let (curves, others): (Vec<_>, Vec<_>) = self
            .charts()
            .into_iter()
            .partition(|(name, _)| name.starts_with("curve-"));
        let along = |name: &str| {
            name.trim_start_matches("curve-")
                .replace("steps", "updates")
        };
        html! {
            div.figures {
                @for (_, chart) in &others {
                    figure { (PreEscaped(chart.svg())) }
                }
                figure.curves {
                    div.choice role="radiogroup" aria-label="What the curves are drawn along" {
                        @for (place, (name, _)) in curves.iter().enumerate() {
                            label {
                                input type="radio" name={ "curve-" (index) } value=(place) checked[place == 0];
                                " by " (along(name))
                            }
                        }
                    }
                    @for (place, (_, chart)) in curves.iter().enumerate() {
                        div.curve data-place=(place) { (PreEscaped(chart.svg())) }
                    }
                    figcaption {
                        "Mean over seeds; the band goes from the worst to the best seed. A seed that has ended stays at its last value."
                    }
                }
            }
        }
    }

    /// What each row's first seed did on the same samples.
    fn samples_html(&self, index: usize) -> Markup {
        let shown = self.rows.iter().filter_map(|row| {
            let run = row.runs.iter().find(|run| !run.samples.is_empty())?;
            Some(json!({
                "name": row.name,
                "seed": run.experiment.training.seed,
                "samples": run.samples,
            }))
        });
        let shown: Vec<Value> = shown.collect();
        let counts = shown
            .iter()
            .filter_map(|row| row["samples"].as_array().map(Vec::len));
        let most = counts.max().unwrap_or(0);
        let data = Value::Array(shown).to_string();
        // A text in the data must not end the element.
        let data = data.replace('<', "\\u003c");
        html! {
            @if most > 0 {
                h3 { "The same sample, seen by each" }
                div.samples {
                    label {
                        "Sample of the test split: " output { "0" } br;
                        input type="range" min="0" max=(most - 1) value="0" step="1";
                    }
                    div.shown {}
                    script type="application/json" id={ "samples-" (index) } { (PreEscaped(data)) }
                }
            }
        }
    }
}

impl Overview {
    fn html(&self) -> Markup {
        let table = html! {
            thead {
                tr {
                    @for column in &self.columns { th scope="col" { (column) } }
                }
            }
            tbody {
                @for (name, cells) in &self.rows {
                    tr {
                        th scope="row" { (name) }
                        @for cell in cells { td { (cell) } }
                    }
                }
            }
        };
        html! {
            (wide("All tasks", &table))
            p.legend { (self.legend) }
        }
    }
}

impl ResultTable {
    fn html(&self, section: &TaskSection, index: usize, caption: &str) -> Markup {
        let looks = section.looks();
        let table = html! {
            caption { (caption) }
            thead {
                tr {
                    @for column in &self.columns { th scope="col" { (column) } }
                }
            }
            tbody {
                @for (row, cells) in &self.rows {
                    tr {
                        th scope="row" {
                            a href={ "#run-" (index) "-" (row) } {
                                span class={ "swatch " (looks[*row].class()) } {}
                                (section.rows[*row].name)
                            }
                        }
                        @for cell in cells {
                            td {
                                @if cell.is_best { b { (cell.text) } } @else { (cell.text) }
                            }
                        }
                    }
                }
            }
        };
        html! {
            (wide(caption, &table))
            p.legend { (self.legend.join(" ")) }
        }
    }
}

impl Row {
    fn details_html(&self, section: &TaskSection, id: &str) -> Markup {
        let format = section.format();
        let columns = [
            "seed",
            &format!("{}, %", format.error_name()),
            &format!("loss, {}", format.loss_unit()),
            "checkpoint",
            "time",
            "device",
            "threads",
            "version",
            "date",
            "folder",
        ];
        let table = html! {
            thead {
                tr {
                    @for column in columns { th scope="col" { (column) } }
                }
            }
            tbody {
                @for run in self.runs.iter().chain(&self.unfinished) {
                    tr {
                        @for cell in run.cells() { td { (cell) } }
                    }
                }
            }
        };
        html! {
            details id=(id) {
                summary { (self.name) }
                (wide("Runs", &table))
                pre { (self.any().settings().to_string()) }
            }
        }
    }
}

impl Run {
    fn cells(&self) -> [String; 10] {
        let environment = &self.environment;
        let [error, loss, checkpoint, time] = match &self.result {
            Some(result) => [
                percent(result.test.error),
                loss_number(result.test.loss),
                {
                    let restarts = restarts_text(result.restarts);
                    let restarts = restarts.map_or(String::new(), |text| format!(", {text}"));
                    format!("step {} of {}{restarts}", result.best_step, result.steps)
                },
                duration(result.seconds),
            ],
            None => ["-", "-", "not finished", "-"].map(str::to_owned),
        };
        [
            self.seed().to_string(),
            error,
            loss,
            checkpoint,
            time,
            format!("{}, {}", environment.devices, environment.machine()),
            environment.threads.to_string(),
            format!("{}, Burn {}", environment.version, environment.burn),
            environment.started.clone(),
            self.path.display().to_string(),
        ]
    }
}
