//! Files that are there whole or not at all.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::Error;

/// Writes a file so that a reader, or a crash, sees the old content or the new one, never a part.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), Error> {
    persist(path, content).map_err(Error::file("write", path))
}

/// Writes a file that is not there yet; one that is stays as it is, and is an error.
#[cfg(feature = "cli")]
pub fn write_new(path: &Path, content: &[u8]) -> Result<(), Error> {
    let file = written(path, content).map_err(Error::file("write", path))?;
    match file.persist_noclobber(path) {
        Ok(_) => sync_folder(parent(path)).map_err(Error::file("write", path)),
        Err(failed) if failed.error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Error::usage(format!(
                "{} exists; nothing was overwritten. Choose another --out",
                path.display()
            )))
        }
        Err(failed) => Err(Error::file("write", path)(failed.error)),
    }
}

fn persist(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let file = written(path, content)?;
    file.persist(path).map_err(|failed| failed.error)?;
    sync_folder(parent(path))
}

/// The content under a temporary name in the same folder.
fn written(path: &Path, content: &[u8]) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(parent(path))?;
    file.write_all(content)?;
    readable_by_others(file.path())?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// What is made under a temporary name is private; what it becomes should be as readable as anything else.
pub fn readable_by_others(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    let _ = path;
    Ok(())
}

/// Makes renames in a folder survive a power cut.
pub fn sync_folder(folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    let _ = folder;
    Ok(())
}

/// The path from the root, so that what is written down holds wherever it is read.
pub fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(Error::file("find", path))
}

/// A path as it has to be typed in a shell: in quotes where it has anything but letters, digits and the signs of most names, and not to be
/// taken for an option.
pub fn to_be_typed(path: &Path) -> String {
    let text = path.to_string_lossy();
    let text = match text.starts_with('-') {
        true => format!("./{text}"),
        false => text.into_owned(),
    };
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "/._-+,:@%".contains(character);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// The name of a run's folder without its seed.
pub fn name_of_run(run: &Path) -> Result<String, Error> {
    let path = absolute(run)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Ok(match name.rsplit_once("-seed") {
        Some((name, seed)) if is_number(seed) => name.to_owned(),
        _ => name.into_owned(),
    })
}

/// The folder that a path lies in.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_called_by_its_folder_without_the_seed() {
        for (path, name) in [
            ("runs/a-seed12", "a"),
            ("my-seeds-x-seed0", "my-seeds-x"),
            ("a-seed", "a-seed"),
            ("plain", "plain"),
        ] {
            assert_eq!(name_of_run(Path::new(path)).ok().as_deref(), Some(name));
        }
        let here = std::env::current_dir().expect("a folder");
        let here = here
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        assert_eq!(name_of_run(Path::new(".")).ok(), here);
    }

    #[test]
    fn a_path_is_typed_in_quotes_where_a_shell_would_read_it_otherwise() {
        for (path, typed) in [
            ("runs/a-seed0.1", "runs/a-seed0.1"),
            ("my runs/a", "'my runs/a'"),
            ("it's", r"'it'\''s'"),
            ("$HOME/*", "'$HOME/*'"),
            ("-INT", "./-INT"),
            ("-x y", "'./-x y'"),
            ("", "''"),
        ] {
            assert_eq!(to_be_typed(Path::new(path)), typed);
        }
    }
}
