//! `fw-train compare`

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::Error;
use crate::cli::report::write_report;
use crate::cli::signals::stop_on_signals;
use crate::compare::{Chosen, Entry, Plan, RunState, Workers};
use crate::device::DeviceName;
use crate::training::Threshold;

/// Train every experiment with every seed, several at a time, and make one report of all.
///
/// Runs that are there already are skipped, those that were stopped are continued, and one that fails does not stop the others. Ctrl-C
/// stops all after their next records; pressed twice, at once. The report is as that of `fw-train report`.
///
/// A file can be a table of tasks and nets, [tasks.NAME] and [models.NAME], whose runs are DIR/TASK/NET-seedN. With [grid] each net is first tried with each of the settings there; those that are
/// best on the validation split are then trained with every seed.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// Experiments, or tables of such: TOML files, or folders with TOML files
    #[arg(required = true)]
    experiments: Vec<PathBuf>,

    /// How many seeds, from 0 on; or which, as 3,5,8 (one alone as 3,)
    #[arg(long, default_value = "3", value_parser = parse_seeds)]
    seeds: Seeds,

    /// Trainings at a time, which share the threads [default: as many as there are threads; one on a GPU]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,

    /// The folder of the runs, NAME-seedN, and of the report of all runs in it [default: runs/FOLDER, where all experiments are of one
    /// folder, else runs/compare]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Change every experiment, for example training.steps=500 (may be repeated)
    #[arg(long = "set", value_name = "SECTION.FIELD=VALUE")]
    assignments: Vec<String>,

    /// Where to compute: flex, ndarray, wgpu or cuda [default: the first of them that is in this build]
    #[arg(long)]
    device: Option<DeviceName>,

    /// What on the validation split counts as learned, for the column of updates that it took: error=SHARE, from 0 to 1, or loss=NUMBER [default:
    /// error=0.05 for classes; loss=1 for bits; loss=0.001 for numbers]
    #[arg(long, value_name = "error=X|loss=X")]
    threshold: Option<Threshold>,
}

/// The model seeds to train with.
#[derive(Clone, Debug)]
struct Seeds(Vec<u64>);

impl CompareArgs {
    pub fn run(self) -> Result<(), Error> {
        let out = self.out.clone();
        let out = out.unwrap_or_else(|| Path::new("runs").join(common_folder(&self.experiments)));
        let sets_seed = |assignment: &String| assignment.trim_start().starts_with("training.seed");
        if self.assignments.iter().any(sets_seed) {
            return Err(Error::usage(
                "--set training.seed would be the same for all; choose the seeds with --seeds",
            ));
        }
        let device = self.device.unwrap_or_else(DeviceName::default_of_build);
        device.open()?;
        let entries = Entry::read_all(&self.experiments)?;
        let trials = Plan::of_trials(&entries, &self.assignments, &out)?;
        let seed = entries.iter().filter_map(|entry| entry.grid.as_ref());
        if let Some(grid) = seed
            .into_iter()
            .find(|grid| self.seeds.0.contains(&grid.seed))
        {
            return Err(Error::usage(format!(
                "the trials of the grid have the seed {0}, and so has a run of --seeds: the choice would know of it; set grid.seed to another",
                grid.seed
            )));
        }
        let threads = rayon::current_num_threads();
        let program = std::env::current_exe();
        let workers = Workers {
            program: program.map_err(Error::file("find", "this program".as_ref()))?,
            device,
            jobs: match self.jobs {
                Some(jobs) => usize::from(jobs),
                None if device.is_cpu() => threads,
                None => 1,
            },
            threads,
        };
        // What has no grid is looked at before anything is trained.
        let without_grid = entries.iter().filter(|entry| entry.grid.is_none());
        let without_grid = without_grid.cloned().map(Chosen::as_it_is);
        let without_grid: Vec<Chosen> = without_grid.collect();
        Plan::new(&without_grid, &self.assignments, &self.seeds.0, &out)?;
        stop_on_signals()?;
        if !trials.runs.is_empty() {
            announce("trials", &trials, &out);
            // One that fails, such as for a rate that is too high, is a trial all the same.
            workers.run(&trials)?;
        }
        let (chosen, failed) = trials.choose(entries, &out)?;
        let plan = Plan::new(&chosen, &self.assignments, &self.seeds.0, &out)?;
        // Not before it is known that no run was made with another choice.
        chosen.iter().try_for_each(|one| one.write(&out))?;
        announce("runs", &plan, &out);
        let failures = workers.run(&plan)?;
        let made = plan.runs.iter().filter(|run| run.path.is_dir());
        let folders: BTreeSet<PathBuf> = made
            .filter_map(|run| Some(run.path.parent()?.to_owned()))
            .collect();
        let folders: Vec<PathBuf> = folders.into_iter().collect();
        let report = match folders.is_empty() {
            false => write_report(&folders, &out, self.threshold),
            true => Ok(()),
        };
        if failures.is_empty() && failed.is_empty() {
            return report;
        }
        if let Err(error) = report {
            tell!("error: {}", error.in_full());
        }
        let told = failures.iter().map(|failure| {
            format!(
                "\n  {} seed {}: {}",
                failure.run.name, failure.run.seed, failure.reason
            )
        });
        let told = told.chain(failed.iter().map(|reason| format!("\n  {reason}")));
        // Those of which nothing was chosen were never begun.
        let n_missing = failed.len() * self.seeds.0.len();
        Err(Error::Incomplete(format!(
            "{} of {} runs failed:{}",
            failures.len() + n_missing,
            plan.runs.len() + n_missing,
            told.collect::<String>()
        )))
    }
}

/// What is to be done, and what is done already.
fn announce(what: &str, plan: &Plan, out: &Path) {
    tell!(
        "{} {what} -> {}: {} done before, {} begun, {} new",
        plan.runs.len(),
        out.display(),
        plan.count(RunState::Finished),
        plan.count(RunState::Begun),
        plan.count(RunState::New)
    );
}

/// The name of the folder that all experiments are of, `compare` if there is none.
fn common_folder(experiments: &[PathBuf]) -> &OsStr {
    fn folder(path: &Path) -> Option<&OsStr> {
        match path.is_dir() {
            true => path.file_name(),
            false => path.parent()?.file_name(),
        }
    }
    let first = experiments.first().map(PathBuf::as_path).and_then(folder);
    let is_common = experiments.iter().all(|path| folder(path) == first);
    first.filter(|_| is_common).unwrap_or(OsStr::new("compare"))
}

fn parse_seeds(text: &str) -> Result<Seeds, String> {
    let rule = "it must be a number of seeds from 1 to 1000, or a list of seeds such as 3,5,8";
    let seeds: Vec<u64> = match text.split_once(',') {
        None => {
            let n: u64 = text.trim().parse().map_err(|_| rule)?;
            (0..n.min(1001)).collect()
        }
        Some(_) => text
            .trim_end_matches(',')
            .split(',')
            .map(|seed| seed.trim().parse().map_err(|_| rule))
            .collect::<Result<_, _>>()?,
    };
    let mut distinct = seeds.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let in_range = seeds.iter().all(|&seed| seed <= i64::MAX as u64);
    match in_range && distinct.len() == seeds.len() && (1..=1000).contains(&seeds.len()) {
        true => Ok(Seeds(seeds)),
        false => Err(rule.to_owned()),
    }
}
