//! The tables of a report, whatever they are then written as.

use std::collections::BTreeSet;

use crate::report::comparison::numbers::{
    SEEDS_OF_INTERVAL, Scores, Summary, best, count, duration, interval, list, median, percent,
    range, short,
};
use crate::report::comparison::{Row, TaskSection};
use crate::training::{Evaluation, Goal, RunResult, SliceResult, Threshold, Trial, loss_number};

/// A table: a name, then cells, for each row.
pub(super) struct ResultTable {
    /// Above each column.
    pub columns: Vec<String>,
    /// As many cells as there are columns but the first; the row's place in its section.
    pub rows: Vec<(usize, Vec<Cell>)>,
    /// What a reader has to know to read it.
    pub legend: Vec<String>,
}

/// A number as text.
pub(super) struct Cell {
    pub text: String,
    /// Whether it is better than all others of its column beyond doubt.
    pub is_best: bool,
}

const NONE: &str = "-";

impl TaskSection {
    /// What a run is judged by, of which lower is better.
    pub(super) fn score(&self, evaluation: &Evaluation) -> f64 {
        self.judged(evaluation.error, evaluation.loss)
    }

    pub(super) fn judged(&self, error: f64, loss: f64) -> f64 {
        match self.format().is_ranked_by_error() {
            true => error,
            false => loss,
        }
    }

    /// The row that is best beyond doubt, of scores by row and seed: none, if one of its seeds has not come to its end.
    fn best_row(&self, scores: &[Scores]) -> Option<usize> {
        best(scores).filter(|&row| self.rows[row].unfinished.is_empty())
    }

    /// What the runs of a row are judged by, seed by seed.
    pub(super) fn scores(&self, row: &Row) -> Scores {
        let results = row.results();
        let scores = results.map(|result| (result.seed, self.score(&result.test)));
        scores.collect()
    }

    pub(super) fn score_text(&self, score: f64) -> String {
        match self.format().is_ranked_by_error() {
            true => percent(score),
            false => loss_number(score),
        }
    }

    pub(super) fn score_name(&self) -> String {
        let format = self.format();
        match format.is_ranked_by_error() {
            true => format!("{}, %", format.error_name()),
            false => format!("loss, {}", format.loss_unit()),
        }
    }

    pub(super) fn threshold(&self) -> Option<Threshold> {
        self.threshold
            .or_else(|| Threshold::default_of(self.format()))
    }

    /// Results, sizes and costs.
    pub(super) fn table(&self) -> ResultTable {
        let format = self.format();
        let by_error = format.is_ranked_by_error();
        let has = |value: fn(&RunResult) -> Option<f64>| {
            let mut results = self.rows.iter().flat_map(Row::results);
            results.any(|result| value(result).is_some())
        };
        let mut columns = vec!["".to_owned(), "seeds".to_owned(), self.score_name()];
        let has_intervals = self
            .rows
            .iter()
            .any(|row| row.runs.len() >= SEEDS_OF_INTERVAL);
        if has_intervals {
            columns.push("95 % interval".to_owned());
        }
        columns.push(match by_error {
            true => format!("loss, {}", format.loss_unit()),
            false => format!("{}, %", format.error_name()),
        });
        let has_counted = has(|result| result.test.counted_loss);
        let has_perfect = has(|result| result.test.perfect);
        if has_counted {
            columns.push(format!("loss where errors count, {}", format.loss_unit()));
        }
        if has_perfect {
            columns.push("perfect sequences, %".to_owned());
        }
        let costs = ["parameters", "state, numbers a sample", "updates"];
        columns.extend(costs.map(str::to_owned));
        let threshold = self.threshold();
        if let Some(threshold) = threshold {
            columns.push(format!("updates to {threshold}"));
        }
        let costs = ["training time", "ms an update", "peak memory, MiB"];
        columns.extend(costs.map(str::to_owned));

        let scores: Vec<Scores> = self.rows.iter().map(|row| self.scores(row)).collect();
        let best = self.best_row(&scores);
        let rows = self.rows.iter().enumerate().map(|(index, row)| {
            let over_seeds = |value: &dyn Fn(&RunResult) -> Option<f64>,
                              write: &dyn Fn(f64) -> String| {
                let values: Vec<f64> = row.results().filter_map(value).collect();
                plain(Summary::of(&values).map(|summary| summary.text(write)))
            };
            let mean = |value: &dyn Fn(&RunResult) -> Option<f64>,
                        write: &dyn Fn(f64) -> String| {
                let values: Vec<f64> = row.results().filter_map(value).collect();
                plain(Summary::of(&values).map(|summary| write(summary.mean)))
            };
            let mut cells = vec![plain(Some(row.runs.len().to_string()))];
            let scores: Vec<f64> = scores[index].iter().map(|(_, score)| *score).collect();
            let score = Summary::of(&scores);
            cells.push(Cell {
                text: text(score.map(|summary| summary.text(|score| self.score_text(score)))),
                is_best: best == Some(index),
            });
            if has_intervals {
                cells.push(plain(interval(&scores).map(|[low, high]| {
                    format!("{} to {}", self.score_text(low), self.score_text(high))
                })));
            }
            cells.push(match by_error {
                true => over_seeds(&|result| Some(result.test.loss), &loss_number),
                false => over_seeds(&|result| Some(result.test.error), &percent),
            });
            if has_counted {
                cells.push(over_seeds(&|result| result.test.counted_loss, &loss_number));
            }
            if has_perfect {
                let share = |share: f64| format!("{:.1}", 100.0 * share);
                cells.push(over_seeds(&|result| result.test.perfect, &share));
            }
            cells.push(mean(&|result| Some(result.parameters as f64), &count));
            cells.push(mean(&|result| Some(result.state_size as f64), &count));
            cells.push(plain(updates(row)));
            if let Some(threshold) = threshold {
                cells.push(plain(Some(steps_to(row, threshold))));
            }
            cells.push(mean(&|result| Some(result.seconds), &duration));
            cells.push(mean(&|result| result.milliseconds_per_step, &short));
            let mebibytes = |result: &RunResult| Some(result.peak_memory? as f64 / 1_048_576.0);
            cells.push(mean(&mebibytes, &count));
            (index, cells)
        });
        let rows = rows.collect();
        let mut legend = vec![
            "Test split, with the checkpoint that was best on the validation split; mean ± standard deviation over seeds."
                .to_owned(),
        ];
        if has_intervals {
            legend.push(
                "The interval is that of the mean, where there are five seeds or more: the bootstrap's, expanded for few seeds (Hesterberg 2015).".to_owned(),
            );
        }
        if best.is_some() {
            legend.push(
                "Bold: better than every other row beyond doubt. With five seeds or more in common, the 95 % interval of the mean difference, seed by seed, lies below 0; with fewer, each of its three or more is better than every seed of the other.".to_owned(),
            );
        }
        let optimal: Vec<f64> = self
            .rows
            .iter()
            .flat_map(Row::results)
            .filter_map(|result| result.test.optimal)
            .collect();
        if self
            .rows
            .iter()
            .flat_map(Row::results)
            .any(|result| result.restarts > 0)
        {
            legend.push(
                "Restarts are of all seeds together; updates are those before them included."
                    .to_owned(),
            );
        }
        if let Some(optimal) = Summary::of(&optimal) {
            let errors = self.rows.iter().flat_map(Row::results);
            let errors: Vec<f64> = errors
                .filter_map(|result| result.test.optimal_error)
                .collect();
            let error = Summary::of(&errors).map_or(String::new(), |error| {
                format!("; its {} is {} %", format.error_name(), percent(error.mean))
            });
            legend.push(format!(
                "The best that any net can come to here is a loss of {}{error}.",
                loss_number(optimal.mean)
            ));
        }
        ResultTable {
            columns,
            rows,
            legend,
        }
    }

    /// What each trial came to before the settings of a row were chosen; nothing, where no row has a grid.
    pub(super) fn grid_table(&self) -> Option<ResultTable> {
        let choices = || self.rows.iter().map(|row| row.any().choice());
        let mut titles: Vec<String> = Vec::new();
        for title in choices()
            .flatten()
            .flat_map(|choice| &choice.trials)
            .map(Trial::title)
        {
            if !titles.contains(&title) {
                titles.push(title);
            }
        }
        let seeds: BTreeSet<u64> = choices().flatten().map(|choice| choice.seed).collect();
        let seeds: Vec<u64> = seeds.into_iter().collect();
        let rows = choices().enumerate().filter_map(|(index, choice)| {
            let choice = choice?;
            let cells = titles.iter().map(|title| {
                let place = choice
                    .trials
                    .iter()
                    .position(|trial| trial.title() == *title);
                let score = place.map(|place| match choice.trials[place].validation {
                    Some([error, loss]) => self.score_text(self.judged(error, loss)),
                    None => "failed".to_owned(),
                });
                Cell {
                    text: text(score),
                    is_best: place == Some(choice.chosen),
                }
            });
            Some((index, cells.collect()))
        });
        let rows: Vec<_> = rows.collect();
        let has_trials = !rows.is_empty();
        has_trials.then(|| ResultTable {
            rows,
            columns: std::iter::once(String::new()).chain(titles).collect(),
            legend: vec![format!(
                "The grid: {} on the validation split of a trial with each of these settings, with the seed {}. Bold: what was chosen, and then trained with the seeds of the table above.",
                self.score_name(),
                list(&seeds)
            )],
        })
    }

    /// Goals of the experiments, and how many seeds have reached them; nothing, where no row has one.
    pub(super) fn goal_table(&self) -> Option<ResultTable> {
        let rows = self.rows.iter().enumerate().flat_map(|(index, row)| {
            let goals = row.any().experiment.goals.iter();
            goals.map(move |goal| (index, self.goal_cells(row, goal)))
        });
        let rows: Vec<(usize, Vec<Cell>)> = rows.collect();
        let columns = [
            "",
            "goal",
            "reached",
            "median",
            "worst",
            "seeds",
            "each seed",
        ];
        let has_goals = !rows.is_empty();
        has_goals.then(|| ResultTable {
            columns: columns.map(str::to_owned).to_vec(),
            rows,
            legend: vec![
                "What each experiment is to reach on the test split; errors in %.".to_owned(),
            ],
        })
    }

    fn goal_cells(&self, row: &Row, goal: &Goal) -> Vec<Cell> {
        let measure = |result: &RunResult| Some(goal.reach.measure(goal.evaluation(result)?));
        let write = |value: f64| match goal.reach {
            Threshold::Error(_) => percent(value),
            Threshold::Loss(_) => loss_number(value),
        };
        let reached = row.results().filter(|result| goal.is_reached_by(result));
        let values: Vec<f64> = row.results().filter_map(measure).collect();
        let worst = values.iter().max_by(|one, other| one.total_cmp(other));
        let each = row.results().map(|result| measure(result).map(write));
        let each: Vec<String> = each.map(text).collect();
        let cells = [
            Some(goal.to_string()),
            Some(format!("{} of {}", reached.count(), row.runs.len())),
            median(&values).map(write),
            worst.copied().map(write),
            Some(range(&row.seeds())),
            Some(each.join(", ")),
        ];
        cells.map(plain).into()
    }

    /// For each setting that rows were tested along: its name, its values, and the score at each.
    pub(super) fn slice_tables(&self) -> Vec<(String, ResultTable)> {
        let all = || {
            self.rows
                .iter()
                .flat_map(Row::results)
                .flat_map(|result| &result.slices)
        };
        let mut settings: Vec<&str> = all().map(|slice| slice.setting.as_str()).collect();
        settings.sort_unstable();
        settings.dedup();
        let tables = settings.into_iter().map(|setting| {
            let of_setting = |slice: &&SliceResult| slice.setting == setting;
            let values = all().filter(of_setting).map(|slice| &slice.value);
            let mut values: Vec<(f64, String)> = values
                .map(|value| (place_of(value), value.to_string()))
                .collect();
            values
                .sort_by(|one, other| one.0.total_cmp(&other.0).then_with(|| one.1.cmp(&other.1)));
            values.dedup();
            let values: Vec<String> = values.into_iter().map(|(_, text)| text).collect();
            let scores = |row: &Row, value: &String| -> Scores {
                let of_result = |result: &RunResult| {
                    let mut slices = result.slices.iter().filter(of_setting);
                    let slice = slices.find(|slice| slice.value.to_string() == *value)?;
                    Some((result.seed, self.score(&slice.evaluation)))
                };
                row.results().filter_map(of_result).collect()
            };
            let bests: Vec<Option<usize>> = values
                .iter()
                .map(|value| {
                    let rows = self.rows.iter().map(|row| scores(row, value));
                    self.best_row(&rows.collect::<Vec<_>>())
                })
                .collect();
            let tested = |row: &Row| {
                row.results()
                    .any(|result| result.slices.iter().any(|slice| slice.setting == setting))
            };
            let rows = self.rows.iter().enumerate().filter(|(_, row)| tested(row));
            let rows = rows.map(|(index, row)| {
                let cells = values.iter().zip(&bests).map(|(value, best)| Cell {
                    text: text({
                        let scores = scores(row, value).into_iter().map(|(_, score)| score);
                        let summary = Summary::of(&scores.collect::<Vec<f64>>());
                        summary.map(|summary| summary.text(|score| self.score_text(score)))
                    }),
                    is_best: *best == Some(index),
                });
                (index, cells.collect())
            });
            let name = setting.replace('_', " ");
            let table = ResultTable {
                rows: rows.collect(),
                columns: std::iter::once(name.clone()).chain(values).collect(),
                legend: vec![format!(
                    "{} on the test split with other values of {name}.",
                    self.score_name()
                )],
            };
            (setting.to_owned(), table)
        });
        tables.collect()
    }
}

/// Where a slice's value stands among the others: numbers by their size, ranges by their end, what is neither behind them.
fn place_of(value: &toml::Value) -> f64 {
    match value {
        toml::Value::Integer(number) => *number as f64,
        toml::Value::Float(number) => *number,
        toml::Value::Array(range) => range.last().map_or(f64::INFINITY, place_of),
        _ => f64::INFINITY,
    }
}

/// Mean of the updates; how often trainings began anew, if any did.
fn updates(row: &Row) -> Option<String> {
    let steps: Vec<f64> = row.results().map(|result| result.steps as f64).collect();
    let mean = count(Summary::of(&steps)?.mean);
    let restarts = row.results().map(|result| result.restarts).sum();
    Some(match restarts_text(restarts) {
        None => mean,
        Some(restarts) => format!("{mean} ({restarts})"),
    })
}

/// `1 restart`, `2 restarts`; nothing, if there was none.
pub(super) fn restarts_text(restarts: usize) -> Option<String> {
    match restarts {
        0 => None,
        1 => Some("1 restart".to_owned()),
        _ => Some(format!("{restarts} restarts")),
    }
}

/// Mean over the seeds that reached it; how many, if not all did.
fn steps_to(row: &Row, threshold: Threshold) -> String {
    let steps: Vec<f64> = row
        .runs
        .iter()
        .filter_map(|run| Some(run.step_to(threshold)? as f64))
        .collect();
    let (reached, all) = (steps.len(), row.runs.len());
    match Summary::of(&steps) {
        None => NONE.to_owned(),
        Some(summary) if reached == all => count(summary.mean),
        Some(summary) => format!("{} ({reached} of {all} seeds)", count(summary.mean)),
    }
}

fn text(text: Option<String>) -> String {
    text.unwrap_or_else(|| NONE.to_owned())
}

fn plain(value: Option<String>) -> Cell {
    Cell {
        text: text(value),
        is_best: false,
    }
}
