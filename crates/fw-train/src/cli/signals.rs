//! Signals that ask the process to stop.

use std::path::Path;
use std::sync::Arc;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::Error;
use crate::training::stop_flag;

/// From now on Ctrl-C, or SIGTERM, asks trainings to stop; a second one ends the process.
pub(super) fn stop_on_signals() -> Result<(), Error> {
    let stop = stop_flag();
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag down.
        flag::register_conditional_shutdown(signal, Error::STOPPED.into(), Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .map_err(Error::file("watch for", Path::new("signals")))?;
    }
    Ok(())
}
