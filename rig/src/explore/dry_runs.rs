//! Several dry runs of one scenario: which points it passes every time, and which only sometimes. What several
//! nodes do at once they need not do in the same order again.

use std::collections::BTreeSet;

use faults::NodePoint;

use super::classes::{PointClass, case_id_of, classes_of, unique};
use super::points::{ReachedPoint, canonical};

/// How many dry runs there are at least. All but the first run side by side like cases: alone, nodes keep
/// another order.
pub(super) const LEAST_DRY_RUNS: usize = 5;

/// How many there are if those do not all pass the same points.
pub(super) const MOST_DRY_RUNS: usize = 10;

/// Whether these two passed the same points.
pub(super) fn agree(one: &[ReachedPoint], other: &[ReachedPoint]) -> bool {
    canonical(one) == canonical(other)
}

/// Whether a point was not passed by every one of these runs.
pub(super) fn varies_in(runs: &[Vec<ReachedPoint>]) -> impl Fn(&NodePoint) -> bool {
    let passed: Vec<BTreeSet<&NodePoint>> = runs
        .iter()
        .map(|run| run.iter().map(|reached| &reached.point).collect())
        .collect();
    move |point| passed.iter().any(|run| !run.contains(point))
}

/// The classes of all runs: those of the first, then those that only later ones have. A point that every run
/// passed stands for its class where there is one; a class without one varies.
pub(super) fn classes_of_all(runs: &[Vec<ReachedPoint>], every_point: bool) -> Vec<PointClass> {
    let varies = varies_in(runs);
    let mut known = BTreeSet::new();
    let mut taken = BTreeSet::new();
    let mut classes = Vec::new();
    for run in runs {
        for mut class in classes_of(run, every_point) {
            class.points.retain(|point| known.insert(point.clone()));
            // Keeps the order of those that are alike.
            class.points.sort_by_key(&varies);
            let Some(first) = class.points.first() else {
                continue;
            };
            class.varies = varies(first);
            class.case_id = unique(case_id_of(first), &mut taken);
            classes.push(class);
        }
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::super::testing::reached;
    use super::*;

    #[test]
    fn a_point_that_one_run_did_not_pass_varies_and_never_stands_for_one_that_all_passed() {
        let first = vec![
            reached("A:persist.monitor.after[A-B #1]@1", 1),
            reached("A:send.revoke_and_ack.before[A-B]@1", 1),
            reached("A:send.revoke_and_ack.after[A-B]@1", 1),
        ];
        let second = vec![
            reached("A:send.revoke_and_ack.before[A-B]@1", 1),
            reached("A:send.revoke_and_ack.after[A-B]@1", 1),
            reached("B:persist.monitor.after[A-B #9]@1", 4),
        ];
        let classes = classes_of_all(&[first.clone(), second], false);
        let told: Vec<(String, bool)> = classes
            .iter()
            .map(|class| (class.representative().to_string(), class.varies))
            .collect();
        assert_eq!(
            told,
            [
                ("A:send.revoke_and_ack.before[A-B]@1".to_owned(), false),
                ("A:send.revoke_and_ack.after[A-B]@1".to_owned(), false),
                ("B:persist.monitor.after[A-B #9]@1".to_owned(), true),
            ]
        );
        assert_eq!(classes[0].points.len(), 2);
        assert_eq!(
            classes_of_all(std::slice::from_ref(&first), false),
            classes_of(&first, false)
        );
    }
}
