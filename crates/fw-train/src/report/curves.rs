//! Learning curves: loss, error and gradient norm by step, several runs overlaid.

use std::path::PathBuf;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::Error;
use crate::report::figure::Figure;
use crate::tasks::{AnswerFormat, Format};
use crate::training::{Record, RecordSplit, RunFolder};

/// Colours that colour-blind readers can tell apart (Okabe, Ito 2008), without the yellow, which is faint on
/// white.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

const WIDTH: u32 = 860;
const PANEL_HEIGHT: u32 = 260;
/// Height of a legend line.
const LEGEND_LINE: u32 = 22;
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(60, 60, 60);

/// One run's points and how it is drawn.
struct Curve {
    label: String,
    color: RGBColor,
    records: Vec<Record>,
    /// What a step counts for on the x axis.
    per_step: f64,
}

/// What a panel shows of a record.
struct Panel {
    title: String,
    value: fn(&Record) -> Option<f64>,
    log_scale: bool,
    /// Whether the best loss there is belongs here.
    shows_loss: bool,
}

/// The panels, and what the x axis counts.
struct Layout {
    panels: [Panel; 3],
    x_name: &'static str,
}

impl Layout {
    fn of(format: Format) -> Self {
        let loss = Panel {
            title: format!("loss ({})", format.loss_unit()),
            value: |record| Some(record.loss),
            log_scale: true,
            shows_loss: true,
        };
        let error = Panel {
            title: format!("{} (%)", format.error_name()),
            value: |record| Some(100.0 * record.error),
            log_scale: false,
            shows_loss: false,
        };
        let gradient_norm = Panel {
            title: "gradient norm".to_owned(),
            value: |record| record.gradient_norm,
            log_scale: true,
            shows_loss: false,
        };
        Layout {
            panels: [loss, error, gradient_norm],
            x_name: match counts_sequences(format) {
                true => "sequences seen",
                false => "step",
            },
        }
    }
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
            color: COLORS[index % COLORS.len()],
            records,
            per_step: match counts_sequences(its_format) {
                true => experiment.training.batch_size as f64,
                false => 1.0,
            },
        });
    }
    let Some(format) = format else { return Ok(()) };
    let mut svg = String::new();
    draw(&curves, &Layout::of(format), &mut svg).map_err(|problem| Error::Figure {
        path: paths.first().cloned().unwrap_or_default(),
        problem,
    })?;
    let figure = Figure(svg);
    paths.iter().try_for_each(|path| figure.write(path))
}

fn draw(curves: &[Curve], layout: &Layout, svg: &mut String) -> Result<(), String> {
    let legend_height = LEGEND_LINE * (curves.len() as u32 + 1) + 14;
    let n_panels = layout.panels.len();
    let panels_height = PANEL_HEIGHT * n_panels as u32;
    let root =
        SVGBackend::with_string(svg, (WIDTH, legend_height + panels_height)).into_drawing_area();
    root.fill(&WHITE).map_err(text)?;
    let (legend, panels) = root.split_vertically(legend_height);
    draw_legend(&legend, curves).map_err(text)?;
    for (area, panel) in panels
        .split_evenly((n_panels, 1))
        .iter()
        .zip(&layout.panels)
    {
        draw_panel(area, panel, layout.x_name, curves)?;
    }
    root.present().map_err(text)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Each run's name, and what thin and thick lines are.
fn draw_legend(area: &Area, curves: &[Curve]) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let style = (FONT, 15).into_font().color(&INK);
    let y = |line: usize| 20 + LEGEND_LINE as i32 * line as i32;
    for (index, curve) in curves.iter().enumerate() {
        let line = [(20, y(index)), (52, y(index))];
        area.draw(&PathElement::new(line, curve.color.stroke_width(3)))?;
        area.draw(&Text::new(
            curve.label.clone(),
            (62, y(index) - 7),
            style.clone(),
        ))?;
    }
    let last = y(curves.len());
    let thin = [(20, last), (52, last)];
    area.draw(&PathElement::new(thin, INK.mix(0.55).stroke_width(1)))?;
    area.draw(&Text::new("training", (62, last - 7), style.clone()))?;
    let thick = [(150, last), (182, last)];
    area.draw(&PathElement::new(thick, INK.stroke_width(3)))?;
    area.draw(&Text::new("validation", (192, last - 7), style.clone()))?;
    if curves.iter().any(|curve| curve.optimal().is_some()) {
        for dash in 0..3 {
            let x = 300 + 12 * dash;
            let line = [(x, last), (x + 7, last)];
            area.draw(&PathElement::new(line, INK.stroke_width(2)))?;
        }
        area.draw(&Text::new("the best there is", (342, last - 7), style))?;
    }
    Ok(())
}

fn draw_panel(area: &Area, panel: &Panel, x_name: &str, curves: &[Curve]) -> Result<(), String> {
    let all = || curves.iter().flat_map(|curve| &curve.records);
    let last = |curve: &Curve| curve.records.last().map_or(1.0, |record| curve.x(record));
    let last_x = curves.iter().map(last).fold(1.0, f64::max);
    let optimal = curves
        .iter()
        .filter_map(|curve| curve.optimal().filter(|_| panel.shows_loss));
    let values: Vec<f64> = all()
        .filter_map(panel.value)
        .chain(optimal)
        .filter(|value| value.is_finite() && (*value > 0.0 || !panel.log_scale))
        .collect();
    let highest = values.iter().copied().fold(f64::MIN, f64::max);
    let lowest = values.iter().copied().fold(f64::MAX, f64::min);
    let mut chart = ChartBuilder::on(area);
    chart
        .caption(&panel.title, (FONT, 16).into_font().color(&INK))
        .margin(8)
        .margin_right(24)
        .x_label_area_size(34)
        .y_label_area_size(64);
    if values.is_empty() {
        return Ok(());
    }
    // The two kinds of axes are two types; the rest is the same.
    macro_rules! draw_on {
        ($y_range:expr) => {{
            let mut chart = chart
                .build_cartesian_2d(0.0..last_x, $y_range)
                .map_err(text)?;
            chart
                .configure_mesh()
                .x_labels(8)
                .y_labels(6)
                .x_label_formatter(&|step| format!("{step:.0}"))
                .y_label_formatter(&|value| number(*value))
                .x_desc(x_name)
                .label_style((FONT, 13).into_font().color(&INK))
                .axis_style(INK.mix(0.6))
                .bold_line_style(INK.mix(0.15))
                .light_line_style(TRANSPARENT)
                .draw()
                .map_err(text)?;
            for curve in curves {
                let points = |split| points(curve, panel, split);
                let thin = curve.color.mix(0.55).stroke_width(1);
                let thick = curve.color.stroke_width(3);
                let train = LineSeries::new(points(RecordSplit::Train), thin);
                chart.draw_series(train).map_err(text)?;
                let validation = LineSeries::new(points(RecordSplit::Validation), thick);
                chart.draw_series(validation).map_err(text)?;
                let optimal = curve.optimal().filter(|_| panel.shows_loss);
                if let Some(optimal) = optimal {
                    let line = [(0.0, optimal), (last_x, optimal)];
                    let dashes = DashedLineSeries::new(line, 7, 5, INK.stroke_width(2));
                    chart.draw_series(dashes).map_err(text)?;
                }
            }
        }};
    }
    if panel.log_scale {
        let highest = if highest > lowest {
            highest
        } else {
            2.0 * lowest
        };
        draw_on!((lowest..highest).log_scale());
    } else {
        draw_on!(0.0..highest.max(1e-6));
    }
    Ok(())
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

fn points(curve: &Curve, panel: &Panel, split: RecordSplit) -> Vec<(f64, f64)> {
    let records = curve.records.iter().filter(|record| record.split == split);
    records
        .filter_map(|record| Some((curve.x(record), (panel.value)(record)?)))
        .filter(|(_, value)| value.is_finite() && (*value > 0.0 || !panel.log_scale))
        .collect()
}

/// A number with no more digits than it needs.
fn number(value: f64) -> String {
    if value == 0.0 || value.abs() >= 0.001 {
        let digits = if value.abs() >= 10.0 { 0 } else { 3 };
        let text = format!("{value:.digits$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        }
    } else {
        format!("{value:.0e}")
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
