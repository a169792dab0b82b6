use node_bin::api::Report;

use super::chain::{
    DOWNSTREAM_MSAT, UPSTREAM_MSAT, claimed_from, on_chain, timed_out_from, under_way,
};
use super::{assert_finds, assert_not_run, judgement};
use crate::evidence::{Evidence, MadePayment, NodeReport, Source, Verdict};
use crate::oracle::testing::{Ending, OnChain, World};

const ORACLE: &str = "htlc-outputs";

/// B–C is closed by `by` and its HTLC ends so; upstream all goes on as after a claim.
fn ended(by: &str, ending: Ending) -> Evidence {
    let (mut world, upstream) = under_way();
    let htlc = on_chain(DOWNSTREAM_MSAT, by == "B", ending);
    world.force_close("B-C", by, &[htlc]);
    world.fulfil("A", "B", upstream, 1, UPSTREAM_MSAT);
    let made = world.evidence.payments[0].clone();
    world.claimed_event(&made);
    world.sent_event(&made, 1);
    world.live();
    world.rest()
}

/// The reports of published transactions, with who made them.
fn published(evidence: &mut Evidence) -> Vec<(&mut String, &mut Report)> {
    let reports = evidence.trace.iter_mut();
    reports
        .filter_map(|entry| match &mut entry.source {
            Source::Node {
                node,
                report: NodeReport::Node(report @ Report::Broadcast { .. }),
                ..
            } => Some((node, report)),
            _ => None,
        })
        .collect()
}

/// Where an HTLC output of this commitment was spent: after the commitment and both balances.
const SPEND_OF_HTLC: usize = 3;

#[test]
fn every_path_of_an_htlc_output_is_named_with_who_took_it() {
    for (evidence, words) in [
        (claimed_from("C"), "taken by C with the preimage"),
        (claimed_from("B"), "taken by C with the preimage"),
        (timed_out_from("B").rest(), "taken by B after its expiry"),
        (timed_out_from("C").rest(), "taken by B after its expiry"),
        (ended("B", Ending::Revocation), "taken by C as a penalty"),
    ] {
        let judgement = judgement(&evidence, ORACLE);
        assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:#?}");
        let named = judgement.notes.iter().any(|note| note.contains(words));
        assert!(named, "{words}: {judgement:#?}");
    }
}

#[test]
fn a_second_stage_that_a_penalty_takes_is_the_other_sides() {
    let evidence = ended("B", Ending::PunishedTimeout);
    let judgement = judgement(&evidence, ORACLE);
    let words = "its second stage went to C as a penalty";
    assert!(
        judgement.notes.iter().any(|note| note.contains(words)),
        "{judgement:#?}"
    );
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:#?}");
}

#[test]
fn an_output_taken_by_whom_its_path_does_not_pay_is_found() {
    let mut evidence = claimed_from("C");
    "B".clone_into(published(&mut evidence)[SPEND_OF_HTLC].0);
    let (message, _) = assert_finds(&evidence, ORACLE, "wrong-taker");
    assert!(
        message.contains("as only C may, but B published"),
        "{message}"
    );
}

#[test]
fn a_spend_that_nobody_published_leaves_the_case_unjudged() {
    let mut evidence = claimed_from("C");
    let reports = published(&mut evidence);
    let Some((_, Report::Broadcast { transactions, .. })) = reports.into_iter().nth(SPEND_OF_HTLC)
    else {
        panic!("the spend is not there");
    };
    transactions.clear();
    assert_not_run(&evidence, ORACLE, "which no node says that it published");
}

#[test]
fn an_htlc_in_the_other_sides_commitment_is_found() {
    let mut evidence = claimed_from("C");
    "B".clone_into(published(&mut evidence)[0].0);
    let (message, _) = assert_finds(&evidence, ORACLE, "wrong-owner");
    assert!(
        message.contains("as in one of C, but B published it"),
        "{message}"
    );
}

#[test]
fn a_spend_that_electrs_does_not_know_is_found() {
    let mut evidence = claimed_from("C");
    let spend = match &published(&mut evidence)[SPEND_OF_HTLC].1 {
        Report::Broadcast { transactions, .. } => transactions[0].txid.clone(),
        other => panic!("{other:?}"),
    };
    for history in &mut evidence.chain.histories {
        history.entries.retain(|(txid, _)| *txid != spend);
    }
    let (message, _) = assert_finds(&evidence, ORACLE, "electrs-disagrees");
    assert!(message.contains(&spend), "{message}");
    evidence.chain.histories.clear();
    assert_not_run(&evidence, ORACLE, "electrs was not asked");
}

#[test]
fn a_preimage_of_another_payment_and_a_path_of_no_script_are_found() {
    assert_finds(&ended("C", Ending::Forged), ORACLE, "wrong-preimage");
    let (message, _) = assert_finds(&ended("C", Ending::Strange), ORACLE, "unknown-path");
    assert!(
        message.contains("in a way that BOLT 3 does not know"),
        "{message}"
    );
    let (message, _) = assert_finds(&ended("B", Ending::StrangeTimeout), ORACLE, "unknown-path");
    assert!(message.starts_with("the second stage of HTLC"), "{message}");
}

#[test]
fn an_htlc_output_that_no_message_offered_is_found() {
    let (mut world, _) = under_way();
    let stranger = OnChain {
        number: 7,
        ..on_chain(DOWNSTREAM_MSAT, false, Ending::Preimage)
    };
    world.force_close("B-C", "C", &[stranger]);
    let (message, _) = assert_finds(&world.rest(), ORACLE, "unknown-htlc-output");
    assert!(message.contains("(50000 sat)"), "{message}");
}

/// A pays B, and closes; what the users are told is `told`'s.
fn direct_ended(ending: Ending, told: impl FnOnce(&mut World, &MadePayment)) -> Evidence {
    let mut world = World::new(&["A", "B"], &[("A", "B")]);
    world.made("p", &["A", "B"], 1, DOWNSTREAM_MSAT);
    world.add("A", "B", 1, DOWNSTREAM_MSAT);
    world.evidence.plan.scenario.expect.closed = vec!["A-B".into()];
    world.force_close("A-B", "A", &[on_chain(DOWNSTREAM_MSAT, true, ending)]);
    let made = world.evidence.payments[0].clone();
    told(&mut world, &made);
    world.rest()
}

#[test]
fn who_takes_back_on_chain_what_it_paid_has_to_be_told_of_an_end() {
    let told = direct_ended(Ending::Timeout, |world, made| {
        world.failed_event(made);
    });
    assert_eq!(judgement(&told, ORACLE).verdict, Verdict::Pass);
    let untold = direct_ended(Ending::Timeout, |_, _| {});
    let (message, _) = assert_finds(&untold, ORACLE, "chain-disagrees-with-events");
    assert!(
        message.contains("A was never told of an end of p"),
        "{message}"
    );
}

#[test]
fn who_is_paid_on_chain_and_who_pays_has_to_be_told() {
    let payee = direct_ended(Ending::Preimage, |world, made| {
        world.claimed_event(made);
    });
    let (message, _) = assert_finds(&payee, ORACLE, "chain-disagrees-with-events");
    assert!(
        message.contains("A was never told that p is paid"),
        "{message}"
    );
    let payer = direct_ended(Ending::Preimage, |world, made| {
        world.sent_event(made, 1);
    });
    let (message, _) = assert_finds(&payer, ORACLE, "chain-disagrees-with-events");
    assert!(
        message.contains("B was never told that p is claimed"),
        "{message}"
    );
}
