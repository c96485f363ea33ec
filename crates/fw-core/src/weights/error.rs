//! What can be wrong with weights.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::PathBuf;

use crate::ConfigError;

/// Weights that cannot be read, or that do not fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Bytes are no weights, or are cut or damaged.
    #[error("{origin} cannot be read as weights ({format}): {problem}")]
    Format {
        /// The file, or what the bytes are called.
        origin: String,
        /// What they were taken for.
        format: &'static str,
        /// What is wrong with them.
        problem: String,
    },
    /// Names, shapes or types are not those of the layer. Nothing has been changed.
    #[error("{origin} does not fit {layer}:{differences}")]
    Differences {
        /// The file, or what the weights are called.
        origin: String,
        /// The layer that they should be for.
        layer: &'static str,
        /// All of them.
        differences: Differences,
    },
    /// A layer cannot represent what is asked for, or has no such names.
    #[error("{layer} {problem}")]
    Unsupported {
        /// The layer.
        layer: &'static str,
        /// What it does not have, and what to do.
        problem: String,
    },
    /// A file says nothing of its configuration, or of another one than is asked for.
    #[error("{origin} {problem}")]
    Description {
        /// The file, or what the weights are called.
        origin: String,
        /// What it says, and what it should say.
        problem: String,
    },
    /// A configuration within a file breaks a rule.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// In what weights differ from what a layer asks for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Differences(pub Vec<Difference>);

/// One thing that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// The layer asks for a tensor that is not there.
    Missing {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Names that are there and are like it, the nearest first.
        nearest: Vec<String>,
    },
    /// A tensor is there that the layer does not ask for.
    LeftOver {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A tensor has another shape.
    Shape {
        /// Its name.
        name: String,
        /// The shape that it has.
        found: Vec<usize>,
        /// The shape that it must have.
        expected: Vec<usize>,
    },
    /// A tensor does not hold numbers of the right kind.
    Type {
        /// Its name.
        name: String,
        /// The type that it has.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// Two names of one tensor hold different numbers.
    Conflict {
        /// One name.
        name: String,
        /// The other.
        other: String,
    },
}

impl Display for Differences {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        for difference in &self.0 {
            write!(formatter, "\n  {difference}")?;
        }
        Ok(())
    }
}

impl Display for Difference {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Missing {
                name,
                shape,
                nearest,
            } => {
                write!(formatter, "{name} {shape:?} is missing")?;
                match nearest.as_slice() {
                    [] => Ok(()),
                    names => write!(formatter, " (there is {})", names.join(", ")),
                }
            }
            Difference::LeftOver { name, shape } => {
                write!(formatter, "{name} {shape:?} is left over")
            }
            Difference::Shape {
                name,
                found,
                expected,
            } => write!(formatter, "{name} is {found:?}; it must be {expected:?}"),
            Difference::Type {
                name,
                found,
                expected,
            } => write!(
                formatter,
                "{name} is of type {found}; it must be {expected}"
            ),
            Difference::Conflict { name, other } => write!(
                formatter,
                "{name} and {other} hold different numbers; they are names of one tensor"
            ),
        }
    }
}
