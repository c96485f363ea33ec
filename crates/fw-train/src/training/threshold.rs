//! A value that a loss or an error is to come down to.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::tasks::{AnswerFormat, Format};
use crate::training::Evaluation;

/// A value that is to be reached: `error=0.05` or `loss=0.1` where it is typed, `{ error = 0.05 }` or `{ loss = 0.1 }` in an
/// experiment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Threshold {
    /// Once the error, a share from 0 to 1, is this low.
    Error(f64),
    /// Once the loss, in the task's unit, is this low.
    Loss(f64),
}

impl Threshold {
    /// What counts as learned where nothing is said: 5 % of wrong answers, a bit in a sequence, a squared error of 0.001. None for
    /// characters, of which nobody knows how well they can be foretold.
    pub fn default_of(format: Format) -> Option<Self> {
        match format.answer {
            AnswerFormat::Class { .. }
            | AnswerFormat::Classes { .. }
            | AnswerFormat::Reconstruction { .. } => Some(Threshold::Error(0.05)),
            AnswerFormat::Bits { .. } => Some(Threshold::Loss(1.0)),
            AnswerFormat::Number => Some(Threshold::Loss(0.001)),
            AnswerFormat::Text { .. } => None,
        }
    }

    /// Whether an error and a loss are low enough.
    pub fn is_reached_by(self, error: f64, loss: f64) -> bool {
        match self {
            Threshold::Error(most) => error <= most,
            Threshold::Loss(most) => loss <= most,
        }
    }

    /// What of an evaluation it is about.
    pub fn measure(self, evaluation: &Evaluation) -> f64 {
        match self {
            Threshold::Error(_) => evaluation.error,
            Threshold::Loss(_) => evaluation.loss,
        }
    }

    pub(crate) fn validate(self, field: &str) -> Result<(), Error> {
        match self {
            Threshold::Error(share) => {
                let field = format!("{field}.error");
                require((0.0..=1.0).contains(&share), &field, share, "lie in [0, 1]")
            }
            Threshold::Loss(loss) => {
                let holds = loss.is_finite() && loss >= 0.0;
                let rule = "be a number of at least 0";
                require(holds, &format!("{field}.loss"), loss, rule)
            }
        }
    }
}

impl Display for Threshold {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Threshold::Error(error) => {
                // 7 %, not 7.000000000000001 %.
                let percent = (1e8 * error).round() / 1e6;
                write!(formatter, "an error of {percent} %")
            }
            Threshold::Loss(loss) => write!(formatter, "a loss of {loss}"),
        }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = "it must be error=SHARE, from 0 to 1, or loss=NUMBER of at least 0";
        let (field, value) = text.split_once('=').ok_or(rule)?;
        let value: f64 = value.trim().parse().map_err(|_| rule)?;
        let threshold = match field.trim() {
            "error" => Threshold::Error(value),
            "loss" => Threshold::Loss(value),
            _ => return Err(rule.to_owned()),
        };
        threshold.validate("threshold").map_err(|_| rule)?;
        Ok(threshold)
    }
}
