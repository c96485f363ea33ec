//! When a training counts as having got there.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use crate::report::chart::tick_text;
use crate::report::comparison::Run;
use crate::tasks::{AnswerFormat, Format};
use crate::training::Record;

/// A value on the validation split that a training is to reach: `error=0.05` or `loss=0.1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// A share, 0 to 1.
    Error(f64),
    /// In the task's unit.
    Loss(f64),
}

impl Threshold {
    /// What is used when none is given: 5 % of wrong answers, a bit in a sequence, a squared error of 0.001. None for
    /// characters, of which nobody knows how well they can be foretold.
    pub fn default_of(format: Format) -> Option<Self> {
        match format.answer {
            AnswerFormat::Class { .. } | AnswerFormat::Classes { .. } => {
                Some(Threshold::Error(0.05))
            }
            AnswerFormat::Bits { .. } => Some(Threshold::Loss(1.0)),
            AnswerFormat::Number => Some(Threshold::Loss(0.001)),
            AnswerFormat::Text { .. } => None,
        }
    }

    fn is_reached_by(self, record: &Record) -> bool {
        match self {
            Threshold::Error(error) => record.error <= error,
            Threshold::Loss(loss) => record.loss <= loss,
        }
    }

    /// The step of the first evaluation that reaches it.
    pub fn step_of(self, run: &Run) -> Option<usize> {
        let mut records = run.validation_records();
        let reached = records.find(|record| self.is_reached_by(record))?;
        Some(reached.step)
    }
}

impl Display for Threshold {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Threshold::Error(error) => {
                write!(formatter, "an error of {} %", tick_text(100.0 * error))
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
        match field.trim() {
            "error" if (0.0..=1.0).contains(&value) => Ok(Threshold::Error(value)),
            "loss" if value.is_finite() && value >= 0.0 => Ok(Threshold::Loss(value)),
            _ => Err(rule.to_owned()),
        }
    }
}
