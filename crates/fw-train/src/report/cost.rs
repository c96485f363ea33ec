//! Costs as a report: tables, log-log charts, exponents.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use maud::{Markup, PreEscaped, html};

use crate::Error;
use crate::cost::{Cost, exponent};
use crate::files::write_atomically;
use crate::plain::to_json_pretty;
use crate::report::FIGURES_FOLDER;
use crate::report::chart::{Axis, Chart, Look, Point, Series};
use crate::report::page::{page, wide};
use crate::training::Environment;

/// What a sweep goes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepAxis {
    /// Sequences of several lengths.
    Length,
    /// States of several sizes.
    StateSize,
}

impl SweepAxis {
    fn of(self, cost: &Cost) -> f64 {
        match self {
            SweepAxis::Length => cost.case.length as f64,
            SweepAxis::StateSize => cost.state_size as f64,
        }
    }

    fn axis(self) -> &'static str {
        match self {
            SweepAxis::Length => "steps of the sequence",
            SweepAxis::StateSize => "state, numbers for each sample",
        }
    }

    fn title(self) -> &'static str {
        match self {
            SweepAxis::Length => "by length",
            SweepAxis::StateSize => "by the size of the state",
        }
    }

    fn name(self) -> &'static str {
        match self {
            SweepAxis::Length => "length",
            SweepAxis::StateSize => "state-size",
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
type CostColumn = (&'static str, &'static str, fn(&Cost) -> Option<f64>);

const COST_COLUMNS: [CostColumn; 2] = [
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
        let figures = folder.join(FIGURES_FOLDER);
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
        write_atomically(&folder.join("cost.json"), &to_json_pretty(&data))?;
        write_atomically(&folder.join("cost.md"), self.markdown().as_bytes())?;
        write_atomically(&folder.join("cost.html"), self.html().as_bytes())
    }

    fn sweeps(&self) -> [(SweepAxis, &[Cost]); 2] {
        [
            (SweepAxis::Length, self.by_length),
            (SweepAxis::StateSize, self.by_size),
        ]
    }

    fn charts(&self) -> Vec<(String, Chart)> {
        let mut charts = Vec::new();
        for (along, costs) in self.sweeps() {
            for (name, unit, value) in COST_COLUMNS {
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
    fn table(&self, along: SweepAxis, costs: &[Cost]) -> (String, Vec<Vec<String>>) {
        let fixed = costs.first().map_or(String::new(), |cost| match along {
            SweepAxis::Length => format!("{} units", cost.case.width),
            SweepAxis::StateSize => format!("{} steps", cost.case.length),
        });
        let batch_size = costs.first().map_or(0, |cost| cost.case.batch_size);
        let title = format!(
            "Forward and backward {}, {fixed}, batch {batch_size}",
            along.title()
        );
        let mut columns = vec!["".to_owned()];
        let measured = by_model(costs);
        let place = |cost: &Cost| match along {
            SweepAxis::Length => cost.case.length,
            SweepAxis::StateSize => cost.case.width,
        };
        let places: BTreeSet<usize> = costs.iter().map(place).collect();
        columns.extend(places.iter().map(|place| match along {
            SweepAxis::Length => format!("{place} steps"),
            SweepAxis::StateSize => format!("{place} units"),
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
                    SweepAxis::StateSize => format!(" ({} numbers)", cost.state_size),
                    SweepAxis::Length => String::new(),
                };
                format!("{time}{memory}{state}")
            }));
            for (_, _, value) in COST_COLUMNS {
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
    fn sections(&self) -> Vec<CostSection> {
        let mut charts = self.charts();
        let mut sections: Vec<CostSection> = self
            .sweeps()
            .into_iter()
            .map(|(along, costs)| {
                let (title, rows) = self.table(along, costs);
                let own = |(name, _): &mut (String, Chart)| name.ends_with(along.name());
                let charts = charts.extract_if(.., own).collect();
                CostSection {
                    title,
                    rows,
                    charts,
                }
            })
            .collect();
        let (title, rows) = self.table_of_steps();
        sections.push(CostSection {
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
        let body = html! {
            @for section in self.sections() {
                section {
                    h2 { (section.title) }
                    (wide(&section.title, &section.table_html()))
                    div.figures {
                        @for (_, chart) in &section.charts {
                            figure { (PreEscaped(chart.svg())) }
                        }
                    }
                }
            }
            p.legend { (self.legend()) }
        };
        page("Cost", &body)
    }
}

/// A table with its heading, and the charts below it by their names.
struct CostSection {
    title: String,
    rows: Vec<Vec<String>>,
    charts: Vec<(String, Chart)>,
}

impl CostSection {
    fn table_html(&self) -> Markup {
        let (header, rows) = self.rows.split_first().expect("a table has a header");
        html! {
            thead {
                tr {
                    @for cell in header { th scope="col" { (cell) } }
                }
            }
            tbody {
                @for row in rows {
                    tr {
                        @for (column, cell) in row.iter().enumerate() {
                            @if column == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                        }
                    }
                }
            }
        }
    }
}

/// By the model's kind.
fn by_model(costs: &[Cost]) -> BTreeMap<&str, Vec<&Cost>> {
    let mut models: BTreeMap<&str, Vec<&Cost>> = BTreeMap::new();
    for cost in costs {
        models.entry(&cost.case.model).or_default().push(cost);
    }
    models
}

fn points(costs: &[&Cost], along: SweepAxis, value: fn(&Cost) -> Option<f64>) -> Vec<(f64, f64)> {
    let points = costs.iter();
    points
        .filter_map(|cost| Some((along.of(cost), value(cost)?)))
        .collect()
}
