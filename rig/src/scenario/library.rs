//! The folder of scenarios: which there are, and where. Reads names only, never what is in them.

use std::io;
use std::path::{Path, PathBuf};

use super::error::advice;

/// The folder below the root.
const FOLDER: &str = "scenarios";

/// A scenario file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its path below `scenarios/` without `.toml`, with `/` between folders.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Why no scenario file was found.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The folder cannot be listed.
    #[error("cannot list {path}: {source}; run deadbolt in its repository")]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no scenario of this name.
    #[error("no scenario `{name}`{advice}")]
    Unknown {
        /// As asked for.
        name: String,
        /// What there is instead.
        advice: String,
    },
}

/// All scenario files below `root/scenarios`, by name.
///
/// # Errors
/// A folder that cannot be listed.
pub fn library(root: &Path) -> Result<Vec<Entry>, LibraryError> {
    let mut entries = Vec::new();
    let mut folders = vec![root.join(FOLDER)];
    while let Some(folder) = folders.pop() {
        let unreadable = |source| LibraryError::Unreadable {
            path: folder.clone(),
            source,
        };
        for item in std::fs::read_dir(&folder).map_err(unreadable)? {
            let item = item.map_err(unreadable)?;
            let path = item.path();
            // A link is not followed, so that a loop of them cannot hold the search up.
            if item.file_type().map_err(unreadable)?.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                entries.push(Entry {
                    name: scenario_name(&path, root),
                    path,
                });
            }
        }
    }
    entries.sort();
    Ok(entries)
}

/// The scenario of this name below `root/scenarios`, or the file of this path if it ends in
/// `.toml`.
///
/// # Errors
/// A name that no file has, with the nearest that one has.
pub fn find(root: &Path, name: &str) -> Result<Entry, LibraryError> {
    let path = Path::new(name);
    if name.ends_with(".toml") && path.is_file() {
        return Ok(Entry {
            name: scenario_name(path, root),
            path: path.to_owned(),
        });
    }
    let entries = library(root)?;
    match entries.iter().find(|entry| entry.name == name) {
        Some(entry) => Ok(entry.clone()),
        None => Err(LibraryError::Unknown {
            name: name.to_owned(),
            advice: advice(name, entries.iter().map(|entry| entry.name.as_str())),
        }),
    }
}

/// The scenario of this name, or all in the folder of this name below `root/scenarios`.
///
/// # Errors
/// A name that neither a file nor a folder has.
pub fn find_all(root: &Path, name: &str) -> Result<Vec<Entry>, LibraryError> {
    let folder = format!("{}/", name.trim_end_matches('/'));
    let inside = |entry: &Entry| entry.name.starts_with(&folder);
    let family: Vec<Entry> = library(root)?.into_iter().filter(inside).collect();
    match family.is_empty() {
        true => Ok(vec![find(root, name)?]),
        false => Ok(family),
    }
}

/// The name of the scenario in this file.
pub(super) fn scenario_name(path: &Path, root: &Path) -> String {
    let inside = path.strip_prefix(root.join(FOLDER)).ok();
    let bare = inside.unwrap_or_else(|| path.file_name().map_or(path, Path::new));
    with_slashes(&bare.with_extension(""))
}

/// What errors call this file: its path below the root where it has one.
pub(super) fn file_name(path: &Path, root: &Path) -> String {
    with_slashes(path.strip_prefix(root).unwrap_or(path))
}

fn with_slashes(path: &Path) -> String {
    path.to_string_lossy()
        .replace(std::path::MAIN_SEPARATOR, "/")
}
