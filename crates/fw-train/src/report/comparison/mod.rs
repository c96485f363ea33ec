//! Several runs beside each other: which belong together, what they come to, and a report of it.

mod charts;
mod grouping;
mod html;
mod markdown;
mod numbers;
mod overview;
mod records;
mod table;

use std::path::{Path, PathBuf};

use crate::Error;
use crate::experiment::Experiment;
use crate::files::{name_of_run, write_atomically};
use crate::plain::to_table;
use crate::report::FIGURES_FOLDER;
use crate::tasks::{Format, TaskConfig};
use crate::training::{
    Choice, Environment, KeptSample, Record, RecordSplit, RunFolder, RunResult, Session, Threshold,
};

/// All that a report says, as JSON: it tells the folder of a comparison.
const RESULTS: &str = "results.json";

/// Runs beside each other: a section for each task, in it a row for each experiment, in it a run for each seed.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// In the order of the tasks' names.
    pub sections: Vec<TaskSection>,
    /// What a reader has to know besides.
    pub notes: Vec<String>,
    /// Runs that could not be read, and why.
    pub skipped: Vec<String>,
}

/// The runs on one task.
#[derive(Clone, Debug)]
pub struct TaskSection {
    /// The task, with the settings in which it differs from the others of its kind.
    pub title: String,
    /// The task.
    pub task: TaskConfig,
    /// What a reader has to know of it.
    pub notes: Vec<String>,
    /// In the order of their names.
    pub rows: Vec<Row>,
    threshold: Option<Threshold>,
}

/// The runs of one experiment: all that differs between them is the seed.
#[derive(Clone, Debug)]
pub struct Row {
    /// The experiment's name, with what it differs in from another of that name.
    pub name: String,
    /// Those that have ended, in the order of their seeds; at least one, or one in `unfinished`.
    pub runs: Vec<Run>,
    /// Those that have not; they count nowhere.
    pub unfinished: Vec<Run>,
}

/// One run, as its folder has it.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its folder.
    pub path: PathBuf,
    /// The folder's name without the seed.
    pub name: String,
    /// The experiment.
    pub experiment: Experiment,
    /// Where and when it was made.
    pub environment: Environment,
    /// What was tried before its settings were chosen, if anything was; or why that cannot be read.
    pub choice: Result<Option<Choice>, String>,
    /// What has made it: versions of fw-train and of Burn, each once, and the run whose weights it began with.
    pub made_by: String,
    /// What it has read: names and digests, in the order of the names; nothing of tasks without files, and of runs that have not
    /// written it down.
    pub data: Vec<(String, String)>,
    /// What of its records could not be read.
    pub damaged: Option<String>,
    /// Its records.
    pub records: Vec<Record>,
    /// What the best checkpoint did on a few samples.
    pub samples: Vec<KeptSample>,
    /// What it came to; nothing, before its end.
    pub result: Option<RunResult>,
}

impl Run {
    fn read(path: &Path) -> Result<Self, Error> {
        let folder = RunFolder::open(path)?;
        let experiment = folder.experiment(&[])?;
        let name = path.file_name().unwrap_or(path.as_os_str());
        let name = name.to_string_lossy();
        let seed = format!("-seed{}", experiment.training.seed);
        let environment = folder.environment()?;
        let metrics = folder.metrics()?;
        let name = name.strip_suffix(&seed).unwrap_or(&name).to_owned();
        Ok(Run {
            choice: choice_of(path, &name),
            made_by: made_by(&environment, &folder.history())?,
            data: {
                let data = folder.data().unwrap_or_default().into_iter();
                let mut data: Vec<_> = data.map(|file| (file.name, file.sha256)).collect();
                data.sort();
                data
            },
            damaged: folder.of_damaged(&metrics),
            name,
            path: path.to_owned(),
            environment,
            records: metrics.records,
            samples: folder.samples()?,
            result: folder.result()?,
            experiment,
        })
    }

    fn seed(&self) -> u64 {
        self.experiment.training.seed
    }

    /// What was tried before, if anything was that can be read.
    fn choice(&self) -> Option<&Choice> {
        self.choice.as_ref().ok()?.as_ref()
    }

    /// Evaluations while it trained, on the task itself: those on easier ones of its curriculum left out.
    fn validation_records(&self) -> impl Iterator<Item = &Record> {
        let last_stage = self.experiment.easier.len();
        self.records.iter().filter(move |record| {
            record.split == RecordSplit::Validation
                && record.stage.is_none_or(|stage| stage == last_stage)
        })
    }

    /// The step of the first evaluation that reaches a threshold.
    fn step_to(&self, threshold: Threshold) -> Option<usize> {
        let mut records = self.validation_records();
        let reached = records.find(|record| threshold.is_reached_by(record.error, record.loss))?;
        Some(reached.step)
    }

    /// Its settings without the seed, and without where its data lie, if it is known what they are.
    fn settings(&self) -> toml::Table {
        let mut experiment = self.experiment.clone();
        experiment.training.seed = 0;
        let mut table = to_table(&experiment);
        if let Some(toml::Value::Table(task)) = table.get_mut("task")
            && !self.data.is_empty()
        {
            task.remove("text");
            task.remove("folder");
        }
        table
    }

    /// What has to be alike for two runs to be averaged.
    fn group(&self) -> [String; 4] {
        [
            self.settings().to_string(),
            self.made_by.clone(),
            self.environment.devices.to_string(),
            format!("{:?}", self.data),
        ]
    }
}

/// The choice for a run, which lies in the folder of a comparison or in one of its tasks'; an error, if it is damaged.
fn choice_of(path: &Path, name: &str) -> Result<Option<Choice>, String> {
    let Some(folder) = path.parent() else {
        return Ok(None);
    };
    let choice = match Choice::read(folder, name) {
        Ok(None) => match folder.parent().zip(folder.file_name()) {
            Some((out, task)) => Choice::read(out, &format!("{}/{name}", task.to_string_lossy())),
            None => Ok(None),
        },
        choice => choice,
    };
    choice.map_err(|error| error.in_full())
}

/// `version 0.1.0, Burn 0.22.1`, of each build that has trained a run; and what it began with, if that was another run.
fn made_by(environment: &Environment, history: &[Session]) -> Result<String, Error> {
    let first = (&environment.version, &environment.burn);
    let later = history
        .iter()
        .map(|session| (&session.version, &session.burn));
    let mut builds = vec![first];
    for build in later {
        if !builds.contains(&build) {
            builds.push(build);
        }
    }
    let builds: Vec<String> = builds
        .iter()
        .map(|(version, burn)| format!("version {version}, Burn {burn}"))
        .collect();
    let from = history.iter().find_map(|session| session.from.as_ref());
    // Each seed may come from its own.
    let from = match from {
        Some(origin) => format!(", from {}", name_of_run(&origin.run)?),
        None => String::new(),
    };
    Ok(builds.join(" and ") + &from)
}

impl Row {
    /// One of its runs, for what they have in common.
    pub fn any(&self) -> &Run {
        let mut runs = self.runs.iter().chain(&self.unfinished);
        runs.next().expect("a row has a run")
    }

    /// The runs whose curves are drawn: those that have ended, or else those that have not.
    fn shown(&self) -> &[Run] {
        match self.runs.is_empty() {
            true => &self.unfinished,
            false => &self.runs,
        }
    }

    fn results(&self) -> impl Iterator<Item = &RunResult> {
        self.runs.iter().filter_map(|run| run.result.as_ref())
    }

    fn seeds(&self) -> Vec<u64> {
        self.runs.iter().map(Run::seed).collect()
    }
}

impl TaskSection {
    fn format(&self) -> Format {
        self.task.task().format()
    }
}

impl Comparison {
    /// Reads runs: folders of runs, or folders that hold such. A run that cannot be read is named in
    /// [`skipped`](Self::skipped), and left out.
    ///
    /// # Errors
    /// If a folder cannot be read, or there is no run in one.
    pub fn read(folders: &[PathBuf], threshold: Option<Threshold>) -> Result<Self, Error> {
        let mut runs = Vec::new();
        let mut skipped = Vec::new();
        for path in grouping::run_folders(folders)? {
            match Run::read(&path) {
                Ok(run) => runs.push(run),
                Err(error) => skipped.push(error.in_full()),
            }
        }
        let damaged = |run: &Run| [run.damaged.clone(), run.choice.clone().err()];
        let mut notes: Vec<String> = runs.iter().flat_map(damaged).flatten().collect();
        notes.dedup();
        let rows = grouping::rows(runs, &mut notes);
        Ok(Comparison {
            sections: grouping::sections(rows, threshold),
            notes,
            skipped,
        })
    }

    /// Writes `report.html`, `report.md` with its figures, `results.json` and `results.csv`, each replaced if it exists.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let figures = folder.join(FIGURES_FOLDER);
        std::fs::create_dir_all(&figures).map_err(Error::file("create", &figures))?;
        for entry in std::fs::read_dir(&figures).map_err(Error::file("read", &figures))? {
            let path = entry.map_err(Error::file("read", &figures))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Of an earlier report, which may have had more sections.
            if name.starts_with(|first: char| first.is_ascii_digit()) && name.ends_with(".svg") {
                std::fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            }
        }
        for (name, chart) in self.figures() {
            let path = figures.join(format!("{name}.svg"));
            write_atomically(&path, chart.svg().as_bytes())?;
        }
        for (name, content) in [
            ("report.html", self.html()),
            ("report.md", self.markdown()),
            (RESULTS, self.json()),
            ("results.csv", self.csv()),
        ] {
            write_atomically(&folder.join(name), content.as_bytes())?;
        }
        Ok(())
    }
}
