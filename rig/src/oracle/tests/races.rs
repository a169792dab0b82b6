//! Closes by a fault: what they excuse, and that they excuse nothing else.

use super::{assert_finds, assert_passes, forward};
use crate::evidence::{Evidence, RigEntry};
use crate::oracle::testing::World;
use crate::scenario::ExpectedPayment;

fn closed_by_a_fault(world: &mut World, label: &str, node: &str) {
    world.rig(RigEntry::ForceClosed {
        node: node.into(),
        channel: label.into(),
    });
    world.force_close(label, node, &[]);
}

/// p should be sent; B-C closes by a fault before C gets it, and A's HTLC comes back.
fn failed_for_a_close(label: &str) -> Evidence {
    let mut world = forward();
    let made = world.made("p", &["A", "B", "C"], 1, 50_000_000);
    let upstream = world.add("A", "B", 1, 50_001_000);
    closed_by_a_fault(&mut world, "B-C", "C");
    world.fail("A", "B", upstream);
    world.failed_event(&made);
    if label != "B-C" {
        world.force_close(label, "A", &[]);
    }
    world.live();
    world.rest()
}

#[test]
fn a_fault_that_closes_a_channel_excuses_that_close_and_a_failure() {
    assert_passes(&failed_for_a_close("B-C"));
}

#[test]
fn another_channel_that_closes_besides_is_found() {
    let (message, _) = assert_finds(&failed_for_a_close("A-B"), "close", "unexpected-close");
    assert!(message.contains("A-B closed unexpectedly"), "{message}");
}

#[test]
fn a_channel_that_does_not_close_though_a_fault_asked_for_it_is_found() {
    let mut world = forward();
    world.pay("p", &["A", "B", "C"], 1, 50_000_000);
    world.rig(RigEntry::ForceClosed {
        node: "C".into(),
        channel: "B-C".into(),
    });
    world.live();
    assert_finds(&world.rest(), "close", "missing-close");
}

#[test]
fn what_a_forwarder_loses_by_a_close_is_found() {
    let mut world = forward();
    let made = world.made("p", &["A", "B", "C"], 1, 50_000_000);
    let upstream = world.add("A", "B", 1, 50_001_000);
    let downstream = world.add("B", "C", 1, 50_000_000);
    world.fulfil("B", "C", downstream, 1, 50_000_000);
    closed_by_a_fault(&mut world, "B-C", "B");
    world.fail("A", "B", upstream);
    world.claimed_event(&made);
    world.failed_event(&made);
    world.live();
    assert_finds(&world.rest(), "ledger", "forwarder-loss");
}

#[test]
fn a_sender_that_is_told_nothing_after_a_close_is_found() {
    let mut world = forward();
    world.expect("p", ExpectedPayment::Either);
    world.made("p", &["A", "B", "C"], 1, 50_000_000);
    let upstream = world.add("A", "B", 1, 50_001_000);
    closed_by_a_fault(&mut world, "B-C", "C");
    world.fail("A", "B", upstream);
    world.live();
    assert_finds(&world.rest(), "ledger", "payment-undecided");
}
