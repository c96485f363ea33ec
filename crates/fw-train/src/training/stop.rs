//! Stopping in the middle, without loss.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

static FLAG: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Set, it asks every training of this process to stop: after its next record a training writes a checkpoint, and ends with
/// [`Error::Stopped`](crate::Error::Stopped). It goes on from there as if it had not been stopped. A signal handler may set it.
pub fn stop_flag() -> Arc<AtomicBool> {
    FLAG.clone()
}

pub(crate) fn is_stop_asked_for() -> bool {
    FLAG.load(Ordering::Relaxed)
}
