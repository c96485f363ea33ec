//! Images that are read pixel by pixel.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::error::require;
use crate::tasks::data::{Opened, read_once};
use crate::tasks::{
    Answer, AnswerFormat, DataFile, Format, Input, InputFormat, Sample, Split, Task,
};

/// Images of ten classes, by split.
#[derive(Debug)]
pub(super) struct Images {
    /// Bytes of each split's images, end to end.
    pixels: [Vec<u8>; 3],
    /// The class of each image.
    labels: [Vec<u8>; 3],
    /// What was read.
    pub files: Vec<DataFile>,
    /// What has to be said of them.
    pub note: Option<String>,
}

/// How an image becomes a sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading {
    /// Bytes that one step reads.
    pub step: usize,
    /// Which byte of an image stands at each place of the sequence.
    pub order: Vec<usize>,
}

/// Classes of every set of images here.
const N_CLASSES: usize = 10;

/// Images and their labels.
#[derive(Default)]
pub(super) struct Labelled {
    pub pixels: Vec<u8>,
    pub labels: Vec<u8>,
    pub files: Vec<DataFile>,
}

impl Labelled {
    /// The first images, and the rest.
    pub fn split_at(mut self, n: usize) -> (Labelled, Labelled) {
        let size = self.pixels.len() / self.labels.len().max(1);
        let rest = Labelled {
            pixels: self.pixels.split_off(n * size),
            labels: self.labels.split_off(n),
            files: Vec::new(),
        };
        (self, rest)
    }
}

impl Images {
    /// Images in the order train, validation, test.
    ///
    /// # Errors
    /// If a split is empty, or a label is none of the classes; `source` says of what.
    pub(super) fn new(
        splits: [Labelled; 3],
        note: Option<String>,
        source: &Path,
    ) -> Result<Self, Error> {
        for split in &splits {
            let labels = &split.labels;
            let wrong = labels
                .iter()
                .find(|label| usize::from(**label) >= N_CLASSES);
            let problem = match wrong {
                _ if labels.is_empty() => {
                    "too few images to be split into train, validation and test".to_owned()
                }
                Some(label) => format!("a label is {label}; it must lie between 0 and 9"),
                None => continue,
            };
            return Err(Error::data(source, problem));
        }
        let [train, validation, test] = splits;
        Ok(Images {
            pixels: [train.pixels, validation.pixels, test.pixels],
            labels: [train.labels, validation.labels, test.labels],
            files: [train.files, validation.files, test.files].concat(),
            note,
        })
    }

    pub fn count(&self, split: Split) -> u64 {
        self.labels[split.stream() as usize].len() as u64
    }

    /// Pixels as numbers from 0 to 1.
    pub fn sample(&self, reading: &Reading, split: Split, index: u64) -> Sample {
        let (split, index) = (split.stream() as usize, index as usize);
        let size = reading.order.len();
        let pixels = &self.pixels[split][index * size..][..size];
        let steps = reading.order.chunks(reading.step).map(|places| {
            let bytes = places.iter().map(|&place| pixels[place]);
            bytes.map(|byte| f32::from(byte) / 255.0).collect()
        });
        Sample {
            input: Input::Vectors(steps.collect()),
            answer: Answer::Class(u32::from(self.labels[split][index])),
        }
    }
}

/// A task of images that are read pixel by pixel.
pub(super) trait ImageTask: Send + Sync {
    /// How an image becomes a sequence.
    fn reading(&self) -> &Reading;

    /// The images, once they are read.
    fn images(&self) -> &Opened<Images>;

    /// The files that they are in, each by the name that it has where it is not compressed.
    fn paths(&self) -> Vec<PathBuf>;

    /// Reads these files.
    fn read(&self) -> Result<Images, Error>;

    /// The data seed.
    fn seed(&self) -> u64;

    /// A class as text.
    fn class_text(&self, class: u32) -> String {
        class.to_string()
    }
}

impl<T: ImageTask> Task for T {
    fn format(&self) -> Format {
        self.reading().format()
    }

    fn seq_length(&self) -> usize {
        self.reading().seq_length()
    }

    fn open(&self) -> Result<(), Error> {
        let paths = self.paths();
        let both = paths
            .iter()
            .flat_map(|path| [path.clone(), path.with_added_extension("gz")]);
        let both: Vec<PathBuf> = both.collect();
        let read = || read_once(std::any::type_name::<T>(), &both, || self.read());
        self.images().open(read).map(drop)
    }

    fn files(&self) -> Vec<DataFile> {
        let known = self.images().known();
        known.map_or(Vec::new(), |images| images.files.clone())
    }

    fn note(&self) -> Option<&str> {
        self.images().known()?.note.as_deref()
    }

    fn n_samples(&self, split: Split) -> Option<u64> {
        Some(self.images().get().count(split))
    }

    fn sample(&self, split: Split, index: u64) -> Sample {
        self.images().get().sample(self.reading(), split, index)
    }

    fn seed(&self) -> u64 {
        ImageTask::seed(self)
    }

    fn class_text(&self, class: u32) -> String {
        ImageTask::class_text(self, class)
    }
}

impl Reading {
    pub fn format(&self) -> Format {
        Format {
            input: InputFormat::Vectors { d_input: self.step },
            answer: AnswerFormat::Class {
                n_classes: N_CLASSES,
            },
        }
    }

    pub fn seq_length(&self) -> usize {
        self.order.len() / self.step
    }
}

/// Checks that a number of bytes can be read so many at a time.
pub(super) fn validate_step(field: &str, step: usize, total: usize) -> Result<(), Error> {
    let divides = step >= 1 && total.is_multiple_of(step);
    require(divides, field, step, &format!("divide {total}"))
}

/// Whether a file is there, with or without `.gz` behind its name.
pub(super) fn is_there(path: &Path) -> bool {
    path.exists() || path.with_added_extension("gz").exists()
}

/// A file's content; that of the file with `.gz` behind its name, decompressed, where there is no other. It is added to the files
/// that were read.
pub(super) fn read(path: &Path, files: &mut Vec<DataFile>) -> Result<Vec<u8>, Error> {
    let content = read_file(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    files.push(DataFile::new(name, path, &content));
    Ok(content)
}

fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    let compressed = path.with_added_extension("gz");
    if !is_there(path) {
        let problem = "there is no such file, nor one with `.gz` behind its name; task.folder says where such files are";
        return Err(Error::data(path, problem));
    }
    if !path.exists() {
        let file = File::open(&compressed).map_err(Error::file("read", &compressed))?;
        flate2::read::MultiGzDecoder::new(file)
            .read_to_end(&mut content)
            .map_err(Error::file("decompress", &compressed))?;
    } else {
        let mut file = File::open(path).map_err(Error::file("read", path))?;
        file.read_to_end(&mut content)
            .map_err(Error::file("read", path))?;
    }
    Ok(content)
}
