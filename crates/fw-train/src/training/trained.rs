//! Trained nets: of a run, or of a file that was exported from one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fw_core::weights::{Convention, Weights, WeightsError, load_own, own_weights};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml::Table;

use crate::device::DeviceName;
use crate::experiment::Experiment;
use crate::models::Model;
use crate::plain::{from_json, to_json};
use crate::tasks::{DataFile, hex};
use crate::training::checkpoint::Checkpoint;
use crate::training::evaluate::Evaluation;
use crate::training::history::{BURN, VERSION};
use crate::training::run_folder::{RunFolder, other_data, without_tests};
use crate::{CheckpointChoice, Error};

/// What has been trained, wherever it lies.
#[derive(Clone, Debug)]
pub enum Trained {
    /// The folder of a run.
    Run(RunFolder),
    /// A file that [`export`] has written, or a net that comes with the program.
    File(Arc<NetFile>),
}

/// A net in a file, with the experiment that it was trained by.
#[derive(Clone, Debug)]
pub struct NetFile {
    /// The file, or the name of a net that comes with the program.
    path: PathBuf,
    weights: Weights,
    document: Table,
    about: About,
    /// What is said of a file that a newer version has written; else nothing.
    by_newer: String,
}

/// The weights of a trained net: a checkpoint, or a file.
#[derive(Clone, Debug)]
pub enum SavedModel {
    /// Of a run.
    Checkpoint(Checkpoint),
    /// Exported.
    File(Arc<NetFile>),
}

/// What a file says of how its net was trained, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct About {
    /// Versions of fw-train and Burn.
    version: String,
    burn: String,
    /// Updates.
    step: usize,
    /// What it came to on the validation split then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    validation: Option<Evaluation>,
    /// The files of data that it was trained on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    data: Vec<DataFile>,
    /// SHA-256 of the weights under this project's own names: of each tensor's name and bytes, in the order of names.
    sha256: String,
}

/// The keys of a file's metadata.
const EXPERIMENT: &str = "experiment";
const TRAINED: &str = "trained";

/// Nets that come with the program: their names, a line about each, and their files.
pub const PRETRAINED: &[(&str, &str, &[u8])] = &[
    (
        "ntm-copy",
        "a Neural Turing Machine with an LSTM that copies 1 to 20 vectors of 8 bits",
        include_bytes!("../../pretrained/ntm-copy.safetensors"),
    ),
    (
        "sab-copy-memory",
        "Sparse Attentive Backtracking over an LSTM that recalls ten symbols after up to 100 steps",
        include_bytes!("../../pretrained/sab-copy-memory.safetensors"),
    ),
    (
        "fast-weights-retrieval",
        "fast weights, 20 units, that look up the value of a key among four pairs",
        include_bytes!("../../pretrained/fast-weights-retrieval.safetensors"),
    ),
    (
        "gated-delta-net-retrieval",
        "a Gated DeltaNet, 20 units, that looks up the value of a key among four pairs",
        include_bytes!("../../pretrained/gated-delta-net-retrieval.safetensors"),
    ),
];

impl Trained {
    /// A run's folder, or a file that was exported from one.
    ///
    /// # Errors
    /// If it is neither.
    pub fn open(path: &Path) -> Result<Self, Error> {
        match path.is_file() {
            true => NetFile::open(path, Weights::open(path)?),
            false => RunFolder::open(path).map(Trained::Run),
        }
    }

    /// A net that comes with the program.
    ///
    /// # Errors
    /// If none is called so.
    pub fn pretrained(name: &str) -> Result<Self, Error> {
        let mut all = PRETRAINED.iter();
        let Some((name, _, bytes)) = all.find(|(known, _, _)| *known == name) else {
            let names: Vec<&str> = PRETRAINED.iter().map(|(name, _, _)| *name).collect();
            return Err(Error::usage(format!(
                "there is no pretrained net {name}; there are {}",
                names.join(", ")
            )));
        };
        NetFile::open(Path::new(name), Weights::from_bytes(*bytes)?)
    }

    /// The folder, or the file.
    pub fn path(&self) -> &Path {
        match self {
            Trained::Run(run) => run.path(),
            Trained::File(file) => &file.path,
        }
    }

    /// The experiment that it was trained by, with settings of its task changed. No data are read.
    ///
    /// # Errors
    /// If the experiment cannot be read, or a setting is refused.
    pub fn experiment(&self, assignments: &[String]) -> Result<Experiment, Error> {
        match self {
            Trained::Run(run) => run.experiment(assignments),
            Trained::File(file) => {
                let document = match assignments {
                    [] => file.document.clone(),
                    _ => without_tests(file.document.clone(), assignments),
                };
                let experiment = Experiment::from_document(document, assignments);
                experiment.map_err(|error| match file.by_newer.is_empty() {
                    true => error,
                    false => Error::Net {
                        path: file.path.clone(),
                        problem: format!("{}{}", error.in_full(), file.by_newer),
                    },
                })
            }
        }
    }

    /// The experiment as TOML.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn document(&self) -> Result<Table, Error> {
        match self {
            Trained::Run(run) => run.document(),
            Trained::File(file) => Ok(file.document.clone()),
        }
    }

    /// What is said where other files were read now than in training.
    pub fn other_data(&self, read: &[DataFile]) -> Option<String> {
        match self {
            Trained::Run(run) => run.other_data(read),
            Trained::File(file) => {
                let known = (!file.about.data.is_empty()).then_some(&file.about.data);
                other_data(&file.path, known?, read)
            }
        }
    }

    /// What has to be said of it before it is used: that a newer version has written it.
    pub fn note(&self) -> Option<String> {
        match self {
            Trained::Run(_) => None,
            Trained::File(file) if file.by_newer.is_empty() => None,
            Trained::File(file) => Some(format!("{}{}", file.path.display(), file.by_newer)),
        }
    }

    /// The weights: of a run those of the checkpoint that is chosen.
    ///
    /// # Errors
    /// If a run has no such checkpoint, or the newest one is asked for of a file, which has one alone.
    pub fn saved(&self, choice: CheckpointChoice) -> Result<SavedModel, Error> {
        match self {
            Trained::Run(run) => run.checkpoint(choice).map(SavedModel::Checkpoint),
            Trained::File(file) => match choice {
                CheckpointChoice::Best => Ok(SavedModel::File(file.clone())),
                CheckpointChoice::Last => Err(Error::usage(format!(
                    "--checkpoint last: {} is a file, with the weights of one checkpoint",
                    file.path.display()
                ))),
            },
        }
    }
}

impl SavedModel {
    /// The weights that a run began with.
    pub(super) fn of_origin(path: &Path, step: usize) -> Result<Self, Error> {
        match Trained::open(path)? {
            Trained::Run(run) => {
                Checkpoint::at(&run.checkpoints(), step).map(SavedModel::Checkpoint)
            }
            Trained::File(file) => Ok(SavedModel::File(file)),
        }
    }

    /// Updates done.
    pub fn step(&self) -> usize {
        match self {
            SavedModel::Checkpoint(checkpoint) => checkpoint.step,
            SavedModel::File(file) => file.about.step,
        }
    }

    /// The parameters, put into `model`.
    ///
    /// # Errors
    /// If they are of another net, or cannot be read.
    pub fn load_model(&self, model: Model) -> Result<Model, Error> {
        match self {
            SavedModel::Checkpoint(checkpoint) => checkpoint.load_model(model),
            SavedModel::File(file) => {
                let mut model = model;
                load_own(&mut model, &file.weights)?;
                Ok(model)
            }
        }
    }
}

impl NetFile {
    fn open(path: &Path, weights: Weights) -> Result<Trained, Error> {
        let failed = |problem: String| Error::Net {
            path: path.to_owned(),
            problem,
        };
        let told = |key: &str| {
            weights.metadata().get(key).ok_or_else(|| {
                failed("it does not say how it was trained; give a file that `fw-train export` has written".to_owned())
            })
        };
        let newer = weights.newer_version();
        let by_newer = newer.map_or(String::new(), |version| {
            format!(
                " (it was written by version {version}, which is newer than this one, {VERSION})"
            )
        });
        let document = told(EXPERIMENT)?.parse::<Table>();
        let document = document.map_err(|error| failed(format!("{error}{by_newer}")))?;
        let about: About = from_json(told(TRAINED)?.as_bytes())
            .map_err(|error| failed(format!("{error}{by_newer}")))?;
        let weights = match weights.convention()? {
            Convention::Own => weights,
            _ => weights.under(Convention::Own, &DeviceName::default_of_build().open()?)?,
        };
        if digest(&weights)? != about.sha256 {
            return Err(failed(
                "its weights are damaged: their SHA-256 is another".to_owned(),
            ));
        }
        Ok(Trained::File(Arc::new(NetFile {
            path: path.to_owned(),
            weights,
            document,
            about,
            by_newer,
        })))
    }
}

/// SHA-256 of each tensor's name and bytes, in the order of names.
fn digest(weights: &Weights) -> Result<String, Error> {
    let mut digest = Sha256::new();
    for name in weights.names() {
        digest.update(name.as_bytes());
        let numbers = weights.numbers(name)?.expect("it is one of its names");
        digest.update(numbers.as_bytes());
    }
    Ok(hex(&digest.finalize()))
}

/// A trained net as a file, which any program can read that depends on fw-core alone: the weights under a convention's names, the configuration of the
/// model, and how it was trained.
///
/// # Errors
/// If there is no checkpoint, it is not of the net that the run describes, or the convention has no names for it.
pub fn export(
    trained: &Trained,
    choice: CheckpointChoice,
    convention: Convention,
) -> Result<Weights, Error> {
    let experiment = trained.experiment(&[])?;
    let saved = trained.saved(choice)?;
    let device = DeviceName::default_of_build().open()?;
    let task = experiment.task.task();
    let model = experiment.model.init(task, 0, &device)?;
    let own = own_weights(&saved.load_model(model)?)?;
    let (validation, data) = match trained {
        Trained::Run(run) => {
            let best = run.checkpoint(choice)?.load_progress()?.best;
            let best = best.filter(|best| best.step == saved.step());
            let data = run.data().unwrap_or_default();
            (best.map(|best| best.evaluation), data)
        }
        Trained::File(file) => (file.about.validation, file.about.data.clone()),
    };
    let sha256 = digest(&own)?;
    let own = own.described_by(&experiment.model.in_file(task)?);
    let weights = match convention {
        Convention::Own => own,
        _ => own
            .under(convention, &device)
            .map_err(|error| match error {
                WeightsError::Unsupported { .. } => {
                    Error::usage(format!("{error}. Leave out --for"))
                }
                error => error.into(),
            })?,
    };
    let about = About {
        version: VERSION.to_owned(),
        burn: BURN.to_owned(),
        step: saved.step(),
        validation,
        // Where they lay is nobody's business.
        data: data.into_iter().map(DataFile::without_folder).collect(),
        sha256,
    };
    let about = to_json(&about);
    Ok(weights
        .with_metadata(EXPERIMENT, experiment.to_toml())
        .with_metadata(TRAINED, about))
}
