//! Classes of points with no effect between them: one crash stands for all of a class.

use std::collections::{BTreeMap, BTreeSet};

use faults::NodePoint;

use super::points::ReachedPoint;

/// Longest name of a case's folder, in bytes; file systems stop at 255, and a suffix may follow.
const CASE_ID_MAX: usize = 150;

/// Points of one node at which a crash leaves the same behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointClass {
    /// Name of the case that stands for the class.
    pub case_id: String,
    /// The points in the order they are passed; the first stands for all.
    pub points: Vec<NodePoint>,
    /// Whether only some dry runs pass any of them.
    pub varies: bool,
}

impl PointClass {
    /// The point the case kills at.
    pub fn representative(&self) -> &NodePoint {
        // A class is made from its first point.
        &self.points[0]
    }
}

/// What of a class all dry runs passed, and what only some did: both where there are both.
pub(super) fn halves(class: PointClass, varies: impl Fn(&NodePoint) -> bool) -> Vec<PointClass> {
    let (varying, steady): (Vec<_>, Vec<_>) = class.points.into_iter().partition(varies);
    let halves = [(steady, false), (varying, true)];
    let halves = halves.into_iter().filter(|(points, _)| !points.is_empty());
    halves
        .map(|(points, varies)| PointClass {
            case_id: class.case_id.clone(),
            points,
            varies,
        })
        .collect()
}

/// Groups points into classes, in canonical order.
///
/// An effect lies between a `.before` and whatever follows it. Between a `.after` and the `.before`
/// that follows it under the same input the node only computes, and what it computed is lost with
/// it: the two are one class. Points under different inputs never are, for another node or the rig
/// acted between them; but blocks that the node connects one after the other, with nothing else done
/// or heard in between, are one class. With `every_point` each is a class of its own.
pub fn classes_of(points: &[ReachedPoint], every_point: bool) -> Vec<PointClass> {
    let mut by_node: BTreeMap<&str, Vec<&ReachedPoint>> = BTreeMap::new();
    for reached in points {
        by_node
            .entry(&reached.point.node)
            .or_default()
            .push(reached);
    }
    let mut classes: Vec<Vec<NodePoint>> = Vec::new();
    for of_node in by_node.values() {
        let mut previous: Option<&ReachedPoint> = None;
        for reached in of_node {
            let joins = !every_point && previous.is_some_and(|before| same_class(before, reached));
            match classes.last_mut() {
                Some(class) if joins => class.push(reached.point.clone()),
                _ => classes.push(vec![reached.point.clone()]),
            }
            previous = Some(reached);
        }
    }
    classes.sort_unstable();
    let mut taken = BTreeSet::new();
    classes
        .into_iter()
        .map(|points| PointClass {
            case_id: unique(case_id_of(&points[0]), &mut taken),
            points,
            varies: false,
        })
        .collect()
}

fn same_class(first: &ReachedPoint, second: &ReachedPoint) -> bool {
    let computes_between = first.input == second.input
        && first.point.point.name.ends_with(".after")
        && second.point.point.name.ends_with(".before");
    computes_between || only_connects_between(first, second)
}

/// Whether both are points of blocks with nothing between them that a crash would not undo: no write,
/// no message, no broadcast (they have points of their own), no word to the user, and no block that
/// the rig mined meanwhile.
fn only_connects_between(first: &ReachedPoint, second: &ReachedPoint) -> bool {
    let is_block = |reached: &ReachedPoint| reached.point.point.name.starts_with("block.");
    is_block(first) && is_block(second) && first.stretch == second.stretch
}

/// A point as the name of a folder, for example `B.persist.monitor_update.before.A-B-2.1`.
pub fn case_id_of(at: &NodePoint) -> String {
    let mut id = format!("{}.{}.", at.node, at.point.name);
    if !at.point.role.is_empty() {
        id.push_str(&at.point.role);
        id.push('.');
    }
    let mut clean = String::with_capacity(id.len());
    for c in id.chars() {
        if c.is_ascii_alphanumeric() || c == '.' || c == '_' {
            clean.push(c);
        } else if !clean.ends_with('-') {
            clean.push('-');
        }
        if clean.len() >= CASE_ID_MAX {
            break;
        }
    }
    if clean.starts_with('.') {
        clean.insert(0, '-');
    }
    format!("{clean}{}", at.point.hit)
}

pub(super) fn unique(id: String, taken: &mut BTreeSet<String>) -> String {
    let mut candidate = id.clone();
    let mut number = 1;
    while !taken.insert(candidate.clone()) {
        number += 1;
        candidate = format!("{id}_{number}");
    }
    candidate
}

#[cfg(test)]
mod tests {
    use super::super::testing::reached;
    use super::*;

    fn written(classes: &[PointClass]) -> Vec<Vec<String>> {
        classes
            .iter()
            .map(|class| class.points.iter().map(ToString::to_string).collect())
            .collect()
    }

    #[test]
    fn an_after_and_the_next_before_of_the_same_input_are_one_class() {
        let points = [
            reached("B:persist.monitor.before[A-B]", 1),
            reached("B:persist.monitor.after[A-B]", 1),
            reached("B:send.shutdown.before[A-B]", 1),
            reached("B:send.shutdown.after[A-B]", 1),
        ];
        assert_eq!(
            written(&classes_of(&points, false)),
            [
                vec![
                    "B:persist.monitor.after[A-B]@1",
                    "B:send.shutdown.before[A-B]@1"
                ],
                vec!["B:persist.monitor.before[A-B]@1"],
                vec!["B:send.shutdown.after[A-B]@1"],
            ]
        );
        assert_eq!(classes_of(&points, true).len(), 4);
    }

    #[test]
    fn points_of_different_inputs_or_nodes_are_never_one_class() {
        let points = [
            reached("B:persist.monitor.after[A-B]", 1),
            reached("B:send.shutdown.before[A-B]", 2),
            reached("A:send.shutdown.after[A-B]", 2),
            reached("B:persist.manager.before", 2),
        ];
        assert_eq!(classes_of(&points, false).len(), 4);
    }

    #[test]
    fn every_stage_of_a_write_is_a_class_of_its_own() {
        let points = [
            reached("B:persist.monitor_update.before[A-B #2]", 1),
            reached("B:persist.monitor_update.written[A-B #2]", 1),
            reached("B:persist.monitor_update.synced[A-B #2]", 1),
            reached("B:persist.monitor_update.renamed[A-B #2]", 1),
            reached("B:persist.monitor_update.after[A-B #2]", 1),
            reached("B:send.revoke_and_ack.before[A-B]", 1),
        ];
        assert_eq!(classes_of(&points, false).len(), 5);
    }

    #[test]
    fn blocks_that_are_only_connected_are_one_class_and_what_is_done_at_one_ends_it() {
        let block = |text: &str, input, stretch| ReachedPoint {
            stretch,
            ..reached(text, input)
        };
        let points = [
            block("B:block.connected.before[+1]", 1, 0),
            block("B:block.connected.after[+1]", 1, 0),
            block("B:block.connected.before[+2]", 2, 0),
            block("B:persist.monitor_update.before[A-B #7]", 2, 0),
            block("B:persist.monitor_update.after[A-B #7]", 2, 1),
            block("B:block.connected.after[+2]", 2, 1),
            block("B:block.connected.before[+3]", 3, 1),
            // The rig mines here.
            block("B:block.connected.after[+3]", 3, 2),
        ];
        assert_eq!(
            written(&classes_of(&points, false)),
            [
                vec![
                    "B:block.connected.after[+2]@1",
                    "B:block.connected.before[+3]@1"
                ],
                vec!["B:block.connected.after[+3]@1"],
                vec![
                    "B:block.connected.before[+1]@1",
                    "B:block.connected.after[+1]@1",
                    "B:block.connected.before[+2]@1"
                ],
                vec!["B:persist.monitor_update.after[A-B #7]@1"],
                vec!["B:persist.monitor_update.before[A-B #7]@1"],
            ]
        );
    }

    #[test]
    fn another_node_reporting_in_between_does_not_split_a_class() {
        let points = [
            reached("B:persist.monitor.after[A-B]", 1),
            reached("A:block.connected.before[+1]", 9),
            reached("B:send.shutdown.before[A-B]", 1),
        ];
        assert_eq!(classes_of(&points, false).len(), 2);
    }

    #[test]
    fn nested_points_are_kept_apart_because_an_effect_may_lie_between() {
        let points = [
            reached("B:event.payment_sent.given.before[p]", 1),
            reached("B:persist.manager.before", 1),
            reached("B:persist.manager.after", 1),
            reached("B:event.payment_sent.given.after[p]", 1),
        ];
        assert_eq!(classes_of(&points, false).len(), 4);
    }

    #[test]
    fn case_ids_are_fit_for_folders_and_each_is_given_once() {
        let points = [
            reached("B:persist.monitor_update.before[A-B #2]", 1),
            reached("B:persist.monitor_update.before[A-B  2]", 2),
            reached("B:persist.other.before[../../x/y]", 3),
        ];
        let classes = classes_of(&points, true);
        let ids: Vec<&str> = classes.iter().map(|class| class.case_id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "B.persist.monitor_update.before.A-B-2.1",
                "B.persist.monitor_update.before.A-B-2.1_2",
                "B.persist.other.before...-..-x-y.1",
            ]
        );
        let long = reached(&format!("B:persist.other.before[{}]", "x".repeat(900)), 1);
        assert!(case_id_of(&long.point).len() < 200);
    }

    #[test]
    fn the_order_of_classes_does_not_depend_on_the_order_of_arrival() {
        let one = reached("B:persist.manager.before[recv.x A-B]", 1);
        let two = reached("B:persist.manager.before[recv.x B-C]", 2);
        let there = classes_of(&[one.clone(), two.clone()], false);
        let back = classes_of(&[two, one], false);
        assert_eq!(there, back);
    }
}
