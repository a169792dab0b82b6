//! Running totals, and who wants to hear of them.

use std::time::Duration;

use crate::evidence::Verdict;
use crate::run_store::{CaseRecord, PairsRecord, PointsRecord, RacesRecord, SummaryRecord};

/// How much there was to cover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Points that every dry run passed.
    pub points: u64,
    /// Points that only some passed.
    pub varying: u64,
    /// Pairs of kills, if they were looked for.
    pub pairs: Option<u64>,
    /// Closes at points that every dry run passed, if they were looked for.
    pub closes: Option<u64>,
}

impl Totals {
    /// Of a run: what its dry run and its first kills found, else what its cases arm.
    pub fn of(
        points: Option<&PointsRecord>,
        pairs: Option<&PairsRecord>,
        races: Option<&RacesRecord>,
        records: &[CaseRecord],
    ) -> Totals {
        let found = points;
        let points = match points {
            Some(points) => points.points.len(),
            None => records.iter().map(|record| record.points.len()).sum(),
        };
        let varying = found.map_or(0, |found| found.varying.len());
        Totals {
            points: points as u64,
            varying: varying as u64,
            pairs: pairs.map(|pairs| pairs.pairs.len() as u64),
            closes: races.map(|races| {
                let steady = races.races.iter().filter(|race| !race.varies);
                steady.count() as u64
            }),
        }
    }
}

/// Totals of the cases that ended so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All well.
    pub pass: u64,
    /// With a finding, or not as pinned.
    pub fail: u64,
    /// Not judged.
    pub not_run: u64,
    /// The rig went wrong.
    pub rig_fault: u64,
    /// Points that judged cases stand for.
    pub points_covered: u64,
    /// Of those that vary.
    pub varying_covered: u64,
    /// Pairs of kills that judged cases stand for.
    pub pairs_covered: u64,
    /// Closes at points that do not vary and that judged cases stand for.
    pub closes_covered: u64,
}

impl Tally {
    /// Totals of these.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a CaseRecord>) -> Tally {
        let mut tally = Tally::default();
        for record in records {
            tally.add(record);
        }
        tally
    }

    /// Counts one more.
    pub fn add(&mut self, record: &CaseRecord) {
        match record.counts_as() {
            Verdict::Pass => self.pass += 1,
            Verdict::Fail => self.fail += 1,
            Verdict::NotRun => self.not_run += 1,
            Verdict::RigFault => self.rig_fault += 1,
        }
        if record.covers() {
            let points = record.points.len() as u64;
            match record.varies {
                true => self.varying_covered += points,
                false => self.points_covered += points,
            }
            self.pairs_covered += u64::from(record.pair.is_some());
            self.closes_covered += u64::from(record.race.is_some() && !record.varies);
        }
    }

    /// Cases that ended.
    pub fn cases(&self) -> u64 {
        self.pass + self.fail + self.not_run + self.rig_fault
    }

    /// The totals as every command with `--json` prints them.
    pub fn summary(&self, run_id: Option<String>, of: Totals, wall: Duration) -> SummaryRecord {
        let seconds = wall.as_secs_f64();
        let per_minute = if seconds > 0.0 {
            self.cases() as f64 * 60.0 / seconds
        } else {
            0.0
        };
        SummaryRecord {
            run_id,
            cases: self.cases(),
            pass: self.pass,
            fail: self.fail,
            not_run: self.not_run,
            rig_fault: self.rig_fault,
            points_total: of.points,
            points_covered: self.points_covered,
            varying_total: (of.varying > 0).then_some(of.varying),
            varying_covered: (of.varying > 0).then_some(self.varying_covered),
            pairs_total: of.pairs,
            pairs_covered: of.pairs.map(|_| self.pairs_covered),
            closes_total: of.closes,
            closes_covered: of.closes.map(|_| self.closes_covered),
            compared: None,
            interrupted: false,
            wall_s: (seconds * 1000.0).round() / 1000.0,
            cases_per_min: (per_minute * 10.0).round() / 10.0,
        }
    }
}

/// Hears how a campaign goes. Calls come from one task.
pub trait Progress: Send + Sync {
    /// So many more cases are to be run.
    fn begin(&self, cases: usize);
    /// One ended.
    fn case_ended(&self, record: &CaseRecord, tally: &Tally);
    /// All ended, or the user stopped it.
    fn finish(&self);
}

/// Hears nothing.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: usize) {}
    fn case_ended(&self, _: &CaseRecord, _: &Tally) {}
    fn finish(&self) {}
}
