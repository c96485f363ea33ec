//! The processes that train: several at a time, each with its share of the threads.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::Error;
use crate::compare::display::Display;
use crate::compare::{Plan, PlannedRun, RunState};
use crate::device::DeviceName;
use crate::training::{RunFolder, is_stop_asked_for};

/// How the runs of a plan are made.
#[derive(Clone, Debug)]
pub struct Workers {
    /// This program.
    pub program: PathBuf,
    /// Where new runs compute.
    pub device: DeviceName,
    /// Trainings at a time.
    pub jobs: usize,
    /// Threads for all of them together.
    pub threads: usize,
}

/// A run that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The run.
    pub run: PlannedRun,
    /// Why, in its own words.
    pub reason: String,
}

/// How often it is looked whether a training has ended.
const GLANCE: Duration = Duration::from_millis(100);

/// A training that runs.
struct Job {
    run: PlannedRun,
    child: Child,
    started: Instant,
    first_step: usize,
    /// Bytes of the log before it began.
    log_from: u64,
}

impl Workers {
    /// Makes every run of a plan that has not ended yet. One that fails does not keep the others from being made.
    ///
    /// # Errors
    /// If a process cannot be started, a log cannot be written, or it was asked to stop: then those that were training have stopped.
    pub fn run(&self, plan: &Plan) -> Result<Vec<Failure>, Error> {
        let waiting = plan
            .runs
            .iter()
            .filter(|run| run.state != RunState::Finished);
        let mut waiting: Vec<PlannedRun> = waiting.cloned().collect();
        // The next one is taken from the end.
        waiting.reverse();
        // Of all runs, so that one more seed has the threads that those before it had.
        let jobs = self.jobs.min(plan.runs.len()).max(1);
        let threads = (self.threads / jobs).max(1);
        let mut display = Display::new(plan, jobs);
        let mut running: Vec<Job> = Vec::new();
        let mut failures = Vec::new();
        let (mut is_stopping, mut is_cut_short) = (false, false);
        while !waiting.is_empty() || !running.is_empty() {
            if !is_stopping && is_stop_asked_for() {
                is_stopping = true;
                is_cut_short = !waiting.is_empty();
                waiting.clear();
                running.iter_mut().for_each(Job::ask_to_stop);
                display.stopping();
            }
            while running.len() < jobs
                && let Some(run) = waiting.pop()
            {
                running.push(self.start(run, threads)?);
            }
            std::thread::sleep(GLANCE);
            let mut index = 0;
            while index < running.len() {
                let job = &mut running[index];
                let Some(status) = job
                    .child
                    .try_wait()
                    .map_err(Error::file("wait for", &self.program))?
                else {
                    index += 1;
                    continue;
                };
                let job = running.swap_remove(index);
                // One that had hardly started ends by the signal.
                if is_stop_asked_for()
                    && status
                        .code()
                        .is_none_or(|code| code == i32::from(Error::STOPPED))
                {
                    is_cut_short = true;
                    continue;
                }
                let reason = (!status.success()).then(|| job.reason(status));
                display.ended(&job.run, reason.as_deref());
                failures.extend(reason.map(|reason| Failure {
                    run: job.run,
                    reason,
                }));
            }
            let progress = running.iter().map(|job| {
                let step = last_step(&job.run.path);
                let seconds = job.started.elapsed().as_secs_f64();
                (
                    &job.run,
                    step,
                    step.saturating_sub(job.first_step) as f64 / seconds,
                )
            });
            display.show(progress, &waiting);
        }
        display.finish();
        if is_cut_short {
            let told = "stopped; the same command goes on from there";
            return Err(Error::Stopped(told.to_owned()));
        }
        Ok(failures)
    }

    fn start(&self, run: PlannedRun, threads: usize) -> Result<Job, Error> {
        let path = log_path(&run.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        }
        let log = File::options().create(true).append(true).open(&path);
        let log = log.map_err(Error::file("write", &path))?;
        let more = log.try_clone().map_err(Error::file("write", &path))?;
        let mut command = Command::new(&self.program);
        // The pipe closes when this process ends, however it ends, and so ends the training.
        command
            .arg("train")
            .arg("--until-input-ends")
            .env("RAYON_NUM_THREADS", threads.to_string())
            .stdin(Stdio::piped())
            .stdout(more)
            .stderr(log);
        match run.state {
            RunState::Begun => {
                command.arg("--resume").arg(&run.path);
            }
            _ => {
                command.args(["--document", &run.document.to_string()]);
                command.arg("--out").arg(&run.path);
                command.args(["--device", self.device.name()]);
            }
        }
        let log_from = std::fs::metadata(&path).map_or(0, |log| log.len());
        let child = command.spawn();
        Ok(Job {
            log_from,
            child: child.map_err(Error::file("start", &self.program))?,
            started: Instant::now(),
            first_step: last_step(&run.path),
            run,
        })
    }
}

/// `NAME-seedN.log`, beside the run's folder.
fn log_path(run: &Path) -> PathBuf {
    run.with_added_extension("log")
}

impl Job {
    /// It stops after its next record. If it has ended in the meantime, nobody reads this.
    fn ask_to_stop(&mut self) {
        if let Some(input) = &mut self.child.stdin {
            let _ = input.write_all(b"stop\n");
        }
    }

    /// Why it failed: its error, or the panic, or else how it ended.
    fn reason(&self, status: ExitStatus) -> String {
        let path = log_path(&self.run.path);
        let log = std::fs::read(&path).unwrap_or_default();
        let said = log.get(self.log_from as usize..).unwrap_or_default();
        let said = String::from_utf8_lossy(said);
        let mut lines = said.lines().rev();
        let tells = |line: &&str| {
            line.starts_with("error: ")
                || line.contains("panicked at")
                || line.starts_with("stopped after")
        };
        let reason = match lines.find(tells) {
            Some(line) => line.trim_start_matches("error: ").to_owned(),
            None => format!("it ended with {status}"),
        };
        format!("{reason} (see {})", path.display())
    }
}

fn last_step(run: &Path) -> usize {
    let records = RunFolder::open(run).and_then(|run| run.records());
    let last = records
        .ok()
        .and_then(|records| records.last().map(|record| record.step));
    last.unwrap_or(0)
}
