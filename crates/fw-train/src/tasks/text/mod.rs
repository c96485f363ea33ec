//! A text, character by character or byte by byte.

mod source;

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::files::absolute;
use crate::settings::{Field, Section, fields};
use crate::tasks::data::{DataFile, Opened};
use crate::tasks::generated::{below, random_numbers};
use crate::tasks::{
    Answer, AnswerFormat, Format, Input, InputFormat, Sample, Split, StepClass, Task,
};

pub use source::Symbols;
pub(super) use source::{Part, Source, bytes_of, files_of, part_of};
use source::{characters_of, stranger};

/// Character language modelling: predict the next character of a text, or the next byte of a file.
///
/// ```text
/// input   First Citize
/// target  irst Citizen
/// ```
///
/// The loss is in bits per character, or bits per byte. A sample is a window of `length` symbols, which begins without anything before
/// it: training draws windows anywhere in its part of the text, the other splits are cut into windows that stand side by side. With
/// `training.carry_state` training goes through its part in order instead, and each window goes on from the state in which the one
/// before ended; `test --carry-state` does so on any split, whatever the training did.
///
/// One file is cut into train, validation and test, 90, 5 and 5 % (as text8 is), or as `splits` says. A folder has a file for each split:
/// the one that has the word `train` or `training` in its name, `valid`, `validation`, `val` or `dev`, and `test` or `testing` (as the
/// Penn Treebank comes: `ptb.train.txt`); hidden files are none of them. Where there are several, `train`, `validation` and `test` name
/// them. A byte order mark at the beginning of a text is no part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CharacterLanguage {
    /// The text: a file, or a folder with three. Default `data/tinyshakespeare.txt`.
    pub text: PathBuf,
    /// What a symbol is: `"characters"` of UTF-8 (default), or `"bytes"` of any file, such as enwik8.
    pub symbols: Symbols,
    /// Symbols of a file that train, validate and test, from its beginning on, such as `[90000000, 5000000, 5000000]`. Default: 90, 5
    /// and 5 % of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub splits: Option<[usize; 3]>,
    /// The name of the file in the folder `text` that trains. Default: the one with the word in its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<PathBuf>,
    /// The same for the validation split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<PathBuf>,
    /// The same for the test split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// Symbols in a sequence: 1 to 100,000. Default 100.
    pub length: usize,
    /// The data seed, any number: where training's windows lie. Default 0.
    pub seed: u64,
    /// The characters that there are, each once; a token is a place among them. Default: those of the text. A run writes them down, so
    /// that it reads another text with its own. Bytes have none: a token is the byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alphabet: Option<String>,
    /// The same, in order.
    #[serde(skip)]
    characters: Arc<Vec<char>>,
    #[serde(skip)]
    parts: Opened<[Part; 3]>,
}

impl Default for CharacterLanguage {
    fn default() -> Self {
        CharacterLanguage {
            text: PathBuf::from("data/tinyshakespeare.txt"),
            symbols: Symbols::Characters,
            splits: None,
            train: None,
            validation: None,
            test: None,
            length: 100,
            seed: 0,
            alphabet: None,
            characters: Arc::default(),
            parts: Opened::default(),
        }
    }
}

impl CharacterLanguage {
    pub(super) fn fields() -> Vec<Field> {
        fields(&Self::default())
    }

    pub(super) fn from_section(section: Section) -> Result<Self, Error> {
        let mut task: CharacterLanguage = section.parse()?;
        let length = (1..=100_000).contains(&task.length);
        require(
            length,
            "task.length",
            task.length,
            "lie between 1 and 100,000",
        )?;
        task.text = absolute(&task.text)?;
        if task.symbols == Symbols::Bytes {
            let rule = "be left out, and task.symbols stay what it is: bytes have no alphabet, and what was trained on characters reads characters";
            let alphabet = task.alphabet.as_deref();
            require(
                alphabet.is_none(),
                "task.alphabet",
                alphabet.unwrap_or(""),
                rule,
            )?;
            return Ok(task);
        }
        let mut characters: Vec<char> = match &task.alphabet {
            Some(alphabet) => alphabet.chars().collect(),
            None => characters_of(&task.source().read()?),
        };
        characters.sort_unstable();
        characters.dedup();
        task.alphabet = Some(characters.iter().collect());
        task.characters = Arc::new(characters);
        Ok(task)
    }

    fn source(&self) -> Source<'_> {
        Source {
            text: &self.text,
            names: [&self.train, &self.validation, &self.test].map(Option::as_deref),
            splits: self.splits,
            symbols: self.symbols,
            is_kept: true,
        }
    }

    /// The text, with every symbol known and every part long enough.
    fn read(&self) -> Result<Arc<[Part; 3]>, Error> {
        let parts = self.source().read()?;
        if self.symbols == Symbols::Characters
            && let Some((path, character)) = stranger(&parts, &self.characters)
        {
            let problem = format!(
                "it has the character {character:?}, which is not in task.alphabet, the characters that the net is for"
            );
            return Err(Error::data(path, problem));
        }
        for (split, part) in ["train", "validation", "test"].iter().zip(&parts) {
            let (n, symbols) = (part.len(), self.symbols.plural());
            if n <= self.length {
                let problem = format!(
                    "its {split} part has {n} {symbols}; with task.length = {} it needs at least {}",
                    self.length,
                    self.length + 1
                );
                return Err(Error::data(&self.text, problem));
            }
        }
        Ok(Arc::new(parts))
    }

    fn part(&self, split: Split) -> &Part {
        part_of(self.parts.get(), split)
    }

    /// The tokens of some symbols of a part.
    fn tokens(&self, split: Split, range: std::ops::Range<usize>) -> Vec<u32> {
        let part = self.part(split);
        match self.symbols {
            Symbols::Bytes => part.bytes(range).iter().map(|&byte| byte.into()).collect(),
            Symbols::Characters => {
                let token = |character| {
                    let place = self.characters.binary_search(&character);
                    place.expect("the alphabet was checked when the text was opened") as u32
                };
                part.characters(range).chars().map(token).collect()
            }
        }
    }

    /// The sample that begins at a symbol of a part, and is at most so long.
    fn window(&self, split: Split, first: usize, length: usize) -> Sample {
        let last = (first + length).min(self.part(split).len() - 1);
        let mut tokens = self.tokens(split, first..last + 1);
        let next = tokens[1..].iter().map(|&class| {
            Some(StepClass {
                class,
                counts: true,
            })
        });
        let answer = Answer::Classes(next.collect());
        tokens.pop();
        Sample {
            input: Input::Tokens(tokens),
            answer,
        }
    }
}

impl Task for CharacterLanguage {
    fn format(&self) -> Format {
        let n_symbols = match self.symbols {
            Symbols::Bytes => 256,
            Symbols::Characters => self.characters.len(),
        };
        Format {
            input: InputFormat::Tokens {
                n_tokens: n_symbols,
            },
            answer: AnswerFormat::Text {
                n_symbols,
                symbols: self.symbols,
            },
        }
    }

    fn seq_length(&self) -> usize {
        self.length
    }

    fn open(&self) -> Result<(), Error> {
        self.parts.open(|| self.read()).map(drop)
    }

    fn files(&self) -> Vec<DataFile> {
        self.parts.known().map_or(Vec::new(), files_of)
    }

    fn n_samples(&self, split: Split) -> Option<u64> {
        match split {
            Split::Train => None,
            _ => Some((self.part(split).len() - 1) as u64 / self.length as u64),
        }
    }

    fn sample(&self, split: Split, index: u64) -> Sample {
        let first = match split {
            Split::Train => {
                let n = self.part(split).len() - self.length;
                let mut rng = random_numbers(self.seed, split, index);
                // A text has at most 2^32 symbols: of a longer one the rest is not drawn.
                below(&mut rng, u32::try_from(n).unwrap_or(u32::MAX)) as usize
            }
            _ => index as usize * self.length,
        };
        self.window(split, first, self.length)
    }

    fn text_length(&self, split: Split) -> Option<usize> {
        Some(self.part(split).len() - 1)
    }

    fn text_window(&self, split: Split, first: usize, length: usize) -> Option<Sample> {
        Some(self.window(split, first, length))
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn token_text(&self, token: u32) -> String {
        match self.symbols {
            Symbols::Characters => self.characters[token as usize].to_string(),
            Symbols::Bytes => match char::from(token as u8) {
                shown @ (' '..='~' | '\n') => shown.to_string(),
                _ => format!("\\x{token:02x}"),
            },
        }
    }

    fn token_bytes(&self, token: u32) -> Vec<u8> {
        match self.symbols {
            Symbols::Characters => self.token_text(token).into_bytes(),
            Symbols::Bytes => vec![token as u8],
        }
    }

    fn tokens_of(&self, text: &[u8]) -> Option<Result<Vec<u32>, char>> {
        if self.symbols == Symbols::Bytes {
            return Some(Ok(text.iter().map(|&byte| byte.into()).collect()));
        }
        let token = |character: char| {
            let place = self.characters.binary_search(&character);
            place.map(|place| place as u32).map_err(|_| character)
        };
        let text = String::from_utf8_lossy(text);
        Some(text.chars().map(token).collect())
    }

    fn class_text(&self, class: u32) -> String {
        self.token_text(class)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

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
            missing
                .contains("it has no file for test: none has one of the words `test`, `testing`"),
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
            known.contains("it has the character ' ', which is not in task.alphabet"),
            "{known}"
        );
        let wider = "length = 4\nalphabet = 'zyx,dehélorwö '";
        let wider = text(folder.path(), wider).expect("a task");
        assert_eq!(wider.task().format().d_output(), 14);
        assert_eq!(drawn(&wider, Split::Test, 0), ["worl", "orld"]);
        write("other.test.txt", b"x");
        let twice = text(folder.path(), "length = 4").expect_err("two test files");
        let several =
            "it has several files for test: other.test.txt, ptb.test.txt; task.test says which";
        assert!(twice.contains(several), "{twice}");
        let named = text(folder.path(), "length = 4\ntest = 'ptb.test.txt'").expect("a task");
        assert_eq!(drawn(&named, Split::Test, 0), ["worl", "orld"]);
        let absent =
            text(folder.path(), "length = 4\ntest = 'none.txt'").expect_err("no such file");
        assert!(absent.contains("none.txt"), "{absent}");
        let both = text(folder.path(), "splits = [4, 4, 4]").expect_err("files and counts");
        assert!(
            both.contains("task.splits is [4, 4, 4]; it must be left out"),
            "{both}"
        );
        write("binary", &[0xff, 0xfe]);
        let binary = text(&folder.path().join("binary"), "").expect_err("not text");
        assert!(binary.contains("it is not UTF-8 text"), "{binary}");
    }
}
