//! A text, character by character.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::files::absolute;
use crate::settings::Section;
use crate::tasks::generated::{below, random_numbers};
use crate::tasks::{
    Answer, AnswerFormat, Format, Input, InputFormat, Sample, Split, StepClass, Task,
};

/// Character language modelling: predict the next character of a text.
///
/// ```text
/// input   First Citize
/// target  irst Citizen
/// ```
///
/// The loss is in bits per character. A sample is a window of `length` characters, which begins without anything before it: training
/// draws windows anywhere in its part of the text, the other splits are cut into windows that stand side by side. One
/// file is cut into train, validation and test, 90, 5 and 5 % (as text8 is); a folder has a file for each: one whose name contains
/// `train`, one with `valid` and one with `test` (as the Penn Treebank comes).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CharacterLanguage {
    /// The text, UTF-8: a file, or a folder with three. Default `data/tinyshakespeare.txt`.
    pub text: PathBuf,
    /// Characters in a sequence: 1 to 100,000. Default 100.
    pub length: usize,
    /// The data seed: where training's windows lie. Default 0.
    pub seed: u64,
    /// The characters that there are, each once; a token is a place among them. Default: those of the text. A run writes them down, so
    /// that it reads another text with its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alphabet: Option<String>,
    #[serde(skip)]
    corpus: Arc<Corpus>,
}

/// The characters of each split.
#[derive(Clone, Debug, Default, PartialEq)]
struct Corpus {
    /// Every character there is, sorted; a token is a place in it.
    alphabet: Vec<char>,
    /// Tokens of train, validation, test.
    splits: [Vec<u32>; 3],
}

impl Default for CharacterLanguage {
    fn default() -> Self {
        CharacterLanguage {
            text: PathBuf::from("data/tinyshakespeare.txt"),
            length: 100,
            seed: 0,
            alphabet: None,
            corpus: Arc::default(),
        }
    }
}

impl CharacterLanguage {
    pub(super) fn from_section(section: Section) -> Result<Self, Error> {
        let mut task: CharacterLanguage = section.parse()?;
        let length = (1..=100_000).contains(&task.length);
        require(
            length,
            "task.length",
            task.length,
            "lie between 1 and 100,000",
        )?;
        let corpus = Corpus::read(&task.text, task.alphabet.as_deref())?;
        for (split, tokens) in ["train", "validation", "test"].iter().zip(&corpus.splits) {
            let n = tokens.len();
            if n <= task.length {
                let problem = format!(
                    "its {split} part has {n} characters; with task.length = {} it needs at least {}",
                    task.length,
                    task.length + 1
                );
                return Err(Error::data(&task.text, problem));
            }
        }
        task.text = absolute(&task.text)?;
        task.alphabet = Some(corpus.alphabet.iter().collect());
        task.corpus = Arc::new(corpus);
        Ok(task)
    }

    fn tokens(&self, split: Split) -> &[u32] {
        &self.corpus.splits[split.stream() as usize]
    }
}

impl Corpus {
    fn read(path: &Path, alphabet: Option<&str>) -> Result<Self, Error> {
        let texts = texts_of(path)?;
        let mut all: Vec<char> = match alphabet {
            Some(alphabet) => alphabet.chars().collect(),
            None => texts.iter().flat_map(|text| text.chars()).collect(),
        };
        all.sort_unstable();
        all.dedup();
        let token = |character: char| {
            all.binary_search(&character).map_err(|_| {
                let problem =
                    format!("it has the character {character:?}, which is not in task.alphabet");
                Error::data(path, problem)
            })
        };
        let tokens = |text: &String| {
            let tokens = text.chars().map(|character| Ok(token(character)? as u32));
            tokens.collect::<Result<Vec<u32>, Error>>()
        };
        let splits = [tokens(&texts[0])?, tokens(&texts[1])?, tokens(&texts[2])?];
        Ok(Corpus {
            alphabet: all,
            splits,
        })
    }
}

/// Train, validation and test: the last twentieths of a file are the last two; a folder has a file for each.
pub(super) fn texts_of(path: &Path) -> Result<Vec<String>, Error> {
    if path.is_dir() {
        let texts = ["train", "valid", "test"].into_iter();
        return texts.map(|part| read_text(&part_of(path, part)?)).collect();
    }
    let text = read_text(path)?;
    let characters: Vec<char> = text.chars().collect();
    let twentieth = characters.len() / 20;
    let (rest, test) = characters.split_at(characters.len() - twentieth);
    let (train, validation) = rest.split_at(rest.len() - twentieth);
    Ok([train, validation, test].map(String::from_iter).to_vec())
}

fn read_text(path: &Path) -> Result<String, Error> {
    let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
    String::from_utf8(bytes)
        .map_err(|error| Error::data(path, format!("it is not UTF-8 text ({error})")))
}

/// The only file of a folder whose name contains a word.
fn part_of(folder: &Path, word: &str) -> Result<PathBuf, Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::file("read", folder))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut found = paths.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.is_file() && name.contains(word)
    });
    match (found.next(), found.next()) {
        (Some(path), None) => Ok(path),
        (None, _) => Err(Error::data(
            folder,
            format!("it has no file with `{word}` in its name"),
        )),
        (Some(_), Some(_)) => Err(Error::data(
            folder,
            format!("it has several files with `{word}` in their names; it must have one"),
        )),
    }
}

impl Task for CharacterLanguage {
    fn format(&self) -> Format {
        let n = self.corpus.alphabet.len();
        Format {
            input: InputFormat::Tokens { n_tokens: n },
            answer: AnswerFormat::Characters { n_characters: n },
        }
    }

    fn seq_length(&self) -> usize {
        self.length
    }

    fn n_samples(&self, split: Split) -> Option<u64> {
        match split {
            Split::Train => None,
            _ => Some((self.tokens(split).len() - 1) as u64 / self.length as u64),
        }
    }

    fn sample(&self, split: Split, index: u64) -> Sample {
        let tokens = self.tokens(split);
        let first = match split {
            Split::Train => {
                let mut rng = random_numbers(self.seed, split, index);
                below(&mut rng, (tokens.len() - self.length) as u32) as usize
            }
            _ => index as usize * self.length,
        };
        let window = &tokens[first..=first + self.length];
        let next = window[1..].iter().map(|&class| {
            Some(StepClass {
                class,
                counts: true,
            })
        });
        Sample {
            input: Input::Tokens(window[..self.length].to_vec()),
            answer: Answer::Classes(next.collect()),
        }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn token_text(&self, token: u32) -> String {
        self.corpus.alphabet[token as usize].to_string()
    }

    fn class_text(&self, class: u32) -> String {
        self.token_text(class)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::{repository_data, task_from};
    use super::*;
    use crate::tasks::TaskConfig;

    fn text(path: &Path, more: &str) -> Result<TaskConfig, String> {
        task_from(&format!(
            "kind = 'characters'\ntext = '{}'\n{more}",
            path.display()
        ))
    }

    /// What is read and what should be answered.
    fn drawn(config: &TaskConfig, split: Split, index: u64) -> [String; 2] {
        let task = config.task();
        let sample = task.sample(split, index);
        let (Input::Tokens(tokens), Answer::Classes(classes)) = (sample.input, sample.answer)
        else {
            panic!("tokens and classes");
        };
        let classes: Vec<u32> = classes.iter().flatten().map(|step| step.class).collect();
        [task.input_text(&tokens), task.input_text(&classes)]
    }

    #[test]
    fn the_target_is_the_text_one_character_on() {
        let path = repository_data().join("tinyshakespeare.txt");
        let config = text(&path, "length = 12").expect("a task");
        let whole = fs::read_to_string(&path).expect("the text");
        let n = whole.len();
        let task = config.task();
        assert_eq!(task.format().d_output(), 65);
        assert_eq!(task.n_samples(Split::Train), None);
        let part = (n / 20 - 1) as u64 / 12;
        assert_eq!(task.n_samples(Split::Validation), Some(part));
        // Windows of the test split stand side by side at the end of the text.
        let test = &whole[n - n / 20..];
        for index in [0, 1, part - 1] {
            let [input, target] = drawn(&config, Split::Test, index);
            let first = index as usize * 12;
            assert_eq!(input, test[first..first + 12]);
            assert_eq!(target, test[first + 1..first + 13]);
        }
        let train = &whole[..n - 2 * (n / 20)];
        for index in 0..20 {
            let [input, target] = drawn(&config, Split::Train, index);
            assert!(
                train.contains(&format!("{}{target}", &input[..1])),
                "{input}"
            );
        }
    }

    #[test]
    fn a_folder_has_a_file_for_each_split_and_what_is_wrong_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &[u8]| {
            fs::write(folder.path().join(name), text).expect("a file");
        };
        write("ptb.train.txt", "héllo wörld, hello".as_bytes());
        write("ptb.valid.txt", b"hello");
        let missing = text(folder.path(), "length = 4").expect_err("no test file");
        assert!(
            missing.contains("no file with `test` in its name"),
            "{missing}"
        );
        write("ptb.test.txt", b"world");
        let config = text(folder.path(), "length = 4").expect("a task");
        assert_eq!(drawn(&config, Split::Validation, 0), ["hell", "ello"]);
        assert_eq!(drawn(&config, Split::Test, 0), ["worl", "orld"]);
        let short = text(folder.path(), "length = 5").expect_err("too short");
        assert!(
            short.contains("its validation part has 5 characters"),
            "{short}"
        );
        let known = text(folder.path(), "length = 4\nalphabet = 'dehlorwxyz'").expect_err("an é");
        assert!(
            known.contains("it has the character 'é', which is not in task.alphabet"),
            "{known}"
        );
        let wider = "length = 4\nalphabet = 'zyx,dehélorwö '";
        let wider = text(folder.path(), wider).expect("a task");
        assert_eq!(wider.task().format().d_output(), 14);
        assert_eq!(drawn(&wider, Split::Test, 0), ["worl", "orld"]);
        write("other.test.txt", b"x");
        let twice = text(folder.path(), "length = 4").expect_err("two test files");
        assert!(twice.contains("several files with `test`"), "{twice}");
        write("binary", &[0xff, 0xfe]);
        let binary = text(&folder.path().join("binary"), "").expect_err("not text");
        assert!(binary.contains("it is not UTF-8 text"), "{binary}");
    }
}
