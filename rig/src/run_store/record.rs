//! The records of a run: what stands in `run.json`, `points.json`, `verdicts.jsonl`, `verdict.json`
//! and `summary.json`. Everything a report prints can be drawn from them again.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use faults::{Closing, NodePoint};
use serde::{Deserialize, Serialize};

use crate::evidence::{Phase, Verdict};
use crate::explore::ComparedRecord;
use crate::oracle::{Finding, Judgement};

/// The format of all records but plans.
pub const RUN_VERSION: u32 = 1;

/// The code of the oracle `armed` for a fault whose point was never reached.
const POINT_NOT_REACHED: &str = "point-not-reached";

/// `run.json`: written once, before the first case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Format of the run's records.
    pub version: u32,
    /// Name of the run's folder.
    pub run_id: String,
    /// The command line, without the program.
    pub command: Vec<String>,
    /// deadbolt's version.
    pub deadbolt: String,
    /// The scenario, or what was replayed.
    pub subject: String,
    /// The seed every case of the run got (a replayed case keeps its own).
    pub seed: u64,
    /// How many cases ran at once at most.
    pub workers: usize,
    /// The parts that were used, with version and origin.
    pub parts: BTreeMap<String, String>,
    /// The rig's process, by which the files of cases that were running when it died are found.
    #[serde(default)]
    pub pid: u32,
    /// When it began.
    pub started: DateTime<Utc>,
}

/// `points.json`: what the dry run reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointsRecord {
    /// Every point that is passed each time, in canonical order.
    pub points: Vec<NodePoint>,
    /// Points that only some of the dry runs passed, in canonical order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub varying: Vec<NodePoint>,
    /// The classes they form.
    pub classes: Vec<PointClassRecord>,
}

/// One class of points with no effect between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointClassRecord {
    /// The case that stands for it.
    pub case_id: String,
    /// Its points; the case kills at the first.
    pub points: Vec<NodePoint>,
    /// Whether this run was asked to run it.
    pub selected: bool,
}

/// A pair of kills of one node: where its first life is killed, and where its second one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairRecord {
    /// The first kill's point.
    pub first: NodePoint,
    /// The class of the second one; the case kills at its first point.
    pub second: Vec<NodePoint>,
}

/// `pairs.json`: the pairs that an exploration with second kills found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairsRecord {
    /// Every pair, in the order of drawing.
    pub pairs: Vec<PairClassRecord>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairClassRecord {
    /// The case that stands for it.
    pub case_id: String,
    /// The two kills.
    #[serde(flatten)]
    pub pair: PairRecord,
    /// Whether this run was asked to run it.
    pub selected: bool,
}

/// Closes at a class of points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaceRecord {
    /// The points; the case closes at the first.
    pub points: Vec<NodePoint>,
    /// Which channels close, by whom.
    pub closes: Vec<Closing>,
    /// Whether the node at the point is killed as well.
    pub kill: bool,
}

impl RaceRecord {
    /// What closes, for people: `A-B by A, B-C by C, with a kill`.
    pub fn describe(&self) -> String {
        let closes = self.closes.iter();
        let mut parts: Vec<String> = closes
            .map(|closing| format!("{} by {}", closing.channel, closing.by))
            .collect();
        if self.kill {
            parts.push("with a kill".to_owned());
        }
        parts.join(", ")
    }
}

/// `races.json`: the closes that an exploration found to try.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RacesRecord {
    /// All of them, in the order of drawing.
    pub races: Vec<RaceClassRecord>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaceClassRecord {
    /// The case that stands for it.
    pub case_id: String,
    /// What closes where.
    #[serde(flatten)]
    pub race: RaceRecord,
    /// Whether this run was asked to run it.
    pub selected: bool,
    /// Whether only some dry runs passed any of its points.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub varies: bool,
}

/// A finding, with the oracle that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingRecord {
    /// Which oracle.
    pub oracle: String,
    /// What.
    #[serde(flatten)]
    pub finding: Finding,
}

/// How a pinned case came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRecord {
    /// The verdict it must get.
    pub verdict: Verdict,
    /// The finding it must have.
    pub finding: Option<String>,
    /// Whether both came true.
    pub met: bool,
}

/// A line of `verdicts.jsonl`: one case that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseRecord {
    /// Name of the case's folder.
    pub case_id: String,
    /// The points of the class it stands for, the one it faults first; none for a pair, and of closes
    /// only those that no other case of the run counts.
    pub points: Vec<NodePoint>,
    /// The pair of kills it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<PairRecord>,
    /// Whether only some dry runs passed its points.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub varies: bool,
    /// The closes it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub race: Option<RaceRecord>,
    /// What the oracles said, or `rig_fault`.
    pub verdict: Verdict,
    /// For a pinned case.
    pub pinned: Option<PinRecord>,
    /// Every finding.
    pub findings: Vec<FindingRecord>,
    /// What went wrong with the rig.
    pub rig_fault: Option<String>,
    /// Microseconds by phase.
    pub phase_us: BTreeMap<Phase, u64>,
    /// Microseconds from the case's start to its verdict.
    pub wall_us: u64,
    /// Microseconds from the run's start to the verdict.
    pub ended_us: u64,
    /// Whether the case's folder holds its evidence.
    pub evidence_kept: bool,
}

impl CaseRecord {
    /// What the case counts as: its verdict, or for a pinned case whether it is as pinned.
    pub fn counts_as(&self) -> Verdict {
        match (&self.pinned, self.verdict) {
            (None, verdict) => verdict,
            (Some(pin), _) if pin.met => Verdict::Pass,
            // A pin that could not be put to the test is not broken.
            (Some(_), Verdict::RigFault) => Verdict::RigFault,
            (Some(_), Verdict::NotRun) => Verdict::NotRun,
            (Some(_), _) => Verdict::Fail,
        }
    }

    /// Whether it was judged with its point reached, so that its points are covered.
    pub fn covers(&self) -> bool {
        matches!(self.verdict, Verdict::Pass | Verdict::Fail) && !self.has_unreached_point()
    }

    /// Whether nothing is wrong with it but that a point was not reached.
    pub fn missed_its_point(&self) -> bool {
        self.verdict == Verdict::NotRun && self.has_unreached_point()
    }

    fn has_unreached_point(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|found| found.finding.code == POINT_NOT_REACHED)
    }

    /// The codes of its findings, sorted, each once.
    pub fn finding_codes(&self) -> Vec<&str> {
        let mut codes: Vec<&str> = self
            .findings
            .iter()
            .map(|found| found.finding.code.as_str())
            .collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }
}

/// `verdict.json` of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictRecord {
    /// Format.
    pub version: u32,
    /// Of the whole case.
    pub verdict: Verdict,
    /// Every oracle's; empty after a rig fault.
    pub judgements: Vec<Judgement>,
    /// What went wrong with the rig.
    pub rig_fault: Option<String>,
}

/// The last line of every command with `--json`, and `summary.json` of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SummaryRecord {
    /// The run; none for a command that makes none.
    pub run_id: Option<String>,
    /// Cases that ended.
    pub cases: u64,
    /// Of them, how many were all well.
    pub pass: u64,
    /// With a finding, or not as pinned.
    pub fail: u64,
    /// Whose point was not reached, or that could not be judged.
    pub not_run: u64,
    /// In which the rig went wrong.
    pub rig_fault: u64,
    /// Points that every dry run reached, or that a plan arms.
    pub points_total: u64,
    /// Of them, how many a judged case stands for.
    pub points_covered: u64,
    /// Points that only some dry runs reached, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub varying_total: Option<u64>,
    /// Of them, how many a judged case stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub varying_covered: Option<u64>,
    /// Pairs of kills that were found, with `--depth 2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs_total: Option<u64>,
    /// Of them, how many a judged case stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs_covered: Option<u64>,
    /// Closes at points that were found, where those were tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes_total: Option<u64>,
    /// Of them, how many a judged case stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes_covered: Option<u64>,
    /// What differs from the control, of a comparison; all else is the subject's then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<ComparedRecord>,
    /// Whether it was stopped before its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// Seconds of wall time.
    pub wall_s: f64,
    /// Cases a minute.
    pub cases_per_min: f64,
}
