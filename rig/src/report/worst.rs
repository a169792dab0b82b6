//! Failures in groups of the same kind, the worst first.

use std::collections::BTreeMap;

use super::RunReport;
use crate::evidence::Verdict;
use crate::run_store::CaseRecord;

/// Findings by gravity: money lost, then what explains most of the rest (a channel closed, a node
/// dead), then money stuck. Any other comes last.
const GRAVITY: &[&str] = &[
    "forwarder-loss",
    "claimed-not-paid",
    "paid-not-claimed",
    "mpp-partial",
    "value-vanished",
    "value-created",
    "terminal-flip",
    "htlc-double-claim",
    "wrong-preimage",
    "revoked-commitment",
    "unexpected-close",
    "node-died",
    "unclaimed-output",
    "pending-htlc",
    "payment-undecided",
    "payment-outcome",
    "dead-channel",
];

/// Cases with the same findings but for numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureGroup {
    /// The gravest finding's code, or `rig-fault`, `not-run`, `not-as-pinned`.
    pub code: String,
    /// The first case's message.
    pub message: String,
    /// The first case's lines of evidence.
    pub lines: Vec<String>,
    /// Codes of other findings of the first case.
    pub besides: Vec<String>,
    /// Every case, the first being the one quoted.
    pub case_ids: Vec<String>,
}

/// All cases that are not well, grouped; at most `limit` groups.
pub fn worst_failures(report: &RunReport, limit: usize) -> Vec<FailureGroup> {
    let mut groups: BTreeMap<(usize, String, String), FailureGroup> = BTreeMap::new();
    for record in report.not_well() {
        let group = describe(record);
        let key = (
            gravity(&group.code),
            group.code.clone(),
            shape(&group.message),
        );
        groups
            .entry(key)
            .and_modify(|known| known.case_ids.push(record.case_id.clone()))
            .or_insert(group);
    }
    let mut worst: Vec<((usize, String, String), FailureGroup)> = groups.into_iter().collect();
    // Of the same gravity the frequent ones first; the sort is stable.
    worst.sort_by_key(|((gravity, ..), group)| (*gravity, usize::MAX - group.case_ids.len()));
    worst
        .into_iter()
        .take(limit)
        .map(|(_, group)| group)
        .collect()
}

fn describe(record: &CaseRecord) -> FailureGroup {
    let mut group = FailureGroup {
        code: String::new(),
        message: String::new(),
        lines: Vec::new(),
        besides: Vec::new(),
        case_ids: vec![record.case_id.clone()],
    };
    if let Some(reason) = &record.rig_fault {
        group.code = "rig-fault".to_owned();
        group.message = reason.clone();
        return group;
    }
    let gravest = record
        .findings
        .iter()
        .min_by_key(|found| gravity(&found.finding.code));
    match (gravest, &record.pinned) {
        (Some(found), _) => {
            group.code = found.finding.code.clone();
            group.message = found.finding.message.clone();
            group.lines = found.finding.lines.clone();
            group.besides = record
                .finding_codes()
                .into_iter()
                .filter(|code| *code != group.code)
                .map(str::to_owned)
                .collect();
        }
        (None, Some(pin)) if record.counts_as() == Verdict::Fail => {
            group.code = "not-as-pinned".to_owned();
            group.message = format!(
                "the case is pinned as {:?}{} and came out as {:?}",
                pin.verdict,
                pin.finding
                    .as_ref()
                    .map(|code| format!(" with {code}"))
                    .unwrap_or_default(),
                record.verdict
            );
        }
        (None, _) => {
            group.code = "not-run".to_owned();
            group.message = "it could not be judged, and no oracle says why".to_owned();
        }
    }
    group
}

fn gravity(code: &str) -> usize {
    GRAVITY
        .iter()
        .position(|known| *known == code)
        .unwrap_or(GRAVITY.len())
}

/// A message without its numbers and identifiers, so that two of the same kind are equal.
fn shape(message: &str) -> String {
    let words = message.split_whitespace().map(|word| {
        let long_hex = word.len() >= 8 && word.chars().any(|c| c.is_ascii_digit());
        if long_hex {
            return "#".to_owned();
        }
        let mut shaped = String::with_capacity(word.len());
        for c in word.chars() {
            if !c.is_ascii_digit() {
                shaped.push(c);
            } else if !shaped.ends_with('#') {
                shaped.push('#');
            }
        }
        shaped
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{finding, report_of};

    #[test]
    fn messages_that_differ_in_numbers_only_are_one_group_and_losses_come_first() {
        let report = report_of(vec![
            finding("one", "unexpected-close", "B closed A-B at update 2"),
            finding("two", "unexpected-close", "B closed A-B at update 17"),
            finding("three", "forwarder-loss", "B lost 50000000 msat"),
        ]);
        let worst = worst_failures(&report, 10);
        let short: Vec<(&str, usize)> = worst
            .iter()
            .map(|group| (group.code.as_str(), group.case_ids.len()))
            .collect();
        assert_eq!(short, [("forwarder-loss", 1), ("unexpected-close", 2)]);
        assert_eq!(worst_failures(&report, 1).len(), 1);
    }
}
