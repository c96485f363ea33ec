//! A chart: lines with bands and marks on linear or logarithmic axes, as SVG.

mod draw;
mod scale;

/// How many colours there are: those that colour-blind readers can tell apart (Okabe, Ito 2008), without the yellow, which is
/// faint on white. `STYLE` has them.
const COLORS: usize = 7;

/// What tells lines of one colour apart.
const DASHES: [&str; 7] = [
    "none",
    "6 3",
    "2 3",
    "9 3 2 3",
    "12 4",
    "6 3 2 3 2 3",
    "1 5",
];

/// Lines against two axes.
#[derive(Clone, Debug)]
pub struct Chart {
    /// A line above it.
    pub title: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// What is drawn, in the legend's order.
    pub series: Vec<Series>,
}

/// What an axis counts.
#[derive(Clone, Debug)]
pub struct Axis {
    /// With its unit.
    pub name: String,
    /// Whether equal distances are equal ratios.
    pub is_log: bool,
    /// Numbers that it has to show, besides those of the series.
    pub shows: Vec<f64>,
}

/// A line of a chart.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Its name in the legend; none, if it is not to stand there.
    pub label: Option<String>,
    /// Its colour and dashes.
    pub look: Look,
    /// In the order of x.
    pub points: Vec<Point>,
    /// Whether each point has a mark.
    pub marks: bool,
    /// How it is drawn.
    pub stroke: Stroke,
}

/// What tells a line from the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Its place among the colours, which begin again after the last; also the shape of its marks.
    pub color: usize,
    /// Its place among lines of this colour: the pattern of its dashes.
    pub variant: usize,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stroke {
    /// For results.
    #[default]
    Strong,
    /// For what stands behind them.
    Faint,
    /// For a bound.
    Dashed,
}

/// A point, and how far it is spread upwards and downwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: f64,
    /// Upwards.
    pub y: f64,
    /// The lowest and the highest of what the point is the middle of.
    pub spread: [f64; 2],
}

impl Look {
    /// The look of the n-th line, where each has a colour of its own as long as there are some.
    pub fn nth(n: usize) -> Self {
        Look {
            color: n % COLORS,
            variant: n / COLORS,
        }
    }

    /// Whether there is a colour and a pattern for it that no other look has.
    pub fn can_be_told_apart(self) -> bool {
        self.color < COLORS && self.variant < DASHES.len()
    }

    /// The name of its colour in style sheets.
    pub fn class(self) -> String {
        format!("c{}", self.color % COLORS)
    }
}

impl Axis {
    /// Equal distances are equal differences.
    pub fn linear(name: impl Into<String>) -> Self {
        Axis {
            name: name.into(),
            is_log: false,
            shows: Vec::new(),
        }
    }

    /// Equal distances are equal ratios.
    pub fn log(name: impl Into<String>) -> Self {
        Axis {
            is_log: true,
            ..Axis::linear(name)
        }
    }

    /// The same, and it reaches these numbers too.
    pub fn showing(mut self, numbers: &[f64]) -> Self {
        self.shows.extend(numbers);
        self
    }

    fn can_show(&self, value: f64) -> bool {
        value.is_finite() && (value > 0.0 || !self.is_log)
    }
}

impl Point {
    /// Without a spread.
    pub fn new(x: f64, y: f64) -> Self {
        Point {
            x,
            y,
            spread: [y, y],
        }
    }
}
