//! Files of data: read once a process, known by what is in them.

use std::any::Any;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::files::absolute;

/// A file of data that a task has read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// What it is to the task, wherever it lies: `text`, `train`, `t10k-images-idx3-ubyte`.
    pub name: String,
    /// Where it was read.
    pub path: PathBuf,
    /// Its size, decompressed.
    pub bytes: u64,
    /// SHA-256 of its content, as `sha256sum` prints it; of a compressed file, of what it holds.
    pub sha256: String,
}

impl DataFile {
    /// What is known of a file from its content.
    pub(super) fn new(name: impl Into<String>, path: &Path, content: &[u8]) -> Self {
        DataFile {
            name: name.into(),
            path: path.to_owned(),
            bytes: content.len() as u64,
            sha256: hex(&Sha256::digest(content)),
        }
    }

    /// The same file as another task has read it, of which `whose` says which.
    pub(crate) fn of_another_task(self, whose: &str) -> Self {
        DataFile {
            name: format!("{whose}: {}", self.name),
            ..self
        }
    }

    /// The same without the folder that it lay in.
    pub(crate) fn without_folder(self) -> Self {
        let name = self.path.file_name().unwrap_or_default();
        DataFile {
            path: name.into(),
            ..self
        }
    }

    /// Whether it was read by another task than that of the run itself.
    pub(crate) fn is_of_another_task(&self) -> bool {
        self.name.contains(": ")
    }

    /// Whether the content is the same, wherever the files lie.
    pub fn is_same(&self, other: &DataFile) -> bool {
        (self.bytes, &self.sha256) == (other.bytes, &other.sha256)
    }
}

/// A digest as `sha256sum` prints it.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Data that a task reads when they are first needed, not when its settings are read. All copies of a task share them.
#[derive(Debug)]
pub(super) struct Opened<T>(Arc<OnceLock<Arc<T>>>);

impl<T> Clone for Opened<T> {
    fn clone(&self) -> Self {
        Opened(Arc::clone(&self.0))
    }
}

impl<T> Default for Opened<T> {
    fn default() -> Self {
        Opened(Arc::default())
    }
}

/// Settings are compared, not what they lead to.
impl<T> PartialEq for Opened<T> {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl<T> Opened<T> {
    /// Opens them, unless they are open.
    pub fn open(&self, read: impl FnOnce() -> Result<Arc<T>, Error>) -> Result<&T, Error> {
        if self.0.get().is_none() {
            // Another thread may have been quicker with the same.
            let _ = self.0.set(read()?);
        }
        Ok(self.get())
    }

    /// The data.
    ///
    /// # Panics
    /// If they were not opened.
    #[track_caller]
    pub fn get(&self) -> &T {
        self.0
            .get()
            .expect("a task is opened before it is asked for samples")
    }

    /// The data, if they are open.
    pub fn known(&self) -> Option<&T> {
        self.0.get().map(Arc::as_ref)
    }
}

/// What was read in this process, by what it is and from which files.
static READ: LazyLock<Mutex<HashMap<Key, Kept>>> = LazyLock::new(Mutex::default);

type Key = (String, Vec<PathBuf>);

/// What was made of some files, and how they were then.
struct Kept {
    stamps: Vec<Option<Stamp>>,
    made: Arc<dyn Any + Send + Sync>,
}

/// Size and time of the last change; a file that has the same was not written since.
type Stamp = (u64, SystemTime);

fn stamp(path: &PathBuf) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.len(), found.modified().ok()?))
}

/// What `read` makes of some files, which need not all be there: once a process, unless one of them has changed. Tasks that differ in a
/// setting so read their files once. `kind` says what it is made.
pub(super) fn read_once<T: Send + Sync + 'static>(
    kind: &str,
    paths: &[PathBuf],
    read: impl FnOnce() -> Result<T, Error>,
) -> Result<Arc<T>, Error> {
    let paths = paths.iter().map(|path| absolute(path));
    let key = (kind.to_owned(), paths.collect::<Result<Vec<_>, _>>()?);
    let stamps: Vec<Option<Stamp>> = key.1.iter().map(stamp).collect();
    // Nobody reads the same file at the same time. What a thread that panicked has left is whole.
    let mut all = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let known = all.get(&key).filter(|kept| kept.stamps == stamps);
    if let Some(known) = known.and_then(|kept| Arc::clone(&kept.made).downcast::<T>().ok()) {
        return Ok(known);
    }
    // Before the new one is made: both need not be in memory.
    all.remove(&key);
    let made = Arc::new(read()?);
    let kept = Kept {
        stamps,
        made: Arc::clone(&made) as _,
    };
    all.insert(key, kept);
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_digest() {
        let file = |path: &str, content: &[u8]| DataFile::new("text", Path::new(path), content);
        let abc = file("here", b"abc");
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((abc.bytes, abc.sha256.as_str()), (3, expected));
        assert!(abc.is_same(&file("there", b"abc")));
        assert!(!abc.is_same(&file("here", b"abd")));
    }

    #[test]
    fn what_was_read_is_not_read_again_until_it_changes_and_what_failed_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = ["there", "missing"].map(|name| folder.path().join(name));
        std::fs::write(&paths[0], "one").expect("a file");
        let read = |kind: &str, number: u8| {
            let read = read_once(kind, &paths, || match number {
                0 => Err(Error::data(&paths[0], "gone")),
                number => Ok(number),
            });
            read.map(|number| *number).ok()
        };
        assert_eq!(read("number", 0), None);
        assert_eq!(read("number", 7), Some(7));
        assert_eq!(read("number", 8), Some(7));
        assert_eq!(read("another number", 8), Some(8));
        std::fs::write(&paths[0], "longer").expect("a file");
        assert_eq!(read("number", 9), Some(9));
        std::fs::write(&paths[1], "new").expect("a file");
        assert_eq!(read("number", 10), Some(10));
        assert_eq!(read("number", 11), Some(10));
    }
}
