//! Closes that a scenario has, and those that it has not.

use node_bin::api::UserEvent;

use super::{assert_finds, assert_passes, direct};
use crate::evidence::{Evidence, NodeReport, Source};
use crate::oracle::testing::World;
use crate::scenario::StepKind;

fn close() -> StepKind {
    StepKind::Close {
        channel: "A-B".into(),
        by: "A".into(),
    }
}

fn force_close() -> StepKind {
    StepKind::ForceClose {
        channel: "A-B".into(),
        by: "A".into(),
    }
}

fn mine() -> StepKind {
    StepKind::Mine {
        blocks: 6,
        empty: false,
    }
}

/// A-B is meant to close by such a step, and A closes it by force, after the step has begun or before.
fn closed(kind: StepKind, is_in_time: bool) -> Evidence {
    let mut world = direct();
    world.pay("p", &["A", "B"], 1, 50_000_000);
    world.evidence.plan.scenario.expect.closed = vec!["A-B".into()];
    world.step("end", kind);
    if is_in_time {
        world.begin("end");
    }
    world.force_close("A-B", "A", &[]);
    if !is_in_time {
        world.begin("end");
    }
    world.rest()
}

#[test]
fn a_close_that_a_step_asks_for_or_a_block_brings_passes() {
    assert_passes(&closed(force_close(), true));
    assert_passes(&closed(mine(), true));
}

#[test]
fn a_commitment_in_place_of_a_close_by_agreement_is_found() {
    assert_finds(&closed(close(), true), "close", "forced-close");
}

#[test]
fn a_close_before_the_step_that_asks_for_it_is_found() {
    assert_finds(&closed(force_close(), false), "close", "early-close");
}

#[test]
fn a_close_before_any_block_gives_a_reason_is_found() {
    assert_finds(&closed(mine(), false), "close", "early-close");
}

#[test]
fn a_user_who_is_not_told_of_a_close_is_found() {
    let mut evidence = closed(force_close(), true);
    evidence.trace.retain(|entry| {
        !matches!(&entry.source, Source::Node { node, report: NodeReport::Node(node_bin::api::Report::Event {
            event: UserEvent::ChannelClosed { .. }
        }), .. } if node == "B")
    });
    let (message, _) = assert_finds(&evidence, "close", "close-not-told");
    assert!(message.contains("B never told"), "{message}");
}

#[test]
fn a_closed_channel_that_is_still_listed_for_use_is_found() {
    let open: World = {
        let mut world = direct();
        world.pay("p", &["A", "B"], 1, 50_000_000);
        world
    };
    let listed = open.rest().rest["A"].channels.clone();
    let mut evidence = closed(force_close(), true);
    evidence.rest.get_mut("A").unwrap().channels = listed;
    assert_finds(&evidence, "close", "closed-and-usable");
}
