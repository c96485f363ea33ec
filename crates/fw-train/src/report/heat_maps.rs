//! What a model did at each step of one sample, as heat maps.

use std::fmt::Write;
use std::path::Path;

use crate::Error;
use crate::models::{HeatMap, SampleTrace, transposed};
use crate::report::figure::Figure;
use crate::report::page::escaped;

const WIDTH: f64 = 1100.0;
const MARGIN: f64 = 16.0;
/// Left of a panel: what its rows are, and their numbers.
const LEFT: f64 = 44.0;
/// Above a panel: its title.
const ABOVE: f64 = 30.0;
/// Below a panel: the steps.
const BELOW: f64 = 34.0;
const TITLE: f64 = 34.0;
/// Heights of a panel with few rows and with many.
const ROW_HEIGHT: f64 = 9.0;
const MOST_HEIGHT: f64 = 260.0;

/// One panel: numbers by row and step, and what their colours mean.
struct Panel {
    title: String,
    rows: &'static str,
    /// `[rows][steps]`; nothing is drawn of a number that is none.
    values: Vec<Vec<f32>>,
    /// Steps, by place, of which there is nothing to draw: grey.
    gaps: Vec<usize>,
    /// The number of the first step.
    first_step: usize,
    scale: ColourScale,
}

/// How a number becomes a colour.
#[derive(Clone, Copy)]
enum ColourScale {
    /// White at 0, blue at 1.
    Share,
    /// Blue above 0, orange below, white at 0; full at ± the number.
    Signed(f32),
}

/// Draws target, answer and error side by side, then input, answer and the layer's heat maps over all steps, under a title.
///
/// # Errors
/// If the file cannot be written.
pub fn draw_heat_maps(title: &str, trace: &SampleTrace, path: &Path) -> Result<(), Error> {
    Figure(draw(title, trace)).write(path)
}

fn draw(title: &str, trace: &SampleTrace) -> String {
    let mut rows: Vec<Vec<Option<Panel>>> = vec![compared(trace), over_all_steps(trace)];
    let of_layer =
        |pair: &[Option<HeatMap>; 2]| pair.iter().map(|map| map.as_ref().map(of_layer)).collect();
    rows.extend(trace.heat_maps.iter().map(of_layer));
    let height =
        |row: &[Option<Panel>]| row.iter().flatten().map(Panel::height).fold(0.0, f64::max);
    let heights: Vec<f64> = rows.iter().map(|row| height(row) + ABOVE + BELOW).collect();
    let total = TITLE + heights.iter().sum::<f64>() + MARGIN;

    let mut svg = String::new();
    let _ = write!(
        svg,
        r##"<svg width="{WIDTH}" height="{total}" viewBox="0 0 {WIDTH} {total}" xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="13" fill="#3c3c3c"><rect width="100%" height="100%" fill="#ffffff"/><text x="{MARGIN}" y="24" font-size="16">{}</text>"##,
        escaped(title)
    );
    let mut top = TITLE;
    for (row, height) in rows.iter().zip(heights) {
        let width = (WIDTH - MARGIN) / row.len() as f64;
        for (column, panel) in row.iter().enumerate() {
            let Some(panel) = panel else { continue };
            let left = MARGIN + column as f64 * width + LEFT;
            panel.draw(&mut svg, left, top + ABOVE, width - LEFT - MARGIN);
        }
        top += height;
    }
    svg.push_str("</svg>\n");
    svg
}

/// Target, answer and error, from the first step that was asked to the last; those between that were not are gaps.
fn compared(trace: &SampleTrace) -> Vec<Option<Panel>> {
    let asked = |pair: (&Option<Vec<f32>>, &Option<Vec<f32>>)| match pair {
        (Some(target), Some(answer)) => Some([target.clone(), answer.clone()]),
        _ => None,
    };
    let steps = trace.targets.iter().zip(&trace.answers).map(asked);
    let steps: Vec<Option<[Vec<f32>; 2]>> = steps.collect();
    let first = steps.iter().position(Option::is_some).unwrap_or(0);
    let last = steps.iter().rposition(Option::is_some).unwrap_or(0);
    let steps = &steps[first..steps.len().min(last + 1)];
    let gaps: Vec<usize> = (0..steps.len())
        .filter(|&place| steps[place].is_none())
        .collect();
    let width = steps.iter().flatten().map(|[target, _]| target.len());
    let nothing = vec![f32::NAN; width.max().unwrap_or(0)];
    let drawn = |of_step: &dyn Fn(&[Vec<f32>; 2]) -> Vec<f32>| -> Vec<Vec<f32>> {
        let columns = steps
            .iter()
            .map(|step| step.as_ref().map_or(nothing.clone(), of_step));
        transposed(&columns.collect::<Vec<_>>())
    };
    let off = |[target, answer]: &[Vec<f32>; 2]| {
        let pairs = target.iter().zip(answer);
        pairs
            .map(|(target, answer)| (target - answer).abs())
            .collect()
    };
    [
        ("target", drawn(&|[target, _]| target.clone())),
        ("answer", drawn(&|[_, answer]| answer.clone())),
        ("error", drawn(&off)),
    ]
    .map(|(title, values)| {
        Some(Panel {
            title: title.to_owned(),
            rows: trace.answer_rows,
            scale: ColourScale::of(&values),
            values,
            gaps: gaps.clone(),
            first_step: first + 1,
        })
    })
    .into()
}

fn over_all_steps(trace: &SampleTrace) -> Vec<Option<Panel>> {
    let input = transposed(&trace.inputs);
    let input = Panel {
        title: "input, all steps".to_owned(),
        rows: trace.input_rows,
        scale: ColourScale::of(&input),
        values: input,
        gaps: Vec::new(),
        first_step: 1,
    };
    let answers: Option<Vec<Vec<f32>>> = trace.answers.iter().cloned().collect();
    let answers = answers.map(|answers| Panel {
        title: "answer, all steps".to_owned(),
        rows: trace.answer_rows,
        values: transposed(&answers),
        gaps: Vec::new(),
        first_step: 1,
        scale: ColourScale::Share,
    });
    vec![Some(input), answers]
}

fn of_layer(map: &HeatMap) -> Panel {
    Panel {
        title: map.title.clone(),
        rows: map.rows,
        values: map.values.clone(),
        gaps: Vec::new(),
        first_step: 1,
        scale: ColourScale::of(&map.values),
    }
}

impl ColourScale {
    /// The scale that fits the numbers.
    fn of(values: &[Vec<f32>]) -> ColourScale {
        let all = || values.iter().flatten().copied().filter(|x| !x.is_nan());
        let within = all().all(|value| (0.0..=1.0 + 1e-6).contains(&value));
        match within {
            true => ColourScale::Share,
            false => ColourScale::Signed(all().fold(0.0, |most, value| value.abs().max(most))),
        }
    }

    /// In words, for a panel's title.
    fn in_words(self) -> String {
        match self {
            ColourScale::Share => "white 0, blue 1".to_owned(),
            ColourScale::Signed(most) if most < 0.01 => {
                format!("blue {most:.1e}, orange -{most:.1e}")
            }
            ColourScale::Signed(most) => format!("blue {most:.2}, orange -{most:.2}"),
        }
    }

    /// Sixteen steps of colour: as many as an eye tells apart, and neighbours alike can be drawn as one.
    fn color(self, value: f32) -> Option<String> {
        let (value, most) = match self {
            ColourScale::Share => (value, 1.0),
            ColourScale::Signed(most) => (value, most.max(f32::MIN_POSITIVE)),
        };
        let strength = (16.0 * (value.abs() / most).min(1.0)).round() / 16.0;
        if strength == 0.0 || value.is_nan() {
            return None;
        }
        let full = match value > 0.0 {
            true => [0.0, 62.0, 128.0],
            false => [196.0, 84.0, 0.0],
        };
        let [red, green, blue] = full.map(|full| (255.0 + (full - 255.0) * strength).round() as u8);
        Some(format!("#{red:02x}{green:02x}{blue:02x}"))
    }
}

impl Panel {
    fn height(&self) -> f64 {
        (ROW_HEIGHT * self.values.len() as f64).min(MOST_HEIGHT)
    }

    fn n_steps(&self) -> usize {
        self.values.first().map_or(0, Vec::len)
    }

    /// What the colours mean.
    fn in_words(&self) -> String {
        let scale = self.scale.in_words();
        match self.gaps.is_empty() {
            true => scale,
            false => format!("{scale}, grey: not asked"),
        }
    }

    fn draw(&self, svg: &mut String, left: f64, top: f64, width: f64) {
        let (n_rows, n_steps, height) = (self.values.len(), self.n_steps(), self.height());
        if n_rows == 0 || n_steps == 0 {
            return;
        }
        let (cell_width, cell_height) = (width / n_steps as f64, height / n_rows as f64);
        // What is written to a string cannot fail.
        let _ = write!(
            svg,
            r##"<text x="{left:.1}" y="{:.1}"><tspan font-weight="bold">{}</tspan><tspan fill="#6e6e6e" dx="8" font-size="11">{}</tspan></text>"##,
            top - 8.0,
            escaped(&self.title),
            self.in_words()
        );
        for gap in &self.gaps {
            let _ = write!(
                svg,
                r##"<rect x="{:.2}" y="{top:.2}" width="{cell_width:.2}" height="{height:.2}" fill="#ececec" shape-rendering="crispEdges"/>"##,
                left + *gap as f64 * cell_width
            );
        }
        for (row, values) in self.values.iter().enumerate() {
            let y = top + row as f64 * cell_height;
            for (first, n, color) in runs(values, |value| self.scale.color(value)) {
                let _ = write!(
                    svg,
                    r#"<rect x="{:.2}" y="{y:.2}" width="{:.2}" height="{cell_height:.2}" fill="{color}" shape-rendering="crispEdges"/>"#,
                    left + first as f64 * cell_width,
                    n as f64 * cell_width
                );
            }
        }
        let _ = write!(
            svg,
            r##"<rect x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}" fill="none" stroke="#9a9a9a"/>"##
        );
        self.draw_axes(svg, left, top, width);
    }

    /// The first and the last row and step, and what they are.
    fn draw_axes(&self, svg: &mut String, left: f64, top: f64, width: f64) {
        let (n_rows, n_steps, height) = (self.values.len(), self.n_steps(), self.height());
        let mut text = |x: f64, y: f64, anchor: &str, text: &str| {
            let _ = write!(
                svg,
                r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="11">{text}</text>"#
            );
        };
        let below = top + height + 14.0;
        text(left, below, "start", &self.first_step.to_string());
        if n_steps > 1 {
            let last = self.first_step + n_steps - 1;
            text(left + width, below, "end", &last.to_string());
        }
        text(left + width / 2.0, below, "middle", "step");
        text(left - 6.0, top + 9.0, "end", "1");
        if n_rows > 1 {
            text(left - 6.0, top + height, "end", &n_rows.to_string());
        }
        let (x, y) = (left - 30.0, top + height / 2.0);
        let _ = write!(
            svg,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="middle" font-size="11" transform="rotate(-90 {x:.1} {y:.1})">{}</text>"#,
            self.rows
        );
    }
}

/// Neighbours of one colour: where they begin, how many they are, the colour. White ones are left out.
fn runs(
    values: &[f32],
    color: impl Fn(f32) -> Option<String>,
) -> impl Iterator<Item = (usize, usize, String)> {
    let mut runs: Vec<(usize, usize, Option<String>)> = Vec::new();
    for (step, &value) in values.iter().enumerate() {
        let color = color(value);
        match runs.last_mut() {
            Some((_, n, last)) if *last == color => *n += 1,
            _ => runs.push((step, 1, color)),
        }
    }
    runs.into_iter()
        .filter_map(|(first, n, color)| Some((first, n, color?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Questions with gaps between them stand where they were asked.
    #[test]
    fn steps_that_were_asked_have_their_own_numbers() {
        let asked = [false, false, true, false, true, true, false];
        let row = |is_asked: &bool| is_asked.then(|| vec![0.0, 1.0]);
        let targets: Vec<Option<Vec<f32>>> = asked.iter().map(row).collect();
        let trace = SampleTrace {
            inputs: vec![vec![1.0]; 7],
            input_rows: "token",
            targets,
            answers: vec![Some(vec![0.25, 0.75]); 7],
            answer_rows: "class",
            heat_maps: Vec::new(),
        };
        for panel in compared(&trace).into_iter().flatten() {
            assert_eq!(
                (panel.first_step, panel.n_steps()),
                (3, 4),
                "{}",
                panel.title
            );
            assert_eq!(panel.gaps, [1]);
            let is_drawn = panel.values[1].iter().map(|value| !value.is_nan());
            assert_eq!(is_drawn.collect::<Vec<_>>(), [true, false, true, true]);
            assert!(panel.in_words().ends_with(", grey: not asked"));
        }
        let svg = draw("questions", &trace);
        // The axes of target, answer and error, from step 3 to step 6, and a grey column in each.
        for (number, times) in [("3", 3), ("6", 3)] {
            let label = format!(">{number}</text>");
            assert_eq!(svg.matches(&label).count(), times, "{number}");
        }
        assert_eq!(svg.matches("fill=\"#ececec\"").count(), 3);
    }

    #[test]
    fn neighbours_of_one_colour_are_one_rectangle() {
        let color = |value| ColourScale::Signed(2.0).color(value);
        let runs: Vec<_> = runs(&[0.0, 2.0, 2.0, -2.0, 0.0, 1.0], color).collect();
        let ends: Vec<_> = runs.iter().map(|(first, n, _)| (*first, *n)).collect();
        assert_eq!(ends, [(1, 2), (3, 1), (5, 1)]);
        assert_eq!(runs[0].2, "#003e80");
        assert_eq!(runs[1].2, "#c45400");
        assert_eq!(ColourScale::Share.color(f32::NAN), None);
    }
}
