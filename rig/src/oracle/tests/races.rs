//! Closes by a fault: what they excuse, and that they excuse nothing else.

use super::chain::on_chain;
use super::{assert_finds, assert_passes, direct, forward};
use crate::evidence::{Evidence, RigEntry};
use crate::oracle::testing::{Ending, World};
use crate::scenario::{ExpectedPayment, StepKind};

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

/// p is held by B, whose user does this with it; A-B closes by a fault, and p ends like this.
fn decided_in_a_race(kind: StepKind, expected: ExpectedPayment, ending: Ending) -> Evidence {
    let mut world = direct();
    world.expect("p", expected);
    world.step("decide", kind);
    let made = world.made("p", &["A", "B"], 1, 50_000_000);
    world.add("A", "B", 1, 50_000_000);
    world.begin("decide");
    world.end("decide");
    world.rig(RigEntry::ForceClosed {
        node: "A".into(),
        channel: "A-B".into(),
    });
    world.force_close("A-B", "A", &[on_chain(50_000_000, true, ending)]);
    match ending {
        Ending::Preimage => {
            world.claimed_event(&made);
            world.sent_event(&made, 1);
        }
        _ => {
            world.failed_event(&made);
        }
    }
    world.rest()
}

fn claim() -> StepKind {
    StepKind::Claim {
        payment: "p".into(),
    }
}

fn fail() -> StepKind {
    StepKind::Fail {
        payment: "p".into(),
    }
}

#[test]
fn a_payment_that_its_user_claimed_before_a_close_by_a_fault_has_to_be_sent() {
    let sent = ExpectedPayment::Sent;
    assert_passes(&decided_in_a_race(claim(), sent, Ending::Preimage));
    let failed = decided_in_a_race(claim(), sent, Ending::Timeout);
    assert_finds(&failed, "ledger", "payment-outcome");
}

#[test]
fn a_payment_that_its_user_refused_before_a_close_by_a_fault_is_not_claimed() {
    let failed = ExpectedPayment::Failed;
    assert_passes(&decided_in_a_race(fail(), failed, Ending::Timeout));
    let sent = decided_in_a_race(fail(), failed, Ending::Preimage);
    assert_finds(&sent, "ledger", "payment-outcome");
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
