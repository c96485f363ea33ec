//! Numbers of several seeds, and how they are written.

/// Mean, and the spread over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    pub mean: f64,
    /// The standard deviation of the sample; nothing, for one number.
    pub deviation: Option<f64>,
    pub lowest: f64,
    pub highest: f64,
}

impl Summary {
    /// Nothing, of no numbers.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (!values.is_empty()).then(|| Summary {
            mean,
            deviation: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()),
            lowest: values.iter().copied().fold(f64::INFINITY, f64::min),
            highest: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }

    /// `mean ± deviation`, each as `write` puts it.
    pub fn text(&self, write: impl Fn(f64) -> String) -> String {
        match self.deviation {
            Some(deviation) => format!("{} ± {}", write(self.mean), write(deviation)),
            None => write(self.mean),
        }
    }
}

/// The one row whose every seed is better, that is lower, than every seed of every other; of three seeds at least. Of two rows with
/// three seeds each that would come about by chance once in twenty times.
pub(super) fn best(rows: &[Vec<f64>]) -> Option<usize> {
    let ends = |values: &[f64]| Summary::of(values).map(|ends| (ends.lowest, ends.highest));
    (0..rows.len()).find(|&row| {
        let Some((_, highest)) = ends(&rows[row]) else {
            return false;
        };
        let others = rows.iter().enumerate().filter(|(other, _)| *other != row);
        let mut others = others.filter_map(|(_, values)| ends(values)).peekable();
        rows[row].len() >= 3
            && others.peek().is_some()
            && others.all(|(lowest, _)| highest < lowest)
    })
}

/// The number in the middle, or between the two that are; nothing, of no numbers.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(match sorted.len().is_multiple_of(2) {
        true => (sorted[middle - 1] + upper) / 2.0,
        false => upper,
    })
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.2}", 100.0 * share)
}

/// `12,345`
pub(super) fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three digits.
pub(super) fn short(value: f64) -> String {
    match value {
        100.0.. => count(value),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// `45 s`, `3.2 min`, `1.5 h`
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        ..100.0 => format!("{seconds:.0} s"),
        ..5400.0 => format!("{:.1} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

/// `0, 1, 2`
pub(super) fn list(numbers: &[u64]) -> String {
    let texts: Vec<String> = numbers.iter().map(u64::to_string).collect();
    texts.join(", ")
}

/// `0 to 9`, or a [`list`] of numbers that do not follow one another.
pub(super) fn range(numbers: &[u64]) -> String {
    match numbers {
        [first, .., last]
            if numbers.len() > 2 && numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]) =>
        {
            format!("{first} to {last}")
        }
        _ => list(numbers),
    }
}

/// What to sort names by: numbers in them by their size, `gru-9` before `gru-16`.
pub(super) fn natural_order(name: &str) -> (Vec<(String, u64)>, String) {
    let mut parts: Vec<(String, u64)> = vec![(String::new(), 0)];
    for character in name.chars() {
        let (text, number) = parts.last_mut().expect("there is a part");
        match character.to_digit(10) {
            Some(digit) => *number = number.saturating_mul(10).saturating_add(u64::from(digit)),
            None if *number > 0 => parts.push((character.to_string(), 0)),
            None => text.push(character),
        }
    }
    (parts, name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0, 4.0]), Some(3.0));
        assert_eq!(
            median(&[9.0, f64::NAN, 1.0]),
            Some(9.0),
            "a loss that is no number is the worst"
        );
    }

    #[test]
    fn seeds_that_follow_one_another_are_a_range() {
        assert_eq!(range(&[0, 1, 2, 3]), "0 to 3");
        assert_eq!(range(&[3, 5, 8]), "3, 5, 8");
        assert_eq!(range(&[7, 8]), "7, 8");
    }

    #[test]
    fn the_best_is_best_with_every_seed_of_three() {
        let far = vec![vec![3.0, 2.0, 4.0], vec![0.1, 0.3, 0.2], vec![9.0]];
        assert_eq!(best(&far), Some(1));
        assert_eq!(
            best(&[vec![0.1, 0.3, 0.2], vec![0.25, 0.9, 0.8]]),
            None,
            "they overlap"
        );
        assert_eq!(
            best(&[vec![0.1, 0.3], vec![2.0, 3.0, 4.0]]),
            None,
            "two seeds"
        );
        assert_eq!(best(&[vec![0.0; 3], vec![0.0; 3]]), None, "equals");
        assert_eq!(
            best(&[vec![0.0; 3], vec![]]),
            None,
            "nothing to be better than"
        );
    }

    #[test]
    fn numbers_are_written_with_the_digits_that_they_need() {
        let summary = Summary::of(&[0.01, 0.03]).expect("two numbers");
        assert_eq!(summary.text(percent), "2.00 ± 1.41");
        assert_eq!(
            Summary::of(&[0.5]).map(|one| one.text(percent)),
            Some("50.00".to_owned())
        );
        assert_eq!(Summary::of(&[]), None);
        assert_eq!([count(1234567.0), count(999.0)], ["1,234,567", "999"]);
        let texts = [45.0, 192.0, 5400.0].map(duration);
        assert_eq!(texts, ["45 s", "3.2 min", "1.5 h"]);
        let mut names = ["gru-128", "gru-16", "lstm-9", "gru"];
        names.sort_by_cached_key(|name| natural_order(name));
        assert_eq!(names, ["gru", "gru-16", "gru-128", "lstm-9"]);
    }
}
