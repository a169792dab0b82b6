//! The list of runs under `logs/`.

use std::fs;
use std::path::Path;

use super::error::StoreError;
use super::folder::{LATEST, RUN, RunFolder};
use super::record::RunRecord;
use crate::evidence::Verdict;

/// One run, for `deadbolt list runs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRun {
    /// Its `run.json`.
    pub run: RunRecord,
    /// Cases that ended.
    pub cases: usize,
    /// Of them, how many count as failed.
    pub failed: usize,
    /// Whether it got as far as its summary.
    pub complete: bool,
}

/// Every run under `logs`, the oldest first. Folders that are no runs are passed over, and so is a
/// run that cannot be read: one bad folder must not hide the others.
///
/// # Errors
/// `logs` itself cannot be read; that it does not exist is no error.
pub fn list_runs(logs: &Path) -> Result<Vec<ListedRun>, StoreError> {
    let mut runs = Vec::new();
    for name in run_names(logs)? {
        let folder = RunFolder::open(logs.join(&name));
        let (Ok(run), Ok(verdicts)) = (folder.run(), folder.verdicts()) else {
            continue;
        };
        runs.push(ListedRun {
            run,
            cases: verdicts.len(),
            failed: verdicts
                .iter()
                .filter(|record| record.counts_as() == Verdict::Fail)
                .count(),
            complete: matches!(folder.summary(), Ok(Some(_))),
        });
    }
    Ok(runs)
}

/// Names of the folders that hold a `run.json`, sorted, which is by time.
pub(super) fn run_names(logs: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    if !logs.exists() {
        return Ok(names);
    }
    for entry in fs::read_dir(logs).map_err(StoreError::io("read", logs))? {
        let entry = entry.map_err(StoreError::io("read", logs))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != LATEST && entry.path().join(RUN).exists() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
