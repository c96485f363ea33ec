//! `fw-train compare`

use std::path::PathBuf;

use clap::Args;

use crate::Error;
use crate::cli::report::write_report;
use crate::compare::{Plan, RunState, Workers};
use crate::device::DeviceName;
use crate::report::Threshold;

/// Train every experiment with every seed, several at a time, and make one report of all.
///
/// Runs that are there already are skipped, those that were stopped are continued, and one that fails does not stop the others. The
/// report is as that of `fw-train report`.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// Experiments: TOML files, or folders of such
    #[arg(required = true)]
    experiments: Vec<PathBuf>,

    /// How many seeds, from 0 on; or which, as 3,5,8
    #[arg(long, default_value = "3", value_parser = parse_seeds)]
    seeds: Seeds,

    /// Trainings at a time, which share the threads [default: as many as there are threads]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,

    /// The folder of the runs, NAME-seedN, and of the report [default: runs/NAME of the only experiment or folder, else runs/compare]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Change every experiment, for example training.steps=500 (may be repeated)
    #[arg(long = "set", value_name = "SECTION.FIELD=VALUE")]
    assignments: Vec<String>,

    /// Where to compute: flex, ndarray, wgpu or cuda [default: the first of them that is in this build]
    #[arg(long)]
    device: Option<DeviceName>,

    /// After how many updates was it there: error=SHARE or loss=NUMBER on the validation split [default: error=0.05; loss=1 for bits; loss=0.001 for numbers]
    #[arg(long, value_name = "error=X|loss=X")]
    threshold: Option<Threshold>,
}

/// The model seeds to train with.
#[derive(Clone, Debug)]
struct Seeds(Vec<u64>);

impl CompareArgs {
    pub fn run(self) -> Result<(), Error> {
        let out = self.out.clone().unwrap_or_else(|| {
            let name = match self.experiments.as_slice() {
                [only] => only.file_stem(),
                _ => None,
            };
            PathBuf::from("runs").join(name.unwrap_or("compare".as_ref()))
        });
        let device = self.device.unwrap_or_else(DeviceName::default_of_build);
        device.open()?;
        let plan = Plan::new(&self.experiments, &self.assignments, &self.seeds.0, &out)?;
        let threads = rayon::current_num_threads();
        eprintln!(
            "{} runs -> {}: {} done before, {} begun, {} new",
            plan.runs.len(),
            out.display(),
            plan.count(RunState::Finished),
            plan.count(RunState::Begun),
            plan.count(RunState::New)
        );
        let program = std::env::current_exe();
        let workers = Workers {
            program: program.map_err(Error::file("find", "this program".as_ref()))?,
            assignments: self.assignments,
            device,
            jobs: self.jobs.map_or(threads, usize::from),
            threads,
        };
        let failures = workers.run(&plan)?;
        let made = plan.runs.iter().map(|run| run.path.clone());
        let made: Vec<PathBuf> = made.filter(|path| path.is_dir()).collect();
        let report = match made.is_empty() {
            true => Ok(()),
            false => write_report(&made, &out, self.threshold),
        };
        if failures.is_empty() {
            return report;
        }
        if let Err(error) = report {
            eprintln!("error: {}", error.in_full());
        }
        let told = failures.iter().map(|failure| {
            format!(
                "\n  {} seed {}: {}",
                failure.run.name, failure.run.seed, failure.reason
            )
        });
        Err(Error::Incomplete(format!(
            "{} of {} runs failed:{}",
            failures.len(),
            plan.runs.len(),
            told.collect::<String>()
        )))
    }
}

fn parse_seeds(text: &str) -> Result<Seeds, String> {
    let rule = "it must be a number of seeds from 1 to 1000, or a list of seeds such as 3,5,8";
    let seeds: Vec<u64> = match text.split_once(',') {
        None => (0..text.trim().parse().map_err(|_| rule)?).collect(),
        Some(_) => text
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
