//! Costs as a report: tables, log-log charts, exponents.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use crate::Error;
use crate::cost::{Cost, exponent};
use crate::files::write_atomically;
use crate::report::chart::{Axis, Chart, Look, Point, Series};
use crate::report::comparison::page;
use crate::report::figure::escaped;
use crate::training::{Environment, pretty_json};

/// What a sweep goes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// Sequences of several lengths.
    Length,
    /// States of several sizes.
    StateSize,
}

impl Along {
    fn of(self, cost: &Cost) -> f64 {
        match self {
            Along::Length => cost.case.length as f64,
            Along::StateSize => cost.state_size as f64,
        }
    }

    fn axis(self) -> &'static str {
        match self {
            Along::Length => "steps of the sequence",
            Along::StateSize => "state, numbers for each sample",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Along::Length => "by length",
            Along::StateSize => "by the size of the state",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Along::Length => "length",
            Along::StateSize => "state-size",
        }
    }
}

/// Costs along lengths and along sizes.
pub struct CostReport<'a> {
    /// Of one width.
    pub by_length: &'a [Cost],
    /// Of one length.
    pub by_size: &'a [Cost],
    /// Where and when they were measured.
    pub environment: &'a Environment,
}

/// A number of a cost.
type Measure = (&'static str, &'static str, fn(&Cost) -> Option<f64>);

const MEASURES: [Measure; 2] = [
    ("time", "time, ms", |cost| Some(cost.milliseconds)),
    ("memory", "memory, MiB", |cost| {
        Some(cost.memory? as f64 / 1_048_576.0)
    }),
];

impl CostReport<'_> {
    /// Writes `cost.html`, `cost.md` with its figures, and `cost.json`, each replaced if it exists.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let figures = folder.join("figures");
        std::fs::create_dir_all(&figures).map_err(Error::file("create", &figures))?;
        for (name, chart) in self.charts() {
            let path = figures.join(format!("cost-{name}.svg"));
            write_atomically(&path, chart.svg().as_bytes())?;
        }
        let data = serde_json::json!({
            "environment": self.environment,
            "by_length": self.by_length,
            "by_size": self.by_size,
        });
        write_atomically(&folder.join("cost.json"), &pretty_json(&data))?;
        write_atomically(&folder.join("cost.md"), self.markdown().as_bytes())?;
        write_atomically(&folder.join("cost.html"), self.html().as_bytes())
    }

    fn sweeps(&self) -> [(Along, &[Cost]); 2] {
        [
            (Along::Length, self.by_length),
            (Along::StateSize, self.by_size),
        ]
    }

    fn charts(&self) -> Vec<(String, Chart)> {
        let mut charts = Vec::new();
        for (along, costs) in self.sweeps() {
            for (name, unit, value) in MEASURES {
                let series = by_model(costs).into_iter().enumerate();
                let series = series.map(|(index, (model, costs))| Series {
                    label: Some(model.to_owned()),
                    look: Look::nth(index),
                    points: points(&costs, along, value)
                        .into_iter()
                        .map(|(x, y)| Point::new(x, y))
                        .collect(),
                    marks: true,
                    ..Series::default()
                });
                let title = match name {
                    "time" => format!("Time {}", along.title()),
                    _ => format!("Memory {}", along.title()),
                };
                let chart = Chart {
                    title,
                    x: Axis::log(along.axis()),
                    y: Axis::log(unit),
                    series: series.collect(),
                };
                charts.push((format!("{name}-by-{}", along.name()), chart));
            }
        }
        charts
    }

    /// A sweep's heading and its table.
    fn table(&self, along: Along, costs: &[Cost]) -> (String, Vec<Vec<String>>) {
        let fixed = costs.first().map_or(String::new(), |cost| match along {
            Along::Length => format!("{} units", cost.case.width),
            Along::StateSize => format!("{} steps", cost.case.length),
        });
        let batch_size = costs.first().map_or(0, |cost| cost.case.batch_size);
        let title = format!(
            "Forward and backward {}, {fixed}, batch {batch_size}",
            along.title()
        );
        let mut columns = vec!["".to_owned()];
        let measured = by_model(costs);
        let place = |cost: &Cost| match along {
            Along::Length => cost.case.length,
            Along::StateSize => cost.case.width,
        };
        let places: BTreeSet<usize> = costs.iter().map(place).collect();
        columns.extend(places.iter().map(|place| match along {
            Along::Length => format!("{place} steps"),
            Along::StateSize => format!("{place} units"),
        }));
        columns.extend(["exponent of time".to_owned(), "of memory".to_owned()]);
        let mut rows = vec![columns];
        for (model, costs) in measured {
            let mut row = vec![model.to_owned()];
            row.extend(places.iter().map(|&at| {
                let Some(cost) = costs.iter().find(|cost| place(cost) == at) else {
                    return "not measured".to_owned();
                };
                let milliseconds = cost.milliseconds;
                let time = match milliseconds {
                    100.0.. => format!("{milliseconds:.0} ms"),
                    10.0.. => format!("{milliseconds:.1} ms"),
                    _ => format!("{milliseconds:.2} ms"),
                };
                let memory = cost.memory.map_or(String::new(), |bytes| {
                    format!(", {:.0} MiB", bytes as f64 / 1_048_576.0)
                });
                let state = match along {
                    Along::StateSize => format!(" ({} numbers)", cost.state_size),
                    Along::Length => String::new(),
                };
                format!("{time}{memory}{state}")
            }));
            for (_, _, value) in MEASURES {
                let fit = exponent(&points(&costs, along, value));
                row.push(fit.map_or("-".to_owned(), |fit| format!("{fit:.2}")));
            }
            rows.push(row);
        }
        (title, rows)
    }

    /// Forward alone, forward and backward, and one step at a time, at the length that the sizes are measured at.
    fn table_of_steps(&self) -> (String, Vec<Vec<String>>) {
        let length = self.by_size.first().map(|cost| cost.case.length);
        let costs = self.by_length.iter();
        let costs: Vec<&Cost> = costs
            .filter(|cost| Some(cost.case.length) == length)
            .collect();
        let title = costs
            .first()
            .map_or("One step at a time".to_owned(), |cost| {
                let case = &cost.case;
                format!(
                    "One step at a time, {} units, batch {}, after {} steps",
                    case.width, case.batch_size, case.length
                )
            });
        let columns = [
            "",
            "forward, ms",
            "forward and backward, ms",
            "a step of the forward pass, µs",
            "one step by itself, µs",
        ];
        let mut rows = vec![columns.map(str::to_owned).to_vec()];
        rows.extend(costs.iter().map(|cost| {
            let of_pass = cost.forward_milliseconds * 1000.0 / cost.case.length as f64;
            let numbers = [
                cost.forward_milliseconds,
                cost.milliseconds,
                of_pass,
                cost.step_microseconds,
            ];
            let numbers = numbers.map(|number| format!("{number:.2}"));
            [vec![cost.case.model.clone()], numbers.to_vec()].concat()
        }));
        (title, rows)
    }

    /// What the report has, one under the other: tables, and the charts below each.
    fn sections(&self) -> Vec<Section> {
        let mut charts = self.charts();
        let mut sections: Vec<Section> = self
            .sweeps()
            .into_iter()
            .map(|(along, costs)| {
                let (title, rows) = self.table(along, costs);
                let own = |(name, _): &mut (String, Chart)| name.ends_with(along.name());
                let charts = charts.extract_if(.., own).collect();
                Section {
                    title,
                    rows,
                    charts,
                }
            })
            .collect();
        let (title, rows) = self.table_of_steps();
        sections.push(Section {
            title,
            rows,
            charts: Vec::new(),
        });
        sections
    }

    fn legend(&self) -> String {
        let environment = self.environment;
        format!(
            "Medians of at least five passes of the whole model, each case in a process of its own; memory is the most that the passes took. Copy memory as the \
             task. Exponents are fitted over the upper half of the points (x: steps, or numbers of the state). Version {}, Burn {}, {}, {} threads, {}, {}.",
            environment.version,
            environment.burn,
            environment.devices,
            environment.threads,
            environment.machine(),
            environment.started
        )
    }

    fn markdown(&self) -> String {
        let mut text = "# Cost\n\n".to_owned();
        // What is written to a string cannot fail.
        for section in self.sections() {
            let _ = writeln!(text, "## {}\n", section.title);
            for (index, row) in section.rows.iter().enumerate() {
                let _ = writeln!(text, "| {} |", row.join(" | "));
                if index == 0 {
                    let _ = writeln!(text, "|---|{}", "---:|".repeat(row.len() - 1));
                }
            }
            text.push('\n');
            for (name, chart) in &section.charts {
                let _ = writeln!(text, "![{}](figures/cost-{name}.svg)\n", chart.in_words());
            }
        }
        let _ = writeln!(text, "{}", self.legend());
        text
    }

    fn html(&self) -> String {
        let mut body = String::new();
        for section in self.sections() {
            let _ = write!(
                body,
                r#"<section><h2>{0}</h2><div class="wide" tabindex="0" role="region" aria-label="{0}"><table>"#,
                escaped(&section.title)
            );
            for (index, row) in section.rows.iter().enumerate() {
                let cells = row.iter().enumerate().map(|(column, cell)| {
                    let cell = escaped(cell);
                    match (index, column) {
                        (0, _) => format!(r#"<th scope="col">{cell}</th>"#),
                        (_, 0) => format!(r#"<th scope="row">{cell}</th>"#),
                        _ => format!("<td>{cell}</td>"),
                    }
                });
                let cells: String = cells.collect();
                let _ = match index {
                    0 => write!(body, "<thead><tr>{cells}</tr></thead><tbody>"),
                    _ => write!(body, "<tr>{cells}</tr>"),
                };
            }
            body.push_str(r#"</tbody></table></div><div class="figures">"#);
            for (_, chart) in &section.charts {
                let _ = write!(body, "<figure>{}</figure>", chart.svg());
            }
            body.push_str("</div></section>");
        }
        let _ = write!(body, r#"<p class="legend">{}</p>"#, escaped(&self.legend()));
        page("Cost", &body)
    }
}

/// A table with its heading, and the charts below it by their names.
struct Section {
    title: String,
    rows: Vec<Vec<String>>,
    charts: Vec<(String, Chart)>,
}

/// By the model's kind.
fn by_model(costs: &[Cost]) -> BTreeMap<&str, Vec<&Cost>> {
    let mut models: BTreeMap<&str, Vec<&Cost>> = BTreeMap::new();
    for cost in costs {
        models.entry(&cost.case.model).or_default().push(cost);
    }
    models
}

fn points(costs: &[&Cost], along: Along, value: fn(&Cost) -> Option<f64>) -> Vec<(f64, f64)> {
    let points = costs.iter();
    points
        .filter_map(|cost| Some((along.of(cost), value(cost)?)))
        .collect()
}
