//! Handwritten digits, pixel by pixel.

use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::files::absolute;
use crate::settings::{Field, Section, fields};
use crate::tasks::data::{DataFile, Opened};
use crate::tasks::generated::below;
use crate::tasks::images::{ImageTask, Images, Labelled, Reading, is_there, read, validate_step};

/// MNIST (LeCun et al. 1998) read pixel by pixel, row by row from the top left, or in one random order (Le et al. 2015).
///
/// ```text
/// input   0 0 .. 0.33 0.99 0.62 .. 0       784 numbers from 0 to 1
/// target                           7       the digit
/// ```
///
/// By default the 10,000 test images that come with this project are the whole set: 8,000 to learn from, 1,000 to choose a
/// checkpoint by, 1,000 to test; that is said whenever they are read. A folder that also has the training images
/// (`train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, with or without `.gz`; one of the two is an error) is split as usual: the last
/// twelfth of the training images validates, and the 10,000 test images test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PixelMnist {
    /// The folder of the IDX files. Default `data`.
    pub folder: PathBuf,
    /// Whether pixels are read in one random order. Default false.
    pub permuted: bool,
    /// The seed of that order, any number. Default 0.
    pub permutation_seed: u64,
    /// Pixels that one step reads: a divisor of 784. Default 1; 28 reads rows.
    pub pixels_per_step: usize,
    /// The data seed, any number: the order in which training goes over the images. Default 0.
    pub seed: u64,
    #[serde(skip)]
    reading: Reading,
    #[serde(skip)]
    images: Opened<Images>,
}

impl Default for PixelMnist {
    fn default() -> Self {
        PixelMnist {
            folder: PathBuf::from("data"),
            permuted: false,
            permutation_seed: 0,
            pixels_per_step: 1,
            seed: 0,
            reading: Reading::default(),
            images: Opened::default(),
        }
    }
}

const SIDE: usize = 28;
const PIXELS: usize = SIDE * SIDE;

impl PixelMnist {
    pub(super) fn fields() -> Vec<Field> {
        fields(&Self::default())
    }

    pub(super) fn from_section(section: Section) -> Result<Self, Error> {
        let mut task: PixelMnist = section.parse()?;
        validate_step("task.pixels_per_step", task.pixels_per_step, PIXELS)?;
        let mut order: Vec<usize> = (0..PIXELS).collect();
        if task.permuted {
            let mut rng = ChaCha8Rng::seed_from_u64(task.permutation_seed);
            for place in 0..PIXELS {
                let other = place + below(&mut rng, (PIXELS - place) as u32) as usize;
                order.swap(place, other);
            }
        }
        task.reading = Reading {
            step: task.pixels_per_step,
            order,
        };
        task.folder = absolute(&task.folder)?;
        Ok(task)
    }
}

fn read_images(folder: &Path) -> Result<Images, Error> {
    let test = labelled(folder, "t10k")?;
    // One of the two files alone is no choice to do without them: the other is missed.
    let has_train = paths(folder, "train").iter().any(|path| is_there(path));
    if has_train {
        let train = labelled(folder, "train")?;
        let n = train.labels.len();
        let (train, validation) = train.split_at(n - n / 12);
        return Images::new([train, validation, test], None, folder);
    }
    let n = test.labels.len();
    let (train, rest) = test.split_at(n - 2 * (n / 10));
    let (validation, test) = rest.split_at(n / 10);
    let sizes = [&train, &validation, &test].map(|split| split.labels.len());
    let note = format!(
        "{} has no training images of MNIST: its {n} test images are split into {} to learn from, {} to validate and {} to test",
        folder.display(),
        sizes[0],
        sizes[1],
        sizes[2]
    );
    Images::new([train, validation, test], Some(note), folder)
}

/// The file of the images, and that of their labels.
fn paths(folder: &Path, which: &str) -> [PathBuf; 2] {
    ["images-idx3", "labels-idx1"].map(|what| folder.join(format!("{which}-{what}-ubyte")))
}

/// Images and labels of one pair of files.
fn labelled(folder: &Path, which: &str) -> Result<Labelled, Error> {
    let [images, labels] = paths(folder, which);
    let mut files = Vec::new();
    let pixels = idx(&images, &[SIDE, SIDE], &mut files)?;
    let labels_read = idx(&labels, &[], &mut files)?;
    let (n_images, n_labels) = (pixels.len() / PIXELS, labels_read.len());
    if n_images != n_labels {
        let problem = format!("it has {n_labels} labels for {n_images} images");
        return Err(Error::data(&labels, problem));
    }
    Ok(Labelled {
        pixels,
        labels: labels_read,
        files,
    })
}

/// The bytes of an IDX file whose items have the given sizes.
fn idx(path: &Path, item: &[usize], files: &mut Vec<DataFile>) -> Result<Vec<u8>, Error> {
    let content = read(path, files)?;
    let wrong = |problem: String| Error::data(path, problem);
    let header = 4 + 4 * (1 + item.len());
    let kind = [0, 0, 8, 1 + item.len() as u8];
    if content.len() < header || content[..4] != kind {
        return Err(wrong(format!(
            "it does not begin as an IDX file of bytes with {} axes",
            1 + item.len()
        )));
    }
    let sizes: Vec<usize> = content[4..header]
        .chunks_exact(4)
        .map(|bytes| bytes.iter().fold(0, |n, &byte| n << 8 | usize::from(byte)))
        .collect();
    if sizes[1..] != *item {
        return Err(wrong(format!(
            "its items have the sizes {:?}; they must be {item:?}",
            &sizes[1..]
        )));
    }
    let expected = sizes[0] * item.iter().product::<usize>();
    let actual = content.len() - header;
    if actual != expected {
        return Err(wrong(format!(
            "it holds {actual} bytes of data; its header says {expected}"
        )));
    }
    Ok(content[header..].to_vec())
}

impl ImageTask for PixelMnist {
    fn reading(&self) -> &Reading {
        &self.reading
    }

    fn images(&self) -> &Opened<Images> {
        &self.images
    }

    fn paths(&self) -> Vec<PathBuf> {
        let paths = ["train", "t10k"].map(|which| paths(&self.folder, which));
        paths.as_flattened().to_vec()
    }

    fn read(&self) -> Result<Images, Error> {
        read_images(&self.folder)
    }

    fn seed(&self) -> u64 {
        self.seed
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::{repository_data, task_from};
    use super::*;
    use crate::tasks::{Answer, Input, Sample, Split, TaskConfig};

    fn sample(config: &TaskConfig, split: Split, index: u64) -> (Vec<Vec<f32>>, u32) {
        match config.task().sample(split, index) {
            Sample {
                input: Input::Vectors(vectors),
                answer: Answer::Class(class),
            } => (vectors, class),
            other => panic!("{other:?}"),
        }
    }

    fn mnist(folder: &Path, more: &str) -> Result<TaskConfig, String> {
        task_from(&format!(
            "kind = 'pixel-mnist'\nfolder = '{}'\n{more}",
            folder.display()
        ))
    }

    #[test]
    fn the_committed_images_are_split_in_eight_one_and_one() {
        let config = mnist(&repository_data(), "").expect("a task");
        let task = config.task();
        let counts = [Split::Train, Split::Validation, Split::Test].map(|s| task.n_samples(s));
        assert_eq!(counts, [Some(8000), Some(1000), Some(1000)]);
        let note = task.note().expect("training images are missing");
        assert!(
            note.contains("split into 8000 to learn from, 1000 to validate and 1000 to test"),
            "{note}"
        );
        assert_eq!(task.files().len(), 2);
        assert_eq!(task.seq_length(), 784);
        let classes: Vec<u32> = (0..5).map(|i| sample(&config, Split::Train, i).1).collect();
        assert_eq!(classes, [7, 2, 1, 0, 4]); // the set's first digits
        let (vectors, _) = sample(&config, Split::Train, 0);
        let mean: f32 = vectors.iter().map(|v| v[0]).sum::<f32>() / 784.0;
        assert!((mean - 0.092).abs() < 0.001, "{mean}");
    }

    #[test]
    fn a_permutation_reads_the_same_pixels_in_another_order() {
        let plain = mnist(&repository_data(), "").expect("a task");
        let permuted = mnist(&repository_data(), "permuted = true").expect("a task");
        let rows = mnist(&repository_data(), "pixels_per_step = 28").expect("a task");
        let flat = |config| -> Vec<f32> { sample(config, Split::Test, 3).0.concat() };
        let (one, other) = (flat(&plain), flat(&permuted));
        assert_ne!(one, other);
        assert_eq!(one, flat(&rows));
        assert_eq!(rows.task().seq_length(), 28);
        let sorted = |mut pixels: Vec<f32>| {
            pixels.sort_by(f32::total_cmp);
            pixels
        };
        assert_eq!(sorted(one), sorted(other));
    }

    /// IDX bytes of `n` items of the given sizes, filled with their own number.
    fn idx_bytes(n: u8, item: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, 1 + item.len() as u8];
        for size in [n].iter().chain(item) {
            bytes.extend([0, 0, 0, *size]);
        }
        let size = item.iter().map(|&size| usize::from(size)).product();
        for index in 0..n {
            bytes.extend(std::iter::repeat_n(index % 10, size));
        }
        bytes
    }

    #[test]
    fn a_folder_with_training_images_is_split_as_usual_and_damage_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, bytes: &[u8]| {
            fs::write(folder.path().join(name), bytes).expect("a file");
        };
        for (which, n) in [("train", 24), ("t10k", 20)] {
            write(
                &format!("{which}-images-idx3-ubyte"),
                &idx_bytes(n, &[28, 28]),
            );
            write(&format!("{which}-labels-idx1-ubyte"), &idx_bytes(n, &[]));
        }
        let config = mnist(folder.path(), "").expect("a task");
        let counts = [Split::Train, Split::Validation, Split::Test]
            .map(|split| config.task().n_samples(split));
        assert_eq!(counts, [Some(22), Some(2), Some(20)]);
        assert_eq!(config.task().note(), None);
        // One half of the better choice is there: the other is missed, whichever it is.
        for half in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"] {
            let path = folder.path().join(half);
            let aside = path.with_extension("aside");
            fs::rename(&path, &aside).expect("a file");
            let message = mnist(folder.path(), "").expect_err("half of a pair");
            assert!(
                message.contains(half) && message.contains("there is no such file"),
                "{message}"
            );
            fs::rename(&aside, &path).expect("a file");
        }
        let (vectors, class) = sample(&config, Split::Validation, 1);
        assert_eq!((vectors[0][0], class), (3.0 / 255.0, 3));

        let refused = |name: &str, bytes: &[u8], words: &str| {
            write(name, bytes);
            let message = mnist(folder.path(), "").expect_err(words);
            assert!(
                message.contains(name) && message.contains(words),
                "{message}"
            );
        };
        let labels = "t10k-labels-idx1-ubyte";
        refused(
            labels,
            &idx_bytes(19, &[]),
            "it has 19 labels for 20 images",
        );
        refused(labels, b"nonsense", "does not begin as an IDX file");
        let images = "t10k-images-idx3-ubyte";
        refused(images, &idx_bytes(20, &[28, 27]), "they must be [28, 28]");
        refused(
            images,
            &idx_bytes(20, &[28, 28])[..5000],
            "its header says 15680",
        );
        fs::remove_file(folder.path().join(images)).expect("a file");
        let message = mnist(folder.path(), "").expect_err("no images");
        assert!(message.contains(images), "{message}");
        let message = mnist(&repository_data(), "pixels_per_step = 5").expect_err("no divisor");
        assert_eq!(message, "task.pixels_per_step is 5; it must divide 784");
    }
}
