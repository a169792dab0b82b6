//! What can go wrong with saved runs, each with what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why something of a run could not be written, found or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot {doing} {}: {source}{}", .path.display(), advice(.source))]
    Io {
        /// As in "cannot write".
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file is no JSON of the expected shape.
    #[error("{}, line {line}: {source}; restore the file, or run its case again", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// From one.
        line: usize,
        /// What the reader says.
        source: serde_json::Error,
    },
    /// A file was written by a later deadbolt.
    #[error(
        "{} has format {found}, and this deadbolt reads formats up to {known}: use the deadbolt that \
         wrote it, or a later one", .path.display()
    )]
    LaterVersion {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The latest format known here.
        known: u32,
    },
    /// A plan asks for something its scenario does not have.
    #[error("{}: {problem}", .path.display())]
    BadPlan {
        /// The file.
        path: PathBuf,
        /// What, and what to do.
        problem: String,
    },
    /// Nothing of that name.
    #[error(
        "there is no run, case or plan {wanted:?} under {}: `deadbolt list runs` prints the runs, \
         and a run's `cases` folder holds its cases", .logs.display()
    )]
    NotFound {
        /// As given.
        wanted: String,
        /// Where it was looked for.
        logs: PathBuf,
    },
    /// Several of that name.
    #[error("{wanted:?} fits several: {}; give more of the name", .candidates.join(", "))]
    Ambiguous {
        /// As given.
        wanted: String,
        /// Some of what it fits.
        candidates: Vec<String>,
    },
    /// The folder of a case holds no evidence.
    #[error(
        "{} holds no evidence: passing cases keep only their plan unless the run had `--keep all`; \
         `deadbolt replay` makes it again", .0.display()
    )]
    NoEvidence(PathBuf),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room, or choose another disk with --logs"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; choose a folder that can be written with --logs"
        }
        _ => "",
    }
}

impl StoreError {
    /// For `map_err` on an I/O result about `path`.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Io {
            doing,
            path,
            source,
        }
    }
}
