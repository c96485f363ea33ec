//! A comparison as one HTML file that needs nothing else.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::report::comparison::numbers::{duration, percent};
use crate::report::comparison::table::{Table, restarts_text};
use crate::report::comparison::{Comparison, Row, Run, Section};
use crate::report::figure::escaped;
use crate::training::loss_number;

impl Comparison {
    /// `report.html`
    pub(super) fn html(&self) -> String {
        let mut body = String::new();
        // What is written to a string cannot fail.
        for note in &self.notes {
            let _ = write!(body, r#"<p class="note">{}</p>"#, escaped(note));
        }
        if !self.skipped.is_empty() {
            body.push_str(
                r#"<div class="note"><p>Left out, since they could not be read:</p><ul>"#,
            );
            for skipped in &self.skipped {
                let _ = write!(body, "<li>{}</li>", escaped(skipped));
            }
            body.push_str("</ul></div>");
        }
        if self.sections.len() > 1 {
            body.push_str(r#"<nav aria-label="Tasks"><ul>"#);
            for (index, section) in self.sections.iter().enumerate() {
                let title = escaped(&section.title);
                let _ = write!(body, r##"<li><a href="#task-{index}">{title}</a></li>"##);
            }
            body.push_str("</ul></nav>");
        }
        for (index, section) in self.sections.iter().enumerate() {
            section.html(index, &mut body);
        }
        page("Comparison", &body)
    }
}

/// The page around a report; its title is not escaped.
pub(in crate::report) fn page(title: &str, body: &str) -> String {
    include_str!("page.html")
        .replace("{{style}}", include_str!("page.css"))
        .replace("{{script}}", include_str!("page.js"))
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{title}}", title)
        .replace("{{body}}", body)
}

impl Section {
    fn html(&self, index: usize, body: &mut String) {
        let (kind, about) = self.task.kind_and_about();
        let _ = write!(
            body,
            r#"<section id="task-{index}"><h2>{}</h2><p class="about"><b>{kind}</b>: {}.</p>"#,
            escaped(&self.title),
            escaped(about)
        );
        self.table()
            .html(self, index, "Results, sizes and costs", body);
        for note in &self.notes {
            let _ = write!(body, r#"<p class="note">{}</p>"#, escaped(note));
        }
        if let Some(table) = self.goal_table() {
            table.html(self, index, "Goals", body);
        }
        for (setting, table) in self.slice_tables() {
            let caption = format!("By {}", setting.replace('_', " "));
            table.html(self, index, &caption, body);
        }
        self.figures_html(index, body);
        self.samples_html(index, body);
        let _ = write!(
            body,
            "<h3>Where each number comes from</h3><p>{}</p>",
            escaped(&self.made())
        );
        for (row, of_row) in self.rows.iter().enumerate() {
            of_row.details_html(self, &format!("run-{index}-{row}"), body);
        }
        body.push_str("</section>");
    }

    fn figures_html(&self, index: usize, body: &mut String) {
        let (curves, others): (Vec<_>, Vec<_>) = self
            .charts()
            .into_iter()
            .partition(|(name, _)| name.starts_with("curve-"));
        body.push_str(r#"<div class="figures">"#);
        for (_, chart) in others {
            let _ = write!(body, "<figure>{}</figure>", chart.svg());
        }
        let _ = write!(
            body,
            r#"<figure class="curves"><div class="choice" role="radiogroup" aria-label="What the curves are drawn along">"#
        );
        for (place, (name, _)) in curves.iter().enumerate() {
            let along = name.trim_start_matches("curve-");
            let along = along.replace("steps", "updates");
            let checked = if place == 0 { " checked" } else { "" };
            let _ = write!(
                body,
                r#"<label><input type="radio" name="curve-{index}" value="{place}"{checked}> by {along}</label>"#
            );
        }
        body.push_str("</div>");
        for (place, (_, chart)) in curves.iter().enumerate() {
            let _ = write!(
                body,
                r#"<div class="curve" data-place="{place}">{}</div>"#,
                chart.svg()
            );
        }
        body.push_str("<figcaption>Mean over seeds; the band goes from the worst to the best seed. A seed that has ended stays at its last value.</figcaption></figure></div>");
    }

    /// What each row's first seed did on the same samples.
    fn samples_html(&self, index: usize, body: &mut String) {
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
        let Some(most) = counts.max() else { return };
        let data = Value::Array(shown).to_string();
        // A text in the data must not end the element.
        let data = data.replace('<', "\\u003c");
        let last = most - 1;
        let _ = write!(
            body,
            r#"<h3>The same sample, seen by each</h3><div class="samples"><label>Sample of the test split: <output>0</output><br><input type="range" min="0" max="{last}" value="0" step="1"></label><div class="shown"></div><script type="application/json" id="samples-{index}">{data}</script></div>"#
        );
    }
}

impl Table {
    fn html(&self, section: &Section, index: usize, caption: &str, body: &mut String) {
        let _ = write!(
            body,
            r#"<div class="wide" tabindex="0" role="region" aria-label="{0}"><table><caption>{0}</caption><thead><tr>"#,
            escaped(caption)
        );
        for column in &self.columns {
            let _ = write!(body, r#"<th scope="col">{}</th>"#, escaped(column));
        }
        body.push_str("</tr></thead><tbody>");
        let looks = section.looks();
        for (row, cells) in &self.rows {
            let _ = write!(
                body,
                r##"<tr><th scope="row"><a href="#run-{index}-{row}"><span class="swatch {}"></span>{}</a></th>"##,
                looks[*row].class(),
                escaped(&section.rows[*row].name)
            );
            for cell in cells {
                let text = escaped(&cell.text);
                let _ = match cell.is_best {
                    true => write!(body, "<td><b>{text}</b></td>"),
                    false => write!(body, "<td>{text}</td>"),
                };
            }
            body.push_str("</tr>");
        }
        let _ = write!(
            body,
            r#"</tbody></table></div><p class="legend">{}</p>"#,
            escaped(&self.legend.join(" "))
        );
    }
}

impl Row {
    fn details_html(&self, section: &Section, id: &str, body: &mut String) {
        let _ = write!(
            body,
            r#"<details id="{id}"><summary>{}</summary><div class="wide" tabindex="0" role="region" aria-label="Runs"><table><thead><tr><th scope="col">seed</th><th scope="col">{}</th><th scope="col">loss, {}</th><th scope="col">checkpoint</th><th scope="col">time</th><th scope="col">device</th><th scope="col">threads</th><th scope="col">version</th><th scope="col">date</th><th scope="col">folder</th></tr></thead><tbody>"#,
            escaped(&self.name),
            escaped(&format!("{}, %", section.format().error_name())),
            escaped(section.format().loss_unit())
        );
        for run in self.runs.iter().chain(&self.unfinished) {
            run.html(body);
        }
        let _ = write!(
            body,
            "</tbody></table></div><pre>{}</pre></details>",
            escaped(&self.any().settings().to_string())
        );
    }
}

impl Run {
    fn html(&self, body: &mut String) {
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
        let version = format!("{}, Burn {}", environment.version, environment.burn);
        let cells = [
            self.seed().to_string(),
            error,
            loss,
            checkpoint,
            time,
            format!("{}, {}", environment.devices, environment.machine()),
            environment.threads.to_string(),
            version,
            environment.started.clone(),
            self.path.display().to_string(),
        ];
        let cells = cells.map(|cell| format!("<td>{}</td>", escaped(&cell)));
        let _ = write!(body, "<tr>{}</tr>", cells.concat());
    }
}
