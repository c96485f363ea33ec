//! Signals that ask the process to stop.

use std::path::Path;
use std::sync::Arc;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::Error;
use crate::training::stop_flag;

/// From now on Ctrl-C, or SIGTERM, asks trainings to stop; a second Ctrl-C ends the process. A second SIGTERM does not: programs that
/// stop others send several at once.
pub(super) fn stop_on_signals() -> Result<(), Error> {
    let stop = stop_flag();
    // Before the flag is set: the first Ctrl-C finds it down.
    flag::register_conditional_shutdown(SIGINT, Error::STOPPED.into(), Arc::clone(&stop))
        .and_then(|_| flag::register(SIGINT, Arc::clone(&stop)))
        .and_then(|_| flag::register(SIGTERM, stop))
        .map_err(Error::file("watch for", Path::new("signals")))?;
    Ok(())
}
