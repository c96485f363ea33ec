//! Where a text comes from: one file, cut in three, or a folder with a file for each split.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::require;
use crate::tasks::Split;
use crate::tasks::data::{DataFile, read_once};

/// What a symbol of a text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Symbols {
    /// A character of a text in UTF-8.
    #[default]
    Characters,
    /// A byte of any file.
    Bytes,
}

impl Symbols {
    /// One of them.
    pub fn singular(self) -> &'static str {
        match self {
            Symbols::Characters => "character",
            Symbols::Bytes => "byte",
        }
    }

    /// Several of them.
    pub fn plural(self) -> &'static str {
        match self {
            Symbols::Characters => "characters",
            Symbols::Bytes => "bytes",
        }
    }
}

/// Which files, as the settings of a task say it.
#[derive(Clone, Copy, Debug)]
pub(in crate::tasks) struct Source<'a> {
    pub text: &'a Path,
    /// Names of files in the folder `text`, in the order train, validation, test.
    pub names: [Option<&'a Path>; 3],
    /// Symbols of each split of a file.
    pub splits: Option<[usize; 3]>,
    pub symbols: Symbols,
    /// Whether the files stay in memory for whoever reads them next; not, where something else is made of them.
    pub is_kept: bool,
}

/// One split of a text.
#[derive(Clone, Debug)]
pub(in crate::tasks) struct Part {
    text: Arc<Text>,
    range: Range<usize>,
}

/// A file, as it was read.
#[derive(Debug)]
pub(in crate::tasks) struct Text {
    file: DataFile,
    bytes: Vec<u8>,
    /// The byte at which every [`MARK`]-th character begins; nothing where every symbol is a byte.
    marks: Vec<usize>,
    /// Symbols.
    n: usize,
    /// Every character that there is, in order; nothing where the symbols are bytes.
    characters: Vec<char>,
}

/// Characters from one mark to the next.
const MARK: usize = 256;

const SPLITS: [&str; 3] = ["train", "validation", "test"];

/// Words by which the file of a split is known.
const WORDS: [&[&str]; 3] = [
    &["train", "training"],
    &["valid", "validation", "val", "dev"],
    &["test", "testing"],
];

impl Text {
    fn read(name: &str, path: &Path, source: &Source) -> Result<Arc<Self>, Error> {
        let symbols = source.symbols;
        let read = || {
            if !path.exists() {
                let problem = "there is no such file; task.text says where the text is";
                return Err(Error::data(path, problem));
            }
            let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
            Text::new(DataFile::new(name, path, &bytes), bytes, symbols)
        };
        match source.is_kept {
            true => {
                let kind = format!("{name}, {}", symbols.plural());
                read_once(&kind, &[path.to_owned()], read)
            }
            false => read().map(Arc::new),
        }
    }

    fn new(file: DataFile, mut bytes: Vec<u8>, symbols: Symbols) -> Result<Self, Error> {
        if symbols == Symbols::Bytes {
            return Ok(Text {
                n: bytes.len(),
                file,
                bytes,
                marks: Vec::new(),
                characters: Vec::new(),
            });
        }
        // A byte order mark says how the text is written, and is none of its characters.
        if bytes.starts_with("\u{feff}".as_bytes()) {
            bytes.drain(..'\u{feff}'.len_utf8());
        }
        let text = str::from_utf8(&bytes).map_err(|error| {
            let problem = format!(
                "it is not UTF-8 text ({error}); with task.symbols = \"bytes\" any file can be read"
            );
            Error::data(&file.path, problem)
        })?;
        let mut seen = vec![0_u64; (char::MAX as usize + 1) / 64];
        let mut marks = Vec::new();
        let mut n = 0;
        for (place, character) in text.char_indices() {
            if n % MARK == 0 {
                marks.push(place);
            }
            n += 1;
            seen[character as usize / 64] |= 1 << (character as usize % 64);
        }
        if text.is_ascii() {
            marks = Vec::new();
        }
        let is_seen = |code: &u32| seen[*code as usize / 64] >> (code % 64) & 1 == 1;
        let characters = (0..=u32::from(char::MAX)).filter(is_seen);
        Ok(Text {
            characters: characters.filter_map(char::from_u32).collect(),
            file,
            bytes,
            marks,
            n,
        })
    }

    /// The bytes from one symbol to another.
    fn bytes_of(&self, range: Range<usize>) -> &[u8] {
        let begin = self.place_of(range.start);
        let end = self.place_of(range.end);
        &self.bytes[begin..end]
    }

    /// The byte at which a symbol begins, or the text ends.
    fn place_of(&self, index: usize) -> usize {
        if self.marks.is_empty() {
            return index;
        }
        let Some(&mark) = self.marks.get(index / MARK) else {
            return self.bytes.len();
        };
        let is_first = |byte: &u8| byte & 0b1100_0000 != 0b1000_0000;
        let rest = self.bytes[mark..].iter().enumerate();
        let mut firsts = rest.filter(|(_, byte)| is_first(byte));
        firsts
            .nth(index % MARK)
            .map_or(self.bytes.len(), |(place, _)| mark + place)
    }
}

impl Part {
    /// Symbols in it.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// The bytes of some of its symbols.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        let first = self.range.start;
        self.text.bytes_of(first + range.start..first + range.end)
    }

    /// Some of its characters.
    pub fn characters(&self, range: Range<usize>) -> &str {
        let text = str::from_utf8(self.bytes(range));
        text.expect("cut where characters begin, of what was checked when it was read")
    }
}

impl Source<'_> {
    /// The file that is cut in three, or the files of train, validation and test.
    pub fn paths(&self) -> Result<Vec<PathBuf>, Error> {
        if self.text.is_dir() {
            if let Some(splits) = self.splits {
                let rule = "be left out: the folder task.text has a file for each split";
                require(false, "task.splits", format!("{splits:?}"), rule)?;
            }
            let path = |split: usize| match self.names[split] {
                Some(name) => Ok(self.text.join(name)),
                None => file_of(self.text, split),
            };
            return (0..3).map(path).collect();
        }
        for (split, name) in SPLITS.iter().zip(self.names) {
            if let Some(name) = name {
                let rule = "be left out, or task.text be a folder: it is the name of a file in one";
                require(false, &format!("task.{split}"), name.display(), rule)?;
            }
        }
        Ok(vec![self.text.to_owned()])
    }

    /// Reads train, validation and test.
    pub fn read(&self) -> Result<[Part; 3], Error> {
        let paths = self.paths()?;
        if let [train, validation, test] = paths.as_slice() {
            let part = |split: usize, path| -> Result<Part, Error> {
                let text = Text::read(SPLITS[split], path, self)?;
                Ok(Part {
                    range: 0..text.n,
                    text,
                })
            };
            return Ok([part(0, train)?, part(1, validation)?, part(2, test)?]);
        }
        let text = Text::read("text", self.text, self)?;
        let twentieth = text.n / 20;
        let [train, validation, test] = match self.splits {
            None => [text.n - 2 * twentieth, twentieth, twentieth],
            Some(splits) => splits,
        };
        let total = train.saturating_add(validation).saturating_add(test);
        if total > text.n {
            let (n, symbols) = (text.n, self.symbols.plural());
            let problem = format!("it has {n} {symbols}; task.splits asks for {total}");
            return Err(Error::data(self.text, problem));
        }
        let part = |range| Part {
            text: Arc::clone(&text),
            range,
        };
        Ok([
            part(0..train),
            part(train..train + validation),
            part(train + validation..total),
        ])
    }
}

/// The file of a split: the only one in the folder that has one of its words in its name.
fn file_of(folder: &Path, split: usize) -> Result<PathBuf, Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::file("read", folder))?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && has_word(path, WORDS[split]))
        .collect();
    found.sort();
    for path in &found {
        let mut others = (0..3).filter(|&other| other != split);
        if let Some(other) = others.find(|&other| has_word(path, WORDS[other])) {
            let (one, other) = (SPLITS[split], SPLITS[other]);
            let problem = format!(
                "its name has words of {one} and of {other}; task.{one} and task.{other} say which files they are"
            );
            return Err(Error::data(path, problem));
        }
    }
    let (name, words) = (SPLITS[split], WORDS[split].join("`, `"));
    match found.as_slice() {
        [path] => Ok(path.clone()),
        [] => Err(Error::data(
            folder,
            format!(
                "it has no file for {name}: none has one of the words `{words}` in its name; task.{name} names one"
            ),
        )),
        several => {
            let names = several.iter().filter_map(|path| path.file_name());
            let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
            Err(Error::data(
                folder,
                format!(
                    "it has several files for {name}: {}; task.{name} says which",
                    names.join(", ")
                ),
            ))
        }
    }
}

/// Whether a file's name has one of some words: whole ones, so that `latest` is no test. Hidden files are none of the data.
fn has_word(path: &Path, words: &[&str]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_lowercase();
    let mut parts = name.split(|character: char| !character.is_alphanumeric());
    !name.starts_with('.') && parts.any(|part| words.contains(&part))
}

/// The characters of all parts, in order.
pub(in crate::tasks) fn characters_of(parts: &[Part; 3]) -> Vec<char> {
    let mut all: Vec<char> = parts
        .iter()
        .flat_map(|part| part.text.characters.iter().copied())
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A file that has a character beyond an alphabet, and the character.
pub(in crate::tasks) fn stranger<'a>(
    parts: &'a [Part; 3],
    alphabet: &[char],
) -> Option<(&'a Path, char)> {
    parts.iter().find_map(|part| {
        let mut characters = part.text.characters.iter();
        let stranger = characters.find(|character| alphabet.binary_search(character).is_err());
        Some((part.text.file.path.as_path(), *stranger?))
    })
}

/// The bytes of all parts, for who makes something else of them: nothing but the shorter parts of a file is copied, if nobody else has
/// the text.
pub(in crate::tasks) fn bytes_of(parts: [Part; 3]) -> [Vec<u8>; 3] {
    let [train, validation, test] = parts;
    let is_one_file = Arc::ptr_eq(&train.text, &test.text);
    if !is_one_file {
        return [train, validation, test].map(|part| owned(part.text));
    }
    let begins = [validation.range.start, test.range.start, test.range.end];
    let begins = begins.map(|index| train.text.place_of(index));
    drop((validation, test));
    let mut bytes = owned(train.text);
    bytes.truncate(begins[2]);
    let test = bytes.split_off(begins[1]);
    let validation = bytes.split_off(begins[0]);
    [bytes, validation, test]
}

fn owned(text: Arc<Text>) -> Vec<u8> {
    match Arc::try_unwrap(text) {
        Ok(text) => text.bytes,
        Err(shared) => shared.bytes.clone(),
    }
}

/// The files of all parts.
pub(in crate::tasks) fn files_of(parts: &[Part; 3]) -> Vec<DataFile> {
    let mut files: Vec<DataFile> = parts.iter().map(|part| part.text.file.clone()).collect();
    files.dedup();
    files
}

/// Which split a part is of.
pub(in crate::tasks) fn part_of(parts: &[Part; 3], split: Split) -> &Part {
    &parts[split.stream() as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_found_wherever_it_stands() {
        let text: String = (0..3000)
            .map(|index| ['a', 'é', '€', '😀', 'z'][(index * index + index / 7) % 5])
            .collect();
        let file = DataFile::new("text", Path::new("x"), text.as_bytes());
        let read = Text::new(file, text.clone().into_bytes(), Symbols::Characters);
        let part = Part {
            text: Arc::new(read.expect("a text")),
            range: 10..2900,
        };
        let characters: Vec<char> = text.chars().collect();
        for (first, n) in [
            (0, 5),
            (245, 2),
            (246, 300),
            (2880, 10),
            (500, 0),
            (0, 2890),
        ] {
            let expected: String = characters[10 + first..10 + first + n].iter().collect();
            assert_eq!(part.characters(first..first + n), expected, "{first}, {n}");
        }
        assert_eq!(part.text.characters, ['a', 'z', 'é', '€', '😀']);
    }

    #[test]
    fn roles_are_whole_words_of_names_that_are_not_hidden() {
        let role = |name: &str| {
            let roles = WORDS.iter().map(|words| has_word(Path::new(name), words));
            roles.collect::<Vec<bool>>()
        };
        for (name, split) in [
            ("train.txt", Some(0)),
            ("ptb.train.txt", Some(0)),
            ("wiki-training_raw", Some(0)),
            ("val.txt", Some(1)),
            ("ptb.valid.txt", Some(1)),
            ("dev", Some(1)),
            ("Test.TXT", Some(2)),
            ("contest.txt", None),
            ("latest-trainer.txt", None),
            ("._train.txt", None),
            (".test", None),
        ] {
            let expected: Vec<bool> = (0..3).map(|index| Some(index) == split).collect();
            assert_eq!(role(name), expected, "{name}");
        }
    }
}
