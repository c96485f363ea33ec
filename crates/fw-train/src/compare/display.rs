//! What a person sees while many models train.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::bars::{Bar, Bars, in_words};
use crate::compare::{Plan, PlannedRun, RunState};

/// How often bars are drawn, and plain lines written.
const BAR_INTERVAL: Duration = Duration::from_secs(1);
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// A bar for all runs and one for each that is training, or plain lines where there is no terminal; on standard error.
pub(super) struct Display {
    bars: Option<Bars>,
    n_runs: usize,
    n_ended: usize,
    jobs: usize,
    /// Updates a second of each experiment, as last seen.
    rates: BTreeMap<String, f64>,
    last_shown: Instant,
}

impl Display {
    pub fn new(plan: &Plan, jobs: usize) -> Self {
        let finished = plan.count(RunState::Finished);
        // That of all runs, then those of the runs that are training.
        let mut bars = vec![Bar {
            template: "{bar:24} {pos}/{len} runs  {msg}",
            length: plan.runs.len(),
            position: finished,
        }];
        bars.extend((0..jobs).map(|_| Bar {
            template: "  {bar:22} {pos}/{len} updates  {msg}",
            length: 1,
            position: 0,
        }));
        let bars = Bars::on_terminal(&bars);
        Display {
            bars,
            n_runs: plan.runs.len(),
            n_ended: finished,
            jobs,
            rates: BTreeMap::new(),
            last_shown: Instant::now(),
        }
    }

    /// After a run has ended, or failed for a reason.
    pub fn ended(&mut self, run: &PlannedRun, failure: Option<&str>) {
        self.n_ended += 1;
        let (n, all) = (self.n_ended, self.n_runs);
        let text = match failure {
            None => format!("{n}/{all}  {} seed {}: done", run.name, run.seed),
            Some(reason) => format!(
                "{n}/{all}  {} seed {}: FAILED: {reason}",
                run.name, run.seed
            ),
        };
        match &self.bars {
            Some(bars) => bars.println(&text),
            None => tell!("{text}"),
        }
    }

    /// After it was asked to stop.
    pub fn stopping(&self) {
        let text = "stopping after the next records; Ctrl-C again stops at once";
        match &self.bars {
            Some(bars) => bars.println(text),
            None => tell!("{text}"),
        }
    }

    /// The runs that are training, with their step and updates a second, and those that wait.
    pub fn show<'a>(
        &mut self,
        running: impl Iterator<Item = (&'a PlannedRun, usize, f64)>,
        waiting: &[PlannedRun],
    ) {
        let interval = match self.bars {
            Some(_) => BAR_INTERVAL,
            None => LINE_INTERVAL,
        };
        if self.last_shown.elapsed() < interval {
            return;
        }
        self.last_shown = Instant::now();
        let running: Vec<(&PlannedRun, usize, f64)> = running.collect();
        for (run, _, rate) in running.iter().filter(|(_, _, rate)| *rate > 0.0) {
            self.rates.insert(run.name.clone(), *rate);
        }
        let left = self.time_left(&running, waiting);
        let left = left.map_or(String::new(), |left| format!("{} left", in_words(left)));
        match &self.bars {
            Some(bars) => {
                bars.set(0, self.n_ended, left);
                for index in 0..self.jobs {
                    match running.get(index) {
                        Some((run, step, rate)) => {
                            let message = format!("{} seed {}  {rate:.0}/s", run.name, run.seed);
                            bars.set_length(1 + index, run.steps);
                            bars.set(1 + index, *step, message);
                        }
                        None => bars.set(1 + index, 0, "idle".to_owned()),
                    }
                }
            }
            None => {
                let now = running.iter().map(|(run, step, _)| {
                    format!("{} seed {} at {step}/{}", run.name, run.seed, run.steps)
                });
                let now: Vec<String> = now.collect();
                tell!(
                    "{}/{} runs, {}  {left}",
                    self.n_ended,
                    self.n_runs,
                    now.join(", ")
                );
            }
        }
    }

    pub fn finish(&self) {
        if let Some(bars) = &self.bars {
            bars.clear();
        }
    }

    /// As if every run took all its updates; one whose rate was not seen yet goes at the mean of the others.
    fn time_left(
        &self,
        running: &[(&PlannedRun, usize, f64)],
        waiting: &[PlannedRun],
    ) -> Option<Duration> {
        let seconds_a_step = self.rates.values().map(|rate| 1.0 / rate);
        let mean = seconds_a_step.sum::<f64>() / self.rates.len().max(1) as f64;
        let seconds = |run: &PlannedRun, step: usize| {
            let each = self.rates.get(&run.name).map_or(mean, |rate| 1.0 / rate);
            run.steps.saturating_sub(step) as f64 * each
        };
        let of_running = running.iter().map(|(run, step, _)| seconds(run, *step));
        let longest = of_running.clone().fold(0.0, f64::max);
        let of_waiting = waiting.iter().map(|run| seconds(run, 0));
        let together = of_running.chain(of_waiting).sum::<f64>() / self.jobs as f64;
        let left = Duration::try_from_secs_f64(together.max(longest)).ok();
        left.filter(|_| !self.rates.is_empty())
    }
}
