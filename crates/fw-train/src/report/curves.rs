//! Learning curves: loss, error and gradient norm by step, several runs overlaid.

use std::path::PathBuf;

use crate::Error;
use crate::report::chart::{Axis, Chart, Look, Point, Series, Stroke};
use crate::report::figure::Figure;
use crate::tasks::{AnswerFormat, Format};
use crate::training::{Record, RecordSplit, RunFolder};

/// One run's points and how it is drawn.
struct Curve {
    label: String,
    look: Look,
    records: Vec<Record>,
    /// What a step counts for on the x axis.
    per_step: f64,
}

/// What a panel shows of a record.
struct Panel {
    title: String,
    value: fn(&Record) -> Option<f64>,
    is_log: bool,
    /// Whether the best loss there is belongs here.
    shows_loss: bool,
}

/// Loss, error, gradient norm.
fn panels(format: Format) -> [Panel; 3] {
    [
        Panel {
            title: format!("loss ({})", format.loss_unit()),
            value: |record| Some(record.loss),
            is_log: true,
            shows_loss: true,
        },
        Panel {
            title: format!("{} (%)", format.error_name()),
            value: |record| Some(100.0 * record.error),
            is_log: false,
            shows_loss: false,
        },
        Panel {
            title: "gradient norm".to_owned(),
            value: |record| record.gradient_norm,
            is_log: true,
            shows_loss: false,
        },
    ]
}

/// Whether the x axis counts sequences, as the papers on Turing machines do, not steps.
fn counts_sequences(format: Format) -> bool {
    matches!(format.answer, AnswerFormat::Bits { .. })
}

/// Draws the learning curves of one or more runs: thin lines are the training data, thick ones the validation split, a dashed one
/// the loss of the best predictor there is, where one is known.
///
/// # Errors
/// If a run has no records yet, runs have losses of different units, or a file cannot be written.
pub fn draw_curves(runs: &[RunFolder], paths: &[PathBuf]) -> Result<(), Error> {
    let mut curves = Vec::with_capacity(runs.len());
    let mut format: Option<Format> = None;
    for (index, run) in runs.iter().enumerate() {
        let records = run.records()?;
        if records.is_empty() {
            let problem = "it has no records to draw yet; training writes the first after its first \
                           log_every steps";
            return Err(Error::run(run.path(), problem));
        }
        let experiment = run.experiment(&[])?;
        let its_format = experiment.task.task().format();
        let unit = format.get_or_insert(its_format).loss_unit();
        if unit != its_format.loss_unit() {
            return Err(Error::usage(format!(
                "the loss of {} is in {}, that of {} in {unit}; they cannot share a figure",
                run.path().display(),
                its_format.loss_unit(),
                runs[0].path().display(),
            )));
        }
        let name = run.path().file_name().unwrap_or(run.path().as_os_str());
        curves.push(Curve {
            label: name.to_string_lossy().into_owned(),
            look: Look::nth(index),
            records,
            per_step: match counts_sequences(its_format) {
                true => experiment.training.batch_size as f64,
                false => 1.0,
            },
        });
    }
    let Some(format) = format else { return Ok(()) };
    let x_name = match counts_sequences(format) {
        true => "sequences seen",
        false => "step",
    };
    let charts: Vec<Chart> = panels(format)
        .iter()
        .map(|panel| panel.chart(x_name, &curves))
        .collect();
    let figure = Figure::side_by_side(&charts);
    paths.iter().try_for_each(|path| figure.write(path))
}

impl Panel {
    fn chart(&self, x_name: &str, curves: &[Curve]) -> Chart {
        let mut series = Vec::new();
        for curve in curves {
            let line = |split, stroke, label: Option<&str>| Series {
                label: label.map(str::to_owned),
                look: curve.look,
                points: self.points(curve, split),
                stroke,
                ..Series::default()
            };
            series.push(line(RecordSplit::Train, Stroke::Faint, None));
            // Thick lines are what is judged by; gradients are of the training data alone.
            let label = Some(curve.label.as_str()).filter(|_| self.shows_loss);
            series.push(line(RecordSplit::Validation, Stroke::Strong, label));
            if let Some(optimal) = curve.optimal().filter(|_| self.shows_loss) {
                let last_x = curve.records.last().map_or(1.0, |record| curve.x(record));
                series.push(Series {
                    label: Some("the best there is".to_owned())
                        .filter(|_| curve.look == Look::default()),
                    look: curve.look,
                    points: vec![Point::new(0.0, optimal), Point::new(last_x, optimal)],
                    stroke: Stroke::Dashed,
                    ..Series::default()
                });
            }
        }
        Chart {
            title: self.title.clone(),
            x: Axis::linear(x_name).showing(&[0.0]),
            y: match self.is_log {
                true => Axis::log(""),
                false => Axis::linear("").showing(&[0.0]),
            },
            series,
        }
    }

    fn points(&self, curve: &Curve, split: RecordSplit) -> Vec<Point> {
        let records = curve.records.iter().filter(|record| record.split == split);
        records
            .filter_map(|record| Some(Point::new(curve.x(record), (self.value)(record)?)))
            .collect()
    }
}

impl Curve {
    fn x(&self, record: &Record) -> f64 {
        record.step as f64 * self.per_step
    }

    /// The loss of the best predictor there is on the validation split.
    fn optimal(&self) -> Option<f64> {
        let mut records = self.records.iter().rev();
        records.find_map(|record| record.optimal)
    }
}
