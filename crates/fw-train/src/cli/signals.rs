//! What asks the process to stop: signals, and the end of whoever started it.

use std::sync::atomic::Ordering;

use crate::Error;
use crate::training::stop_flag;

/// From now on the process ends when its standard input does: whoever started it has ended. A line there asks trainings to stop.
pub(super) fn end_with_input() {
    std::thread::spawn(|| {
        // A failure to read is an end as well.
        for _ in std::io::stdin().lines().map_while(Result::ok) {
            stop_flag().store(true, Ordering::Relaxed);
        }
        std::process::exit(1)
    });
}

/// From now on Ctrl-C, SIGTERM and whatever else asks a program politely to end asks trainings to stop: SIGHUP (a terminal that is closed),
/// SIGUSR1, SIGUSR2 and SIGXCPU (batch systems, some time before they end a job). A second Ctrl-C ends the process; a second of the others
/// does not: programs that stop others send several at once. A signal that was ignored when the process began stays ignored, as `nohup`
/// and a shell that starts a command in the background want it.
#[cfg(unix)]
pub(super) fn stop_on_signals() -> Result<(), Error> {
    use std::path::Path;
    use std::sync::Arc;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};
    use signal_hook::flag;

    let stop = stop_flag();
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU] {
        if is_ignored(signal) {
            continue;
        }
        let registered = match signal {
            // Before the flag is set: the first Ctrl-C finds it down.
            SIGINT => {
                let code = Error::STOPPED.into();
                flag::register_conditional_shutdown(signal, code, Arc::clone(&stop)).map(drop)
            }
            _ => Ok(()),
        };
        registered
            .and_then(|()| flag::register(signal, Arc::clone(&stop)))
            .map_err(Error::file("watch for", Path::new("signals")))?;
    }
    Ok(())
}

/// Elsewhere there is nothing but to end the process.
#[cfg(not(unix))]
pub(super) fn stop_on_signals() -> Result<(), Error> {
    Ok(())
}

/// Whether a signal is ignored.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: an action of zeros is a valid one to be overwritten; without a new action nothing is changed.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let status = libc::sigaction(signal, std::ptr::null(), &mut action);
        status == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}
