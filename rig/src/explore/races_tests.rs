//! Which closes a scenario's races make.

use faults::{Action, NodePoint};

use super::points::ReachedPoint;
use super::races::{RaceClass, drawn, race_classes};
use super::testing::{forward_scenario, reached};
use crate::scenario::{NodeKind, Race, Scenario};

/// One input: a write with its stages, a message, another write.
fn points() -> Vec<ReachedPoint> {
    vec![
        reached("B:persist.monitor_update.before[A-B #2]", 1),
        reached("B:persist.monitor_update.written[A-B #2]", 1),
        reached("B:persist.monitor_update.after[A-B #2]", 1),
        reached("B:send.revoke_and_ack.before[A-B]", 1),
        reached("B:send.revoke_and_ack.after[A-B]", 1),
        reached("B:persist.monitor_update.before[A-B #3]", 2),
    ]
}

fn raced(kind: NodeKind) -> (Scenario, Race) {
    let mut scenario = forward_scenario();
    if let Some(node) = scenario.nodes.get_mut("B") {
        node.kind = kind;
    }
    let race = Race {
        at: "B".to_owned(),
        from: None,
        close: vec![
            vec!["A-B".to_owned()],
            vec!["A-B".to_owned(), "B-C".to_owned()],
        ],
    };
    (scenario, race)
}

/// The classes whose case's name ends so, by the numbers of their points.
fn sizes(classes: &[RaceClass], ending: &str) -> Vec<usize> {
    let mut found: Vec<(NodePoint, usize)> = classes
        .iter()
        .filter(|class| class.case_id.ends_with(ending))
        .map(|class| (class.points[0].clone(), class.points.len()))
        .collect();
    let order = points();
    let place = |at: &NodePoint| order.iter().position(|reached| reached.point == *at);
    found.sort_by_key(|(at, _)| place(at));
    found.into_iter().map(|(_, size)| size).collect()
}

#[test]
fn every_group_closes_by_either_side_with_and_without_a_kill() {
    let (scenario, race) = raced(NodeKind::Unified);
    let classes = race_classes(&scenario, &race, &points(), |_| false, true);
    // Six points, two groups, four ways.
    assert_eq!(classes.len(), 48);
    let named = |ending: &str| {
        let mut classes = classes.iter();
        let class = classes
            .find(|class| class.case_id.ends_with(ending))
            .unwrap();
        match &class.fault().action {
            Action::Close { closes, kill } => {
                let closes = closes
                    .iter()
                    .map(|one| format!("{} by {}", one.channel, one.by));
                (closes.collect::<Vec<_>>().join(", "), *kill)
            }
            other => panic!("{other:?}"),
        }
    };
    let both = "A-B by A, B-C by C".to_owned();
    assert_eq!(named(".close-A-B_B-C-by-peer-kill"), (both, true));
    assert_eq!(named(".close-A-B-by-us"), ("A-B by B".to_owned(), false));
}

#[test]
fn points_at_which_a_close_meets_the_same_world_are_one_class() {
    let (scenario, race) = raced(NodeKind::Unified);
    let classes = race_classes(&scenario, &race, &points(), |_| false, false);
    // The peer has heard the same up to the message.
    assert_eq!(sizes(&classes, ".close-A-B-by-peer"), [4, 1, 1]);
    // The node takes the close when the effect under way is done.
    assert_eq!(sizes(&classes, ".close-A-B-by-us"), [3, 2, 1]);
    // With a kill it is what the kill leaves behind.
    assert_eq!(sizes(&classes, ".close-A-B-by-us-kill"), [1, 1, 2, 1, 1]);
    let (scenario, race) = raced(NodeKind::Stock);
    let classes = race_classes(&scenario, &race, &points(), |_| false, false);
    // It takes nothing in before it has done with an input.
    assert_eq!(sizes(&classes, ".close-A-B-by-us"), [5, 1]);
}

#[test]
fn a_point_that_varies_stands_for_a_close_only_where_no_steady_one_does() {
    let (scenario, race) = raced(NodeKind::Unified);
    let is_message = |point: &NodePoint| point.point.name.starts_with("send.");
    let all = points();
    let classes = race_classes(&scenario, &race, &all, is_message, false);
    let ending = ".close-A-B-by-us-kill";
    let of_kind = classes
        .iter()
        .filter(|class| class.case_id.ends_with(ending));
    let told: Vec<(String, bool)> = of_kind
        .map(|class| (class.points[0].point.name.clone(), class.varies))
        .collect();
    // The message's `.before` is one class with the end of the write before it.
    assert_eq!(told.iter().filter(|(_, varies)| *varies).count(), 1);
    assert!(told.contains(&("persist.monitor_update.after".to_owned(), false)));
    assert!(told.contains(&("send.revoke_and_ack.after".to_owned(), true)));
}

#[test]
fn a_larger_budget_contains_a_smaller_one() {
    let ids = |count: u32| {
        (0..count)
            .map(|id| format!("case-{id}"))
            .collect::<Vec<_>>()
    };
    let of_ten = drawn(ids(10), 7);
    let of_nine: Vec<String> = drawn(ids(9), 7);
    let without_last: Vec<String> = of_ten.into_iter().filter(|id| id != "case-9").collect();
    assert_eq!(of_nine, without_last);
}
