//! Images that are read pixel by pixel.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::Error;
use crate::error::require;
use crate::tasks::{Answer, AnswerFormat, Format, Input, InputFormat, Sample, Split};

/// Images of ten classes, by split, and how one becomes a sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Images {
    /// Bytes of each split's images, end to end.
    pixels: [Vec<u8>; 3],
    /// The class of each image.
    labels: [Vec<u8>; 3],
    /// Bytes that one step reads.
    step: usize,
    /// Which byte of an image stands at each place of the sequence.
    order: Vec<usize>,
}

/// Classes of every set of images here.
const N_CLASSES: usize = 10;

/// Images and their labels.
#[derive(Default)]
pub(super) struct Labelled {
    pub pixels: Vec<u8>,
    pub labels: Vec<u8>,
}

impl Labelled {
    /// The first images, and the rest.
    pub fn split_at(mut self, n: usize) -> (Labelled, Labelled) {
        let size = self.pixels.len() / self.labels.len().max(1);
        let rest = Labelled {
            pixels: self.pixels.split_off(n * size),
            labels: self.labels.split_off(n),
        };
        (self, rest)
    }
}

impl Images {
    /// Images in the order train, validation, test, each read in the given order of bytes, `step` at a time.
    ///
    /// # Errors
    /// If a split is empty, or a label is none of the classes; `source` says of what.
    pub(super) fn new(
        splits: [Labelled; 3],
        order: Vec<usize>,
        step: usize,
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
            step,
            order,
        })
    }

    pub(super) fn format(&self) -> Format {
        Format {
            input: InputFormat::Vectors { d_input: self.step },
            answer: AnswerFormat::Class {
                n_classes: N_CLASSES,
            },
        }
    }

    pub(super) fn seq_length(&self) -> usize {
        self.order.len() / self.step
    }

    pub(super) fn count(&self, split: Split) -> u64 {
        self.labels[split.stream() as usize].len() as u64
    }

    /// Pixels as numbers from 0 to 1.
    pub(super) fn sample(&self, split: Split, index: u64) -> Sample {
        let (split, index) = (split.stream() as usize, index as usize);
        let size = self.order.len();
        let pixels = &self.pixels[split][index * size..][..size];
        let steps = self.order.chunks(self.step).map(|places| {
            let bytes = places.iter().map(|&place| pixels[place]);
            bytes.map(|byte| f32::from(byte) / 255.0).collect()
        });
        Sample {
            input: Input::Vectors(steps.collect()),
            answer: Answer::Class(u32::from(self.labels[split][index])),
        }
    }
}

/// Checks that a number of bytes can be read so many at a time.
pub(super) fn validate_step(field: &str, step: usize, total: usize) -> Result<(), Error> {
    let divides = step >= 1 && total.is_multiple_of(step);
    require(divides, field, step, &format!("divide {total}"))
}

/// A file's content; that of the file with `.gz` behind its name, decompressed, where there is no other.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    let compressed = path.with_file_name(format!(
        "{}.gz",
        path.file_name().unwrap_or_default().to_string_lossy()
    ));
    if !path.exists() && !compressed.exists() {
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
