//! What a person sees while many models train.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

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

struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    of_jobs: Vec<ProgressBar>,
}

impl Display {
    pub fn new(plan: &Plan, jobs: usize) -> Self {
        let finished = plan.count(RunState::Finished);
        let bars = std::io::stderr().is_terminal().then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            let bar = |template: &str, length: usize| {
                let bar = all.add(ProgressBar::new(length as u64));
                bar.set_style(ProgressStyle::with_template(template).expect("a valid template"));
                bar
            };
            Bars {
                total: bar("{bar:24} {pos}/{len} runs  {msg}", plan.runs.len()),
                of_jobs: (0..jobs)
                    .map(|_| bar("  {bar:22} {pos}/{len} updates  {msg}", 1))
                    .collect(),
                all,
            }
        });
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
            // A bar that cannot be drawn is no reason to stop.
            Some(bars) => drop(bars.all.println(text)),
            None => tell!("{text}"),
        }
    }

    /// After it was asked to stop.
    pub fn stopping(&self) {
        let text = "stopping after the next records; Ctrl-C again stops at once";
        match &self.bars {
            Some(bars) => drop(bars.all.println(text)),
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
        let left = left.map_or(String::new(), |left| {
            format!("{} left", HumanDuration(left))
        });
        match &self.bars {
            Some(bars) => {
                bars.total.set_position(self.n_ended as u64);
                bars.total.set_message(left);
                for (index, bar) in bars.of_jobs.iter().enumerate() {
                    match running.get(index) {
                        Some((run, step, rate)) => {
                            bar.set_length(run.steps as u64);
                            bar.set_position(*step as u64);
                            bar.set_message(format!("{} seed {}  {rate:.0}/s", run.name, run.seed));
                        }
                        None => {
                            bar.set_position(0);
                            bar.set_message("idle");
                        }
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
            drop(bars.all.clear());
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
