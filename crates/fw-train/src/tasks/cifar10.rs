//! Small photographs, pixel by pixel.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::files::absolute;
use crate::settings::{Field, Section, fields};
use crate::tasks::data::Opened;
use crate::tasks::images::{ImageTask, Images, Labelled, Reading, read, validate_step};

/// CIFAR-10 (Krizhevsky 2009) read pixel by pixel, row by row from the top left; each pixel is red, green and blue.
///
/// ```text
/// input   0.23 0.30 ..       1,024 times three numbers from 0 to 1
///         0.24 0.31 ..
///         0.25 0.30 ..
/// target               6     airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck
/// ```
///
/// The last tenth of the training images validates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SequentialCifar10 {
    /// The folder of the binary version's files, `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, each with or without
    /// `.gz`. Default `data/cifar-10-batches-bin`.
    pub folder: PathBuf,
    /// Pixels that one step reads: a divisor of 1,024. Default 1; 32 reads rows.
    pub pixels_per_step: usize,
    /// The data seed, any number: the order in which training goes over the images. Default 0.
    pub seed: u64,
    #[serde(skip)]
    reading: Reading,
    #[serde(skip)]
    images: Opened<Images>,
}

impl Default for SequentialCifar10 {
    fn default() -> Self {
        SequentialCifar10 {
            folder: PathBuf::from("data/cifar-10-batches-bin"),
            pixels_per_step: 1,
            seed: 0,
            reading: Reading::default(),
            images: Opened::default(),
        }
    }
}

const PIXELS: usize = 32 * 32;
const CHANNELS: usize = 3;
const N_BATCHES: usize = 5;

impl SequentialCifar10 {
    pub(super) fn fields() -> Vec<Field> {
        fields(&Self::default())
    }

    pub(super) fn from_section(section: Section) -> Result<Self, Error> {
        let mut task: SequentialCifar10 = section.parse()?;
        validate_step("task.pixels_per_step", task.pixels_per_step, PIXELS)?;
        // The file holds all reds, then all greens, then all blues.
        let of_pixel = |pixel| (0..CHANNELS).map(move |channel| channel * PIXELS + pixel);
        let order = (0..PIXELS).flat_map(of_pixel).collect();
        task.reading = Reading {
            step: CHANNELS * task.pixels_per_step,
            order,
        };
        task.folder = absolute(&task.folder)?;
        Ok(task)
    }
}

/// Those that train, then the one that tests.
fn paths(folder: &Path) -> Vec<PathBuf> {
    let batches = (1..=N_BATCHES).map(|batch| format!("data_batch_{batch}.bin"));
    let names = batches.chain(["test_batch.bin".to_owned()]);
    names.map(|name| folder.join(name)).collect()
}

fn read_images(folder: &Path) -> Result<Images, Error> {
    let paths = paths(folder);
    let (mut train, mut test) = (Labelled::default(), Labelled::default());
    for path in &paths[..N_BATCHES] {
        add(path, &mut train)?;
    }
    add(&paths[N_BATCHES], &mut test)?;
    let n = train.labels.len();
    let (train, validation) = train.split_at(n - n / 10);
    Images::new([train, validation, test], None, folder)
}

/// Adds the images of a file: a label and then the image, again and again.
fn add(path: &Path, images: &mut Labelled) -> Result<(), Error> {
    const RECORD: usize = 1 + CHANNELS * PIXELS;
    let content = read(path, &mut images.files)?;
    if content.is_empty() || !content.len().is_multiple_of(RECORD) {
        let problem = format!(
            "it holds {} bytes; it must hold images of {RECORD} bytes each",
            content.len()
        );
        return Err(Error::data(path, problem));
    }
    for record in content.chunks_exact(RECORD) {
        images.labels.push(record[0]);
        images.pixels.extend_from_slice(&record[1..]);
    }
    Ok(())
}

impl ImageTask for SequentialCifar10 {
    fn reading(&self) -> &Reading {
        &self.reading
    }

    fn images(&self) -> &Opened<Images> {
        &self.images
    }

    fn paths(&self) -> Vec<PathBuf> {
        paths(&self.folder)
    }

    fn read(&self) -> Result<Images, Error> {
        read_images(&self.folder)
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn class_text(&self, class: u32) -> String {
        const NAMES: [&str; 10] = [
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ];
        NAMES[class as usize].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::task_from;
    use super::*;
    use crate::tasks::{Answer, Input, Split};

    #[test]
    fn a_pixel_is_its_three_colours_and_damage_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        // Four images a file; the colours of pixel p are p, p + 1 and p + 2.
        let record = |label: u8| {
            let colour = |shift| (0..PIXELS).map(move |pixel| ((pixel + shift) % 256) as u8);
            let colours = (0..CHANNELS).flat_map(colour);
            std::iter::once(label).chain(colours).collect::<Vec<u8>>()
        };
        let file: Vec<u8> = [3, 5, 8, 0].map(record).concat();
        for name in (1..=5).map(|batch| format!("data_batch_{batch}.bin")) {
            fs::write(folder.path().join(name), &file).expect("a file");
        }
        fs::write(folder.path().join("test_batch.bin"), &file).expect("a file");
        let toml = |more: &str| {
            let kind = "kind = 'sequential-cifar10'";
            format!("{kind}\nfolder = '{}'\n{more}", folder.path().display())
        };
        let config = task_from(&toml("")).expect("a task");
        let task = config.task();
        let counts = [Split::Train, Split::Validation, Split::Test].map(|s| task.n_samples(s));
        assert_eq!(counts, [Some(18), Some(2), Some(4)]);
        let sample = task.sample(Split::Test, 1);
        let Input::Vectors(vectors) = &sample.input else {
            panic!("{sample:?}");
        };
        assert_eq!(sample.answer, Answer::Class(5));
        assert_eq!(task.class_text(5), "dog");
        assert_eq!(vectors.len(), 1024);
        assert_eq!(vectors[7], [7, 8, 9].map(|byte| byte as f32 / 255.0));
        let rows = task_from(&toml("pixels_per_step = 32")).expect("a task");
        assert_eq!(rows.task().seq_length(), 32);

        fs::write(folder.path().join("data_batch_3.bin"), &file[..5000]).expect("a file");
        let message = task_from(&toml("")).expect_err("a damaged file");
        assert!(
            message.contains("data_batch_3.bin") && message.contains("images of 3073 bytes"),
            "{message}"
        );
        fs::remove_file(folder.path().join("data_batch_3.bin")).expect("a file");
        let message = task_from(&toml("")).expect_err("a missing file");
        assert!(message.contains("data_batch_3.bin"), "{message}");
    }
}
