//! `fw-train test`

use clap::Args;
use serde::Serialize;

use crate::Error;
use crate::cli::loaded::{Loaded, ModelArgs};
use crate::cli::output;
use crate::plain::to_json;

use crate::tasks::Split;
use crate::training::{Evaluation, evaluate, evaluate_text};

/// Measure a trained model's loss and error on a whole split.
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// Measure once for each value of a field of the task, for example task.length=10,20,50
    #[arg(long, value_name = "task.FIELD=VALUE,VALUE,..")]
    sweep: Option<String>,

    /// Go through the whole text of the split with one state, from its first character to its last, instead of window by window
    /// [default: as the run was trained, see training.carry_state; --carry-state=false goes window by window]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    carry_state: Option<bool>,

    /// Print one JSON object a line instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    /// The assignment of a sweep.
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<String>,
    split: Split,
    samples: Option<u64>,
    /// Whether the whole text was read with one state: it is no number of samples then.
    carry_state: bool,
    checkpoint_step: usize,
    #[serde(flatten)]
    evaluation: Evaluation,
}

impl TestArgs {
    pub fn run(self) -> Result<(), Error> {
        let Some(sweep) = &self.sweep else {
            return self.measure(None, &self.model.load_with(&[])?);
        };
        let assignments = sweep_assignments(sweep)?;
        let first = self.model.load_without_data(&assignments[..1])?;
        let carries = self
            .carry_state
            .unwrap_or(first.experiment.training.carry_state);
        if carries && sweep.trim_start().starts_with("task.length") {
            return Err(Error::usage(
                "--sweep task.length: the whole text is read with one state, whatever the length of a window; --carry-state=false goes \
                 window by window",
            ));
        }
        // A value that is refused is refused before hours are spent on those before it.
        for assignment in &assignments {
            self.model.load_with(std::slice::from_ref(assignment))?;
        }
        for assignment in assignments {
            let loaded = self.model.load_with(std::slice::from_ref(&assignment))?;
            self.measure(Some(assignment), &loaded)?;
        }
        Ok(())
    }

    /// One evaluation, with one more assignment.
    fn measure(&self, set: Option<String>, loaded: &Loaded) -> Result<(), Error> {
        let task = loaded.experiment.task.task();
        let split = self.model.split;
        let as_trained = loaded.experiment.training.carry_state;
        let carry_state = self.carry_state.unwrap_or(as_trained);
        if carry_state && task.text_length(split).is_none() {
            return Err(Error::usage(format!(
                "--carry-state: {} has no text that goes on from sample to sample; characters has",
                loaded.experiment.task.kind()
            )));
        }
        let (model, device) = (loaded.model()?, &loaded.device);
        let of_text = match carry_state {
            true => evaluate_text(&model, task, split, device),
            false => None,
        };
        let evaluation = of_text.unwrap_or_else(|| evaluate(&model, task, split, device));
        let report = Report {
            set,
            split,
            samples: task.n_samples(split).filter(|_| !carry_state),
            carry_state,
            checkpoint_step: loaded.saved.step(),
            evaluation,
        };
        if self.json {
            let json = to_json(&report);
            return output::line(format_args!("{json}"));
        }
        let set = report.set.map_or(String::new(), |set| format!("{set}: "));
        let whole = match carry_state {
            true => ", read with one state",
            false => "",
        };
        output::line(format_args!(
            "{set}{} on the {} split{whole} (checkpoint of step {})",
            evaluation.in_words(task.format()),
            split.name(),
            report.checkpoint_step
        ))
    }
}

/// `task.length=10,20` as `task.length=10` and `task.length=20`. Commas inside brackets or quotes belong to a value.
fn sweep_assignments(sweep: &str) -> Result<Vec<String>, Error> {
    let (field, values) = sweep.split_once('=').ok_or_else(|| {
        Error::usage(format!(
            "--sweep {sweep} is not a sweep; write it as task.field=value,value, \
             for example --sweep task.length=10,20,50"
        ))
    })?;
    let (mut depth, mut quote, mut before) = (0, None, ',');
    let split = values.split(|character| {
        let begins = matches!(before, ',' | '[' | ' ' | '=');
        match character {
            _ if quote == Some(character) => quote = None,
            _ if quote.is_some() => {}
            // Elsewhere it is an apostrophe.
            '"' | '\'' if begins => quote = Some(character),
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        before = character;
        character == ',' && depth == 0 && quote.is_none()
    });
    Ok(split.map(|value| format!("{field}={value}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_is_an_assignment_for_each_value() {
        let split = |text| sweep_assignments(text).map_err(|error| error.to_string());
        assert_eq!(
            split("task.length=1,[2, 3],40"),
            Ok(["1", "[2, 3]", "40"]
                .map(|value| format!("task.length={value}"))
                .to_vec())
        );
        assert!(
            split("task.length").is_err_and(|error| error.contains("write it as task.field=value"))
        );
    }
}
