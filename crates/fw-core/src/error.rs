//! The errors of a configuration that cannot be built, and of a state that does not fit its layer.

use core::fmt::Display;

use alloc::format;
use alloc::string::{String, ToString};

/// A configuration that breaks a rule.
///
/// The message names the field, its value and the rule:
///
/// ```
/// use fw_core::FastWeightsConfig;
///
/// let error = FastWeightsConfig::new(8, 16).with_decay(1.5).validate().unwrap_err();
/// assert_eq!(error.to_string(), "decay is 1.5; it must lie in [0, 1]");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A field holds a value outside its range.
    #[error("{field} is {value}; it must {rule}")]
    OutOfRange {
        /// The field's name.
        field: &'static str,
        /// The value that was given.
        value: String,
        /// What the value has to satisfy.
        rule: &'static str,
    },
}

/// A state that a layer cannot go on from: it is of a layer of other sizes, of another batch, or of another type.
///
/// ```
/// use burn::tensor::{DType, Device};
/// use fw_core::{GruConfig, Recurrent};
///
/// let device = Device::flex();
/// let wider = GruConfig::new(3, 8).init(&device).initial_state(2, &device);
/// let error = GruConfig::new(3, 4).init(&device).check_state(&wider, 2, DType::F32);
/// let message = error.unwrap_err().to_string();
/// assert_eq!(message, "the hidden state has shape [2, 8]; it must be [2, 4]");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct StateError {
    problem: String,
}

impl StateError {
    /// An error that says what is wrong with which part of a state.
    pub fn new(problem: impl Into<String>) -> Self {
        StateError {
            problem: problem.into(),
        }
    }

    /// The same of a state that is a part of another: `layer 2: the hidden state ..`.
    pub fn within(self, part: impl Display) -> Self {
        StateError {
            problem: format!("{part}: {}", self.problem),
        }
    }
}

/// `Ok` when `holds`, else the error that names the field, the value and the rule.
pub(crate) fn require(
    holds: bool,
    field: &'static str,
    value: impl Display,
    rule: &'static str,
) -> Result<(), ConfigError> {
    if holds {
        Ok(())
    } else {
        Err(ConfigError::OutOfRange {
            field,
            value: value.to_string(),
            rule,
        })
    }
}

/// A size that must be at least one.
pub(crate) fn require_size(field: &'static str, size: usize) -> Result<(), ConfigError> {
    require(size >= 1, field, size, "be at least 1")
}

/// A rate or scale that must be a finite number.
pub(crate) fn require_finite(field: &'static str, value: f64) -> Result<(), ConfigError> {
    require(value.is_finite(), field, value, "be a finite number")
}

/// A panic with the error's message, unless the state fits.
#[track_caller]
pub(crate) fn expect_fits(fits: Result<(), StateError>) {
    if let Err(error) = fits {
        panic!("{error}");
    }
}

/// The layer of a valid configuration, or a panic with the error's message.
#[track_caller]
pub(crate) fn expect_valid<L>(layer: Result<L, ConfigError>) -> L {
    match layer {
        Ok(layer) => layer,
        Err(error) => panic!("{error}"),
    }
}
