use node_bin::api::{Report, UserEvent, WireMessage};

use super::chain::failed_after;
use super::{assert_finds, assert_passes, direct, forward};
use crate::evidence::{Evidence, NodeReport, RigEntry, Source, TakenOff};
use crate::oracle::testing::{EXPIRY, World};
use crate::scenario::{ExpectedPayment, NodeKind};

/// A pays 50,000,000 msat to C, and B has offered them on.
fn forwarded() -> (World, u64, u64) {
    let mut world = forward();
    world.expect("p", ExpectedPayment::Either);
    world.made("p", &["A", "B", "C"], 1, 50_000_000);
    let upstream = world.add("A", "B", 1, 50_001_000);
    let downstream = world.add("B", "C", 1, 50_000_000);
    (world, upstream, downstream)
}

#[test]
fn a_payment_that_is_claimed_twice_is_found() {
    let mut world = direct();
    let made = world.pay("p", &["A", "B"], 1, 50_000_000);
    let again = world.add("A", "B", 1, 50_000_000);
    world.fulfil("A", "B", again, 1, 50_000_000);
    world.sent_event(&made, 1);
    world.live();
    let (message, _) = assert_finds(&world.rest(), "ledger", "overpaid");
    assert!(
        message.contains("B claimed 100000000 msat of p, which is for 50000000"),
        "{message}"
    );
}

#[test]
fn a_second_htlc_for_one_that_was_taken_is_found_though_it_fails() {
    let (mut world, upstream, downstream) = forwarded();
    let again = world.add("B", "C", 1, 50_000_000);
    world.fail("B", "C", again);
    world.fulfil("B", "C", downstream, 1, 50_000_000);
    world.fulfil("A", "B", upstream, 1, 50_001_000);
    let made = world.evidence.payments[0].clone();
    world.claimed_event(&made);
    world.sent_event(&made, 1);
    world.live();
    let (message, lines) = assert_finds(&world.rest(), "ledger", "forwarded-twice");
    assert!(message.contains("B took 1 HTLCs of"), "{message}");
    assert!(message.contains("and offered 2 for them"), "{message}");
    assert_eq!(lines.len(), 3, "{lines:?}");
}

#[test]
fn a_failure_upstream_before_the_timeout_is_six_deep_is_found() {
    for by in ["B", "C"] {
        assert_passes(&failed_after(by, 5).rest());
        // The sweep of what the timeout gave is a block of its own, in one of the two.
        let (message, _) = assert_finds(&failed_after(by, 3).rest(), "ledger", "failed-too-early");
        assert!(
            message.starts_with("B failed HTLC 0 of A on A-B"),
            "{message}"
        );
    }
}

#[test]
fn a_failure_upstream_while_downstream_may_still_be_claimed_is_found() {
    let (mut world, upstream, downstream) = forwarded();
    world.fail("A", "B", upstream);
    world.fulfil("B", "C", downstream, 1, 50_000_000);
    let made = world.evidence.payments[0].clone();
    world.claimed_event(&made);
    world.failed_event(&made);
    world.live();
    assert_finds(&world.rest(), "ledger", "failed-too-early");
}

#[test]
fn a_failure_upstream_before_downstreams_is_irrevocable_is_found() {
    // C's failure is taken and signed for, and either nobody, B alone, or both have revoked what had the HTLC.
    let failed_upstream_after = |messages: usize| {
        let (mut world, upstream, downstream) = forwarded();
        let failure = WireMessage::UpdateFailHtlc {
            htlc_id: downstream,
        };
        let signed = || WireMessage::CommitmentSigned { htlc_signatures: 0 };
        let revoked = || WireMessage::RevokeAndAck {};
        let exchange = [
            ("C", "B", failure),
            ("C", "B", signed()),
            ("B", "C", revoked()),
            ("B", "C", signed()),
            ("C", "B", revoked()),
        ];
        for (place, (from, to, message)) in exchange.into_iter().enumerate() {
            if place == messages {
                world.fail("A", "B", upstream);
            }
            world.message(from, to, "B-C", message);
        }
        if messages == 5 {
            world.fail("A", "B", upstream);
        }
        let made = world.evidence.payments[0].clone();
        world.failed_event(&made);
        world.live();
        world.rest()
    };
    assert_passes(&failed_upstream_after(5));
    for messages in 0..5 {
        let evidence = failed_upstream_after(messages);
        let (_, lines) = assert_finds(&evidence, "ledger", "failed-too-early");
        assert!(lines[1].contains("Since("), "{lines:?}");
    }
}

#[test]
fn a_failure_upstream_before_the_node_was_handed_the_sixth_block_is_found_though_it_is_mined() {
    let handed = |blocks_left: u32| {
        let (mut world, upstream) = super::chain::under_way();
        world.expect("p", ExpectedPayment::Failed);
        super::chain::time_out(&mut world, "C");
        let timed_out = world.evidence.chain.tip_height;
        for _ in 0..10 {
            world.mine(Vec::new());
        }
        world.connect("B", timed_out + 5 - blocks_left);
        world.fail("A", "B", upstream);
        let made = world.evidence.payments[0].clone();
        world.failed_event(&made);
        world.live();
        world.rest()
    };
    assert_passes(&handed(0));
    let (message, _) = assert_finds(&handed(1), "ledger", "failed-too-early");
    assert!(message.contains("B failed HTLC 0 of A on A-B"), "{message}");
}

#[test]
fn a_failure_upstream_after_six_confirmations_is_right_though_a_reorganisation_takes_them_off() {
    let failed_with = |confirmations: u32| {
        let (mut world, upstream) = super::chain::under_way();
        world.expect("p", ExpectedPayment::Failed);
        let confirmed = world.evidence.chain.tip_height + 1;
        for _ in 0..6 {
            world.mine(Vec::new());
        }
        world.connect("B", confirmed + confirmations - 1);
        world.fail("A", "B", upstream);
        let made = world.evidence.payments[0].clone();
        world.failed_event(&made);
        let reorged = world.evidence.trace.len();
        world.rig(RigEntry::Reorged {
            height: confirmed + 6,
            blocks: 6,
            taken_off: Vec::new(),
        });
        super::chain::time_out(&mut world, "C");
        world.live();
        let mut evidence = world.rest();
        let txids = txids_of("B", &evidence);
        let Source::Rig {
            did: RigEntry::Reorged { taken_off, .. },
        } = &mut evidence.trace[reorged].source
        else {
            panic!("that is the reorganisation's place");
        };
        let height = confirmed;
        taken_off.push(TakenOff { height, txids });
        evidence
    };
    assert_passes(&failed_with(6));
    assert_finds(&failed_with(5), "ledger", "failed-too-early");
}

/// All that the node published.
fn txids_of(node: &str, evidence: &Evidence) -> Vec<String> {
    let reports = evidence
        .trace
        .iter()
        .filter_map(|entry| match &entry.source {
            Source::Node {
                node: of,
                report: NodeReport::Node(Report::Broadcast { transactions, .. }),
                ..
            } if of == node => Some(transactions),
            _ => None,
        });
    reports.flatten().map(|made| made.txid.clone()).collect()
}

#[test]
fn an_early_fail_back_is_no_failure_too_early() {
    let early = |blocks_left: u32| {
        let (mut world, upstream) = super::chain::under_way();
        world.expect("p", ExpectedPayment::Failed);
        while world.evidence.chain.tip_height + blocks_left < EXPIRY {
            world.mine(Vec::new());
        }
        world.fail("A", "B", upstream);
        let made = world.evidence.payments[0].clone();
        world.failed_event(&made);
        super::chain::time_out(&mut world, "B");
        world.live();
        world.rest()
    };
    assert_passes(&early(3));
    assert_finds(&early(4), "ledger", "failed-too-early");
}

/// A paid C over B, which is of this kind; its user was told so with these fees.
fn earned(kind: NodeKind, fees_msat: &[Option<u64>]) -> World {
    let mut world = forward();
    let nodes = &mut world.evidence.plan.scenario.nodes;
    nodes.get_mut("B").unwrap().kind = kind;
    world.pay("p", &["A", "B", "C"], 1, 50_000_000);
    for fee_msat in fees_msat {
        tell_forwarded(&mut world, *fee_msat);
    }
    world.live();
    world
}

fn tell_forwarded(world: &mut World, fee_msat: Option<u64>) {
    let event = UserEvent::PaymentForwarded {
        inbound: "A-B".into(),
        outbound: "B-C".into(),
        fee_msat,
        from_onchain: false,
    };
    world.event("B", event);
}

#[test]
fn a_forward_that_a_unified_node_never_tells_is_found() {
    let world = earned(NodeKind::Unified, &[]);
    let (message, _) = assert_finds(&world.rest(), "ledger", "forward-untold");
    assert!(
        message.contains("forwarded 1 HTLCs that were claimed on B-C and its user was told of 0"),
        "{message}"
    );
}

#[test]
fn a_forward_may_be_told_twice_and_by_a_stock_node_not_at_all() {
    assert_passes(&earned(NodeKind::Unified, &[Some(1000)]).rest());
    assert_passes(&earned(NodeKind::Unified, &[Some(1000), Some(1000)]).rest());
    assert_passes(&earned(NodeKind::Unified, &[None]).rest());
    assert_passes(&earned(NodeKind::Stock, &[]).rest());
}

#[test]
fn a_forward_that_is_told_with_a_fee_that_it_did_not_leave_is_found() {
    for kind in [NodeKind::Unified, NodeKind::Stock] {
        let world = earned(kind, &[Some(1001)]);
        let (message, _) = assert_finds(&world.rest(), "ledger", "forwarded-wrong-fee");
        assert!(message.contains("earned 1001 msat"), "{message}");
    }
}

#[test]
fn a_forward_that_is_told_though_it_failed_is_found() {
    let mut world = forward();
    world.expect("p", ExpectedPayment::Failed);
    world.pay_in_vain("p", &["A", "B", "C"], 1, 50_000_000);
    tell_forwarded(&mut world, Some(1000));
    world.live();
    let (message, _) = assert_finds(&world.rest(), "ledger", "forwarded-not-claimed");
    assert!(message.contains("told of a forward to B-C"), "{message}");
}
