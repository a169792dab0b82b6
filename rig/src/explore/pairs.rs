//! Second kills: the points that a killed node's next life passes between its start and the moment it is
//! back, and the pairs of a first and a second kill that follow. Owns which pairs there are and in
//! which order they are drawn.

use std::collections::BTreeSet;

use bitcoin::hashes::{Hash, sha256};
use faults::{GateReport, NodePoint};

use super::classes::{PointClass, classes_of, unique};
use super::points::{ReachedPoint, Stretches, phase_begun};
use crate::evidence::{Evidence, NodeReport, Phase, RigEntry, Source};

/// Longest part of a case's name that tells of the first kill, in bytes.
const FIRST_ID_MAX: usize = 80;

/// A class of first kills with a class of second ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointPair {
    /// Name of the case that stands for the pair.
    pub case_id: String,
    /// Where the first life is killed.
    pub first: NodePoint,
    /// Where the second one is, the first of these standing for all.
    pub second: Vec<NodePoint>,
}

/// The points of the killed node's second life from its start until it is connected again and nothing is
/// under way, where the recovery ends.
pub fn recovery_points(evidence: &Evidence) -> Vec<ReachedPoint> {
    let Some(killed) = evidence.plan.faults.first().map(|fault| &fault.at.node) else {
        return Vec::new();
    };
    let mut started = false;
    let mut points = Vec::new();
    let mut stretches = Stretches::default();
    for entry in &evidence.trace {
        match &entry.source {
            Source::Rig {
                did: RigEntry::Started { node, life: 1, .. },
            } if node == killed => started = true,
            _ if started && phase_begun(entry).is_some_and(|phase| phase != Phase::Recover) => {
                break;
            }
            _ => {}
        }
        stretches.pass(&entry.source);
        if let Source::Node {
            node,
            life: 1,
            report: NodeReport::Gate(GateReport::Point { point, input }),
        } = &entry.source
            && node == killed
        {
            points.push(ReachedPoint {
                point: NodePoint {
                    node: node.clone(),
                    point: point.clone(),
                },
                input: *input,
                stretch: stretches.of(node),
                seq: entry.seq,
            });
        }
    }
    points
}

/// The pairs of these first kills, each with the points of the life after it.
pub fn pairs_of(
    first_kills: &[(PointClass, Vec<ReachedPoint>)],
    every_point: bool,
) -> Vec<PointPair> {
    let mut taken = BTreeSet::new();
    let mut pairs = Vec::new();
    for (first, recovery) in first_kills {
        for second in classes_of(recovery, every_point) {
            let id = format!("{}.then.{}", shortened(&first.case_id), second.case_id);
            pairs.push(PointPair {
                case_id: unique(id, &mut taken),
                first: first.representative().clone(),
                second: second.points,
            });
        }
    }
    pairs
}

/// In the order in which they are drawn: any, but always the same for a seed, and for each pair the same
/// whatever others there are, so that shares of a partition draw as one would.
pub fn drawn(mut pairs: Vec<PointPair>, seed: u64) -> Vec<PointPair> {
    pairs.sort_by_cached_key(|pair| {
        let lot = format!("{seed} {}", pair.case_id);
        sha256::Hash::hash(lot.as_bytes()).to_byte_array()
    });
    pairs
}

/// Both parts together have to be fit for a folder's name.
fn shortened(case_id: &str) -> &str {
    let mut end = case_id.len().min(FIRST_ID_MAX);
    while !case_id.is_char_boundary(end) {
        end -= 1;
    }
    &case_id[..end]
}

#[cfg(test)]
mod tests {
    use super::super::testing::reached;
    use super::*;

    fn class(case_id: &str, at: &str) -> PointClass {
        PointClass {
            varies: false,
            case_id: case_id.to_owned(),
            points: vec![at.parse().unwrap()],
        }
    }

    fn two() -> Vec<PointPair> {
        let recovery = vec![
            reached("B:persist.monitor.before[A-B]", 1),
            reached("B:persist.monitor.after[A-B]", 1),
            reached("B:send.channel_reestablish.before[A-B]", 1),
        ];
        let firsts = [
            (class("B.x.1", "B:block.connected.before[+1]"), recovery),
            (class("B.y.1", "B:block.connected.after[+1]"), Vec::new()),
        ];
        pairs_of(&firsts, false)
    }

    #[test]
    fn a_pair_is_a_first_kill_with_a_class_of_the_next_life() {
        let pairs = two();
        assert_eq!(pairs.len(), 2);
        assert_eq!(pairs[0].case_id, "B.x.1.then.B.persist.monitor.after.A-B.1");
        assert_eq!(pairs[0].first.to_string(), "B:block.connected.before[+1]@1");
        assert_eq!(pairs[0].second.len(), 2);
    }

    #[test]
    fn the_order_of_drawing_follows_from_the_seed_alone() {
        let ids = |pairs: Vec<PointPair>| -> Vec<String> {
            pairs.into_iter().map(|pair| pair.case_id).collect()
        };
        let mut reversed = two();
        reversed.reverse();
        assert_eq!(ids(drawn(two(), 7)), ids(drawn(reversed, 7)));
        let orders: BTreeSet<Vec<String>> = (0..20).map(|seed| ids(drawn(two(), seed))).collect();
        assert_eq!(orders.len(), 2);
    }

    #[test]
    fn the_name_of_a_pair_is_fit_for_a_folder_however_long_its_points() {
        let long = format!("B:persist.other.before[{}]", "x".repeat(900));
        let firsts = [(
            class(&"y".repeat(150), "B:block.connected.after[+1]"),
            vec![reached(&long, 1)],
        )];
        let pairs = pairs_of(&firsts, false);
        assert!(pairs[0].case_id.len() < 250, "{}", pairs[0].case_id.len());
    }
}
