use super::chain::{DOWNSTREAM_MSAT, on_chain, under_way};
use super::{assert_finds, assert_passes, forward, judgement};
use crate::evidence::{Evidence, Verdict};
use crate::oracle::testing::{CAPACITY_SAT, Ending, World};

/// After a payment to C, B closes B-C with a commitment from before it, and C takes it all.
fn cheated() -> World {
    let mut world = forward();
    world.pay("p", &["A", "B", "C"], 1, DOWNSTREAM_MSAT);
    meant(&mut world);
    world.cheat("B-C", "B", &[]);
    world.live();
    world
}

/// The scenario says that B cheats.
fn meant(world: &mut World) {
    let expect = &mut world.evidence.plan.scenario.expect;
    expect.closed = vec!["B-C".into()];
    expect.revoked.insert("B-C".into(), "B".into());
}

fn move_between_wallets(evidence: &mut Evidence, from: &str, to: &str, sat: u64) {
    let wallet = |name: &str, evidence: &mut Evidence, change: i64| {
        let balance = &mut evidence.rest.get_mut(name).unwrap().balance;
        balance.confirmed_sat = balance.confirmed_sat.checked_add_signed(change).unwrap();
    };
    wallet(from, evidence, -(sat as i64));
    wallet(to, evidence, sat as i64);
}

#[test]
fn a_cheat_that_loses_all_passes_and_the_books_name_the_penalty() {
    let evidence = cheated().rest();
    assert_passes(&evidence);
    let notes = judgement(&evidence, "conservation").notes;
    let has = |words: &str| notes.iter().any(|note| note.contains(words));
    assert!(has("C gained") && has("by penalties"), "{notes:?}");
    let notes = judgement(&evidence, "close").notes;
    assert!(notes[0].contains("lost all that was in it"), "{notes:?}");
}

#[test]
fn a_penalty_that_no_scenario_meant_is_a_loss_and_a_gain_in_the_books() {
    let mut world = cheated();
    world.evidence.plan.scenario.expect.revoked.clear();
    let evidence = world.rest();
    let (message, _) = assert_finds(&evidence, "conservation", "value-vanished");
    assert!(message.starts_with("B has"), "{message}");
    let (message, _) = assert_finds(&evidence, "conservation", "value-created");
    assert!(message.starts_with("C has"), "{message}");
    assert_finds(&evidence, "close", "revoked-commitment");
}

#[test]
fn more_than_the_channel_held_is_won_and_lost_by_no_penalty() {
    let mut evidence = cheated().rest();
    move_between_wallets(&mut evidence, "B", "C", CAPACITY_SAT);
    let (message, _) = assert_finds(&evidence, "conservation", "value-created");
    assert!(message.starts_with("C has"), "{message}");
    let (message, _) = assert_finds(&evidence, "conservation", "value-vanished");
    assert!(message.starts_with("B has"), "{message}");
}

#[test]
fn a_penalty_that_a_third_node_has_in_its_wallet_is_found() {
    let mut evidence = cheated().rest();
    move_between_wallets(&mut evidence, "B", "A", 1_000);
    let (message, _) = assert_finds(&evidence, "conservation", "value-created");
    assert!(message.starts_with("A has"), "{message}");
}

#[test]
fn a_cheat_that_keeps_its_balance_is_found() {
    let mut world = forward();
    world.pay("p", &["A", "B", "C"], 1, DOWNSTREAM_MSAT);
    meant(&mut world);
    world.force_close("B-C", "B", &[]);
    world.live();
    let (message, _) = assert_finds(&world.rest(), "close", "unpunished-output");
    assert!(
        message.contains("all of its outputs were not taken"),
        "{message}"
    );
}

#[test]
fn an_htlc_that_a_cheat_keeps_by_its_second_stage_is_found() {
    let judged = |ending: Ending| {
        let (mut world, _) = under_way();
        meant(&mut world);
        world.cheat("B-C", "B", &[on_chain(DOWNSTREAM_MSAT, true, ending)]);
        world.rest()
    };
    for ending in [Ending::Timeout, Ending::HalfTimeout] {
        let evidence = judged(ending);
        let (message, lines) = assert_finds(&evidence, "close", "unpunished-output");
        assert!(
            message.contains("1 of its outputs were not taken"),
            "{message}"
        );
        assert!(lines[0].contains("50000 sat"), "{lines:?}");
    }
    for ending in [Ending::Revocation, Ending::PunishedTimeout] {
        let close = judgement(&judged(ending), "close");
        assert_eq!(close.verdict, Verdict::Pass, "{close:#?}");
    }
}
