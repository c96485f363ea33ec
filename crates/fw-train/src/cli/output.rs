//! Standard output, which a reader such as `head` may close at any time.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::Error;

/// Prints a line. When nobody reads any more, the process ends as if it had finished.
pub(super) fn line(text: Arguments) -> Result<(), Error> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.map_err(Error::file("write", Path::new("standard output"))),
    }
}
