//! Tells the crate which version of Burn it is built with, which Burn itself does not say.

use std::path::{Path, PathBuf};

fn main() {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let manifest = manifest.expect("cargo says where the manifest is");
    // What was resolved; a packaged crate that is built as a dependency has none, but asks for one version alone.
    let found = manifest.ancestors().find_map(|folder| {
        let lock = read(&folder.join("Cargo.lock"))?;
        let package = lock
            .split("[[package]]")
            .find(|package| package.lines().any(|line| line.trim() == "name = \"burn\""))?;
        quoted_after(package, "version = ")
    });
    let found = found.or_else(|| {
        let own = read(&manifest.join("Cargo.toml"))?;
        let section = own.split("[dependencies.burn]").nth(1)?;
        Some(quoted_after(section, "version = ")?.replace('=', ""))
    });
    let version = found.expect("Cargo.lock or Cargo.toml names the version of burn");
    println!("cargo::rustc-env=BURN_VERSION={version}");
}

/// A file's text; the crate is built again when it changes.
fn read(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    println!("cargo::rerun-if-changed={}", path.display());
    Some(text)
}

fn quoted_after(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(name)?;
    rest.split('"').nth(1).map(str::to_owned)
}
