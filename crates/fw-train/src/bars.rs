//! Progress bars on a terminal, where this build has them: with the feature `cli`.

use std::time::Duration;

#[cfg(feature = "cli")]
pub(crate) use of_terminal::Bars;
#[cfg(not(feature = "cli"))]
pub(crate) use without::Bars;

/// How a bar looks, as indicatif's templates say it, how far it goes, and where it begins.
#[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "nobody draws it"))]
pub(crate) struct Bar<'a> {
    pub template: &'a str,
    pub length: usize,
    pub position: usize,
}

#[cfg(feature = "cli")]
mod of_terminal {
    use std::io::IsTerminal;

    use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

    use super::Bar;

    /// Bars, one below the other.
    pub(crate) struct Bars {
        all: MultiProgress,
        bars: Vec<ProgressBar>,
    }

    impl Bars {
        /// Bars on standard error, if that is a terminal.
        pub fn on_terminal(bars: &[Bar]) -> Option<Self> {
            std::io::stderr().is_terminal().then(|| {
                let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
                let bars = bars.iter().map(|bar| {
                    let style = ProgressStyle::with_template(bar.template);
                    let drawn = all.add(ProgressBar::new(bar.length as u64));
                    drawn.set_style(style.expect("a valid template"));
                    drawn.set_position(bar.position as u64);
                    drawn.reset_eta();
                    drawn
                });
                let bars = bars.collect();
                Bars { all, bars }
            })
        }

        /// How far a bar is.
        pub fn set(&self, bar: usize, position: usize, message: String) {
            self.bars[bar].set_position(position as u64);
            self.bars[bar].set_message(message);
        }

        /// How far a bar goes.
        pub fn set_length(&self, bar: usize, length: usize) {
            self.bars[bar].set_length(length as u64);
        }

        /// A line above the bars.
        pub fn println(&self, text: &str) {
            // A bar that cannot be drawn is no reason to stop.
            let _ = self.all.println(text);
        }

        /// Leaves the bars as they are.
        pub fn leave(&self) {
            self.bars.iter().for_each(ProgressBar::abandon);
        }

        /// Takes the bars away.
        pub fn clear(&self) {
            let _ = self.all.clear();
        }
    }
}

#[cfg(not(feature = "cli"))]
mod without {
    use super::Bar;

    /// There are none.
    pub(crate) enum Bars {}

    impl Bars {
        pub fn on_terminal(_bars: &[Bar]) -> Option<Self> {
            None
        }

        pub fn set(&self, _bar: usize, _position: usize, _message: String) {
            match *self {}
        }

        pub fn set_length(&self, _bar: usize, _length: usize) {
            match *self {}
        }

        pub fn println(&self, _text: &str) {
            match *self {}
        }

        pub fn leave(&self) {
            match *self {}
        }

        pub fn clear(&self) {
            match *self {}
        }
    }
}

/// A time in words, as exact as a guess is: `45 seconds`, `12 minutes`, `3 hours`.
pub(crate) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let mut units = [(86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes")].into_iter();
    let (unit, name) = units
        .find(|(unit, _)| seconds >= 1.5 * unit)
        .unwrap_or((1.0, "seconds"));
    format!("{:.0} {name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_unit_that_says_enough() {
        for (seconds, expected) in [
            (0, "0 seconds"),
            (89, "89 seconds"),
            (90, "2 minutes"),
            (3_600, "60 minutes"),
            (6_000, "2 hours"),
            (200_000, "2 days"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), expected);
        }
    }
}
