//! A size that is found: the largest model with a state, or with parameters, of at most so many numbers.

use burn::module::Module;
use fw_core::Recurrent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Value;

use crate::Error;
use crate::device::DeviceName;
use crate::error::require;
use crate::models::ModelConfig;
use crate::settings::{self, Section};
use crate::tasks::Task;

/// What a setting of `[model]` can be instead of a number: `d_hidden = { state = 4096 }`, so that models of different kinds are compared at one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fit {
    /// The most numbers that a sample's state may have after the task's longest sequence.
    state: Option<usize>,
    /// The most parameters that the whole model may have.
    parameters: Option<usize>,
    /// What the setting must be a multiple of, such as the number of heads. Default 1.
    multiple_of: Option<usize>,
}

/// The largest that is tried.
const MOST: usize = 65_536;

/// A section in which the setting that says what it is to come to, if there is one, has the number that was found.
pub(super) fn with_fitted_size(section: Section, task: &dyn Task) -> Result<Section, Error> {
    let is_fit = |value: &Value| {
        let table = value.as_table();
        table.is_some_and(|table| table.contains_key("state") || table.contains_key("parameters"))
    };
    let fits = section.fields().filter(|(_, value)| is_fit(value));
    let fits: Vec<(String, Value)> = fits
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    let (field, value) = match fits.as_slice() {
        [] => return Ok(section),
        [fit] => fit,
        [(one, _), (other, _), ..] => {
            return Err(Error::usage(format!(
                "model.{one} and model.{other} are both to be found; give one of them a number"
            )));
        }
    };
    let name = format!("model.{field}");
    let table = value.as_table().cloned().unwrap_or_default();
    let fit: Fit = settings::parse(&name, table)?;
    let one = fit.state.is_some() != fit.parameters.is_some();
    require(one, &name, value, "have either state or parameters")?;
    let multiple_of = fit.multiple_of.unwrap_or(1);
    let in_range = (1..=MOST).contains(&multiple_of);
    let rule = "lie between 1 and 65,536";
    require(in_range, &format!("{name}.multiple_of"), multiple_of, rule)?;

    let device = DeviceName::default_of_build().open()?;
    let with = |n: usize| section.with(field, Value::from((n * multiple_of) as i64));
    let fits = |n: usize| -> Result<bool, Error> {
        let told = |error: Error| {
            let size = n * multiple_of;
            Error::usage(format!(
                "{name} = {size} was tried, a multiple of {multiple_of}: {}",
                error.in_full()
            ))
        };
        let config = ModelConfig::of_section(with(n), task).map_err(told)?;
        let config = config.in_file(task).map_err(told)?;
        let model = config.init(&device).map_err(|error| told(error.into()))?;
        Ok(match (fit.state, fit.parameters) {
            (Some(most), _) => model.layer.state_size(task.seq_length()) <= most,
            (_, most) => model.num_params() <= most.unwrap_or(0),
        })
    };
    let rule = "be more: the smallest there is does not fit";
    require(fits(1)?, &name, value, rule)?;
    let most = MOST / multiple_of;
    let mut low = 1;
    let mut high = loop {
        let next = (2 * low).min(most);
        if next == low {
            let rule = format!(
                "be less, or of a setting that it depends on: it fits with {}",
                most * multiple_of
            );
            require(false, &name, value, &rule)?;
        }
        if !fits(next)? {
            break next;
        }
        low = next;
    };
    while high - low > 1 {
        let middle = low.midpoint(high);
        match fits(middle)? {
            true => low = middle,
            false => high = middle,
        }
    }
    Ok(with(low))
}

#[cfg(test)]
mod tests {
    use crate::Experiment;

    fn fitted(model: &str) -> Result<(String, usize), String> {
        let text = format!(
            "task.kind = 'copy'\ntask.length = 5\noptimizer.kind = 'adam'\n[model]\n{model}"
        );
        let experiment = Experiment::from_document(text.parse().expect("TOML"), &[]);
        let experiment = experiment.map_err(|error| error.to_string())?;
        let layer = &experiment.model.layer;
        Ok((layer.kind().to_owned(), layer.d_hidden()))
    }

    #[test]
    fn the_largest_size_that_fits_is_found() {
        for (model, found) in [
            // h; h and c; h and A.
            ("kind = 'gru'\nd_hidden = { state = 100 }", 100),
            ("kind = 'lstm'\nd_hidden = { state = 101 }", 50),
            (
                "kind = 'fast-weights'\nform = 'matrix'\nd_hidden = { state = 110 }",
                10,
            ),
            (
                "kind = 'gru'\nd_hidden = { state = 100, multiple_of = 8 }",
                96,
            ),
            // A kernel of 4 sees three steps of queries, keys and values; and d x d of a memory.
            ("kind = 'delta-net'\nd_hidden = { state = 360 }", 15),
            // 9 inputs, 8 outputs: 3 (9 n + n n + 2 n) + 8 n + 8
            ("kind = 'gru'\nd_hidden = { parameters = 718 }", 10),
            ("kind = 'gru'\nd_hidden = { parameters = 717 }", 9),
        ] {
            let fitted = fitted(model).map(|(_, width)| width);
            assert_eq!(fitted, Ok(found), "{model}");
        }
    }

    #[test]
    fn what_cannot_be_found_is_said() {
        for (model, message) in [
            (
                "kind = 'lstm'\nd_hidden = { state = 1 }",
                "model.d_hidden is { state = 1 }; it must be more: the smallest there is does not fit",
            ),
            (
                "kind = 'gru'\nd_hidden = { state = 4, parameters = 3 }",
                "model.d_hidden is { parameters = 3, state = 4 }; it must have either state or parameters",
            ),
            (
                "kind = 'gru'\nd_hidden = { state = 4, multiple = 3 }",
                "in [model.d_hidden]: unknown field `multiple`",
            ),
            (
                "kind = 'gru'\nd_head = { state = 40 }",
                "model.d_head is { state = 40 }; it must be less, or of a setting that it depends on",
            ),
            (
                "kind = 'delta-net'\nn_heads = 2\nd_hidden = { state = 4096 }",
                "model.d_hidden = 1 was tried, a multiple of 1: model.n_heads is 2; it must divide model.d_hidden, 1",
            ),
            (
                "kind = 'gru'\nd_hidden = { state = 4 }\nd_head = { parameters = 4 }",
                "model.d_head and model.d_hidden are both to be found",
            ),
        ] {
            let error = fitted(model).expect_err(model);
            assert!(error.starts_with(message), "{model}: {error}");
        }
    }
}
