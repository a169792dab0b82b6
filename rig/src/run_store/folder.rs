//! A run's folder: made once, added to while cases end, read back afterwards even if the rig was
//! killed in between.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::error::StoreError;
use super::evidence_file::{
    EVIDENCE, LastLine, PLAN, TRACE, read_json, read_lines, save_evidence, write_json, write_line,
};
use super::plan_file::write_plan;
use super::record::{
    CaseRecord, PairsRecord, PointsRecord, RacesRecord, RunRecord, SummaryRecord, VerdictRecord,
};
use crate::evidence::Evidence;
use crate::scenario::Plan;

pub(super) const RUN: &str = "run.json";
const VERDICTS: &str = "verdicts.jsonl";
const POINTS: &str = "points.json";
const PAIRS: &str = "pairs.json";
const RACES: &str = "races.json";
const SUMMARY: &str = "summary.json";
const VERDICT: &str = "verdict.json";
pub(super) const CASES: &str = "cases";
pub(super) const LATEST: &str = "latest";

/// `logs/<run-id>/`.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    verdicts: Mutex<Option<File>>,
}

/// `logs/<run-id>/cases/<case-id>/`, or a folder anywhere with a case's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes the folder of a new run, named by time and subject, and points `logs/latest` at it.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn create(
        logs: &Path,
        subject: &str,
        started: DateTime<Utc>,
    ) -> Result<RunFolder, StoreError> {
        fs::create_dir_all(logs).map_err(StoreError::io("make the folder", logs))?;
        let stem = format!("{}-{}", started.format("%Y%m%d-%H%M%S"), slug(subject));
        let mut run_id = stem.clone();
        let mut attempt = 1;
        let path = loop {
            let path = logs.join(&run_id);
            match fs::create_dir(&path) {
                Ok(()) => break path,
                // Another run of the same second has it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    attempt += 1;
                    run_id = format!("{stem}-{attempt}");
                }
                Err(error) => return Err(StoreError::io("make the folder", &path)(error)),
            }
        };
        let cases = path.join(CASES);
        fs::create_dir(&cases).map_err(StoreError::io("make the folder", &cases))?;
        point_latest_at(logs, &run_id)?;
        Ok(RunFolder::open(path))
    }

    /// An existing run.
    pub fn open(path: PathBuf) -> RunFolder {
        RunFolder {
            path,
            verdicts: Mutex::new(None),
        }
    }

    /// The run's name.
    pub fn run_id(&self) -> String {
        self.path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `run.json`.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn save_run(&self, record: &RunRecord) -> Result<(), StoreError> {
        write_json(&self.path.join(RUN), record)
    }

    /// Reads `run.json`.
    ///
    /// # Errors
    /// It is not there or cannot be read.
    pub fn run(&self) -> Result<RunRecord, StoreError> {
        let path = self.path.join(RUN);
        let record: RunRecord = read_json(&path)?;
        if record.version > super::RUN_VERSION {
            return Err(StoreError::LaterVersion {
                path,
                found: u64::from(record.version),
                known: super::RUN_VERSION,
            });
        }
        Ok(record)
    }

    /// Writes `points.json`.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn save_points(&self, points: &PointsRecord) -> Result<(), StoreError> {
        write_json(&self.path.join(POINTS), points)
    }

    /// Reads `points.json`, which only `explore` makes.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn points(&self) -> Result<Option<PointsRecord>, StoreError> {
        self.read_if_there(POINTS)
    }

    /// Writes `pairs.json`.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn save_pairs(&self, pairs: &PairsRecord) -> Result<(), StoreError> {
        write_json(&self.path.join(PAIRS), pairs)
    }

    /// Reads `pairs.json`, which only `explore --depth 2` makes.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn pairs(&self) -> Result<Option<PairsRecord>, StoreError> {
        self.read_if_there(PAIRS)
    }

    /// Writes `races.json`.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn save_races(&self, races: &RacesRecord) -> Result<(), StoreError> {
        write_json(&self.path.join(RACES), races)
    }

    /// Reads `races.json`, which only an `explore` that closes channels makes.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn races(&self) -> Result<Option<RacesRecord>, StoreError> {
        self.read_if_there(RACES)
    }

    /// Writes `summary.json`.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn save_summary(&self, summary: &SummaryRecord) -> Result<(), StoreError> {
        write_json(&self.path.join(SUMMARY), summary)
    }

    /// Reads `summary.json`, which a run that was killed has not got.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn summary(&self) -> Result<Option<SummaryRecord>, StoreError> {
        self.read_if_there(SUMMARY)
    }

    /// Adds a case that ended to `verdicts.jsonl`.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn add_verdict(&self, record: &CaseRecord) -> Result<(), StoreError> {
        let path = self.path.join(VERDICTS);
        let mut guard = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match &mut *guard {
            Some(file) => file,
            empty => {
                let file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&path)
                    .map_err(StoreError::io("write", &path))?;
                empty.insert(file)
            }
        };
        write_line(file, record, &path)
    }

    /// The cases that ended, in the order they did. A line that the rig was killed in the middle of
    /// is left out.
    ///
    /// # Errors
    /// `verdicts.jsonl` is damaged.
    pub fn verdicts(&self) -> Result<Vec<CaseRecord>, StoreError> {
        let path = self.path.join(VERDICTS);
        if !path.exists() {
            return Ok(Vec::new());
        }
        read_lines(&path, LastLine::MayBeCut)
    }

    /// Makes a case's folder and writes its plan, before the case starts.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn begin_case(&self, case_id: &str, plan: &Plan) -> Result<CaseFolder, StoreError> {
        let folder = self.case(case_id);
        fs::create_dir_all(&folder.path)
            .map_err(StoreError::io("make the folder", &folder.path))?;
        write_plan(&folder.path.join(PLAN), plan)?;
        Ok(folder)
    }

    /// The folder of a case, there or not.
    pub fn case(&self, case_id: &str) -> CaseFolder {
        CaseFolder::at(self.path.join(CASES).join(case_id))
    }

    /// Names of all case folders, sorted.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn case_ids(&self) -> Result<Vec<String>, StoreError> {
        let path = self.path.join(CASES);
        let mut names = Vec::new();
        if path.exists() {
            for entry in fs::read_dir(&path).map_err(StoreError::io("read", &path))? {
                let entry = entry.map_err(StoreError::io("read", &path))?;
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn read_if_there<T: for<'de> serde::Deserialize<'de>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        let path = self.path.join(name);
        if path.exists() {
            read_json(&path).map(Some)
        } else {
            Ok(None)
        }
    }
}

impl CaseFolder {
    /// A case's folder by path.
    pub fn at(path: PathBuf) -> CaseFolder {
        CaseFolder { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The case's name.
    pub fn case_id(&self) -> String {
        self.path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// Where its plan is.
    pub fn plan_path(&self) -> PathBuf {
        self.path.join(PLAN)
    }

    /// Whether evidence is kept here.
    pub fn has_evidence(&self) -> bool {
        self.path.join(EVIDENCE).exists()
    }

    /// Saves evidence.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn save_evidence(&self, evidence: &Evidence) -> Result<(), StoreError> {
        save_evidence(&self.path, evidence)
    }

    /// Takes saved evidence and verdict away again; the plan stays.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn drop_evidence(&self) -> Result<(), StoreError> {
        for name in [EVIDENCE, TRACE, VERDICT] {
            let path = self.path.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes `verdict.json`.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn save_verdict(&self, verdict: &VerdictRecord) -> Result<(), StoreError> {
        write_json(&self.path.join(VERDICT), verdict)
    }

    /// Reads `verdict.json`, if there is one.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn verdict(&self) -> Result<Option<VerdictRecord>, StoreError> {
        let path = self.path.join(VERDICT);
        if path.exists() {
            read_json(&path).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// A name fit for a folder.
fn slug(text: &str) -> String {
    let slug: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '-'
            }
        })
        .take(60)
        .collect();
    slug.trim_matches('-').to_owned()
}

/// Replaces the link in one step, so that a reader sees the old run or the new one.
fn point_latest_at(logs: &Path, run_id: &str) -> Result<(), StoreError> {
    let fresh = logs.join(format!(".latest-{run_id}"));
    let latest = logs.join(LATEST);
    std::os::unix::fs::symlink(run_id, &fresh).map_err(StoreError::io("link", &fresh))?;
    fs::rename(&fresh, &latest).map_err(StoreError::io("link", &latest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::testing::{case_record, forward_plan};
    use std::io::Write;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn two_runs_of_the_same_second_get_folders_of_their_own() {
        let logs = tempfile::tempdir().unwrap();
        let time = at("2026-11-23T17:30:00Z");
        let first = RunFolder::create(logs.path(), "regression/ldk-4286", time).unwrap();
        let second = RunFolder::create(logs.path(), "regression/ldk-4286", time).unwrap();
        assert_eq!(first.run_id(), "20261123-173000-regression-ldk-4286");
        assert_eq!(second.run_id(), "20261123-173000-regression-ldk-4286-2");
        let latest = fs::read_link(logs.path().join("latest")).unwrap();
        assert_eq!(latest, PathBuf::from(second.run_id()));
    }

    #[test]
    fn what_a_killed_rig_wrote_is_readable() {
        let logs = tempfile::tempdir().unwrap();
        let run = RunFolder::create(logs.path(), "forward", at("2026-11-23T17:30:00Z")).unwrap();
        run.begin_case("one", &forward_plan(&[])).unwrap();
        run.add_verdict(&case_record("one", crate::evidence::Verdict::Pass))
            .unwrap();
        run.begin_case("two", &forward_plan(&[])).unwrap();
        // The rig dies here, in the middle of the second line.
        let mut file = OpenOptions::new()
            .append(true)
            .open(run.path().join(VERDICTS))
            .unwrap();
        file.write_all(b"{\"case_id\":\"tw\xc3").unwrap();
        let again = RunFolder::open(run.path().to_owned());
        let verdicts = again.verdicts().unwrap();
        assert_eq!(verdicts.len(), 1);
        assert_eq!(verdicts[0].case_id, "one");
        assert_eq!(again.case_ids().unwrap(), ["one", "two"]);
        assert!(again.summary().unwrap().is_none());
    }

    #[test]
    fn a_damaged_line_is_named_by_file_and_line() {
        let logs = tempfile::tempdir().unwrap();
        let run = RunFolder::create(logs.path(), "forward", at("2026-11-23T17:30:00Z")).unwrap();
        fs::write(run.path().join(VERDICTS), "nonsense\n").unwrap();
        let message = run.verdicts().unwrap_err().to_string();
        assert!(message.contains("verdicts.jsonl, line 1"), "{message}");
    }
}
