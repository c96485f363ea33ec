//! Standard output, which a reader such as `head` may close at any time.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::Error;

/// Says something on standard error, if it was not said before.
pub(super) fn note(text: &str) {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if !said.iter().any(|other| other == text) {
        tell!("{text}");
        said.push(text.to_owned());
    }
}

/// Prints a line. When nobody reads any more, the process ends as if it had finished.
pub(super) fn line(text: Arguments) -> Result<(), Error> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.map_err(Error::file("write", Path::new("standard output"))),
    }
}
