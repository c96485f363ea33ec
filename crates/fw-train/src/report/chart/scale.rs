//! Where a number lies on an axis, and which numbers stand along it.

use crate::report::chart::Axis;

/// From numbers to places on an axis.
pub(super) struct AxisScale {
    is_log: bool,
    /// Of the axis, or their logarithms.
    ends: [f64; 2],
    /// Where the ends lie in the figure.
    at: [f64; 2],
    pub ticks: Vec<f64>,
}

impl AxisScale {
    pub fn of(axis: &Axis, values: impl Iterator<Item = f64>, at: [f64; 2]) -> Self {
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
        AxisScale {
            is_log: axis.is_log,
            ends: match axis.is_log {
                true => [reach(low), reach(high)],
                false => [first, last],
            },
            at,
            ticks,
        }
    }

    pub fn place(&self, value: f64) -> f64 {
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
}
