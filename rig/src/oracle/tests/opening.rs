//! Channels that a step opens: an attempt without a funding transaction is no channel, one with it is.

use node_bin::api::UserEvent;

use super::{assert_finds, assert_passes};
use crate::evidence::Evidence;
use crate::oracle::testing::World;

fn opened() -> World {
    let mut world = World::new(&["A", "B"], &[]);
    world.open_by_step("A", "B");
    world.pay("p", &["A", "B"], 1, 50_000_000);
    world.live();
    world
}

fn closed(channel_id: &str) -> UserEvent {
    UserEvent::ChannelClosed {
        channel: "A-B".into(),
        channel_id: channel_id.into(),
        reason: "DisconnectedPeer".into(),
    }
}

#[test]
fn a_channel_that_a_step_opened_is_judged_like_any_other() {
    assert_passes(&opened().rest());
}

#[test]
fn an_attempt_that_closed_without_a_funding_transaction_is_no_channel() {
    let mut world = opened();
    world.event("A", closed(&"07".repeat(32)));
    assert_passes(&world.rest());
}

#[test]
fn what_is_paid_over_the_channel_that_took_an_attempts_label_counts() {
    let mut world = World::new(&["A", "B"], &[]);
    world.open_by_step("A", "B");
    world.event("A", closed(&"07".repeat(32)));
    world.pay("p", &["A", "B"], 1, 50_000_000);
    world.live();
    assert_passes(&world.rest());
}

#[test]
fn an_attempt_that_closed_though_its_funding_is_on_chain_is_found() {
    let mut world = opened();
    let channel_id = world.channel("A-B").channel_id;
    world.event("B", closed(&channel_id));
    assert_finds(&world.rest(), "close", "unexpected-close");
}

#[test]
fn a_channel_that_never_came_is_found() {
    let world = World::new(&["A", "B"], &[]);
    let mut evidence = world.rest();
    let after = opened().rest();
    evidence.plan.scenario = after.plan.scenario;
    let (message, _) = assert_finds(&evidence, "close", "missing-channel");
    assert!(
        message.contains("neither A nor B ever listed it"),
        "{message}"
    );
}

fn unpublished() -> Evidence {
    let world = World::new(&["A", "B"], &[]);
    let mut evidence = world.rest();
    let after = opened().rest();
    evidence.plan.scenario = after.plan.scenario;
    evidence.channels = after.channels;
    evidence
}

#[test]
fn a_channel_whose_funding_was_never_published_is_found_missing_and_nothing_else_is() {
    let evidence = unpublished();
    let (message, _) = assert_finds(&evidence, "close", "missing-channel");
    assert!(message.contains("is in no block"), "{message}");
    let judgements = crate::oracle::judge_all(&evidence);
    let mut findings = judgements.iter().flat_map(|judgement| &judgement.findings);
    assert!(findings.all(|finding| finding.code == "missing-channel"));
}

#[test]
fn coins_that_an_attempt_without_a_funding_transaction_keeps_are_missed() {
    let mut evidence = unpublished();
    let wallet = &mut evidence.rest.get_mut("A").unwrap().balance;
    wallet.confirmed_sat -= 1_000_500;
    assert_finds(&evidence, "conservation", "value-vanished");
}
