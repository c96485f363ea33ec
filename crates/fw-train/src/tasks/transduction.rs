//! Transduction of text: from a line to the same line written otherwise.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::files::absolute;
use crate::settings::{Field, Section, fields};
use crate::tasks::data::{DataFile, Opened, read_once};
use crate::tasks::generated::{below, random_numbers};
use crate::tasks::text::{Source, bytes_of, files_of};
use crate::tasks::{
    Answer, AnswerFormat, Format, Input, InputFormat, Sample, Split, StepClass, Symbols, Task,
    validate_samples,
};

/// Sequence to sequence on a real text: read a line, then say it otherwise.
///
/// ```text
/// input   tobeornottobe>ebotton...      the source, a mark, and the target so far
/// target               ebottonro..      (reverse; letters and blanks of a text, 13 of them)
///
/// input   ____tbrnttb>to be or n        the source without its vowels, after as many gaps
/// target             to be or no        (restore-vowels)
/// ```
///
/// A line is a window of `length` letters and blanks of a text in small letters; whatever else stands in it is a blank, several blanks are
/// one. At each step of the answer the right letter before it is read (teacher forcing), so that a sequence without an error is one that
/// would also be said rightly letter by letter. Train, validation and test are parts of the text that do not overlap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Transduction {
    /// The text, UTF-8: a file, or a folder with three. Default `data/tinyshakespeare.txt`.
    pub text: PathBuf,
    /// What is done with a line. Default reverse.
    pub transform: Transform,
    /// Letters in a line: 2 to 10,000. Default 20.
    pub length: usize,
    /// Lines in the validation split: 1 to 2^32. Default 500.
    pub validation_samples: u64,
    /// Lines in the test split: 1 to 2^32. Default 1,000.
    pub test_samples: u64,
    /// The data seed, any number: which windows. Default 0.
    pub seed: u64,
    /// Characters of a file that train, validate and test, from its beginning on. Default: 90, 5 and 5 % of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub splits: Option<[usize; 3]>,
    /// The name of the file in the folder `text` that trains. Default: the one with the word `train` in its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<PathBuf>,
    /// The same for the validation split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<PathBuf>,
    /// The same for the test split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    #[serde(skip)]
    letters: Opened<Letters>,
}

/// The letters of each split, and the files that they come from.
#[derive(Debug)]
struct Letters {
    splits: [Vec<u8>; 3],
    files: Vec<DataFile>,
}

/// What is done with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Transform {
    /// Said backwards.
    Reverse,
    /// Read without its vowels, said with them.
    RestoreVowels,
}

impl Default for Transduction {
    fn default() -> Self {
        Transduction {
            text: PathBuf::from("data/tinyshakespeare.txt"),
            transform: Transform::Reverse,
            length: 20,
            validation_samples: 500,
            test_samples: 1_000,
            seed: 0,
            splits: None,
            train: None,
            validation: None,
            test: None,
            letters: Opened::default(),
        }
    }
}

/// a to z, and a blank.
const N_LETTERS: u32 = 27;
const BLANK: u32 = 26;
/// Where the source ends.
const MARK: u32 = N_LETTERS;
/// Before a source that is shorter than the line.
const GAP: u32 = N_LETTERS + 1;

/// Letters and single blanks, in the place of a text.
fn letters(mut text: Vec<u8>) -> Vec<u8> {
    let mut last = None;
    text.retain_mut(|byte| {
        // Of a character of several bytes the first stands for all.
        if *byte & 0b1100_0000 == 0b1000_0000 {
            return false;
        }
        *byte = match byte.to_ascii_lowercase() {
            letter @ b'a'..=b'z' => letter - b'a',
            _ => BLANK as u8,
        };
        let is_kept = u32::from(*byte) != BLANK || last != Some(*byte);
        last = Some(*byte);
        is_kept
    });
    text.shrink_to_fit();
    text
}

fn is_vowel(letter: u32) -> bool {
    ['a', 'e', 'i', 'o', 'u']
        .map(|vowel| vowel as u32 - 'a' as u32)
        .contains(&letter)
}

impl Transform {
    /// The source of a line, as long as the line.
    fn source(self, line: &[u32]) -> Vec<u32> {
        match self {
            Transform::Reverse => line.to_vec(),
            Transform::RestoreVowels => {
                let kept: Vec<u32> = line
                    .iter()
                    .copied()
                    .filter(|&letter| !is_vowel(letter))
                    .collect();
                let gaps = std::iter::repeat_n(GAP, line.len() - kept.len());
                gaps.chain(kept).collect()
            }
        }
    }

    fn target(self, line: &[u32]) -> Vec<u32> {
        match self {
            Transform::Reverse => line.iter().rev().copied().collect(),
            Transform::RestoreVowels => line.to_vec(),
        }
    }
}

impl Transduction {
    pub(super) fn fields() -> Vec<Field> {
        fields(&Self::default())
    }

    pub(super) fn from_section(section: Section) -> Result<Self, Error> {
        let mut task: Transduction = section.parse()?;
        let length = (2..=10_000).contains(&task.length);
        require(
            length,
            "task.length",
            task.length,
            "lie between 2 and 10,000",
        )?;
        validate_samples(&[
            ("task.validation_samples", task.validation_samples),
            ("task.test_samples", task.test_samples),
        ])?;
        task.text = absolute(&task.text)?;
        Ok(task)
    }

    fn read(&self) -> Result<Arc<Letters>, Error> {
        let source = Source {
            text: &self.text,
            names: [&self.train, &self.validation, &self.test].map(Option::as_deref),
            splits: self.splits,
            symbols: Symbols::Characters,
            is_kept: false,
        };
        let kind = format!("letters, {:?}", source.splits);
        let read = read_once(&kind, &source.paths()?, || {
            let parts = source.read()?;
            Ok(Letters {
                files: files_of(&parts),
                splits: bytes_of(parts).map(letters),
            })
        })?;
        for (split, part) in ["train", "validation", "test"].iter().zip(&read.splits) {
            if part.len() <= self.length {
                let problem = format!(
                    "its {split} part has {} letters and blanks; with task.length = {} it needs more",
                    part.len(),
                    self.length
                );
                return Err(Error::data(&self.text, problem));
            }
        }
        Ok(read)
    }
}

impl Task for Transduction {
    fn format(&self) -> Format {
        Format {
            input: InputFormat::Tokens {
                n_tokens: GAP as usize + 1,
            },
            answer: AnswerFormat::Classes {
                n_classes: N_LETTERS as usize,
            },
        }
    }

    fn seq_length(&self) -> usize {
        2 * self.length
    }

    fn open(&self) -> Result<(), Error> {
        self.letters.open(|| self.read()).map(drop)
    }

    fn files(&self) -> Vec<DataFile> {
        let known = self.letters.known();
        known.map_or(Vec::new(), |letters| letters.files.clone())
    }

    fn source_length(&self) -> Option<usize> {
        Some(self.length)
    }

    fn n_samples(&self, split: Split) -> Option<u64> {
        match split {
            Split::Train => None,
            Split::Validation => Some(self.validation_samples),
            Split::Test => Some(self.test_samples),
        }
    }

    fn sample(&self, split: Split, index: u64) -> Sample {
        let letters = &self.letters.get().splits[split.stream() as usize];
        let mut rng = random_numbers(self.seed, split, index);
        let first = below(&mut rng, (letters.len() - self.length) as u32) as usize;
        let line = letters[first..first + self.length].iter();
        let line: Vec<u32> = line.map(|&letter| letter.into()).collect();
        let target = self.transform.target(&line);
        let mut tokens = self.transform.source(&line);
        tokens.push(MARK);
        tokens.extend(&target[..self.length - 1]);
        let asked = target.iter().map(|&class| {
            Some(StepClass {
                class,
                counts: true,
            })
        });
        let silence = std::iter::repeat_n(None, self.length);
        Sample {
            input: Input::Tokens(tokens),
            answer: Answer::Classes(silence.chain(asked).collect()),
        }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn token_text(&self, token: u32) -> String {
        let character = match token {
            MARK => '>',
            GAP => '_',
            BLANK => ' ',
            letter => char::from(b'a' + letter as u8),
        };
        character.to_string()
    }

    fn class_text(&self, class: u32) -> String {
        self.token_text(class)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{repository_data, task_from};
    use super::*;
    use crate::tasks::TaskConfig;

    fn transduction(more: &str) -> Result<TaskConfig, String> {
        let path = repository_data().join("tinyshakespeare.txt");
        task_from(&format!(
            "kind = 'transduction'\ntext = '{}'\n{more}",
            path.display()
        ))
    }

    /// What is read, and what should be answered.
    fn drawn(task: &dyn Task, split: Split, index: u64) -> (String, Vec<Option<u32>>) {
        match task.sample(split, index) {
            Sample {
                input: Input::Tokens(tokens),
                answer: Answer::Classes(classes),
            } => {
                let classes = classes.into_iter().map(|step| Some(step?.class));
                (task.input_text(&tokens), classes.collect())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_target_is_the_source_backwards_and_is_read_one_step_late() {
        let config = transduction("length = 12").expect("a task");
        let task = config.task();
        assert_eq!((task.seq_length(), task.source_length()), (24, Some(12)));
        for split in [Split::Train, Split::Validation, Split::Test] {
            for index in 0..50 {
                let (input, classes) = drawn(task, split, index);
                let (source, said) = input.split_at(12);
                assert!(classes[..12].iter().all(Option::is_none));
                let target: Vec<u32> = classes[12..]
                    .iter()
                    .map(|class| class.expect("asked"))
                    .collect();
                let target = task.input_text(&target);
                assert_eq!(target, source.chars().rev().collect::<String>());
                assert_eq!(said, format!(">{}", &target[..11]));
            }
        }
    }

    #[test]
    fn vowels_are_left_out_of_the_source_alone() {
        let config = transduction("length = 16\ntransform = 'restore-vowels'").expect("a task");
        let task = config.task();
        for index in 0..50 {
            let (input, classes) = drawn(task, Split::Test, index);
            let target: Vec<u32> = classes[16..]
                .iter()
                .map(|class| class.expect("asked"))
                .collect();
            let target = task.input_text(&target);
            let without: String = target
                .chars()
                .filter(|letter| !"aeiou".contains(*letter))
                .collect();
            assert_eq!(&input[..16], format!("{without:_>16}"));
        }
    }

    #[test]
    fn a_text_becomes_letters_and_single_blanks() {
        let config = transduction("").expect("a task");
        let text = |text: &str| {
            let tokens: Vec<u32> = letters(text.into()).into_iter().map(u32::from).collect();
            config.task().input_text(&tokens)
        };
        assert_eq!(text("To be,\n\nor NOT!"), "to be or not ");
        assert_eq!(text("été — à la"), " t la");
        let error = transduction("length = 1").expect_err("too short");
        assert!(
            error.contains("task.length is 1; it must lie between 2"),
            "{error}"
        );
        let error = transduction("length = 1000000").expect_err("too long");
        assert!(error.contains("task.length is 1000000"), "{error}");
    }
}
