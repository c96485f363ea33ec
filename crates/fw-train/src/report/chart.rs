//! A chart: lines with bands and marks on linear or logarithmic axes, as SVG.

use std::fmt::Write;

use crate::report::figure::escaped;

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

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
const LEGEND_LINE: f64 = 20.0;
/// Letters of a label that there is room for.
const MOST_LETTERS: usize = 56;
/// Width of a letter of the legend, on average.
const LETTER: f64 = 6.9;

/// From numbers to places on an axis.
struct Scale {
    is_log: bool,
    /// Of the axis, or their logarithms.
    ends: [f64; 2],
    /// Where the ends lie in the figure.
    at: [f64; 2],
    ticks: Vec<f64>,
}

impl Scale {
    fn of(axis: &Axis, values: impl Iterator<Item = f64>, at: [f64; 2]) -> Self {
        let shown = values.chain(axis.shows.iter().copied());
        let [mut low, mut high] = shown
            .filter(|&value| axis.can_show(value))
            .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| {
                [low.min(value), high.max(value)]
            });
        if low > high {
            [low, high] = [1.0, 10.0];
        }
        let ticks = match axis.is_log {
            true => {
                if high < 1.5 * low {
                    [low, high] = [low / 1.5, high * 1.5];
                }
                log_ticks(low, high)
            }
            false => {
                if high - low < 1e-12 * high.abs().max(1e-3) {
                    high = low + low.abs().max(1.0);
                }
                linear_ticks(low, high)
            }
        };
        let reach = |value: f64| if axis.is_log { value.log10() } else { value };
        // Half a tick more makes room for a mark on the end.
        let first = ticks.first().map_or(low, |&tick| tick.min(low));
        let last = ticks.last().map_or(high, |&tick| tick.max(high));
        Scale {
            is_log: axis.is_log,
            ends: match axis.is_log {
                true => [reach(low), reach(high)],
                false => [first, last],
            },
            at,
            ticks,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let value = if self.is_log { value.log10() } else { value };
        let [low, high] = self.ends;
        let share = ((value - low) / (high - low)).clamp(-0.02, 1.02);
        self.at[0] + share * (self.at[1] - self.at[0])
    }
}

/// 1, 2 or 5 times a power of ten apart, from the first below to the last above.
fn linear_ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= 0.999 * rough)
        .unwrap_or(rough);
    let (first, last) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
    let n = (last - first).round() as i64;
    (0..=n).map(|n| (first + n as f64) * step).collect()
}

/// Powers of ten between the ends; where there are few, 2 and 5 times them as well; where there are many, each second or third.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = (high / low).log10();
    let factors: &[f64] = match decades {
        ..0.8 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
        ..2.2 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let every = (decades / 6.0).ceil().max(1.0) as i32;
    let powers = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
    powers
        .filter(|power| power.rem_euclid(every) == 0)
        .flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)))
        .filter(|tick| (0.999 * low..=1.001 * high).contains(tick))
        .collect()
}

/// A number on an axis, as short as it can be: `0.05`, `20k`, `1e-5`.
pub fn tick_text(value: f64) -> String {
    let size = value.abs();
    let rounded = |value: f64, digits: usize| {
        let text = format!("{value:.digits$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        }
    };
    match size {
        0.0 => "0".to_owned(),
        1e9.. => format!("{}G", rounded(value / 1e9, 1)),
        1e6.. => format!("{}M", rounded(value / 1e6, 1)),
        1e4.. => format!("{}k", rounded(value / 1e3, 1)),
        10.0.. => rounded(value, 1),
        1.0.. => rounded(value, 2),
        1e-3.. => rounded(value, (1.0 - size.log10().floor()) as usize),
        _ => format!("{value:.1e}").replace(".0e", "e"),
    }
}

impl Chart {
    /// What a reader who cannot see it is told: title, axes, and each line's last point.
    pub fn in_words(&self) -> String {
        let mut text = format!("{}: {} against {}.", self.title, self.y.name, self.x.name);
        for series in &self.series {
            if let (Some(label), Some(last)) = (&series.label, series.points.last()) {
                let (x, y) = (tick_text(last.x), tick_text(last.y));
                let _ = write!(text, " {label} ends at {y} ({}: {x}).", self.x.name);
            }
        }
        text
    }

    /// Units of the figure from left to right.
    pub const WIDTH: f64 = WIDTH;

    /// Units of the figure from top to bottom.
    pub fn height(&self) -> f64 {
        match self.legend().last() {
            Some(item) => HEIGHT + LEGEND_LINE * (item.line + 1) as f64 + 6.0,
            None => HEIGHT,
        }
    }

    /// The chart as an SVG document. Colours are classes: a page that shows it inside itself may give its own.
    pub fn svg(&self) -> String {
        let legend = self.legend();
        let height = self.height();
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Scale::of(
            &self.x,
            points().map(|point| point.x),
            [LEFT + 6.0, WIDTH - RIGHT],
        );
        let spreads = points().flat_map(|point| [point.y, point.spread[0], point.spread[1]]);
        let y = Scale::of(&self.y, spreads, [HEIGHT - BOTTOM - 4.0, TOP + 4.0]);

        let mut svg = String::new();
        // What is written to a string cannot fail.
        let _ = write!(
            svg,
            r#"<svg class="chart" xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" font-family="sans-serif" font-size="13"><title>{}</title><desc>{}</desc>{STYLE}<rect class="paper" width="{WIDTH}" height="{height}"/><text class="ink" x="{LEFT}" y="18" font-weight="bold">{}</text>"#,
            escaped(&self.title),
            escaped(&self.in_words()),
            escaped(&self.title),
        );
        self.draw_axes(&mut svg, &x, &y);
        for series in &self.series {
            let able = |point: &&Point| self.x.can_show(point.x) && self.y.can_show(point.y);
            let points: Vec<&Point> = series.points.iter().filter(able).collect();
            series.draw(&mut svg, &points, &self.y, &x, &y);
        }
        for item in &legend {
            let top = HEIGHT + LEGEND_LINE * item.line as f64 + 10.0;
            item.series.draw_key(&mut svg, item.left, top);
            let _ = write!(
                svg,
                r#"<text class="ink" x="{:.1}" y="{:.1}">{}</text>"#,
                item.left + 34.0,
                top + 4.5,
                escaped(item.label)
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn draw_axes(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for &tick in &y.ticks {
            let at = y.place(tick);
            let _ = write!(
                svg,
                r#"<path class="grid" d="M{LEFT} {at:.1}H{right}"/><text class="ink" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 7.0,
                at + 4.5,
                tick_text(tick)
            );
        }
        let mut free_from = f64::NEG_INFINITY;
        for &tick in &x.ticks {
            let (at, text) = (x.place(tick), tick_text(tick));
            let half = LETTER * text.len() as f64 / 2.0 + 3.0;
            let _ = write!(svg, r#"<path class="axis" d="M{at:.1} {bottom}v4"/>"#);
            if at - half < free_from {
                continue;
            }
            free_from = at + half;
            let _ = write!(
                svg,
                r#"<text class="ink" x="{at:.1}" y="{:.1}" text-anchor="middle">{text}</text>"#,
                bottom + 18.0
            );
        }
        let middle = (TOP + bottom) / 2.0;
        let _ = write!(
            svg,
            r#"<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/><text class="ink" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text><text class="ink" x="14" y="{middle:.1}" text-anchor="middle" transform="rotate(-90 14 {middle:.1})">{}</text>"#,
            (LEFT + right) / 2.0,
            bottom + 37.0,
            escaped(&self.x.name),
            escaped(&self.y.name)
        );
    }

    /// Where each label stands: as many on a line as there is room for.
    fn legend(&self) -> Vec<LegendItem<'_>> {
        let mut items: Vec<LegendItem> = Vec::new();
        let (mut left, mut line) = (12.0, 0);
        for series in &self.series {
            let Some(label) = series.label.as_deref() else {
                continue;
            };
            let fits = label
                .char_indices()
                .nth(MOST_LETTERS)
                .map_or(label.len(), |(at, _)| at);
            let label = &label[..fits];
            let width = 34.0 + LETTER * label.chars().count() as f64 + 14.0;
            if left > 12.0 && left + width > WIDTH {
                (left, line) = (12.0, line + 1);
            }
            items.push(LegendItem {
                label,
                series,
                left,
                line,
            });
            left += width;
        }
        items
    }
}

struct LegendItem<'a> {
    label: &'a str,
    series: &'a Series,
    left: f64,
    line: usize,
}

impl Series {
    /// Lines of one colour are told apart by their dashes.
    fn dashes(&self) -> &'static str {
        match self.stroke {
            Stroke::Dashed => "7 5",
            _ => DASHES[self.look.variant % DASHES.len()],
        }
    }

    fn draw(&self, svg: &mut String, points: &[&Point], y_axis: &Axis, x: &Scale, y: &Scale) {
        let color = self.look.class();
        let at =
            |point: &Point, value: f64| format!("{:.1} {:.1}", x.place(point.x), y.place(value));
        let shown = |value: f64, point: &Point| match y_axis.can_show(value) {
            true => value,
            false => point.y,
        };
        let spread = |end: usize| move |point: &&&Point| shown(point.spread[end], point);
        let is_spread = points.iter().any(|point| point.spread != [point.y; 2]);
        if is_spread && self.marks {
            for point in points {
                let [low, high] = [0, 1].map(|end| y.place(spread(end)(&point)));
                let x = x.place(point.x);
                let _ = write!(
                    svg,
                    r#"<path class="line {color}" d="M{x:.1} {low:.1}V{high:.1}"/>"#
                );
            }
        } else if is_spread {
            let upper = points.iter().map(|point| at(point, spread(1)(&point)));
            let lower = points
                .iter()
                .rev()
                .map(|point| at(point, spread(0)(&point)));
            let outline: Vec<String> = upper.chain(lower).collect();
            let _ = write!(
                svg,
                r#"<path class="band {color}" d="M{}Z"/>"#,
                outline.join("L")
            );
        }
        let line: Vec<String> = points.iter().map(|point| at(point, point.y)).collect();
        if line.len() > 1 {
            let _ = write!(
                svg,
                r#"<path class="{} {color}" stroke-dasharray="{}" d="M{}"/>"#,
                self.stroke.class(),
                self.dashes(),
                line.join("L")
            );
        }
        if self.marks || line.len() == 1 {
            for point in points {
                let (x, y) = (x.place(point.x), y.place(point.y));
                self.draw_mark(
                    svg,
                    x,
                    y,
                    &format!("{}, {}", tick_text(point.x), tick_text(point.y)),
                );
            }
        }
    }

    /// One of four shapes, so that colours are not all that tells lines apart.
    fn draw_mark(&self, svg: &mut String, x: f64, y: f64, text: &str) {
        let shape = match self.look.color % 4 {
            0 => format!(
                "M{:.1} {y:.1}a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0Z",
                x - 4.5
            ),
            1 => format!("M{:.1} {:.1}h8v8h-8Z", x - 4.0, y - 4.0),
            2 => format!("M{x:.1} {:.1}l5.2 9h-10.4Z", y - 5.5),
            _ => format!("M{x:.1} {:.1}l5.5 5.5l-5.5 5.5l-5.5 -5.5Z", y - 5.5),
        };
        let label = self.label.as_deref().unwrap_or_default();
        let _ = write!(
            svg,
            r#"<path class="mark {}" d="{shape}"><title>{} {}</title></path>"#,
            self.look.class(),
            escaped(label),
            escaped(text)
        );
    }

    fn draw_key(&self, svg: &mut String, left: f64, top: f64) {
        let _ = write!(
            svg,
            r#"<path class="{} {}" stroke-dasharray="{}" d="M{left:.1} {top:.1}h28"/>"#,
            self.stroke.class(),
            self.look.class(),
            self.dashes()
        );
        if self.marks {
            self.draw_mark(svg, left + 14.0, top, "");
        }
    }
}

impl Stroke {
    fn class(self) -> &'static str {
        match self {
            Stroke::Strong | Stroke::Dashed => "line",
            Stroke::Faint => "line faint",
        }
    }
}

/// On white, for a chart that stands alone; a page's own rules are more specific, and win.
const STYLE: &str = "<style>.paper{fill:#fff}.ink{fill:#333}.grid{stroke:#e3e3e3;fill:none}.axis{stroke:#8a8a8a;fill:none}\
    .line{fill:none;stroke-width:2.2;stroke-linejoin:round}.faint{stroke-width:1;opacity:.55}.band{opacity:.18;stroke:none}\
    .mark{stroke:#fff;stroke-width:.8}\
    .line.c0{stroke:#0072b2}.line.c1{stroke:#d55e00}.line.c2{stroke:#009e73}.line.c3{stroke:#cc79a7}.line.c4{stroke:#56b4e9}\
    .line.c5{stroke:#e69f00}.line.c6{stroke:#000}\
    .band.c0,.mark.c0{fill:#0072b2}.band.c1,.mark.c1{fill:#d55e00}.band.c2,.mark.c2{fill:#009e73}.band.c3,.mark.c3{fill:#cc79a7}\
    .band.c4,.mark.c4{fill:#56b4e9}.band.c5,.mark.c5{fill:#e69f00}.band.c6,.mark.c6{fill:#000}</style>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_around_what_is_shown() {
        assert_eq!(linear_ticks(0.0, 9.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(
            linear_ticks(0.0, 100.0),
            [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
        );
        assert_eq!(
            log_ticks(1.0, 100.0),
            [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
        );
        assert_eq!(log_ticks(0.5, 2e3), [1.0, 10.0, 100.0, 1000.0]);
        let texts = [0.0015, 0.002, 1.5e-4, 0.15].map(tick_text);
        assert_eq!(texts, ["0.0015", "0.002", "1.5e-4", "0.15"]);
        let texts = [0.0, 0.05, 1e-5, 20_000.0, 1.5e6, 128.0, 2.0].map(tick_text);
        assert_eq!(texts, ["0", "0.05", "1e-5", "20k", "1.5M", "128", "2"]);
    }

    #[test]
    fn a_point_lies_where_its_numbers_say() {
        let chart = Chart {
            title: "a < b".to_owned(),
            x: Axis::log("elements"),
            y: Axis::linear("%").showing(&[0.0, 100.0]),
            series: vec![Series {
                label: Some("one".to_owned()),
                points: vec![
                    Point::new(1.0, 0.0),
                    Point::new(10.0, 50.0),
                    Point::new(100.0, 100.0),
                ],
                ..Series::default()
            }],
        };
        let svg = chart.svg();
        let (left, right) = (LEFT + 6.0, WIDTH - RIGHT);
        let (low, high) = (HEIGHT - BOTTOM - 4.0, TOP + 4.0);
        let expected = format!(
            "M{left:.1} {low:.1}L{:.1} {:.1}L{right:.1} {high:.1}",
            (left + right) / 2.0,
            (low + high) / 2.0
        );
        assert!(svg.contains(&expected), "{expected}\n{svg}");
        assert!(svg.contains("a &lt; b") && svg.contains("one ends at 100"));
        let empty = Chart {
            series: Vec::new(),
            ..chart
        };
        assert!(
            empty.svg().ends_with("</svg>\n"),
            "nothing to draw is no panic"
        );
    }
}
