//! A chart as SVG.

use std::fmt::Write;

use crate::report::chart::scale::{AxisScale, tick_text};
use crate::report::chart::{Axis, Chart, DASHES, Point, Series, Stroke};
use crate::report::page::escaped;

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
        let x = AxisScale::of(
            &self.x,
            points().map(|point| point.x),
            [LEFT + 6.0, WIDTH - RIGHT],
        );
        let spreads = points().flat_map(|point| [point.y, point.spread[0], point.spread[1]]);
        let y = AxisScale::of(&self.y, spreads, [HEIGHT - BOTTOM - 4.0, TOP + 4.0]);

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

    fn draw_axes(&self, svg: &mut String, x: &AxisScale, y: &AxisScale) {
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

    fn draw(
        &self,
        svg: &mut String,
        points: &[&Point],
        y_axis: &Axis,
        x: &AxisScale,
        y: &AxisScale,
    ) {
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
