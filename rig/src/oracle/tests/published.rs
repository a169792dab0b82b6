//! What nodes published, in a block or not.

use bitcoin::OutPoint;

use super::chain::{DOWNSTREAM_MSAT, UPSTREAM_MSAT, on_chain, under_way};
use super::{assert_finds, assert_passes, direct, judgement};
use crate::evidence::{Evidence, RigEntry, Verdict};
use crate::oracle::testing::{Ending, FEE_SAT, OnChain, World};
use crate::scenario::{Bumped, StepKind};

/// C closes B-C, claims on chain, and has to bump; what it sweeps is worth so much.
fn closed_by_c() -> (World, OutPoint, u64) {
    let (mut world, upstream) = under_way();
    let commitment = world.force_close(
        "B-C",
        "C",
        &[on_chain(DOWNSTREAM_MSAT, false, Ending::Preimage)],
    );
    world.fulfil("A", "B", upstream, 1, UPSTREAM_MSAT);
    let made = world.evidence.payments[0].clone();
    world.claimed_event(&made);
    world.sent_event(&made, 1);
    world.live();
    has_to_bump(&mut world, Bumped::Balance);
    // What was pushed to C, its own balance: the sweep of it cost `FEE_SAT`.
    (world, OutPoint::new(commitment, 0), 300_000)
}

fn has_to_bump(world: &mut World, kind: Bumped) {
    let wanted = (String::from("C"), [kind].into());
    world.evidence.plan.scenario.expect.bumped = [wanted].into();
}

fn is_bumped(world: World) -> bool {
    let evidence = world.rest();
    let close = judgement(&evidence, "close");
    if close.verdict == Verdict::Pass {
        assert_passes(&evidence);
        return true;
    }
    let (message, _) = assert_finds(&evidence, "close", "not-bumped");
    assert!(message.starts_with("C never published"), "{message}");
    false
}

#[test]
fn a_spend_of_a_close_that_is_published_again_for_more_is_a_bump() {
    let (mut world, output, value_sat) = closed_by_c();
    world.publish_spend("C", output, value_sat, FEE_SAT + 1);
    assert!(is_bumped(world));
}

#[test]
fn a_claim_that_is_published_but_once_is_found() {
    let (world, ..) = closed_by_c();
    let evidence = world.rest();
    let (_, lines) = assert_finds(&evidence, "close", "not-bumped");
    assert!(
        lines.iter().any(|line| line.ends_with("for 500 sat")),
        "{lines:?}"
    );
}

#[test]
fn the_same_again_for_as_much_for_less_by_another_or_of_something_else_is_no_bump() {
    for fee_sat in [FEE_SAT, FEE_SAT - 1] {
        let (mut world, output, value_sat) = closed_by_c();
        world.publish_spend("C", output, value_sat, fee_sat);
        assert!(!is_bumped(world), "{fee_sat} sat");
    }
    let (mut world, output, value_sat) = closed_by_c();
    world.publish_spend("B", output, value_sat, FEE_SAT + 1);
    assert!(!is_bumped(world), "by another");
    let (mut world, output, value_sat) = closed_by_c();
    let elsewhere = OutPoint::new(output.txid, 77);
    world.publish_spend("C", elsewhere, value_sat, FEE_SAT + 1);
    assert!(!is_bumped(world), "of something else");
}

#[test]
fn a_bump_of_one_kind_of_output_is_none_of_another() {
    // As the commitment of these worlds has its outputs: C's balance, B's, the anchors, the HTLC.
    let outputs = [
        (Bumped::Balance, 0, 300_000),
        (Bumped::Anchor, 2, 330),
        (Bumped::Htlc, 4, DOWNSTREAM_MSAT / 1_000),
    ];
    for (wanted, ..) in outputs {
        for (bumped, vout, value_sat) in outputs {
            let (mut world, output, _) = closed_by_c();
            has_to_bump(&mut world, wanted);
            let output = OutPoint::new(output.txid, vout);
            // The anchor has not been spent at all; a claim of the others was published for `FEE_SAT` before, or for none.
            let fees_sat = match bumped {
                Bumped::Anchor => [100, 101],
                Bumped::Balance | Bumped::Htlc => [FEE_SAT + 1, FEE_SAT + 2],
            };
            for fee_sat in fees_sat {
                world.publish_spend("C", output, value_sat, fee_sat);
            }
            assert_eq!(
                is_bumped(world),
                wanted == bumped,
                "{bumped:?} for {wanted:?}"
            );
        }
    }
}

#[test]
fn a_fee_that_nobody_knows_is_no_bump() {
    let (mut world, output, value_sat) = closed_by_c();
    // It gives out more than it takes in.
    world.publish_spend("C", output, 2 * value_sat, FEE_SAT + 1);
    assert!(!is_bumped(world));
}

fn said(world: &mut World, label: &str, act: impl FnOnce(&mut World)) {
    world.begin(label);
    act(world);
    world.end(label);
}

/// B's data is copied, a payment is made before or after it, B is put back, and A closes.
fn put_back(pays_after_copy: bool, then: impl FnOnce(&mut World)) -> Evidence {
    let mut world = direct();
    let (node, name) = ("B".to_owned(), "old".to_owned());
    let snapshot = name.clone();
    let kinds = [
        (
            "copy",
            StepKind::Snapshot {
                node: node.clone(),
                name,
            },
        ),
        (
            "back",
            StepKind::Restore {
                node: node.clone(),
                snapshot,
            },
        ),
    ];
    for (label, kind) in kinds {
        world.step(label, kind);
    }
    world.evidence.plan.scenario.expect.closed = vec!["A-B".into()];
    let pay = |world: &mut World| world.pay("p", &["A", "B"], 1, 50_000_000);
    if !pays_after_copy {
        pay(&mut world);
    }
    said(&mut world, "copy", |_| {});
    if pays_after_copy {
        pay(&mut world);
    }
    said(&mut world, "back", |world| {
        world.restart("B");
        world.rig(RigEntry::Restored { node });
    });
    then(&mut world);
    world.force_close("A-B", "A", &[]);
    world.rest()
}

#[test]
fn a_node_that_was_put_back_and_leaves_the_close_to_its_peer_passes() {
    assert_passes(&put_back(true, |_| {}));
}

#[test]
fn a_revoked_commitment_that_a_node_publishes_after_it_was_put_back_is_found_though_no_block_has_it()
 {
    let evidence = put_back(true, |world| world.publish_commitment("A-B", "B", &[]));
    let (message, _) = assert_finds(&evidence, "close", "stale-commitment");
    assert!(
        message.contains("a commitment of A-B that it had revoked"),
        "{message}"
    );
}

#[test]
fn old_data_that_is_not_stale_may_be_published_and_so_may_a_cheat_that_was_meant() {
    let evidence = put_back(false, |world| world.publish_commitment("A-B", "B", &[]));
    assert_passes(&evidence);
    let mut evidence = put_back(true, |world| world.publish_commitment("A-B", "B", &[]));
    let revoked = &mut evidence.plan.scenario.expect.revoked;
    revoked.insert("A-B".into(), "B".into());
    let close = judgement(&evidence, "close");
    assert!(
        close.findings.iter().all(|f| f.code != "stale-commitment"),
        "{close:#?}"
    );
}

/// A pays B, with something in between when both commitments have the HTLC, and when it is claimed; A closes.
fn published_between(
    mut before: impl FnMut(&mut World, &[OnChain; 2]),
    mut after: impl FnMut(&mut World, &[OnChain; 2]),
) -> Evidence {
    let mut world = direct();
    world.evidence.plan.scenario.expect.closed = vec!["A-B".into()];
    let made = world.made("p", &["A", "B"], 1, 50_000_000);
    let id = world.add("A", "B", 1, 50_000_000);
    // As A has it in its own commitment, and as B has.
    let with = [true, false].map(|offered| on_chain(50_000_000, offered, Ending::Unspent));
    before(&mut world, &with);
    world.fulfil("A", "B", id, 1, 50_000_000);
    world.claimed_event(&made);
    world.sent_event(&made, 1);
    after(&mut world, &with);
    world.force_close("A-B", "A", &[]);
    world.rest()
}

#[test]
fn the_latest_commitment_may_be_published_by_either_though_the_peers_is_the_one_that_confirms() {
    assert_passes(&published_between(
        |world, [with, _]| world.publish_commitment("A-B", "A", &[*with]),
        |world, _| world.publish_commitment("A-B", "B", &[]),
    ));
}

#[test]
fn a_commitment_that_lacks_an_htlc_which_its_publisher_had_committed_to_is_found() {
    for by in ["A", "B"] {
        let evidence = published_between(
            |world, _| world.publish_commitment("A-B", by, &[]),
            |_, _| {},
        );
        let (message, _) = assert_finds(&evidence, "close", "stale-commitment");
        assert!(message.starts_with(by), "{message}");
        assert!(message.contains("it lacks HTLC 0 of A on A-B"), "{message}");
    }
}

#[test]
fn a_commitment_with_an_htlc_that_its_publisher_had_removed_is_found() {
    for (place, by) in ["A", "B"].into_iter().enumerate() {
        let evidence = published_between(
            |_, _| {},
            |world, with| world.publish_commitment("A-B", by, &[with[place]]),
        );
        let (message, _) = assert_finds(&evidence, "close", "stale-commitment");
        assert!(message.starts_with(by), "{message}");
        assert!(message.contains("it has HTLC 0 of A on A-B"), "{message}");
    }
}

#[test]
fn a_balance_that_grew_out_of_one_htlc_is_not_taken_for_it() {
    let mut world = direct();
    world.evidence.plan.scenario.expect.closed = vec!["A-B".into()];
    // All that B has on the channel is what this paid.
    let balances = world.balances.get_mut("A-B").unwrap();
    *balances = [balances.iter().sum(), 0];
    world.pay("p", &["A", "B"], 1, 50_000_000);
    world.publish_commitment("A-B", "B", &[]);
    let close = judgement(&world.rest(), "close");
    assert!(
        close.findings.iter().all(|f| f.code != "stale-commitment"),
        "{close:#?}"
    );
}
