//! The table by point family and node.

use std::collections::BTreeMap;

use faults::catalogue::family_of;

use super::RunReport;
use crate::evidence::Verdict;
use crate::run_store::CaseRecord;

/// One row: a family of points on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyRow {
    /// The family, as the catalogue names it.
    pub family: String,
    /// The node.
    pub node: String,
    /// Points that were reached, or armed.
    pub points: u64,
    /// Of them, how many a judged case stands for.
    pub covered: u64,
    /// Cases that kill there.
    pub cases: u64,
    /// Verdicts of those.
    pub pass: u64,
    /// With a finding.
    pub fail: u64,
    /// Not judged.
    pub not_run: u64,
    /// Rig faults.
    pub rig_fault: u64,
}

/// The rows in order of family and node. A point counts in its own family; a case, in that of the
/// point it kills at.
pub fn family_rows(report: &RunReport) -> Vec<FamilyRow> {
    let mut rows: BTreeMap<(String, String), FamilyRow> = BTreeMap::new();
    let mut row_of = |at: &faults::NodePoint, change: &dyn Fn(&mut FamilyRow)| {
        let family = family_name(&at.point.name);
        let row = rows
            .entry((family.clone(), at.node.clone()))
            .or_insert_with(|| FamilyRow {
                family,
                node: at.node.clone(),
                ..FamilyRow::default()
            });
        change(row);
    };
    match &report.points {
        Some(points) => {
            for at in &points.points {
                row_of(at, &|row| row.points += 1);
            }
        }
        None => {
            for at in report.records.iter().flat_map(|record| &record.points) {
                row_of(at, &|row| row.points += 1);
            }
        }
    }
    for record in &report.records {
        if let Some(at) = record.points.first() {
            row_of(at, &|row| count(row, record));
        }
        if record.covers() {
            for at in &record.points {
                row_of(at, &|row| row.covered += 1);
            }
        }
    }
    rows.into_values().collect()
}

fn count(row: &mut FamilyRow, record: &CaseRecord) {
    row.cases += 1;
    match record.counts_as() {
        Verdict::Pass => row.pass += 1,
        Verdict::Fail => row.fail += 1,
        Verdict::NotRun => row.not_run += 1,
        Verdict::RigFault => row.rig_fault += 1,
    }
}

fn family_name(point: &str) -> String {
    match family_of(point) {
        Some(family) => family.name.to_owned(),
        // A node program of a later catalogue: better an odd row than none.
        None => point.to_owned(),
    }
}
