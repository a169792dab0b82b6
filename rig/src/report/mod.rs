//! Reports: a run's records as text for a terminal, as junit.xml for a CI server and as report.html
//! for a reader. Draws only on what is saved, so that an old run can be rendered again; judges
//! nothing.

mod family_table;
mod html;
mod junit;
mod phase_times;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod timeline;
mod worst;

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::evidence::Verdict;
use crate::explore::{Tally, Totals};
use crate::run_store::{
    CaseRecord, PairsRecord, PointsRecord, RacesRecord, RunFolder, RunRecord, StoreError,
    SummaryRecord, load_evidence,
};

pub use family_table::{FamilyRow, family_rows, pair_rows, race_rows};
pub use html::render_html;
pub use junit::{ReportError, render_junit};
pub use phase_times::median_us_by_phase;
pub use text::render_text;
pub use timeline::timeline_of;
pub use worst::{FailureGroup, worst_failures};

/// How many groups of failures a report shows.
pub const WORST_SHOWN: usize = 10;

/// Everything a report is drawn from.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// `run.json`.
    pub run: RunRecord,
    /// `points.json`, for an exploration.
    pub points: Option<PointsRecord>,
    /// `pairs.json`, for an exploration with second kills.
    pub pairs: Option<PairsRecord>,
    /// `races.json`, for an exploration that closes channels.
    pub races: Option<RacesRecord>,
    /// The cases that ended.
    pub records: Vec<CaseRecord>,
    /// Totals.
    pub summary: SummaryRecord,
    /// Whether it was stopped before its end, by the user or by a SIGKILL.
    pub incomplete: bool,
    /// What to put behind a command so that it finds the run, as in `--logs DIR`.
    pub command_options: String,
    /// The run's folder, as a reader would name it.
    pub folder: String,
}

impl RunReport {
    /// Reads a run back. One without a summary was killed: its totals are counted again.
    ///
    /// # Errors
    /// The run cannot be read.
    pub fn read(folder: &RunFolder) -> Result<RunReport, StoreError> {
        let run = folder.run()?;
        let points = folder.points()?;
        let pairs = folder.pairs()?;
        let races = folder.races()?;
        let records = folder.verdicts()?;
        let saved = folder.summary()?;
        let incomplete = saved.as_ref().is_none_or(|saved| saved.interrupted);
        let summary = saved.unwrap_or_else(|| {
            let wall_us = records.iter().map(|record| record.ended_us).max();
            Tally::of(&records).summary(
                Some(run.run_id.clone()),
                Totals::of(points.as_ref(), pairs.as_ref(), races.as_ref(), &records),
                Duration::from_micros(wall_us.unwrap_or(0)),
            )
        });
        Ok(RunReport {
            run,
            points,
            pairs,
            races,
            records,
            summary,
            incomplete,
            command_options: String::new(),
            folder: shown(folder.path()),
        })
    }

    /// The cases that are not all well.
    pub fn not_well(&self) -> impl Iterator<Item = &CaseRecord> {
        self.records
            .iter()
            .filter(|record| record.counts_as() != Verdict::Pass)
    }

    /// The command that runs a case of this run again.
    pub fn replay_command(&self, case_id: &str) -> String {
        format!(
            "cargo rig replay{} {}/{case_id}",
            self.command_options, self.run.run_id
        )
    }
}

/// A path as a reader in the working folder would write it.
pub fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Writes `junit.xml` and `report.html` into the run's folder.
///
/// # Errors
/// The file system refuses.
pub fn write_files(report: &RunReport, folder: &RunFolder) -> Result<(), ReportError> {
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).map_err(|source| {
            ReportError::Store(StoreError::Io {
                doing: "write",
                path,
                source,
            })
        })
    };
    write("junit.xml", render_junit(report)?)?;
    let timeline = |case_id: &str| {
        load_evidence(folder.case(case_id).path())
            .map(|evidence| timeline_of(&evidence))
            .unwrap_or_default()
    };
    write("report.html", render_html(report, &timeline))
}
