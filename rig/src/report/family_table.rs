//! The table by point family and node.

use std::collections::BTreeMap;

use faults::NodePoint;
use faults::catalogue::family_of;

use super::RunReport;
use crate::evidence::Verdict;
use crate::run_store::{CaseRecord, RaceRecord};

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
    let mut rows = Rows::default();
    let mut row_of = |at: &NodePoint, change: &dyn Fn(&mut FamilyRow)| change(rows.of(at));
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
        let raced = record.race.as_ref().map(|race| &race.points);
        if let Some(at) = raced.unwrap_or(&record.points).first() {
            row_of(at, &|row| count(row, record));
        }
        if record.covers() {
            for at in &record.points {
                row_of(at, &|row| row.covered += 1);
            }
        }
    }
    rows.0.into_values().collect()
}

/// The same of the second kills: a row's points are pairs, in the family of their second kill.
pub fn pair_rows(report: &RunReport) -> Vec<FamilyRow> {
    let mut rows = Rows::default();
    for pair in report.pairs.iter().flat_map(|pairs| &pairs.pairs) {
        if let Some(at) = pair.pair.second.first() {
            rows.of(at).points += 1;
        }
    }
    for record in &report.records {
        let Some(at) = record.pair.as_ref().and_then(|pair| pair.second.first()) else {
            continue;
        };
        let row = rows.of(at);
        count(row, record);
        row.covered += u64::from(record.covers());
    }
    rows.0.into_values().collect()
}

/// The same of closes at points: a row is what closes, by whom, with or without a kill.
pub fn race_rows(report: &RunReport) -> Vec<FamilyRow> {
    let mut rows: BTreeMap<(String, String), FamilyRow> = BTreeMap::new();
    let mut row_of = |race: &RaceRecord, change: &dyn Fn(&mut FamilyRow)| {
        let Some(at) = race.points.first() else {
            return;
        };
        let (family, node) = (race.describe(), at.node.clone());
        let row = rows
            .entry((family.clone(), node.clone()))
            .or_insert_with(|| FamilyRow {
                family,
                node,
                ..FamilyRow::default()
            });
        change(row);
    };
    for known in report.races.iter().flat_map(|races| &races.races) {
        row_of(&known.race, &|row| row.points += 1);
    }
    for record in &report.records {
        if let Some(race) = &record.race {
            row_of(race, &|row| {
                count(row, record);
                row.covered += u64::from(record.covers());
            });
        }
    }
    rows.into_values().collect()
}

/// Rows by family and node.
#[derive(Default)]
struct Rows(BTreeMap<(String, String), FamilyRow>);

impl Rows {
    /// The row that a point belongs to.
    fn of(&mut self, at: &NodePoint) -> &mut FamilyRow {
        let family = family_name(&at.point.name);
        self.0
            .entry((family.clone(), at.node.clone()))
            .or_insert_with(|| FamilyRow {
                family,
                node: at.node.clone(),
                ..FamilyRow::default()
            })
    }
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
