//! Channels that end on the chain: explorations that every change has to pass, each bounded in time, and worlds
//! made for one hole each.

use std::time::Duration;

use bitcoin::absolute::LockTime;
use bitcoin::{OutPoint, Transaction};

use super::chain::Fate;
use super::explore::{Endings, Options, explore};
use super::flow::Step;
use super::judge::judge;
use super::plan::Plan;
use super::schedule::Action;
use super::testing::{A, B, C, channel, record, was_claimed, world, world_when};
use super::tests::{campaign, expect_clean, seed};
use super::world::{Persistence, Schedule, World};
use crate::channel::Outbox;
use crate::channel::onchain::LATENCY_GRACE_PERIOD_BLOCKS;
use crate::effect::{Effect, UserEvent};
use crate::engine::Engine;
use crate::input::{Command, Input, PlacedTransaction, Surroundings};
use crate::record::{Closure, Resolution};
use crate::spec::Direction;
use crate::update::UpdateStep;

/// A test's time. What it did not come to, the next one may: each begins at another moment.
const TIME_LIMIT: Duration = Duration::from_secs(4);

fn explore_endings(flows: &[&str], persistence: Persistence, options: Options) {
    let options = Options {
        threads: 2,
        time_limit: Some(TIME_LIMIT / flows.len() as u32),
        first_moment: seed(),
        ..options
    };
    for flow in flows {
        let plan = Plan::new(flow, persistence, Schedule::Fixed, 0);
        let report = explore(&plan, options).expect("a world comes about");
        expect_clean(&plan.to_string(), &report);
    }
}

fn closes() -> Options {
    Options {
        endings: Endings {
            closes: true,
            ..Endings::default()
        },
        ..Options::default()
    }
}

#[test]
fn a_channel_closed_at_any_moment_of_a_payment_loses_nothing() {
    let flows = ["forward", "fail-back", "hold-claim", "mpp"];
    explore_endings(&flows, Persistence::Synchronous, closes());
}

#[test]
fn a_channel_closed_with_writes_on_their_way_loses_nothing() {
    let flows = ["forward", "fail-back", "mpp-hold", "dust"];
    explore_endings(&flows, Persistence::Asynchronous, closes());
}

#[test]
fn a_crash_where_a_channel_is_closed_loses_nothing() {
    let options = Options {
        depth: 2,
        within: Some(12),
        ..closes()
    };
    explore_endings(&["forward", "mpp"], Persistence::Synchronous, options);
}

#[test]
fn a_crash_while_a_channel_ends_on_the_chain_is_recovered_from() {
    let flows = [
        "force-downstream",
        "force-timeout",
        "force-both",
        "force-mpp",
    ];
    let options = Options {
        lost_acks: true,
        ..Options::default()
    };
    explore_endings(&flows, Persistence::Synchronous, options);
}

#[test]
fn blocks_that_are_replaced_take_nothing_back_that_counts() {
    let options = Options {
        endings: Endings {
            reorgs: true,
            ..Endings::default()
        },
        ..Options::default()
    };
    let flows = [
        "force-downstream",
        "force-timeout",
        "force-both",
        "force-contest",
        "close",
    ];
    explore_endings(&flows, Persistence::Synchronous, options);
}

#[test]
fn every_output_of_a_revoked_commitment_is_taken() {
    let options = Options {
        endings: Endings {
            cheats: true,
            ..Endings::default()
        },
        ..Options::default()
    };
    explore_endings(
        &["hold-claim", "both-ways"],
        Persistence::Synchronous,
        options,
    );
}

#[test]
fn a_cheater_that_took_its_htlc_back_before_anyone_saw_it_keeps_nothing() {
    let old = |world: &World| {
        let opened = world.flow.opened[0];
        let revoked = world.revoked_commitments(A, &opened);
        let kept = world.commitments.get(&(A, opened.channel_id))?;
        let mut kept = kept.iter().map(|record| &record.holder);
        let offers = kept.find(|holder| {
            let mut directions = holder.spec.htlcs.keys().map(|(direction, _)| *direction);
            revoked.contains(&holder.number) && directions.any(|it| it == Direction::Outbound)
        });
        offers.map(|holder| holder.number)
    };
    let mut world = world_when("both-ways", |w| old(w).is_some());
    let number = old(&world).expect("it was waited for");
    world.cheat(A, [A, B], number, true);
    let block = world
        .chain
        .block(world.chain.height())
        .expect("the cheater's last");
    let mined = block.transactions.iter().map(|placed| &placed.transaction);
    let taken_back: Vec<_> = mined
        .filter(|mined| mined.lock_time != LockTime::ZERO)
        .collect();
    assert_eq!(taken_back.len(), 1);
    world.run_to_rest();
    clean(&mut world);
}

#[test]
fn random_ends_of_channels_lose_nothing() {
    let flows = [
        "forward",
        "fail-back",
        "hold-claim",
        "mpp",
        "dust",
        "close",
        "force-downstream",
        "force-race",
        "force-contest",
        "force-timeout",
        "force-both",
        "force-twins",
        "force-twins-timeout",
    ];
    let campaign = campaign(&flows, Endings::ALL, 2 * TIME_LIMIT);
    expect_clean("random ends", &campaign.run().expect("worlds come about"));
}

/// Lets a node do what it can without others.
fn run_alone(world: &mut World, node: usize) {
    loop {
        let it = &world.nodes[node];
        if it.pending.is_some() {
            world.perform(Action::Run(node));
        } else if it.seen_height < world.chain.height() {
            world.perform(Action::Block(node));
        } else {
            return;
        }
    }
}

fn advance_until(world: &mut World, is_there: impl Fn(&World) -> bool) {
    while !is_there(world) {
        assert!(world.advance(), "it never comes there");
    }
}

fn funding(world: &World, one: usize, other: usize) -> OutPoint {
    let parameters = &record(world, one, other).parameters;
    parameters.funding.into_bitcoin_outpoint()
}

fn clean(world: &mut World) {
    assert_eq!(judge(world).complaints, Vec::<String>::new());
}

fn has_ended(world: &World, node: usize, peer: usize) -> bool {
    record(world, node, peer).onchain.funding_spend.is_some()
}

#[test]
fn an_htlc_is_failed_upstream_in_time_though_no_block_takes_the_commitment() {
    let mut world = world("force-timeout");
    let funding = funding(&world, B, C);
    world.chain.censor(funding, true);
    advance_until(&mut world, |w| !record(w, A, B).outbound.is_empty());
    advance_until(&mut world, |w| record(w, A, B).outbound.is_empty());
    assert_eq!(record(&world, A, B).closure, None);
    world.chain.censor(funding, false);
    world.run_to_rest();
    clean(&mut world);
}

#[test]
fn a_commitment_is_published_again_when_a_reorganisation_lost_it_while_its_node_was_down() {
    let mut world = world_when("force-timeout", |w| has_ended(w, B, C));
    world.crash(B, &Default::default());
    let height = record(&world, B, C).onchain.funding_spend.as_ref();
    let height = height.map_or(0, |seen| seen.height);
    let depth = world.chain.height() + 1 - height;
    world.reorganise(depth, Fate::Lost);
    world.run_to_rest();
    clean(&mut world);
}

#[test]
fn what_a_chain_said_that_is_gone_counts_for_nothing_after_a_restart() {
    // B's timeout claim is in a block; on the chain after that its peer's is: it never was.
    let mut world = world_when("force-timeout", |w| {
        !record(w, B, C).onchain.spends.is_empty()
    });
    world.crash(B, &Default::default());
    world.reorganise(3, Fate::Lost);
    world.run_to_rest();
    clean(&mut world);
}

/// A node's disk as it was before the flow, which then went on to its end without it knowing.
fn with_an_old_disk(flow: &str) -> World {
    let mut world = world(flow);
    let old = world.nodes[A].clone();
    world.run_to_rest();
    world.crash(A, &Default::default());
    world.nodes[A].disk = old.disk;
    world.nodes[A].settled_height = old.settled_height;
    world.nodes[A].has_lost_payments = true;
    world.expect_on_chain([A, B]);
    world
}

fn is_published_by_a(world: &World) -> bool {
    let closure = record(world, A, B).closure.as_ref();
    closure.is_some_and(Closure::is_published)
}

#[test]
fn a_node_that_has_lost_data_publishes_nothing_that_its_peer_proves_stale() {
    let mut world = with_an_old_disk("direct");
    advance_until(&mut world, |w| record(w, A, B).closure.is_some());
    assert!(!is_published_by_a(&world));
    world.run_to_rest();
    clean(&mut world);
}

#[test]
fn a_node_that_learns_from_the_chain_that_it_has_lost_data_publishes_nothing_when_blocks_go() {
    let mut world = with_an_old_disk("direct");
    world.close_by_force(B, [A, B], false);
    run_alone(&mut world, B);
    world.chain.mine();
    world.perform(Action::Restart(A));
    run_alone(&mut world, A);
    assert!(has_ended(&world, A, B));
    assert!(!is_published_by_a(&world));
    world.reorganise(1, Fate::Kept);
    world.run_to_rest();
    clean(&mut world);
}

#[test]
fn a_node_that_closed_before_its_peer_proves_it_stale_stops_publishing() {
    let mut world = with_an_old_disk("direct");
    let funding = funding(&world, B, A);
    world.chain.censor(funding, true);
    world.perform(Action::Restart(A));
    run_alone(&mut world, A);
    world.close_by_force(A, [A, B], false);
    run_alone(&mut world, A);
    assert!(is_published_by_a(&world));
    advance_until(&mut world, |w| !is_published_by_a(w));
    world.chain.censor(funding, false);
    world.run_to_rest();
    clean(&mut world);
}

#[test]
fn a_claim_after_an_early_failure_upstream_costs_no_channel() {
    let mut world = world_when("force-downstream", |w| has_ended(w, B, C));
    let downstream = channel(&world, B, C);
    let spend = record(&world, B, C).onchain.funding_spend.clone();
    let commitment = spend.expect("it has ended").transaction;
    let txid = commitment.compute_txid();
    let outputs = (0..).zip(&commitment.output);
    let outputs: Vec<OutPoint> = outputs.map(|(vout, _)| OutPoint { txid, vout }).collect();
    for outpoint in &outputs {
        world.chain.censor(*outpoint, true);
    }
    advance_until(&mut world, |w| record(w, A, B).outbound.is_empty());
    assert_eq!(record(&world, A, B).closure, None);
    for outpoint in &outputs {
        world.chain.censor(*outpoint, false);
    }
    let preimage = world.flow.payments[0].preimage;
    let mut rivals: Vec<_> = world.chain.rivals().cloned().collect();
    rivals.retain(|rival| {
        let mut elements = rival.input.iter().flat_map(|input| input.witness.iter());
        elements.any(|element| element == preimage.0)
    });
    let claim = rivals.pop().expect("C has tried to claim");
    assert_eq!(world.chain.publish(claim), Ok(()));
    advance_until(&mut world, |w| was_claimed(w, B, C));
    world.run_to_rest();
    let is_over = world.nodes[B].disk.archived().contains(&downstream);
    assert!(is_over, "B keeps {downstream} for ever");
    let forwarded = world.nodes[B].user.handled().find_map(|event| match event {
        UserEvent::PaymentForwarded { fee_msat, .. } => Some(*fee_msat),
        _ => None,
    });
    assert_eq!(forwarded, Some(None), "B was not paid for it");
    assert_eq!(record(&world, A, B).closure, None);
}

/// B's node in a world in which C's HTLC is on the chain and undecided, and the height at which B gives it up
/// upstream.
fn about_to_give_up() -> (World, Engine, u32) {
    let world = world_when("force-timeout", |w| has_ended(w, B, C));
    let engine = world.nodes[B].engine.clone().expect("B is up");
    let htlc = &record(&world, B, C).outbound[&0];
    let upstream = htlc.source.parts()[0].cltv_expiry;
    (world, engine, upstream - LATENCY_GRACE_PERIOD_BLOCKS)
}

fn block(height: u32, transactions: Vec<PlacedTransaction>) -> Input {
    Input::BlockConnected {
        height,
        hash: bitcoin::hashes::Hash::all_zeros(),
        is_tip: true,
        transactions,
    }
}

/// Carries out everything; writes are durable at once, or not at all.
fn drive(engine: &mut Engine, is_durable: bool) -> Vec<Effect> {
    let mut surroundings = || Surroundings {
        entropy: [7; 32],
        now_s: super::node::NOW_S,
    };
    let mut all = Vec::new();
    while let Some(effect) = engine.next(&mut surroundings) {
        if let (Effect::Persist(write), true) = (&effect, is_durable) {
            engine.persisted(write.store, write.sequence);
        }
        all.push(effect);
    }
    all
}

/// What became of the HTLC upstream.
fn upstream(world: &World, engine: &Engine) -> Option<Resolution> {
    let channel_id = channel(world, B, A);
    let record = &engine.node.channels[&channel_id].record;
    record.inbound[&0].resolution.clone()
}

#[test]
fn an_htlc_is_given_up_upstream_three_blocks_before_it_expires_there() {
    let (world, mut engine, height) = about_to_give_up();
    engine.input(block(height - 1, Vec::new()));
    drive(&mut engine, true);
    assert_eq!(upstream(&world, &engine), None);
    engine.input(block(height, Vec::new()));
    drive(&mut engine, true);
    let rejected = matches!(upstream(&world, &engine), Some(Resolution::Rejected { .. }));
    assert!(rejected);
}

#[test]
fn an_htlc_is_not_given_up_upstream_if_the_same_block_shows_its_preimage_anywhere() {
    let (world, mut engine, height) = about_to_give_up();
    let preimage = world.flow.payments[0].preimage;
    let elsewhere = Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![bitcoin::TxIn {
            witness: bitcoin::Witness::from_slice(&[vec![0; 71], preimage.0.to_vec()]),
            ..bitcoin::TxIn::default()
        }],
        output: Vec::new(),
    };
    let placed = PlacedTransaction {
        index: 1,
        transaction: elsewhere,
    };
    engine.input(block(height, vec![placed]));
    drive(&mut engine, true);
    let claimed = Some(Resolution::Claimed { preimage });
    assert_eq!(upstream(&world, &engine), claimed);
}

/// What C's claims of the HTLC pay, in satoshis, with how many blocks after B's commitment they are published. The
/// preimage is known after so many; these are the chain's tips.
fn claim_fees(known_after: u32, is_tip: impl Fn(u32) -> bool) -> Vec<(u32, u64)> {
    let world = world_when("force-downstream", |w| has_ended(w, C, B));
    let mut engine = world.nodes[C].engine.clone().expect("C is up");
    let command = Command::Claim {
        preimage: world.flow.payments[0].preimage,
    };
    let mut fees = Vec::new();
    let closed_at = engine.node.best_block.height;
    for waited in 1..=known_after + 4 {
        engine.input(Input::BlockConnected {
            height: closed_at + waited,
            hash: bitcoin::hashes::Hash::all_zeros(),
            is_tip: is_tip(waited),
            transactions: Vec::new(),
        });
        if waited == known_after {
            let command = command.clone();
            engine.input(Input::Command { id: 99, command });
        }
        for effect in drive(&mut engine, true) {
            let Effect::Broadcast { transactions, .. } = effect else {
                continue;
            };
            let htlc_sat = world.flow.payments[0].amount_msat / 1_000;
            let out_sat = transactions[0].output[0].value.to_sat();
            let is_claim = transactions[0].input[0].witness.len() == 3;
            fees.extend(is_claim.then(|| (waited, htlc_sat.saturating_sub(out_sat))));
        }
    }
    fees
}

#[test]
fn a_claim_begins_at_the_usual_fee_however_long_ago_its_commitment_was_and_rises() {
    let early = claim_fees(1, |_| true);
    let late = claim_fees(20, |_| true);
    assert_eq!(early[0].0, 1);
    assert_eq!(late[0], (20, early[0].1));
    let rising = |fees: &[(u32, u64)]| fees.last().unwrap().1 > fees[0].1;
    assert!(rising(&early) && rising(&late), "{early:?} {late:?}");
}

#[test]
fn nothing_is_published_while_blocks_are_caught_up_with() {
    let fees = claim_fees(5, |waited| waited > 8);
    let usual = claim_fees(5, |_| true);
    assert_eq!(fees, [(9, usual[0].1)]);
}

/// Another HTLC of the same hash comes to B over the channel with A, and is claimed.
fn claim_another(world: &World, engine: &mut Engine) {
    let channel_id = channel(world, B, A);
    let channel = engine.node.channels.get_mut(&channel_id).unwrap();
    let mut other = channel.record.inbound[&0].clone();
    other.add.htlc_id = 50;
    other.add.cltv_expiry += 1_000;
    other.resolution = Some(Resolution::Claimed {
        preimage: world.flow.payments[0].preimage,
    });
    channel.record.inbound.insert(50, other);
}

#[test]
fn an_htlc_is_not_given_up_upstream_if_another_of_its_hash_was_claimed_there() {
    let (world, mut engine, height) = about_to_give_up();
    claim_another(&world, &mut engine);
    engine.input(block(height, Vec::new()));
    drive(&mut engine, true);
    let preimage = world.flow.payments[0].preimage;
    let claimed = Some(Resolution::Claimed { preimage });
    assert_eq!(upstream(&world, &engine), claimed);
}

#[test]
fn a_preimage_that_comes_while_the_decision_to_give_up_is_written_goes_upstream() {
    let (world, mut engine, height) = about_to_give_up();
    engine.input(block(height, Vec::new()));
    let effects = drive(&mut engine, false);
    assert_eq!(upstream(&world, &engine), None);
    claim_another(&world, &mut engine);
    for effect in effects {
        if let Effect::Persist(write) = effect {
            engine.persisted(write.store, write.sequence);
        }
    }
    drive(&mut engine, true);
    let preimage = world.flow.payments[0].preimage;
    let claimed = Some(Resolution::Claimed { preimage });
    assert_eq!(upstream(&world, &engine), claimed);
}

#[test]
fn no_gain_is_told_of_a_forward_that_was_given_up_on_a_channel_that_has_closed_as_well() {
    let (world, mut engine, height) = about_to_give_up();
    engine.input(block(height, Vec::new()));
    drive(&mut engine, true);
    let inbound = channel(&world, B, A);
    let command = Command::ForceClose {
        channel_id: inbound,
    };
    engine.input(Input::Command { id: 99, command });
    drive(&mut engine, true);
    let outbound = channel(&world, B, C);
    let preimage = world.flow.payments[0].preimage;
    let step = UpdateStep::OutboundClaimed {
        htlc_id: 0,
        preimage,
    };
    let claimed = engine.node.channels.get_mut(&outbound).unwrap();
    let mut out = Outbox::default();
    claimed.commit(vec![step], &mut out).expect("it fits");
    claimed.volatile.durable = claimed.record.sequence;
    engine.input(Input::Tick);
    let effects = drive(&mut engine, true).into_iter();
    let fees: Vec<Option<u64>> = effects
        .filter_map(|effect| match effect {
            Effect::Tell {
                event: UserEvent::PaymentForwarded { fee_msat, .. },
                ..
            } => Some(fee_msat),
            _ => None,
        })
        .collect();
    assert_eq!(fees, [None]);
}

/// A contest of which B knows how it ended: by the claim.
fn lost_contest() -> World {
    world_when("force-contest", |w| was_claimed(w, B, C))
}

/// The timeout that B has tried in a contest.
fn timeout(world: &World) -> Transaction {
    let commitment = record(world, B, C).onchain.funding_spend.clone();
    let txid = commitment.expect("it has ended").transaction.compute_txid();
    let mut rivals = world.chain.rivals();
    let found = rivals.find(|rival| {
        let mut inputs = rival.input.iter();
        rival.lock_time != LockTime::ZERO && inputs.any(|input| input.previous_output.txid == txid)
    });
    found.cloned().expect("B has tried to take it back")
}

/// A contest of which B's timeout has so many confirmations.
fn won_by_timeout(confirmations: u32) -> World {
    let mut world = world_when("force-contest", |w| {
        let mut steps = w.flow.phases[w.phase].iter();
        steps.any(|step| {
            matches!(
                step,
                Step::Censor {
                    is_censored: false,
                    ..
                }
            )
        })
    });
    let timeout = timeout(&world);
    let spent = timeout.input[0].previous_output;
    world.chain.censor(spent, false);
    assert_eq!(world.chain.publish(timeout), Ok(()));
    (0..confirmations).for_each(|_| world.chain.mine());
    world
}

#[test]
fn a_claim_that_a_timeout_replaces_after_its_preimage_went_up_costs_no_forwarder() {
    for depth in 1..=5 {
        let mut world = lost_contest();
        world.reorganise(depth, Fate::Rivals);
        world.run_to_rest();
        clean(&mut world);
        assert!(world.flow.payments[0].was_sent(&world));
    }
}

#[test]
fn a_timeout_that_a_claim_replaces_before_it_counts_is_carried_upstream_as_a_claim() {
    for depth in 1..=5 {
        let mut world = won_by_timeout(depth);
        run_alone(&mut world, B);
        assert!(
            record(&world, B, C)
                .outbound
                .values()
                .all(|htlc| htlc.preimage.is_none())
        );
        world.reorganise(depth, Fate::Rivals);
        world.run_to_rest();
        clean(&mut world);
        assert!(world.flow.payments[0].was_sent(&world));
    }
}

#[test]
fn only_a_contested_timeout_of_six_confirmations_is_never_taken_off() {
    let options = Endings {
        reorgs: true,
        ..Endings::default()
    };
    assert_eq!(options.possible(&won_by_timeout(5)).len(), 3);
    assert_eq!(options.possible(&won_by_timeout(6)), []);
    // Because that costs the forwarder the HTLC, when the claim pays more.
    let mut world = won_by_timeout(6);
    run_alone(&mut world, B);
    world.reorganise(6, Fate::Lost);
    world.run_to_rest();
    assert!(!judge(&mut world).complaints.is_empty());
}

#[test]
fn a_payer_that_forgot_its_payment_is_told_that_it_failed_when_the_timeout_won() {
    let plan = "force-contest sync random seed=1027 crash=A@32:acks:payments";
    let plan: Plan = plan.parse().unwrap();
    let mut world = plan.replay(false).unwrap();
    assert_eq!(judge(&mut world).complaints, Vec::<String>::new());
    assert!(!world.flow.payments[0].was_sent(&world));
}
