use node_bin::api::{UserEvent, WireMessage};

use super::{
    assert_finds, assert_not_run, assert_passes, direct, forward, good_direct, good_forward,
    judgement,
};
use crate::evidence::{Evidence, NodeReport, RigEntry, Source, Verdict};
use crate::oracle::testing::{World, payment_hash, preimage};
use crate::scenario::ExpectedPayment;

/// Takes out the entries for which this holds.
fn without_events(evidence: &mut Evidence, is_out: impl Fn(&str, &UserEvent) -> bool) {
    evidence.trace.retain(|entry| match &entry.source {
        Source::Node {
            node,
            report: NodeReport::Node(node_bin::api::Report::Event { event }),
            ..
        } => !is_out(node, event),
        _ => true,
    });
}

/// A world in which the sender was told both ends.
pub fn flipped() -> Evidence {
    let mut world = direct();
    let made = world.pay("p", &["A", "B"], 1, 50_000_000);
    world.restart("A");
    world.failed_event(&made);
    world.live();
    world.rest()
}

#[test]
fn a_payment_that_should_be_sent_and_failed_is_found() {
    let mut world = direct();
    world.pay_in_vain("p", &["A", "B"], 1, 50_000_000);
    world.live();
    let (message, _) = assert_finds(&world.rest(), "ledger", "payment-outcome");
    assert!(
        message.contains("p should have been sent and failed (RetriesExhausted)"),
        "{message}"
    );
}

#[test]
fn a_payment_that_ended_otherwise_than_expected_is_told_with_the_closes_on_its_way() {
    let mut world = direct();
    world.pay_in_vain("p", &["A", "B"], 1, 50_000_000);
    let channel = world.channel("A-B");
    for (label, reason) in [
        (channel.label, "OutdatedChannelManager"),
        ("B-C".into(), "other"),
    ] {
        world.event(
            "B",
            UserEvent::ChannelClosed {
                channel: label,
                channel_id: channel.channel_id.clone(),
                reason: reason.into(),
            },
        );
    }
    world.force_close("A-B", "B", &[]);
    let (_, lines) = assert_finds(&world.rest(), "ledger", "payment-outcome");
    let closes: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("closed"))
        .collect();
    let expected = "A-B was closed: B (life 0) says OutdatedChannelManager";
    assert_eq!(closes[..1], [expected], "{lines:?}");
    assert!(
        !lines.iter().any(|line| line.contains("other")),
        "{lines:?}"
    );
}

#[test]
fn a_payment_that_should_fail_and_was_sent_is_found() {
    let mut evidence = good_direct();
    let expect = &mut evidence.plan.scenario.expect.payments;
    expect.insert("p".into(), ExpectedPayment::Failed);
    assert_finds(&evidence, "ledger", "payment-outcome");
}

#[test]
fn a_payment_that_should_fail_and_does_passes() {
    let mut world = forward();
    world.expect("p", ExpectedPayment::Failed);
    world.pay_in_vain("p", &["A", "B", "C"], 1, 50_000_000);
    world.live();
    assert_passes(&world.rest());
}

#[test]
fn a_sender_that_is_never_told_is_found() {
    let mut evidence = good_direct();
    without_events(&mut evidence, |_, event| {
        matches!(event, UserEvent::PaymentSent { .. })
    });
    assert_finds(&evidence, "ledger", "payment-undecided");
}

#[test]
fn a_refused_payment_without_htlcs_needs_no_event() {
    let mut world = direct();
    world.made("p", &["A", "B"], 1, 50_000_000);
    world.expect("p", ExpectedPayment::Either);
    world.rig(RigEntry::Refused {
        node: "A".into(),
        method: "pay".into(),
        message: "no route".into(),
    });
    world.live();
    let mut evidence = world.rest();
    assert_passes(&evidence);
    let expect = &mut evidence.plan.scenario.expect.payments;
    expect.insert("p".into(), ExpectedPayment::Sent);
    assert_finds(&evidence, "ledger", "payment-outcome");
}

#[test]
fn a_sender_told_paid_whose_receiver_never_claimed_is_found() {
    let mut world = direct();
    let made = world.made("p", &["A", "B"], 1, 50_000_000);
    let id = world.add("A", "B", 1, 50_000_000);
    world.fail("A", "B", id);
    world.sent_event(&made, 1);
    world.live();
    let (message, _) = assert_finds(&world.rest(), "ledger", "paid-not-claimed");
    assert!(
        message.contains("none of its HTLCs was claimed"),
        "{message}"
    );
}

#[test]
fn a_receiver_that_is_never_told_of_its_money_is_found() {
    let mut evidence = good_direct();
    without_events(&mut evidence, |_, event| {
        matches!(
            event,
            UserEvent::PaymentClaimed {
                amount_msat: 50_000_000,
                ..
            }
        )
    });
    let (message, _) = assert_finds(&evidence, "ledger", "paid-not-claimed");
    assert!(message.contains("its user was never told"), "{message}");
}

#[test]
fn a_claim_whose_sender_was_told_of_failure_names_the_loss() {
    let mut world = direct();
    let made = world.made("p", &["A", "B"], 1, 50_000_000);
    let id = world.add("A", "B", 1, 50_000_000);
    world.fulfil("A", "B", id, 1, 50_000_000);
    world.claimed_event(&made);
    world.failed_event(&made);
    world.live();
    let (message, _) = assert_finds(&world.rest(), "ledger", "claimed-not-paid");
    assert!(message.contains("A lost 50000000 msat"), "{message}");
}

#[test]
fn a_receiver_told_claimed_without_a_claimed_htlc_is_found() {
    let mut world = direct();
    world.expect("p", ExpectedPayment::Either);
    let made = world.pay_in_vain("p", &["A", "B"], 1, 50_000_000);
    world.claimed_event(&made);
    world.live();
    let (message, _) = assert_finds(&world.rest(), "ledger", "claimed-not-paid");
    assert!(message.contains("B lost 50000000 msat"), "{message}");
}

#[test]
fn a_forwarder_that_paid_and_was_not_paid_is_named_with_its_loss() {
    let mut world = forward();
    world.expect("p", ExpectedPayment::Either);
    let made = world.made("p", &["A", "B", "C"], 1, 50_000_000);
    let upstream = world.add("A", "B", 1, 50_001_000);
    let downstream = world.add("B", "C", 1, 50_000_000);
    world.fulfil("B", "C", downstream, 1, 50_000_000);
    world.fail("A", "B", upstream);
    world.claimed_event(&made);
    world.failed_event(&made);
    world.live();
    let evidence = world.rest();
    let (message, lines) = assert_finds(&evidence, "ledger", "forwarder-loss");
    assert!(
        message.contains("B paid 50000000 msat downstream"),
        "{message}"
    );
    assert!(message.contains("it lost 50000000 msat"), "{message}");
    assert_eq!(lines.len(), 3);
    assert_finds(&evidence, "ledger", "claimed-not-paid");
}

#[test]
fn a_forwarder_that_was_paid_and_did_not_pay_is_named() {
    let mut world = forward();
    let made = world.made("p", &["A", "B", "C"], 1, 50_000_000);
    let upstream = world.add("A", "B", 1, 50_001_000);
    let downstream = world.add("B", "C", 1, 50_000_000);
    world.fail("B", "C", downstream);
    world.fulfil("A", "B", upstream, 1, 50_001_000);
    world.sent_event(&made, 1);
    world.live();
    let evidence = world.rest();
    let (message, _) = assert_finds(&evidence, "ledger", "forwarder-gain");
    assert!(message.contains("it kept 50001000 msat"), "{message}");
    assert_finds(&evidence, "ledger", "paid-not-claimed");
}

#[test]
fn a_payment_that_is_claimed_in_part_only_is_found() {
    let mut world = World::new(
        &["A", "B", "C", "D"],
        &[("A", "B"), ("A", "C"), ("B", "D"), ("C", "D")],
    );
    let made = world.made("p", &["A", "B", "D"], 1, 50_000_000);
    for (place, middle) in ["B", "C"].into_iter().enumerate() {
        let upstream = world.add("A", middle, 1, 25_001_000);
        let downstream = world.add(middle, "D", 1, 25_000_000);
        if place == 0 {
            world.fulfil(middle, "D", downstream, 1, 25_000_000);
            world.fulfil("A", middle, upstream, 1, 25_001_000);
        } else {
            world.fail(middle, "D", downstream);
            world.fail("A", middle, upstream);
        }
    }
    world.claimed_event(&made);
    world.sent_event(&made, 1);
    world.live();
    let (message, _) = assert_finds(&world.rest(), "ledger", "mpp-partial");
    assert!(
        message.contains("D claimed 25000000 of 50000000 msat"),
        "{message}"
    );
}

#[test]
fn a_part_that_fails_and_is_tried_again_is_no_partial_claim() {
    let mut world = direct();
    let made = world.made("p", &["A", "B"], 1, 50_000_000);
    let first = world.add("A", "B", 1, 50_000_000);
    world.fail("A", "B", first);
    let second = world.add("A", "B", 1, 50_000_000);
    world.fulfil("A", "B", second, 1, 50_000_000);
    world.claimed_event(&made);
    world.sent_event(&made, 1);
    world.live();
    assert_passes(&world.rest());
}

#[test]
fn a_sender_told_both_ends_is_found_in_any_order() {
    assert_finds(&flipped(), "ledger", "terminal-flip");
    let mut world = direct();
    let made = world.made("p", &["A", "B"], 1, 50_000_000);
    let id = world.add("A", "B", 1, 50_000_000);
    world.failed_event(&made);
    world.restart("A");
    world.fulfil("A", "B", id, 1, 50_000_000);
    world.claimed_event(&made);
    world.sent_event(&made, 1);
    world.live();
    assert_finds(&world.rest(), "ledger", "terminal-flip");
}

#[test]
fn the_same_event_again_after_a_restart_is_no_finding() {
    let mut world = direct();
    let made = world.pay("p", &["A", "B"], 1, 50_000_000);
    world.restart("A");
    world.sent_event(&made, 1);
    world.restart("B");
    world.claimed_event(&made);
    world.live();
    assert_passes(&world.rest());
}

#[test]
fn a_preimage_that_does_not_fit_is_found_in_message_and_event() {
    let mut world = direct();
    let made = world.made("p", &["A", "B"], 1, 50_000_000);
    let id = world.add("A", "B", 1, 50_000_000);
    world.fulfil("A", "B", id, 9, 50_000_000);
    world.claimed_event(&made);
    world.sent_event(&made, 9);
    world.live();
    let judgement = judgement(&world.rest(), "ledger");
    let found = judgement
        .findings
        .iter()
        .filter(|finding| finding.code == "wrong-preimage");
    assert_eq!(found.count(), 2);
}

#[test]
fn an_htlc_that_is_failed_for_good_and_fulfilled_is_found() {
    let mut world = direct();
    let made = world.made("p", &["A", "B"], 1, 50_000_000);
    let id = world.add("A", "B", 1, 50_000_000);
    world.fail("A", "B", id);
    world.fulfil("A", "B", id, 1, 50_000_000);
    world.claimed_event(&made);
    world.sent_event(&made, 1);
    world.live();
    let (message, _) = assert_finds(&world.rest(), "ledger", "htlc-double-claim");
    assert!(
        message.contains("fulfilled and failed by messages"),
        "{message}"
    );
}

#[test]
fn a_failure_that_no_signature_covered_may_be_forgotten() {
    let mut world = direct();
    let made = world.made("p", &["A", "B"], 1, 50_000_000);
    let id = world.add("A", "B", 1, 50_000_000);
    world.message("B", "A", "A-B", WireMessage::UpdateFailHtlc { htlc_id: id });
    world.restart("B");
    world.fulfil("A", "B", id, 1, 50_000_000);
    world.claimed_event(&made);
    world.sent_event(&made, 1);
    world.live();
    assert_passes(&world.rest());
}

#[test]
fn an_add_repeated_after_a_restart_is_one_htlc() {
    let mut world = direct();
    let made = world.made("p", &["A", "B"], 1, 50_000_000);
    let message = world.add_message(0, 1, 50_000_000);
    world.lost_message("A", "B", "A-B", message);
    world.restart("B");
    let id = world.add("A", "B", 1, 50_000_000);
    assert_eq!(id, 0);
    world.fulfil("A", "B", id, 1, 50_000_000);
    world.claimed_event(&made);
    world.sent_event(&made, 1);
    world.live();
    assert_passes(&world.rest());
}

#[test]
fn an_add_that_was_never_committed_may_be_forgotten_and_its_id_used_again() {
    let mut world = direct();
    world.made("old", &["A", "B"], 7, 70_000_000);
    let message = world.add_message(0, 7, 70_000_000);
    world.message("A", "B", "A-B", message);
    world.restart("A");
    let old = world.evidence.payments[0].clone();
    world.failed_event(&old);
    world.pay("p", &["A", "B"], 1, 50_000_000);
    world.live();
    assert_passes(&world.rest());
}

#[test]
fn commitment_numbers_that_differ_are_found() {
    let mut evidence = good_forward();
    evidence.rest.get_mut("B").unwrap().channels[0].counterparty_commitment_number = Some(5);
    let (message, _) = assert_finds(&evidence, "ledger", "commitment-numbers-differ");
    assert!(
        message.contains("A's own commitment is number 4, but B counts 5"),
        "{message}"
    );
}

#[test]
fn unknown_commitment_numbers_are_noted() {
    let mut evidence = good_direct();
    evidence.rest.get_mut("B").unwrap().channels[0].holder_commitment_number = None;
    assert_passes(&evidence);
    let notes = judgement(&evidence, "ledger").notes;
    assert!(
        notes
            .iter()
            .any(|note| note.contains("is not known to both sides")),
        "{notes:?}"
    );
}

#[test]
fn without_a_view_at_rest_the_ledger_does_not_judge() {
    let mut evidence = good_direct();
    evidence.rest.remove("B");
    assert_not_run(&evidence, "ledger", "no view of B at rest");
}

#[test]
fn an_expected_payment_that_was_never_made_is_not_judged() {
    let mut world = direct();
    world.live();
    assert_not_run(&world.rest(), "ledger", "payment p was never made");
}

#[test]
fn an_htlc_of_no_payment_is_not_judged() {
    let mut world = direct();
    world.pay("p", &["A", "B"], 1, 50_000_000);
    let id = world.add("A", "B", 77, 1_000_000);
    world.fail("A", "B", id);
    world.live();
    let evidence = world.rest();
    assert_not_run(&evidence, "ledger", &payment_hash(77));
    assert_ne!(preimage(77), payment_hash(77));
    assert_eq!(judgement(&evidence, "ledger").verdict, Verdict::NotRun);
}
