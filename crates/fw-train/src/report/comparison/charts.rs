//! The figures of a report.

use std::collections::BTreeMap;

use crate::report::chart::{Axis, Chart, Look, Point, Series};
use crate::report::comparison::numbers::Summary;
use crate::report::comparison::{Comparison, Row, Run, TaskSection};
use crate::training::{Record, SliceResult};

/// Points of a curve: as many as can be told apart.
const MOST_POINTS: usize = 240;

impl Comparison {
    /// Every figure, by its name.
    pub(super) fn figures(&self) -> Vec<(String, Chart)> {
        let sections = self.sections.iter().enumerate();
        let figures = sections.flat_map(|(index, section)| {
            let charts = section.charts().into_iter();
            charts.map(move |(name, chart)| (section.figure_name(index, name), chart))
        });
        figures.collect()
    }
}

impl TaskSection {
    pub(super) fn figure_name(&self, index: usize, chart: String) -> String {
        format!("{}-{chart}", index + 1)
    }

    /// The section's figures, by their names: score by state size, by slice, and curves along three axes.
    pub(super) fn charts(&self) -> Vec<(String, Chart)> {
        let mut charts = Vec::new();
        charts.extend(
            self.by_state_size()
                .map(|chart| ("state-size".to_owned(), chart)),
        );
        charts.extend(self.by_slice());
        for (name, along) in [
            ("steps", CurveAxis::Steps),
            ("sequences", CurveAxis::Sequences),
            ("seconds", CurveAxis::Seconds),
        ] {
            charts.push((format!("curve-{name}"), self.curves(along)));
        }
        charts
    }

    /// Accuracy where answers are right or wrong, else the loss: what is drawn of a score.
    fn drawn(&self, score: f64) -> f64 {
        match self.format().is_ranked_by_error() {
            true => 100.0 * (1.0 - score),
            false => score,
        }
    }

    fn y_axis(&self) -> Axis {
        match self.format().is_ranked_by_error() {
            true => Axis::linear("accuracy, %").showing(&[0.0, 100.0]),
            false => Axis::log(self.score_name()),
        }
    }

    fn y_title(&self) -> &'static str {
        match self.format().is_ranked_by_error() {
            true => "Accuracy",
            false => "Loss",
        }
    }

    fn point(&self, x: f64, scores: &[f64]) -> Option<Point> {
        let drawn: Vec<f64> = scores.iter().map(|&score| self.drawn(score)).collect();
        let summary = Summary::of(&drawn)?;
        Some(Point {
            x,
            y: summary.mean,
            spread: [summary.lowest, summary.highest],
        })
    }

    /// Test score by the size of the state, a line for each kind of model; nothing, unless one has several sizes.
    fn by_state_size(&self) -> Option<Chart> {
        let mut kinds: BTreeMap<String, Vec<Point>> = BTreeMap::new();
        for row in &self.rows {
            let Some(first) = row.results().next() else {
                continue;
            };
            let scores: Vec<f64> = row
                .results()
                .map(|result| self.score(&result.test))
                .collect();
            let point = self.point(first.state_size as f64, &scores);
            kinds.entry(kind(row)).or_default().extend(point);
        }
        let several = kinds.values().any(|points| points.len() > 1);
        let looks = self.looks();
        let look = |kind: &str| {
            let row = self.rows.iter().position(|row| self::kind(row) == kind);
            row.map_or(Look::default(), |row| Look {
                variant: 0,
                ..looks[row]
            })
        };
        let series = kinds.into_iter().map(|(kind, mut points)| {
            points.sort_by(|one, other| one.x.total_cmp(&other.x));
            Series {
                look: look(&kind),
                label: Some(kind),
                points,
                marks: true,
                ..Series::default()
            }
        });
        several.then(|| Chart {
            title: format!("{} by the size of the state", self.y_title()),
            x: Axis::log("state, numbers for each sample"),
            y: self.y_axis(),
            series: series.collect(),
        })
    }

    /// Rows of one kind of model share a colour, unless there are too many kinds, or too many rows of one.
    pub(super) fn looks(&self) -> Vec<Look> {
        let mut kinds: Vec<(String, usize)> = Vec::new();
        let look = |row: &Row| {
            let kind = kind(row);
            let known = kinds.iter().position(|(known, _)| *known == kind);
            let color = known.unwrap_or_else(|| {
                kinds.push((kind, 0));
                kinds.len() - 1
            });
            kinds[color].1 += 1;
            Look {
                color,
                variant: kinds[color].1 - 1,
            }
        };
        let looks: Vec<Look> = self.rows.iter().map(look).collect();
        match looks.iter().all(|look| look.can_be_told_apart()) {
            true => looks,
            false => (0..looks.len()).map(Look::nth).collect(),
        }
    }

    /// Test score along each setting that rows were tested along, where its values are numbers.
    fn by_slice(&self) -> Vec<(String, Chart)> {
        let looks = self.looks();
        let tables = self.slice_tables().into_iter();
        let charts = tables.filter_map(|(setting, table)| {
            let series = table.rows.iter().map(|(index, _)| {
                let mut scores: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
                let slices = self.rows[*index]
                    .results()
                    .flat_map(|result| &result.slices);
                for slice in slices.filter(|slice| slice.setting == setting) {
                    let value = number(slice)?;
                    let of_value = scores.entry(value).or_default();
                    of_value.push(self.score(&slice.evaluation));
                }
                let points = scores.iter();
                let points = points.filter_map(|(&x, scores)| self.point(x as f64, scores));
                Some(Series {
                    label: Some(self.rows[*index].name.clone()),
                    look: looks[*index],
                    points: points.collect(),
                    marks: true,
                    ..Series::default()
                })
            });
            let series = series.collect::<Option<Vec<Series>>>()?;
            let name = setting.replace('_', " ");
            let chart = Chart {
                title: format!("{} by {name}, on the test split", self.y_title()),
                x: Axis::linear(name),
                y: self.y_axis(),
                series,
            };
            Some((format!("by-{}", setting.replace('_', "-")), chart))
        });
        charts.collect()
    }

    /// Validation score while training: the mean over seeds, and from the worst to the best of them.
    fn curves(&self, along: CurveAxis) -> Chart {
        let looks = self.looks();
        let series = self.rows.iter().zip(looks).map(|(row, look)| {
            let curves: Vec<Vec<(f64, f64)>> = row
                .shown()
                .iter()
                .map(|run| self.curve(run, along))
                .filter(|curve| !curve.is_empty())
                .collect();
            Series {
                label: Some(row.name.clone()),
                look,
                points: self.over_seeds(&curves),
                ..Series::default()
            }
        });
        Chart {
            title: format!("{} on the validation split", self.y_title()),
            x: Axis::linear(along.name()).showing(&[0.0]),
            y: self.y_axis(),
            series: series.collect(),
        }
    }

    /// Validation scores of a run, from where its curriculum has reached the task itself.
    fn curve(&self, run: &Run, along: CurveAxis) -> Vec<(f64, f64)> {
        let batch_size = run.experiment.training.batch_size as f64;
        let score = |record: &Record| self.judged(record.error, record.loss);
        let records = run.validation_records();
        let x = |record: &Record| match along {
            CurveAxis::Steps => record.step as f64,
            CurveAxis::Sequences => record.step as f64 * batch_size,
            CurveAxis::Seconds => record.seconds,
        };
        records.map(|record| (x(record), score(record))).collect()
    }

    /// Mean and spread at every place where all seeds have a value; one that has ended stays at its last.
    fn over_seeds(&self, curves: &[Vec<(f64, f64)>]) -> Vec<Point> {
        let first = curves.iter().map(|curve| curve[0].0).fold(0.0, f64::max);
        let mut places: Vec<f64> = curves.iter().flatten().map(|point| point.0).collect();
        places.retain(|&place| place >= first);
        places.sort_by(f64::total_cmp);
        places.dedup();
        let every = places.len().div_ceil(MOST_POINTS).max(1);
        let last = places.len().saturating_sub(1);
        let kept = places
            .iter()
            .enumerate()
            .filter(|(index, _)| index % every == 0 || *index == last);
        let points = kept.filter_map(|(_, &place)| {
            let at = |curve: &Vec<(f64, f64)>| {
                let until = curve.partition_point(|point| point.0 <= place);
                curve[until - 1].1
            };
            let scores: Vec<f64> = curves.iter().map(at).collect();
            self.point(place, &scores)
        });
        points.collect()
    }
}

/// What the x axis of a curve counts.
#[derive(Clone, Copy)]
enum CurveAxis {
    Steps,
    Sequences,
    Seconds,
}

impl CurveAxis {
    fn name(self) -> &'static str {
        match self {
            CurveAxis::Steps => "updates",
            CurveAxis::Sequences => "sequences seen",
            CurveAxis::Seconds => "seconds",
        }
    }
}

/// What the model is called besides its size.
fn kind(row: &Row) -> String {
    row.any().experiment.model.layer.title()
}

/// The value of a slice, if it is a whole number.
fn number(slice: &SliceResult) -> Option<i64> {
    slice.value.as_integer()
}
