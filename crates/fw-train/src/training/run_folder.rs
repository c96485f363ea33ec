//! The folder of a run: all that `test`, `sample`, `plot` and `--resume` need.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::experiment::Experiment;
use crate::files::{parent, readable_by_others, sync_folder, to_be_typed, write_atomically};
use crate::plain::{from_json, to_json, to_json_pretty, to_table};
use crate::tasks::DataFile;
use crate::training::checkpoint::{Checkpoint, Progress};
use crate::training::history::Session;
use crate::training::record::{Environment, Record, RunResult};
use crate::training::samples::KeptSample;
use crate::{CheckpointChoice, Error, settings};

const CONFIG: &str = "config.toml";
const ENVIRONMENT: &str = "environment.json";
const METRICS: &str = "metrics.jsonl";
const RESULT: &str = "result.json";
const SAMPLES: &str = "samples.json";
const HISTORY: &str = "history.json";
const DAMAGED: &str = "metrics.damaged.jsonl";

/// A run's folder.
///
/// ```text
/// config.toml          the experiment, every default written out
/// environment.json     version, device, threads, date
/// history.json         each time that it was begun or continued: versions, digests of its data, what was changed
/// metrics.jsonl        a record a line: training every log_every steps, validation every evaluate_every
/// checkpoints/         the newest and the best: model, optimiser, progress, and the state that goes on with training.carry_state
/// result.json          the result, once training has ended
/// samples.json         what the best checkpoint did on the first samples of the test split
/// ```
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes the folder of a new run.
    ///
    /// # Errors
    /// If there is something at `path` already, or it cannot be written.
    pub(super) fn create(
        path: &Path,
        experiment: &Experiment,
        environment: &Environment,
        first: Session,
    ) -> Result<Self, Error> {
        if path.exists() {
            return Err(Error::usage(format!(
                "{} exists; nothing was overwritten. Choose another --out, or continue that run with \
                 `fw-train train --resume {}`",
                path.display(),
                to_be_typed(path)
            )));
        }
        // Under another name first: a kill leaves a whole run, or none.
        let folder = parent(path);
        let fail = || Error::file("create", path);
        fs::create_dir_all(folder).map_err(fail())?;
        let unfinished = tempfile::Builder::new()
            .prefix(".unfinished-")
            .tempdir_in(folder);
        let unfinished = unfinished.map_err(fail())?;
        let run = RunFolder {
            path: unfinished.path().to_owned(),
        };
        write_atomically(&run.file(ENVIRONMENT), &to_json_pretty(environment))?;
        write_atomically(&run.file(METRICS), b"")?;
        run.write_history(&[first])?;
        write_atomically(&run.file(CONFIG), experiment.to_toml().as_bytes())?;
        readable_by_others(unfinished.path()).map_err(fail())?;
        fs::rename(unfinished.path(), path).map_err(fail())?;
        sync_folder(folder).map_err(fail())?;
        RunFolder::open(path)
    }

    /// Opens the folder of a run.
    ///
    /// # Errors
    /// If it is not there, or has no configuration.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let run = RunFolder {
            path: path.to_owned(),
        };
        if !path.is_dir() {
            return Err(Error::run(
                path,
                "there is no such folder; give one that `fw-train train` has made",
            ));
        }
        if !run.file(CONFIG).is_file() {
            return Err(Error::run(
                path,
                format!("it has no {CONFIG}; give a folder that `fw-train train` has made"),
            ));
        }
        Ok(run)
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The experiment that was, or is being, run, with settings of its task changed. No data are read.
    pub fn experiment(&self, assignments: &[String]) -> Result<Experiment, Error> {
        if assignments.is_empty() {
            return Experiment::from_document(self.document()?, &[])
                .map_err(|error| self.damaged_config(error));
        }
        Experiment::from_document(self.document_of_task(assignments)?, assignments)
    }

    /// The experiment as TOML.
    pub(crate) fn document(&self) -> Result<Table, Error> {
        Experiment::read_document(&self.file(CONFIG)).map_err(|error| self.damaged_config(error))
    }

    /// The same for assignments, which may change the task.
    pub(crate) fn document_of_task(&self, assignments: &[String]) -> Result<Table, Error> {
        Ok(without_tests(self.document()?, assignments))
    }

    fn damaged_config(&self, error: Error) -> Error {
        match error {
            // Data that is not where it was is no damage of the run.
            Error::File { .. } | Error::Data { .. } => error,
            error => Error::run(&self.path, format!("{CONFIG} is damaged: {error}")),
        }
    }

    /// Each time that the run was begun or continued, the first first; nothing of runs that version 0.1.0 has made alone, or where the
    /// file is missing or damaged: it is for people, and nobody is kept from going on.
    pub fn history(&self) -> Vec<Session> {
        let bytes = fs::read(self.file(HISTORY)).unwrap_or_default();
        from_json(&bytes).unwrap_or_default()
    }

    /// Takes a file that cannot be read out of the way, and says so; what was in it stays, and what was put aside before.
    fn put_aside(&self, name: &str) -> Result<(), Error> {
        let path = self.file(name);
        let mut aside = path.with_extension("damaged.json");
        for n in 2.. {
            if !aside.exists() {
                break;
            }
            aside = path.with_extension(format!("damaged-{n}.json"));
        }
        fs::rename(&path, &aside).map_err(Error::file("rename", &path))?;
        tell!(
            "{} is damaged; it is now {}",
            path.display(),
            aside.display()
        );
        Ok(())
    }

    fn write_history(&self, history: &[Session]) -> Result<(), Error> {
        write_atomically(&self.file(HISTORY), &to_json_pretty(&history))
    }

    /// Begins another session: of a run that had ended its result is kept in the history, so that nothing is lost, and then taken away
    /// with what belongs to it; only then are the settings changed. `ends` says that the run is not to go on, but that where its data
    /// lie is written down.
    pub(super) fn continue_with(
        &self,
        experiment: &Experiment,
        mut session: Session,
        ends: bool,
    ) -> Result<(), Error> {
        let mut history = self.history();
        if history.is_empty() && self.file(HISTORY).is_file() {
            self.put_aside(HISTORY)?;
        }
        let has_changed = !session.changed.is_empty();
        match ends {
            // It has read nothing of them.
            true => session.data.clear(),
            false => session.result = self.result_to_replace()?,
        }
        history.push(session);
        self.write_history(&history)?;
        for name in [RESULT, SAMPLES] {
            let path = self.file(name);
            if !ends && path.is_file() {
                fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            }
        }
        if has_changed {
            write_atomically(&self.file(CONFIG), experiment.to_toml().as_bytes())?;
        }
        Ok(())
    }

    /// The result of a run that is trained further. One that is damaged is put aside: the checkpoints say all that is needed.
    fn result_to_replace(&self) -> Result<Option<RunResult>, Error> {
        match self.result() {
            Err(Error::Run { .. }) => {
                self.put_aside(RESULT)?;
                Ok(None)
            }
            result => result,
        }
    }

    /// The files of data that the run has read last, where that is known.
    pub fn data(&self) -> Option<Vec<DataFile>> {
        let sessions = self.history().into_iter().rev();
        let mut data = sessions.map(|session| session.data);
        data.find(|data| !data.is_empty())
    }

    /// What is said where other files were read now than the run has read. Of a run that version 0.1.0 has made nothing is known.
    pub(crate) fn other_data(&self, read: &[DataFile]) -> Option<String> {
        other_data(&self.path, &self.data()?, read)
    }

    /// Refuses another experiment than that of this run.
    pub(crate) fn require_settings(&self, experiment: &Experiment) -> Result<(), Error> {
        let made = self.experiment(&[])?;
        if made == *experiment {
            return Ok(());
        }
        let [made, wanted] = [&made, experiment].map(to_table);
        let Some((field, [made, wanted])) = settings::difference(&made, &wanted) else {
            return Ok(());
        };
        Err(Error::usage(format!(
            "{} was made with other settings than are asked for: {field} is {made} there and {wanted} here. Choose another folder, or \
             remove that run",
            self.path.display()
        )))
    }

    /// Keeps other processes from training this run until the lock is dropped or the process ends.
    pub(super) fn lock(&self) -> Result<File, Error> {
        let path = self.file(ENVIRONMENT);
        let file = File::open(&path).map_err(Error::file("read", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Error::run(
                &self.path,
                "another process is training it; wait for it to end",
            )),
            Err(TryLockError::Error(error)) => Err(Error::file("lock", &path)(error)),
        }
    }

    /// Where and when it was made.
    pub fn environment(&self) -> Result<Environment, Error> {
        let bytes = self.read(ENVIRONMENT)?;
        from_json(&bytes)
            .map_err(|error| Error::run(&self.path, format!("{ENVIRONMENT} is damaged ({error})")))
    }

    /// The folder of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Whether a checkpoint was written yet.
    pub fn has_checkpoint(&self) -> Result<bool, Error> {
        Ok(!Checkpoint::all(&self.checkpoints())?.is_empty())
    }

    /// The newest checkpoint, or the one that did best on the validation split.
    pub fn checkpoint(&self, choice: CheckpointChoice) -> Result<Checkpoint, Error> {
        let last = Checkpoint::all(&self.checkpoints())?.pop().ok_or_else(|| {
            Error::run(
                &self.path,
                "it has no checkpoint yet; training writes the first one at its first evaluation, or when it is stopped",
            )
        })?;
        match choice {
            CheckpointChoice::Last => Ok(last),
            CheckpointChoice::Best => {
                let best = self.best_of(&last.load_progress()?)?;
                best.ok_or_else(|| {
                    let missing = "its best checkpoint is missing; use --checkpoint last";
                    Error::run(&self.path, missing)
                })
            }
        }
    }

    /// The checkpoint that did best when training stood there, if it is still there. Before the first evaluation, and while a curriculum
    /// lasts, the newest.
    pub(super) fn best_of(&self, progress: &Progress) -> Result<Option<Checkpoint>, Error> {
        let best = progress.best.map_or(progress.step, |best| best.step);
        let mut all = Checkpoint::all(&self.checkpoints())?.into_iter();
        Ok(all.find(|checkpoint| checkpoint.step == best))
    }

    /// Every record of `metrics.jsonl` that can be read.
    pub fn records(&self) -> Result<Vec<Record>, Error> {
        Ok(self.metrics()?.records)
    }

    /// The lines of `metrics.jsonl`. A damaged last line was cut off by a kill, and is left out.
    pub(crate) fn metrics(&self) -> Result<Metrics, Error> {
        let bytes = self.read(METRICS)?;
        let whole = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let lines: Vec<&[u8]> = whole.split(|&byte| byte == b'\n').collect();
        let mut metrics = Metrics::default();
        for (number, line) in (1..).zip(&lines) {
            match from_json(line) {
                Ok(record) => metrics.records.push(record),
                Err(_) if number == lines.len() => {}
                Err(_) => metrics.damaged.push((number, line.to_vec())),
            }
        }
        Ok(metrics)
    }

    /// What has to be said of lines that are damaged, if there are any.
    pub(crate) fn of_damaged(&self, metrics: &Metrics) -> Option<String> {
        let numbers: Vec<String> = metrics
            .damaged
            .iter()
            .map(|(number, _)| number.to_string())
            .collect();
        let (line, is) = match numbers.len() {
            0 => return None,
            1 => ("line", "is"),
            _ => ("lines", "are"),
        };
        Some(format!(
            "{line} {} of {} {is} damaged, and left out",
            numbers.join(", "),
            self.file(METRICS).display()
        ))
    }

    /// Leaves only the records up to the given progress, and opens the file for more.
    pub(super) fn metrics_after(&self, progress: &Progress) -> Result<MetricsLog, Error> {
        let path = self.file(METRICS);
        // What is needed to go on is in the checkpoint: records are for people.
        let metrics = match path.is_file() {
            true => self.metrics()?,
            false => {
                tell!("{} is missing; a new one is begun", path.display());
                Metrics::default()
            }
        };
        if let Some(told) = self.of_damaged(&metrics) {
            let aside = self.file(DAMAGED);
            tell!("{told}; what they were is in {}", aside.display());
            let mut lines = match aside.is_file() {
                true => self.read(DAMAGED)?,
                false => Vec::new(),
            };
            for (_, line) in &metrics.damaged {
                lines.extend_from_slice(line);
                lines.push(b'\n');
            }
            write_atomically(&aside, &lines)?;
        }
        let records = metrics.records.into_iter();
        let kept = records.filter(|record| record.step <= progress.step);
        let lines: String = kept.map(|record| record.line()).collect();
        write_atomically(&path, lines.as_bytes())?;
        let file = File::options().append(true).open(&path);
        Ok(MetricsLog {
            file: file.map_err(Error::file("write", &path))?,
            path,
        })
    }

    /// Whether it began with start values of its own, not with the weights of another run.
    pub(super) fn is_fresh(&self) -> bool {
        let first = self.history().into_iter().next();
        first.is_none_or(|session| session.from.is_none())
    }

    /// Writes `result.json`.
    pub(super) fn write_result(&self, result: &RunResult) -> Result<(), Error> {
        write_atomically(&self.file(RESULT), &to_json_pretty(result))
    }

    /// Writes `samples.json`.
    pub(super) fn write_samples(&self, samples: &[KeptSample]) -> Result<(), Error> {
        let json = to_json(&samples).into_bytes();
        write_atomically(&self.file(SAMPLES), &json)
    }

    /// What the best checkpoint did on the first samples of the test split, once training has ended; nothing, where sequences are too
    /// long to be looked at.
    pub fn samples(&self) -> Result<Vec<KeptSample>, Error> {
        if !self.file(SAMPLES).is_file() {
            return Ok(Vec::new());
        }
        let bytes = self.read(SAMPLES)?;
        from_json(&bytes)
            .map_err(|error| Error::run(&self.path, format!("{SAMPLES} is damaged ({error})")))
    }

    /// The result, once training has ended.
    pub fn result(&self) -> Result<Option<RunResult>, Error> {
        if !self.file(RESULT).is_file() {
            return Ok(None);
        }
        let bytes = self.read(RESULT)?;
        from_json(&bytes)
            .map(Some)
            .map_err(|error| Error::run(&self.path, format!("{RESULT} is damaged ({error})")))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.file(name);
        fs::read(&path).map_err(Error::file("read", &path))
    }
}

/// An experiment for assignments that change the task: another need not have easier ones, or those that this one was tested on.
pub(crate) fn without_tests(mut document: Table, assignments: &[String]) -> Table {
    if assignments.iter().any(|text| settings::is_of(text, "task")) {
        document.remove("test");
        document.remove("goal");
        if let Some(Value::Table(training)) = document.get_mut("training") {
            training.remove("curriculum");
        }
    }
    document
}

/// What is said where other files were read now than a net was trained on: the first that is new, gone or not what it was.
pub(super) fn other_data(trained: &Path, known: &[DataFile], read: &[DataFile]) -> Option<String> {
    let run = trained.display();
    let of_name =
        |files: &[DataFile], name: &str| files.iter().find(|file| file.name == name).cloned();
    for file in read {
        let (path, name) = (file.path.display(), &file.name);
        let Some(before) = of_name(known, name) else {
            return Some(format!(
                "{path} is read as {name}; {run} has read none such"
            ));
        };
        if !before.is_same(file) {
            return Some(format!(
                "{path} is not what {run} has read as its {name}: {} bytes, SHA-256 {:.12}.., and not {} bytes, SHA-256 {:.12}..",
                file.bytes, file.sha256, before.bytes, before.sha256
            ));
        }
    }
    // Those of other tasks, that of a test or a curriculum, are not read by everybody.
    let own = known.iter().filter(|file| !file.is_of_another_task());
    let mut gone = own.filter(|file| of_name(read, &file.name).is_none());
    let file = gone.next()?;
    Some(format!(
        "{run} has read {} as its {}; none such is read now",
        file.path.display(),
        file.name
    ))
}

/// What `metrics.jsonl` holds.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub records: Vec<Record>,
    /// The number, from 1 on, and the bytes of each line that is no record.
    pub damaged: Vec<(usize, Vec<u8>)>,
}

/// `metrics.jsonl`, open for appending.
pub(super) struct MetricsLog {
    file: File,
    path: PathBuf,
}

impl MetricsLog {
    pub fn write(&mut self, record: &Record) -> Result<(), Error> {
        let line = record.line();
        self.file
            .write_all(line.as_bytes())
            .map_err(Error::file("write", &self.path))
    }

    /// Waits until all records are on the disk, so that no checkpoint is ahead of them.
    pub fn sync(&self) -> Result<(), Error> {
        self.file
            .sync_data()
            .map_err(Error::file("write", &self.path))
    }
}
