use super::{
    assert_finds, assert_not_run, assert_passes, direct, good_direct, good_forward, judgement,
};
use crate::evidence::Evidence;
use crate::oracle::testing::{FEE_SAT, World};
use crate::scenario::{Step, StepKind};

fn balance_of<'e>(evidence: &'e mut Evidence, node: &str) -> &'e mut u64 {
    let view = evidence.rest.get_mut(node).unwrap();
    view.channels[0].balance_msat.as_mut().unwrap()
}

fn closed_together() -> World {
    let mut world = direct();
    world.pay("p", &["A", "B"], 1, 50_000_700);
    world.close_together("A-B");
    world.evidence.plan.scenario.expect.closed = vec!["A-B".into()];
    world
}

#[test]
fn one_millisatoshi_too_many_in_a_channel_is_found() {
    let mut evidence = good_forward();
    *balance_of(&mut evidence, "C") += 1;
    let (message, _) = assert_finds(&evidence, "conservation", "channel-balance");
    assert!(message.contains("C has"), "{message}");
    assert!(message.contains("(+1 msat)"), "{message}");
    let (message, _) = assert_finds(&evidence, "conservation", "channel-sum");
    assert!(message.contains("B-C holds 1000000000 msat"), "{message}");
}

#[test]
fn a_balance_moved_without_an_htlc_is_found_though_the_sum_is_right() {
    let mut evidence = good_direct();
    *balance_of(&mut evidence, "A") -= 5;
    *balance_of(&mut evidence, "B") += 5;
    assert_finds(&evidence, "conservation", "channel-balance");
    let judgement = judgement(&evidence, "conservation");
    assert!(
        judgement
            .findings
            .iter()
            .all(|finding| finding.code == "channel-balance")
    );
    assert_eq!(judgement.findings.len(), 2);
}

#[test]
fn a_satoshi_missing_in_a_wallet_is_found() {
    let mut evidence = good_direct();
    evidence.rest.get_mut("B").unwrap().balance.confirmed_sat -= 1;
    let (message, _) = assert_finds(&evidence, "conservation", "value-vanished");
    assert!(message.contains("1 sat differ"), "{message}");
}

#[test]
fn a_satoshi_from_nowhere_is_found() {
    let mut evidence = good_direct();
    evidence.rest.get_mut("B").unwrap().balance.unconfirmed_sat += 1;
    assert_finds(&evidence, "conservation", "value-created");
}

#[test]
fn money_that_moves_from_wallet_to_wallet_without_reason_is_found_at_both() {
    let mut evidence = good_direct();
    evidence.rest.get_mut("A").unwrap().balance.confirmed_sat -= 10;
    evidence.rest.get_mut("B").unwrap().balance.confirmed_sat += 10;
    let (message, _) = assert_finds(&evidence, "conservation", "value-vanished");
    assert!(message.contains("A has 10000 msat less"), "{message}");
    let (message, _) = assert_finds(&evidence, "conservation", "value-created");
    assert!(message.contains("B has 10000 msat more"), "{message}");
}

#[test]
fn a_cooperative_close_loses_the_fee_and_the_fractions_and_nothing_else() {
    let evidence = closed_together().rest();
    assert_passes(&evidence);
    let notes = judgement(&evidence, "conservation").notes;
    // One satoshi more than the fee: each side's fraction of one.
    let fees = format!("chain fees: {} sat in 1 transactions", FEE_SAT + 1);
    assert!(notes.contains(&fees), "{notes:?}");
}

#[test]
fn a_side_that_loses_more_at_a_close_than_the_chain_took_is_found() {
    let mut evidence = closed_together().rest();
    evidence.rest.get_mut("A").unwrap().balance.confirmed_sat -= 2;
    evidence.rest.get_mut("B").unwrap().balance.confirmed_sat += 2;
    assert_finds(&evidence, "conservation", "value-created");
    assert_finds(&evidence, "conservation", "value-vanished");
}

#[test]
fn a_balance_that_a_node_cannot_tell_leaves_the_case_unjudged() {
    let mut evidence = good_direct();
    evidence.rest.get_mut("B").unwrap().channels[0].balance_msat = None;
    assert_not_run(
        &evidence,
        "conservation",
        "B cannot tell its exact balance in A-B",
    );
}

#[test]
fn without_views_at_the_start_conservation_does_not_judge() {
    let mut evidence = good_direct();
    evidence.start.remove("A");
    assert_not_run(&evidence, "conservation", "no view of A after the set-up");
}

#[test]
fn a_view_older_than_the_last_transaction_leaves_the_case_unjudged() {
    let mut evidence = closed_together().rest();
    evidence.rest.get_mut("B").unwrap().block_height -= 1;
    assert_not_run(&evidence, "conservation", "had not seen every transaction");
}

#[test]
fn a_mempool_transaction_of_nobody_leaves_the_case_unjudged() {
    let mut evidence = good_direct();
    evidence.chain.mempool.push("ab".repeat(32));
    assert_not_run(&evidence, "conservation", "broadcast by no node");
}

#[test]
fn money_in_an_unswept_output_is_not_called_vanished() {
    let mut evidence = closed_together().rest();
    let view = evidence.rest.get_mut("A").unwrap();
    view.balance.confirmed_sat -= 500_000;
    view.unswept = 1;
    assert_not_run(
        &evidence,
        "conservation",
        "500000 sat are in no wallet while 1 outputs are unswept",
    );
    assert_finds(&evidence, "at-rest", "unswept-output");
}

#[test]
fn money_given_away_as_fees_is_found() {
    let swept_for = |fee_sat: u64| {
        let mut world = World::new(&["A", "B"], &[("A", "B")]);
        world.evidence.plan.scenario.expect.closed = vec!["A-B".into()];
        world.sweep_fee_sat = fee_sat;
        world.force_close("A-B", "A", &[]);
        world.rest()
    };
    assert_passes(&swept_for(5_000));
    let dear = swept_for(50_000);
    let (message, _) = assert_finds(&dear, "conservation", "fee-too-high");
    assert!(message.contains("paid 50000 sat"), "{message}");
    let mut estimated = dear;
    estimated.plan.scenario.act.push(Step {
        label: "step-1".into(),
        kind: StepKind::FeeRate {
            node: "B".into(),
            sat_per_kw: 10_000,
        },
    });
    assert_passes(&estimated);
}

/// A cheats with the state before it paid 200,000 sat, and the penalty on its old balance pays so much.
fn punished_for(fee_sat: u64) -> Evidence {
    let mut world = World::new(&["A", "B"], &[("A", "B")]);
    let old = world.balances["A-B"];
    world.pay("p", &["A", "B"], 1, 200_000_000);
    world.balances.insert("A-B".into(), old);
    let expect = &mut world.evidence.plan.scenario.expect;
    expect.closed = vec!["A-B".into()];
    expect.revoked.insert("A-B".into(), "A".into());
    world.penalty_fee_sat = fee_sat;
    world.cheat("A-B", "A", &[]);
    world.rest()
}

#[test]
fn a_penalty_may_cost_what_it_takes_of_the_cheater_and_no_more() {
    assert_passes(&punished_for(400_000));
    let (message, _) = assert_finds(&punished_for(600_000), "conservation", "value-vanished");
    assert!(message.starts_with("B has "), "{message}");
}

#[test]
fn a_child_pays_for_the_commitment_that_came_with_it() {
    // Both in one block, and what the child pays is much for it alone.
    let child_of = |is_commitment: bool| {
        let mut world = World::new(&["A", "B"], &[("A", "B")]);
        world.evidence.plan.scenario.expect.closed = vec!["A-B".into()];
        world.sweep_fee_sat = 14_000;
        world.force_close("A-B", "A", &[]);
        let blocks = &mut world.evidence.chain.blocks;
        let sweep = blocks.len() - 2;
        if is_commitment {
            let moved = blocks[sweep].transactions.remove(0);
            blocks[sweep - 1].transactions.push(moved);
        }
        judgement(&world.rest(), "conservation")
            .findings
            .iter()
            .filter(|found| found.code == "fee-too-high")
            .count()
    };
    assert_eq!(child_of(false), child_of(true) + 1);
}
