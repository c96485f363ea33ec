//! Where the time of a training goes.

use std::time::Instant;

use crate::training::checkpoint::Progress;

/// The time since a training began, over all sessions, and of it what did not go into updates.
pub(super) struct Clock {
    before: f64,
    apart: f64,
    started: Instant,
}

impl Clock {
    /// Goes on from what was spent before.
    pub fn start(progress: &Progress) -> Self {
        Clock {
            before: progress.seconds,
            apart: progress.evaluation_seconds,
            started: Instant::now(),
        }
    }

    /// Does something, whose time is that of no update.
    pub fn apart<T>(&mut self, what: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = what();
        self.apart += started.elapsed().as_secs_f64();
        result
    }

    /// Writes down what has been spent by now.
    pub fn tell(&self, progress: &mut Progress) {
        progress.seconds = self.before + self.started.elapsed().as_secs_f64();
        progress.evaluation_seconds = self.apart;
    }
}
