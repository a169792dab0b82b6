//! Two explorations of the same scenarios, on two kinds of node, case by case. Owns which case belongs to
//! which and what has changed; runs nothing.

use std::collections::{BTreeMap, BTreeSet};

use faults::catalogue::family_of;
use serde::{Deserialize, Serialize};

use crate::evidence::Verdict;
use crate::run_store::CaseRecord;

/// What became of a case from control to subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The control passes and the subject fails.
    Regressed,
    /// The control fails and the subject passes.
    Fixed,
    /// Both pass, or both fail.
    Same,
    /// One of them, or both, could not be judged.
    NotJudged,
    /// The control has no such case.
    OnlySubject,
    /// The subject has no such case.
    OnlyControl,
}

/// How the two sides of a line were found to belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchedBy {
    /// The same fault at the same point.
    Case,
    /// The same fault at points of the same family on the same node, for points that one of them has not.
    Kind,
}

/// One line of a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedCase {
    /// The case's name, or what the cases of a kind have in common.
    pub name: String,
    /// What belongs together here.
    pub matched_by: MatchedBy,
    /// What has changed.
    pub change: Change,
    /// The control's cases that passed, failed, and were not judged.
    pub control: Counts,
    /// The subject's.
    pub subject: Counts,
}

/// Verdicts of the cases of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All well.
    pub pass: u64,
    /// With a finding.
    pub fail: u64,
    /// Not judged, or a rig fault.
    pub not_judged: u64,
}

impl Counts {
    fn add(&mut self, record: &CaseRecord) {
        match record.counts_as() {
            Verdict::Pass => self.pass += 1,
            Verdict::Fail => self.fail += 1,
            Verdict::NotRun | Verdict::RigFault => self.not_judged += 1,
        }
    }

    /// As one verdict: a failure outweighs a case that was not judged, that a pass.
    fn verdict(self) -> Option<Verdict> {
        match self {
            Counts { fail: 1.., .. } => Some(Verdict::Fail),
            Counts {
                not_judged: 1.., ..
            } => Some(Verdict::NotRun),
            Counts { pass: 1.., .. } => Some(Verdict::Pass),
            _ => None,
        }
    }
}

/// Puts both sides' cases together, in order of their names, cases before kinds.
pub fn compare(control: &[CaseRecord], subject: &[CaseRecord]) -> Vec<ComparedCase> {
    let ids = |records: &[CaseRecord]| -> BTreeSet<String> {
        records
            .iter()
            .map(|record| record.case_id.clone())
            .collect()
    };
    let (of_control, of_subject) = (ids(control), ids(subject));
    let mut lines: BTreeMap<(MatchedBy, String), [Counts; 2]> = BTreeMap::new();
    for (side, records) in [control, subject].into_iter().enumerate() {
        for record in records {
            let is_on_both =
                of_control.contains(&record.case_id) && of_subject.contains(&record.case_id);
            let key = match is_on_both {
                true => (MatchedBy::Case, record.case_id.clone()),
                false => (MatchedBy::Kind, kind_of(record)),
            };
            lines.entry(key).or_default()[side].add(record);
        }
    }
    lines
        .into_iter()
        .map(|((matched_by, name), [control, subject])| ComparedCase {
            name,
            matched_by,
            change: change(control, subject),
            control,
            subject,
        })
        .collect()
}

fn change(control: Counts, subject: Counts) -> Change {
    match (control.verdict(), subject.verdict()) {
        (None, _) => Change::OnlySubject,
        (_, None) => Change::OnlyControl,
        (Some(Verdict::Pass), Some(Verdict::Fail)) => Change::Regressed,
        (Some(Verdict::Fail), Some(Verdict::Pass)) => Change::Fixed,
        (Some(Verdict::Pass), Some(Verdict::Pass)) | (Some(Verdict::Fail), Some(Verdict::Fail)) => {
            Change::Same
        }
        _ => Change::NotJudged,
    }
}

/// Node, family of points, and what happens there: `B persist.monitor_update, close A-B by A`; before it the
/// scenario, if the run is of several.
fn kind_of(record: &CaseRecord) -> String {
    let (at, what) = match (&record.race, &record.pair) {
        (Some(race), _) => (race.points.first(), format!("close {}", race.describe())),
        (None, Some(pair)) => (pair.second.first(), "second kill".to_owned()),
        (None, None) => (record.points.first(), "fault".to_owned()),
    };
    match at {
        Some(at) => {
            let name = &at.point.name;
            let family = family_of(name).map_or(name.as_str(), |family| family.name);
            let scenario = scenario_of(&record.case_id, &at.node);
            format!("{scenario}{} {family}, {what}", at.node)
        }
        None => record.case_id.clone(),
    }
}

/// The scenario's name before the case's own, which begins with the node; nothing if the run is of one scenario.
fn scenario_of(case_id: &str, node: &str) -> String {
    if case_id.starts_with(&format!("{node}.")) {
        return String::new();
    }
    match case_id.split_once(&format!(".{node}.")) {
        Some((scenario, _)) => format!("{scenario}: "),
        None => String::new(),
    }
}

/// How many lines changed how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedRecord {
    /// The kind of node that is looked at.
    pub subject: String,
    /// The kind that it is compared with.
    pub control: String,
    /// The subject's run.
    pub subject_run: String,
    /// The control's run.
    pub control_run: String,
    /// Lines that pass on both or fail on both.
    pub same: u64,
    /// Of them, those that fail on both.
    pub same_fail: u64,
    /// Lines that fail on the control only.
    pub fixed: u64,
    /// Lines that fail on the subject only.
    pub regressed: u64,
    /// Lines of which a side could not be judged.
    pub not_judged: u64,
    /// Kinds that only the subject has.
    pub only_subject: u64,
    /// Of them, those that fail.
    pub only_subject_fail: u64,
    /// Kinds that only the control has.
    pub only_control: u64,
    /// Of them, those that fail.
    pub only_control_fail: u64,
}

impl ComparedRecord {
    /// Counts these lines.
    pub fn count(&mut self, lines: &[ComparedCase]) {
        for line in lines {
            match line.change {
                Change::Same => {
                    self.same += 1;
                    self.same_fail += u64::from(line.subject.fail > 0);
                }
                Change::Fixed => self.fixed += 1,
                Change::Regressed => self.regressed += 1,
                Change::NotJudged => self.not_judged += 1,
                Change::OnlySubject => {
                    self.only_subject += 1;
                    self.only_subject_fail += u64::from(line.subject.fail > 0);
                }
                Change::OnlyControl => {
                    self.only_control += 1;
                    self.only_control_fail += u64::from(line.control.fail > 0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::case_record;
    use super::*;

    fn at(case_id: &str, point: &str, verdict: Verdict) -> CaseRecord {
        let mut record = case_record(case_id, verdict);
        record.points = vec![point.parse().unwrap()];
        record
    }

    fn changes(control: &[CaseRecord], subject: &[CaseRecord]) -> Vec<(String, Change)> {
        compare(control, subject)
            .into_iter()
            .map(|line| (line.name, line.change))
            .collect()
    }

    #[test]
    fn cases_of_the_same_name_are_compared_one_by_one() {
        let side = |verdicts: [Verdict; 4]| -> Vec<CaseRecord> {
            let named = ["a", "b", "c", "d"].into_iter().zip(verdicts);
            named
                .map(|(id, verdict)| case_record(id, verdict))
                .collect()
        };
        use Verdict::{Fail, NotRun, Pass};
        let found = changes(
            &side([Pass, Fail, Pass, NotRun]),
            &side([Fail, Pass, Pass, Fail]),
        );
        let named = |name: &str, change| (name.to_owned(), change);
        assert_eq!(
            found,
            [
                named("a", Change::Regressed),
                named("b", Change::Fixed),
                named("c", Change::Same),
                named("d", Change::NotJudged),
            ]
        );
    }

    #[test]
    fn points_that_one_side_has_not_are_compared_by_their_kind_and_one_failure_counts_for_all() {
        let manager = "B:persist.manager.before[recv x A-B]";
        let update = "B:persist.monitor_update.written[A-B #2]";
        let other = "B:persist.monitor_update.before[A-B #9]";
        let control = [
            at("m", manager, Verdict::Fail),
            at("u9", other, Verdict::Pass),
        ];
        let subject = [
            at("u2", update, Verdict::Pass),
            at("u3", update, Verdict::Fail),
        ];
        assert_eq!(
            changes(&control, &subject),
            [
                ("B persist.manager, fault".to_owned(), Change::OnlyControl),
                (
                    "B persist.monitor_update, fault".to_owned(),
                    Change::Regressed
                ),
            ]
        );
        let mut totals = ComparedRecord::default();
        totals.count(&compare(&control, &subject));
        assert_eq!((totals.regressed, totals.only_control_fail), (1, 1));
    }

    #[test]
    fn cases_of_a_family_are_kept_apart_by_their_scenario() {
        use Verdict::{Fail, Pass};
        let manager = "B:persist.manager.before[recv x A-B]";
        let update = "B:persist.monitor_update.written[A-B #2]";
        let other = "B:persist.monitor_update.before[A-B #9]";
        // What one scenario lost another cannot make good, whether by the same point or by the same kind of point.
        let control = [
            at("fail.B.same.1", manager, Pass),
            at("mpp.B.same.1", manager, Pass),
            at("fail.B.u9.1", other, Pass),
            at("mpp.B.u9.1", other, Fail),
        ];
        let subject = [
            at("fail.B.same.1", manager, Pass),
            at("mpp.B.same.1", manager, Fail),
            at("fail.B.u2.1", update, Fail),
            at("mpp.B.u2.1", update, Pass),
        ];
        let named = |name: &str, change| (name.to_owned(), change);
        assert_eq!(
            changes(&control, &subject),
            [
                named("fail.B.same.1", Change::Same),
                named("mpp.B.same.1", Change::Regressed),
                named("fail: B persist.monitor_update, fault", Change::Regressed),
                named("mpp: B persist.monitor_update, fault", Change::Fixed),
            ]
        );
    }
}
