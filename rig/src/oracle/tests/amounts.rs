//! Amounts that users are told, and what forwarders keep.

use node_bin::api::{HtlcDirection, PaymentState, PaymentView, UserEvent};

use super::{assert_finds, assert_passes, direct, forward, good_forward, judgement};
use crate::evidence::{Evidence, NodeReport, RigEntry, Source};
use crate::oracle::testing::{World, payment_hash};
use crate::scenario::ExpectedPayment;

/// Changes what users were told.
fn change_events(evidence: &mut Evidence, change: impl Fn(&mut UserEvent)) {
    for entry in &mut evidence.trace {
        if let Source::Node {
            report: NodeReport::Node(node_bin::api::Report::Event { event }),
            ..
        } = &mut entry.source
        {
            change(event);
        }
    }
}

#[test]
fn a_receiver_that_is_told_another_amount_than_was_paid_is_found() {
    let mut evidence = good_forward();
    change_events(&mut evidence, |event| {
        if let UserEvent::PaymentClaimed { amount_msat, .. } = event {
            *amount_msat -= 1;
        }
    });
    let (message, _) = assert_finds(&evidence, "ledger", "wrong-amount");
    assert!(
        message.contains("C was told of 50000122 msat of p, which is for 50000123 msat"),
        "{message}"
    );
}

#[test]
fn a_receiver_that_could_claim_another_amount_than_is_paid_is_found() {
    let mut world = direct();
    let event = UserEvent::PaymentClaimable {
        payment_hash: payment_hash(1),
        amount_msat: 49_000_000,
    };
    world.pay("p", &["A", "B"], 1, 50_000_000);
    world.event("B", event);
    world.live();
    assert_finds(&world.rest(), "ledger", "wrong-amount");
}

#[test]
fn a_sender_that_is_told_another_fee_than_it_gave_is_found() {
    let told = |told_msat: Option<u64>| {
        let mut evidence = good_forward();
        let id = evidence.payments[0].payment_id.clone();
        change_events(&mut evidence, |event| {
            if let UserEvent::PaymentSent {
                fee_paid_msat,
                payment_id,
                ..
            } = event
                && *payment_id == id
            {
                *fee_paid_msat = told_msat;
            }
        });
        evidence
    };
    assert_passes(&told(None));
    assert_passes(&told(Some(1_000)));
    let (message, _) = assert_finds(&told(Some(0)), "ledger", "wrong-fee");
    assert!(
        message.contains("A was told that p cost 0 msat of fees, but gave 1000 msat more"),
        "{message}"
    );
}

#[test]
fn a_forwarder_that_keeps_more_than_a_fee_is_found() {
    let kept = |kept_msat: u64| {
        let mut world = forward();
        let made = world.made("p", &["A", "B", "C"], 1, 50_000_000);
        let amount_msat = 50_000_000 + kept_msat;
        let upstream = world.add("A", "B", 1, amount_msat);
        let downstream = world.add("B", "C", 1, 50_000_000);
        world.fulfil("B", "C", downstream, 1, 50_000_000);
        world.fulfil("A", "B", upstream, 1, amount_msat);
        world.claimed_event(&made);
        world.sent_event(&made, 1);
        world.live();
        world.rest()
    };
    assert_passes(&kept(10_000));
    let (message, _) = assert_finds(&kept(10_001), "ledger", "overcharged");
    assert!(
        message.contains("it may keep 10000 msat at most"),
        "{message}"
    );
}

/// The payment as a node lists it at rest.
fn listed(mut world: World, node: &str, state: PaymentState) -> Evidence {
    world.live();
    let mut evidence = world.rest();
    let made = evidence.payments[0].clone();
    let payments = &mut evidence.rest.get_mut(node).unwrap().payments;
    payments.retain(|payment| payment.payment_id.as_ref() != Some(&made.payment_id));
    let is_sender = made.from == node;
    payments.push(PaymentView {
        payment_id: is_sender.then_some(made.payment_id),
        payment_hash: Some(made.payment_hash),
        direction: match is_sender {
            true => HtlcDirection::Outbound,
            false => HtlcDirection::Inbound,
        },
        state,
    });
    evidence
}

#[test]
fn a_payment_that_is_listed_otherwise_than_its_user_was_told_is_found() {
    let paid = || {
        let mut world = direct();
        world.pay("p", &["A", "B"], 1, 50_000_000);
        world
    };
    let in_vain = || {
        let mut world = direct();
        world.expect("p", ExpectedPayment::Failed);
        world.pay_in_vain("p", &["A", "B"], 1, 50_000_000);
        world
    };
    for node in ["A", "B"] {
        assert_passes(&listed(paid(), node, PaymentState::Succeeded));
        let evidence = listed(paid(), node, PaymentState::Failed);
        let (message, _) = assert_finds(&evidence, "ledger", "wrong-state");
        assert!(message.contains("that p is done"), "{message}");
    }
    assert_passes(&listed(in_vain(), "A", PaymentState::Failed));
    let evidence = listed(in_vain(), "A", PaymentState::Succeeded);
    let (message, _) = assert_finds(&evidence, "ledger", "wrong-state");
    assert!(message.contains("that p is failed"), "{message}");
}

#[test]
fn a_node_that_was_put_back_to_an_old_state_may_list_a_payment_as_it_ends_then() {
    let mut world = direct();
    world.pay("p", &["A", "B"], 1, 50_000_000);
    world.restart("A");
    world.rig(RigEntry::Restored { node: "A".into() });
    let evidence = listed(world, "A", PaymentState::Failed);
    let ledger = judgement(&evidence, "ledger");
    assert!(
        ledger.findings.iter().all(|f| f.code != "wrong-state"),
        "{ledger:#?}"
    );
}
