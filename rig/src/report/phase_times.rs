//! Where a case's time goes.

use std::collections::BTreeMap;

use crate::evidence::{Phase, Verdict};
use crate::run_store::CaseRecord;

/// The median of each phase in microseconds, over the cases that were judged.
pub fn median_us_by_phase<'a>(
    records: impl IntoIterator<Item = &'a CaseRecord>,
) -> BTreeMap<Phase, u64> {
    let mut by_phase: BTreeMap<Phase, Vec<u64>> = BTreeMap::new();
    for record in records {
        if matches!(record.verdict, Verdict::Pass | Verdict::Fail) {
            for (phase, spent_us) in &record.phase_us {
                by_phase.entry(*phase).or_default().push(*spent_us);
            }
        }
    }
    by_phase
        .into_iter()
        .map(|(phase, mut spent)| {
            let middle = spent.len() / 2;
            let (_, median, _) = spent.select_nth_unstable(middle);
            (phase, *median)
        })
        .collect()
}

/// A phase as a reader calls it.
pub(super) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::SetUp => "set up",
        Phase::Act => "act",
        Phase::Recover => "recover",
        Phase::Settle => "settle",
        Phase::Judge => "judge",
    }
}

/// Microseconds as milliseconds, one decimal below ten.
pub(super) fn milliseconds(spent_us: u64) -> String {
    if spent_us < 10_000 {
        format!("{:.1} ms", spent_us as f64 / 1000.0)
    } else {
        format!("{} ms", (spent_us + 500) / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::testing::case_record;

    #[test]
    fn the_median_is_of_judged_cases_only() {
        let mut records = [
            case_record("1", Verdict::Pass),
            case_record("2", Verdict::Fail),
            case_record("3", Verdict::Pass),
            case_record("4", Verdict::RigFault),
        ];
        for (record, spent_us) in records.iter_mut().zip([10, 30, 20, 9_000_000]) {
            record.phase_us = BTreeMap::from([(Phase::Act, spent_us)]);
        }
        assert_eq!(
            median_us_by_phase(&records),
            BTreeMap::from([(Phase::Act, 20)])
        );
    }
}
