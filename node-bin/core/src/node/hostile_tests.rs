//! What hostile peers, and unlucky moments, must not be able to do to a node.

use std::collections::BTreeMap;

use bitcoin::secp256k1::PublicKey;
use lightning::ln::msgs;
use lightning::ln::types::ChannelId;

use crate::channel::Outbox;
use crate::channel::opening::{self, OpenRequest, PendingOpen};
use crate::commitment::{holder_commitment_transaction, sign_counterparty_commitment};
use crate::effect::{Effect, UserEvent};
use crate::engine::Engine;
use crate::event::{EventKind, MonitorEvent, MppClaim};
use crate::input::{Command, Input, PlacedTransaction, Surroundings};
use crate::keys::Environment;
use crate::message::Message;
use crate::node::Node;
use crate::sim::judge::rest;
use crate::sim::setup::{CAPACITY_SAT, POLICY, PUSH_MSAT};
use crate::sim::world::World;
use crate::sim::{flows, testing};
use crate::source::InboundHtlcId;
use crate::update::{EntryContent, LogEntry, Update, UpdateStep};

pub(super) const A: usize = 0;
pub(super) const B: usize = 1;
pub(super) const C: usize = 2;

pub(super) fn surroundings() -> Surroundings {
    Surroundings {
        entropy: [7; 32],
        now_s: crate::sim::node::NOW_S,
    }
}

/// Carries out everything, with every write durable at once.
pub(super) fn drive(engine: &mut Engine) -> Vec<Effect> {
    let mut all = Vec::new();
    while let Some(effect) = engine.next(&mut surroundings) {
        if let Effect::Persist(write) = &effect {
            engine.persisted(write.store, write.sequence);
        }
        all.push(effect);
    }
    all
}

fn sent(effects: &[Effect]) -> Vec<Message> {
    let message = |effect: &Effect| match effect {
        Effect::Send { message, .. } => Some(message.clone()),
        _ => None,
    };
    effects.iter().filter_map(message).collect()
}

fn names(messages: &[Message]) -> Vec<&'static str> {
    messages.iter().map(Message::name).collect()
}

/// The node of a world, taken out of it.
pub(super) fn engine_of(world: &World, node: usize) -> Engine {
    world.nodes[node].engine.clone().unwrap()
}

pub(super) fn channel_between(world: &World, one: usize, other: usize) -> ChannelId {
    world.channels_between(one, other)[0]
}

fn open_channel(
    environment: &Environment,
    victim: PublicKey,
    entropy: [u8; 32],
) -> (PendingOpen, Message) {
    let mut out = Outbox::default();
    let request = OpenRequest {
        peer: victim,
        user_channel_id: [1; 32],
        capacity_sat: CAPACITY_SAT,
        push_msat: PUSH_MSAT,
        announce: false,
    };
    let (_, pending) = opening::begin(environment, &POLICY, request, entropy, &mut out).unwrap();
    let effects: Vec<Effect> = out.take().into_iter().map(|o| o.effect).collect();
    (pending, sent(&effects).remove(0))
}

/// `funding_created` of a peer that gets as far as that, for a funding output of its choice.
fn funding_created_for(
    engine: &mut Engine,
    attacker: &Environment,
    funding: lightning::chain::transaction::OutPoint,
) -> Message {
    let victim = engine.node.environment.node_id();
    let peer = attacker.node_id();
    let (pending, open) = open_channel(attacker, victim, [9; 32]);
    engine.input(Input::Message {
        peer,
        message: open,
    });
    let answers = sent(&drive(engine));
    let [Message::AcceptChannel(accept)] = &answers[..] else {
        panic!("{answers:?}");
    };
    let mut out = Outbox::default();
    let pending = opening::handle_accept_channel(attacker, pending, accept, &mut out).unwrap();
    let wanted = out.take().remove(0).effect;
    let Effect::Fund {
        script, amount_sat, ..
    } = wanted
    else {
        panic!("{wanted:?}");
    };
    let transaction = bitcoin::Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: vec![Default::default()],
        output: vec![bitcoin::TxOut {
            value: bitcoin::Amount::from_sat(amount_sat),
            script_pubkey: script,
        }],
    };
    let pending = opening::handle_funded(attacker, pending, Ok(transaction), &mut out).unwrap();
    let PendingOpen::Funded {
        mut parameters,
        counterparty,
        ..
    } = pending
    else {
        panic!("not funded");
    };
    parameters.funding = funding;
    let (signature, _) = sign_counterparty_commitment(attacker, &parameters, &counterparty);
    Message::FundingCreated(msgs::FundingCreated {
        temporary_channel_id: accept.common_fields.temporary_channel_id,
        funding_txid: funding.txid,
        funding_output_index: funding.index,
        signature,
    })
}

#[test]
fn a_peer_cannot_replace_a_channel_by_opening_one_with_the_same_funding_output() {
    let world = flows::start("forward", 1).unwrap();
    let mut engine = engine_of(&world, B);
    let attacker = world.nodes[C].environment.clone();
    for channel_id in [channel_between(&world, B, A), channel_between(&world, B, C)] {
        let before = engine.node.channels[&channel_id].record.clone();
        let funding = before.parameters.funding;
        let message = funding_created_for(&mut engine, &attacker, funding);
        let peer = attacker.node_id();
        engine.input(Input::Message { peer, message });
        let effects = drive(&mut engine);
        assert_eq!(names(&sent(&effects)), ["error"]);
        assert!(!effects.iter().any(|e| matches!(e, Effect::Persist(_))));
        assert_eq!(engine.node.channels[&channel_id].record, before);
    }
}

#[test]
fn a_peer_cannot_fill_the_memory_with_openings() {
    let world = flows::start("direct", 1).unwrap();
    let mut engine = engine_of(&world, B);
    let attacker = world.nodes[A].environment.clone();
    let peer = attacker.node_id();
    let victim = world.nodes[B].node_id;
    let mut refused = 0;
    for number in 0..200 {
        let (_, message) = open_channel(&attacker, victim, [number; 32]);
        engine.input(Input::Message { peer, message });
        refused += names(&sent(&drive(&mut engine)))
            .iter()
            .filter(|name| **name == "error")
            .count();
    }
    assert!(engine.node.opens.len() < 50, "{}", engine.node.opens.len());
    assert_eq!(engine.node.opens.len() + refused, 200);
}

#[test]
fn a_capacity_that_overflows_is_refused() {
    let world = flows::start("direct", 1).unwrap();
    let mut engine = engine_of(&world, A);
    let command = Command::Open {
        user_channel_id: [8; 32],
        peer: world.nodes[B].node_id,
        capacity_sat: u64::MAX,
        push_msat: 0,
        announce: false,
    };
    engine.input(Input::Command { id: 1, command });
    let effects = drive(&mut engine);
    assert!(matches!(
        effects[..],
        [Effect::Answer { result: Err(_), .. }]
    ));
}

#[test]
fn what_a_lost_connection_asked_for_is_not_sent_on_the_next_one() {
    let world = flows::start("direct", 1).unwrap();
    let peer = world.nodes[B].node_id;
    let channel_id = channel_between(&world, A, B);
    let inputs = [
        Input::Command {
            id: 1,
            command: Command::Close { channel_id },
        },
        Input::PeerDown { peer },
        Input::PeerUp { peer },
    ];
    let mut engine = engine_of(&world, A);
    for input in inputs.clone() {
        engine.input(input);
    }
    assert_eq!(
        names(&sent(&drive(&mut engine))),
        ["channel_reestablish"],
        "with writes that are durable at once"
    );
    let mut engine = engine_of(&world, A);
    for input in inputs {
        engine.input(input);
    }
    let mut writes = Vec::new();
    while let Some(effect) = engine.next(&mut surroundings) {
        assert!(!matches!(effect, Effect::Send { .. }), "{effect:?}");
        if let Effect::Persist(write) = effect {
            writes.push(write);
        }
    }
    for write in writes {
        engine.persisted(write.store, write.sequence);
    }
    assert_eq!(
        names(&sent(&drive(&mut engine))),
        ["channel_reestablish"],
        "with writes that are durable later"
    );
}

/// The peer lost its data, and was killed before it had written that it must not publish what it has. All that it
/// hears in its next life is what a node says of a channel that it has closed.
#[test]
fn a_peer_that_lost_its_data_is_shown_so_by_a_node_that_has_closed_the_channel() {
    let mut world = flows::start("direct", 1).unwrap();
    let (ours, peer) = (world.nodes[A].node_id, world.nodes[B].node_id);
    let channel_id = channel_between(&world, A, B);
    let mut stale = engine_of(&world, B);
    // A payment that B's old data knows nothing of.
    world.run_to_rest();
    let mut engine = engine_of(&world, A);
    engine.input(Input::Command {
        id: 1,
        command: Command::ForceClose { channel_id },
    });
    engine.input(Input::PeerDown { peer });
    engine.input(Input::PeerUp { peer });
    drive(&mut engine);
    stale.input(Input::PeerDown { peer: ours });
    stale.input(Input::PeerUp { peer: ours });
    let reestablish = sent(&drive(&mut stale)).remove(0);
    let message = reestablish.clone();
    engine.input(Input::Message { peer, message });
    let answers = sent(&drive(&mut engine));
    assert_eq!(names(&answers), ["channel_reestablish", "error"]);
    for message in answers {
        stale.input(Input::Message {
            peer: ours,
            message,
        });
    }
    let publishes = |effect: &Effect| {
        matches!(
            effect,
            Effect::Broadcast { .. } | Effect::BumpCommitment { .. }
        )
    };
    let done = drive(&mut stale);
    assert!(!done.iter().any(publishes), "{done:?}");
    assert!(stale.node.channels[&channel_id].record.closure.is_some());
    // A peer that answers for ever is not answered for ever.
    let message = reestablish;
    engine.input(Input::Message { peer, message });
    assert_eq!(names(&sent(&drive(&mut engine))), ["error"]);
}

#[test]
fn a_second_connection_without_the_end_of_the_first_starts_over() {
    let world = flows::start("direct", 1).unwrap();
    let peer = world.nodes[A].node_id;
    let channel_id = channel_between(&world, A, B);
    let mut engine = engine_of(&world, B);
    let message = Message::UpdateFee(msgs::UpdateFee {
        channel_id,
        feerate_per_kw: 600,
    });
    engine.input(Input::Message { peer, message });
    engine.input(Input::PeerUp { peer });
    drive(&mut engine);
    assert!(
        engine.node.channels[&channel_id]
            .volatile
            .proposed
            .is_empty()
    );
}

#[test]
fn fee_updates_that_are_never_signed_do_not_pile_up() {
    let world = flows::start("direct", 1).unwrap();
    let peer = world.nodes[A].node_id;
    let channel_id = channel_between(&world, A, B);
    let mut engine = engine_of(&world, B);
    for feerate_per_kw in 500..600 {
        let message = Message::UpdateFee(msgs::UpdateFee {
            channel_id,
            feerate_per_kw,
        });
        engine.input(Input::Message { peer, message });
        drive(&mut engine);
    }
    let channel = &engine.node.channels[&channel_id];
    assert_eq!(channel.volatile.proposed.len(), 1);
    assert!(channel.record.closure.is_none());
}

#[test]
fn a_peer_that_breaks_a_limit_is_told_so_about_that_channel_which_closes_alone() {
    let world = flows::start("forward", 1).unwrap();
    let mut engine = engine_of(&world, B);
    let (channel_id, other) = (channel_between(&world, B, A), channel_between(&world, B, C));
    let before = engine.node.channels[&other].record.clone();
    let peer = world.nodes[A].node_id;
    let message = Message::UpdateFee(msgs::UpdateFee {
        channel_id,
        feerate_per_kw: 252,
    });
    engine.input(Input::Message { peer, message });
    let effects = drive(&mut engine);
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Send { peer, message, .. } => Some((*peer, message.clone())),
        _ => None,
    });
    let data = "a fee rate of 252 sat per kw".to_owned();
    let error = Message::Error(msgs::ErrorMessage { channel_id, data });
    assert_eq!(told.collect::<Vec<_>>(), [(peer, error)]);
    let mut published = effects.iter().filter_map(|effect| match effect {
        Effect::BumpCommitment { channel_id, .. } => Some(*channel_id),
        _ => None,
    });
    assert_eq!(published.next(), Some(channel_id));
    assert!(published.all(|id| id == channel_id));
    assert_eq!(engine.node.channels[&other].record, before);
}

fn publishes(effects: &[Effect]) -> bool {
    let is_publication = |effect: &Effect| {
        matches!(
            effect,
            Effect::Broadcast { .. } | Effect::BumpCommitment { .. } | Effect::BumpHtlcs { .. }
        )
    };
    effects.iter().any(is_publication)
}

#[test]
fn a_node_that_has_lost_data_never_publishes_whatever_it_is_told_and_after_a_restart() {
    let world = flows::start("direct", 1).unwrap();
    let (peer, victim) = (world.nodes[B].node_id, &world.nodes[A]);
    let channel_id = channel_between(&world, A, B);
    let mut engine = engine_of(&world, A);
    let height = engine.node.best_block.height;
    engine.input(Input::PeerDown { peer });
    engine.input(Input::PeerUp { peer });
    drive(&mut engine);
    // The peer has the secret of commitment 0, which this record still holds for the current one.
    let parameters = &engine.node.channels[&channel_id].record.parameters;
    let keys = victim.environment.channel_keys(&parameters.keys_id);
    let proof = Message::ChannelReestablish(msgs::ChannelReestablish {
        channel_id,
        next_local_commitment_number: 2,
        next_remote_commitment_number: 1,
        your_last_per_commitment_secret: keys.commitment_secret(0),
        my_current_per_commitment_point: keys.commitment_point(1, &victim.environment.secp),
        next_funding: None,
        my_current_funding_locked: None,
    });
    let error = msgs::ErrorMessage {
        channel_id,
        data: "go on, publish".into(),
    };
    let told = [
        Input::Message {
            peer,
            message: proof,
        },
        Input::Message {
            peer,
            message: Message::Error(error),
        },
        Input::Command {
            id: 1,
            command: Command::ForceClose { channel_id },
        },
        empty_block(height + 1),
        Input::Tick,
    ];
    let mut sent_names = Vec::new();
    for input in told {
        engine.input(input);
        let effects = drive(&mut engine);
        assert!(!publishes(&effects), "{effects:?}");
        sent_names.extend(names(&sent(&effects)));
    }
    assert_eq!(sent_names, ["error"]);
    let record = engine.node.channels[&channel_id].record.clone();
    let mut stored = victim.disk.stored().unwrap();
    stored.channels[0].snapshot = record;
    stored.channels[0].entries.clear();
    let (environment, policy) = (victim.environment.clone(), victim.policy.clone());
    let tip = engine.node.best_block;
    let (node, start, durable) =
        Node::load(environment, policy, stored, tip, surroundings()).unwrap();
    let mut engine = Engine::new(node, start, durable);
    engine.input(empty_block(height + 2));
    let effects = drive(&mut engine);
    assert!(!publishes(&effects), "{effects:?}");
}

/// A world in which B has an HTLC from A to pass on, and waits for C.
fn forward_that_waits() -> World {
    let mut world = flows::start("forward", 1).unwrap();
    while world.phase == 0 {
        assert!(world.advance());
    }
    world.cut(B, C);
    let downstream = channel_between(&world, B, C);
    let waits = |world: &World| {
        let engine = world.nodes[B].engine.as_ref().unwrap();
        !engine.node.channels[&downstream].volatile.adds.is_empty()
    };
    while !waits(&world) {
        assert!(world.advance());
    }
    world
}

#[test]
fn an_htlc_whose_inbound_channel_closes_while_it_waits_is_not_passed_on() {
    let mut world = forward_that_waits();
    let upstream = channel_between(&world, B, A);
    let downstream = channel_between(&world, B, C);
    let command = Command::ForceClose {
        channel_id: upstream,
    };
    world.input(B, Input::Command { id: 99, command });
    let next_htlc_id = |world: &World| {
        let engine = world.nodes[B].engine.as_ref().unwrap();
        engine.node.channels[&downstream].record.next_htlc_id
    };
    let before = next_htlc_id(&world);
    world.run_to_rest();
    assert_eq!(next_htlc_id(&world), before);
}

#[test]
fn an_htlc_that_waits_until_it_is_about_to_expire_is_given_back() {
    let mut world = forward_that_waits();
    let downstream = channel_between(&world, B, C);
    let engine = world.nodes[B].engine.as_mut().unwrap();
    let expiry = engine.node.channels[&downstream].volatile.adds[0]
        .add
        .cltv_expiry;
    engine.node.best_block.height = expiry - 1;
    let before = engine.node.channels[&downstream].record.next_htlc_id;
    world.run_to_rest();
    let engine = world.nodes[B].engine.as_ref().unwrap();
    let channel = &engine.node.channels[&downstream];
    assert_eq!(channel.record.next_htlc_id, before);
    assert!(channel.volatile.adds.is_empty());
}

#[test]
fn a_payment_stays_claimable_at_a_start_though_the_acks_of_an_earlier_claim_of_its_hash_were_lost()
{
    let mut world = testing::world("hold-claim");
    while world.phase < 2 {
        assert!(world.advance());
    }
    let victim = &world.nodes[C];
    let mut stored = victim.disk.stored().unwrap();
    let payment = world.flow.payments[0].clone();
    let snapshot = &mut stored.channels[0].snapshot;
    let gone = InboundHtlcId {
        channel_id: snapshot.parameters.channel_id,
        htlc_id: 1_000,
    };
    snapshot.raise(MonitorEvent::InboundMppClaimPersisted {
        htlc_id: gone.htlc_id,
        claim: MppClaim {
            payment_hash: payment.payment_hash,
            preimage: payment.preimage,
            amount_msat: payment.amount_msat,
            parts: vec![gone],
        },
    });
    let (node, ..) = Node::load(
        victim.environment.clone(),
        victim.policy.clone(),
        stored,
        victim.engine.as_ref().unwrap().node.best_block,
        surroundings(),
    )
    .unwrap();
    let known = &node.claimables[&payment.payment_hash];
    assert!(known.complete, "{known:?}");
}

#[test]
fn two_claims_of_one_hash_are_both_resumed_at_a_start() {
    let mut world = flows::start("mpp-hold", 1).unwrap();
    const D: usize = 3;
    while world.phase < 2 {
        assert!(world.advance());
    }
    // The payment is claimable, the user is about to claim it.
    let mut stored = world.nodes[D].disk.stored().unwrap();
    let payment = world.flow.payments[0].clone();
    let (payment_hash, preimage) = (payment.payment_hash, payment.preimage);
    stored
        .channels
        .sort_by_key(|channel| channel.snapshot.parameters.channel_id);
    let mut parts = Vec::new();
    for channel in &mut stored.channels {
        for entry in std::mem::take(&mut channel.entries) {
            if entry.sequence > channel.snapshot.sequence {
                channel.snapshot.apply(&entry).unwrap();
            }
        }
        let htlc_ids: Vec<_> = channel.snapshot.inbound.keys().copied().collect();
        let [htlc_id] = htlc_ids[..] else {
            panic!("{htlc_ids:?}");
        };
        let channel_id = channel.snapshot.parameters.channel_id;
        parts.push(InboundHtlcId {
            channel_id,
            htlc_id,
        });
    }
    let [first, second] = parts[..] else {
        panic!("{parts:?}");
    };
    // An earlier payment with the same hash came over the first channel alone; the acknowledgement of its
    // claim was lost. Of the claim of this one only the second channel's write was durable.
    let earlier = InboundHtlcId {
        htlc_id: first.htlc_id + 1_000,
        ..first
    };
    let claim = |parts: &[InboundHtlcId]| MppClaim {
        payment_hash,
        preimage,
        amount_msat: payment.amount_msat,
        parts: parts.to_vec(),
    };
    let record = &mut stored.channels[0].snapshot;
    record.raise(MonitorEvent::InboundMppClaimPersisted {
        htlc_id: earlier.htlc_id,
        claim: claim(&[earlier]),
    });
    let record = &mut stored.channels[1].snapshot;
    let step = UpdateStep::PaymentPreimage {
        htlc_id: second.htlc_id,
        preimage,
        claim: Some(claim(&parts)),
    };
    let content = EntryContent::Update(Update { steps: vec![step] });
    let sequence = record.sequence + 1;
    record.apply(&LogEntry { sequence, content }).unwrap();
    let victim = &world.nodes[D];
    let engine = victim.engine.as_ref().unwrap();
    let (node, start, durable) = Node::load(
        victim.environment.clone(),
        victim.policy.clone(),
        stored,
        engine.node.best_block,
        surroundings(),
    )
    .unwrap();
    for part in parts {
        let inbound = &node.channels[&part.channel_id].record.inbound[&part.htlc_id];
        assert_eq!(inbound.preimage(), Some(preimage), "{part:?}");
    }
    let mut engine = Engine::new(node, start, durable);
    let mut claimed = 0;
    loop {
        let told: Vec<_> = drive(&mut engine)
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Tell { id, event } => Some((id, event)),
                _ => None,
            })
            .collect();
        if told.is_empty() {
            break;
        }
        for (id, event) in told {
            claimed += usize::from(matches!(event, UserEvent::PaymentClaimed { .. }));
            engine.input(Input::Told { id });
        }
    }
    assert_eq!(claimed, 2);
    assert!(engine.node.claims.is_empty());
}

#[test]
fn a_close_is_published_again_at_a_start() {
    for force in [false, true] {
        let mut world = flows::start("direct", 1).unwrap();
        let channel_id = channel_between(&world, A, B);
        let command = if force {
            Command::ForceClose { channel_id }
        } else {
            Command::Close { channel_id }
        };
        world.play(Default::default());
        world.nodes[A].user.order(command);
        world.run_to_rest();
        let node = &world.nodes[A];
        let stored = node.disk.stored().unwrap();
        let tip = node.engine.as_ref().unwrap().node.best_block;
        let (environment, policy) = (node.environment.clone(), node.policy.clone());
        let (node, start, durable) =
            Node::load(environment, policy, stored, tip, surroundings()).unwrap();
        assert!(node.channels[&channel_id].record.closure.is_some());
        let mut engine = Engine::new(node, start, durable);
        let published = drive(&mut engine).iter().any(|effect| match effect {
            Effect::Broadcast { .. } => !force,
            Effect::BumpCommitment { .. } => force,
            _ => false,
        });
        assert!(published, "{force}");
    }
}

/// A block without anything that concerns the node.
pub(super) fn empty_block(height: u32) -> Input {
    block_with(height, Vec::new())
}

/// B, which has accepted a channel of A's and seen no funding.
fn with_an_unfunded_channel() -> (Engine, ChannelId) {
    let world = flows::start("direct", 1).unwrap();
    let mut engine = engine_of(&world, B);
    let attacker = world.nodes[A].environment.clone();
    let funding = lightning::chain::transaction::OutPoint {
        txid: bitcoin::hashes::Hash::hash(b"never"),
        index: 0,
    };
    let peer = attacker.node_id();
    let message = funding_created_for(&mut engine, &attacker, funding);
    engine.input(Input::Message { peer, message });
    drive(&mut engine);
    (engine, ChannelId::v1_from_funding_outpoint(funding))
}

#[test]
fn a_channel_that_its_opener_never_funds_is_forgotten_after_two_weeks_and_not_before() {
    let (mut engine, channel_id) = with_an_unfunded_channel();
    let accepted_at = engine.node.best_block.height;
    for height in accepted_at + 1..accepted_at + 2_016 {
        engine.input(empty_block(height));
    }
    drive(&mut engine);
    assert!(engine.node.channels[&channel_id].record.closure.is_none());
    engine.input(empty_block(accepted_at + 2_016));
    let effects = drive(&mut engine);
    assert_eq!(names(&sent(&effects)), ["error"]);
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Tell {
            id,
            event: UserEvent::ChannelClosed { .. },
        } => Some(*id),
        _ => None,
    });
    engine.input(Input::Told { id: told.unwrap() });
    let effects = drive(&mut engine);
    let archived = |effect: &Effect| matches!(effect, Effect::Archive { .. });
    assert!(effects.iter().any(archived), "{effects:?}");
    assert!(!engine.node.channels.contains_key(&channel_id));
}

#[test]
fn a_channel_whose_late_funding_a_reorganisation_takes_off_is_not_forgotten() {
    let (mut engine, channel_id) = with_an_unfunded_channel();
    let last = engine.node.best_block.height + 2_015;
    let channel = engine.node.channels.get_mut(&channel_id).unwrap();
    let confirmed = UpdateStep::FundingConfirmed {
        height: last,
        transaction_index: 1,
    };
    let mut out = crate::channel::Outbox::default();
    channel.commit(vec![confirmed], &mut out).unwrap();
    engine.input(Input::BlocksDisconnected {
        height: last - 1,
        hash: bitcoin::hashes::Hash::all_zeros(),
    });
    for height in last..last + 3 {
        engine.input(empty_block(height));
    }
    drive(&mut engine);
    let record = &engine.node.channels[&channel_id].record;
    assert_eq!(record.closure, None);
    assert_eq!(record.funding.confirmed, None);
}

#[test]
fn a_peer_that_does_not_revoke_or_reestablish_is_hung_up_on() {
    let world = flows::start("direct", 1).unwrap();
    let peer = world.nodes[B].node_id;
    let hangs_up = |engine: &mut Engine| {
        engine.input(Input::Tick);
        let is_end = |effect: &Effect| matches!(effect, Effect::Disconnect { .. });
        drive(engine).iter().any(is_end)
    };
    // Nothing is owed.
    let mut engine = engine_of(&world, A);
    for _ in 0..10 {
        assert!(!hangs_up(&mut engine));
    }
    let sat_per_kw = 700;
    let command = Command::FeeRate { sat_per_kw };
    engine.input(Input::Command { id: 1, command });
    let effects = drive(&mut engine);
    assert_eq!(names(&sent(&effects)), ["update_fee", "commitment_signed"]);
    let ends: Vec<_> = (0..3).map(|_| hangs_up(&mut engine)).collect();
    assert_eq!(ends, [false, false, true]);
    let mut engine = engine_of(&world, A);
    engine.input(Input::PeerDown { peer });
    engine.input(Input::PeerUp { peer });
    drive(&mut engine);
    let ends: Vec<_> = (0..3).map(|_| hangs_up(&mut engine)).collect();
    assert_eq!(ends, [false, false, true]);
}

pub(super) fn block_with(height: u32, transactions: Vec<PlacedTransaction>) -> Input {
    block_at(height, true, transactions)
}

pub(super) fn block_at(height: u32, is_tip: bool, transactions: Vec<PlacedTransaction>) -> Input {
    Input::BlockConnected {
        height,
        hash: bitcoin::hashes::Hash::all_zeros(),
        is_tip,
        transactions,
    }
}

#[test]
fn htlcs_that_no_block_takes_together_are_sent_one_by_one_too_the_dearest_first() {
    let are_held = |world: &World| {
        let record = testing::record(world, B, C);
        record.holder.spec.htlcs.len() == 2 && record.next_counterparty.is_none()
    };
    let world = testing::world_when("force-twins-timeout", are_held);
    let mut engine = engine_of(&world, B);
    let channel_id = channel_between(&world, B, C);
    let record = engine.node.channels[&channel_id].record.clone();
    engine.input(Input::Command {
        id: 1,
        command: Command::ForceClose { channel_id },
    });
    drive(&mut engine);
    let mut height = engine.node.best_block.height + 1;
    let transaction =
        holder_commitment_transaction(&engine.node.environment, &record.parameters, &record.holder);
    let expiry = record.outbound.values().next().unwrap().add.cltv_expiry;
    engine.input(block_with(
        height,
        vec![PlacedTransaction {
            index: 1,
            transaction,
        }],
    ));
    let mut groups = BTreeMap::new();
    while height < expiry + 6 {
        let effects = drive(&mut engine);
        let sizes = effects.iter().filter_map(|effect| match effect {
            Effect::BumpHtlcs { htlcs, .. } => Some(htlcs.len()),
            _ => None,
        });
        groups.insert(height, sizes.collect::<Vec<_>>());
        height += 1;
        engine.input(empty_block(height));
    }
    assert_eq!(groups[&(expiry - 1)], Vec::<usize>::new());
    assert_eq!(groups[&expiry], [2]);
    assert_eq!(groups[&(expiry + 2)], [2]);
    assert_eq!(groups[&(expiry + 3)], [2, 1, 1]);
}

/// The fundings of B's channels, A's first.
pub(super) fn fundings(world: &World) -> [(u32, PlacedTransaction); 2] {
    [(A, B), (B, C)].map(|(opener, acceptor)| {
        let record = testing::record(world, opener, acceptor);
        let (height, index) = record.funding.confirmed.unwrap();
        let transaction = record.funding.transaction.clone().unwrap();
        (height, PlacedTransaction { index, transaction })
    })
}

/// A node sees all blocks anew, with these fundings in them and without the others.
pub(super) fn see_anew(
    world: &mut World,
    node: usize,
    all: &[(u32, PlacedTransaction)],
    with: &[(u32, PlacedTransaction)],
) {
    let tip = world.nodes[node].engine.as_ref().unwrap().node.best_block;
    let first = all.iter().map(|(height, _)| *height).min().unwrap();
    let disconnected = Input::BlocksDisconnected {
        height: first - 1,
        hash: bitcoin::hashes::Hash::all_zeros(),
    };
    world.input(node, disconnected);
    for height in first..=tip.height {
        let here = with.iter().filter(|(at, _)| *at == height);
        let placed = here.map(|(_, placed)| placed.clone()).collect();
        world.input(node, block_with(height, placed));
    }
}

#[test]
fn what_comes_over_a_channel_whose_funding_was_taken_off_is_paid_on_when_it_is_back() {
    let mut world = testing::world("forward");
    let all = fundings(&world);
    see_anew(&mut world, B, &all, &all[1..]);
    world.run_to_rest();
    let waits = testing::has_event(&world, B, A, EventKind::Accepted);
    assert!(waits);
    assert_eq!(testing::record(&world, B, C).next_htlc_id, 0);
    see_anew(&mut world, B, &all, &all);
    world.run_to_rest();
    assert_eq!(testing::record(&world, B, C).next_htlc_id, 1);
    assert_eq!(rest::complaints(&world), Vec::<String>::new());
}

#[test]
fn what_waits_to_be_paid_on_is_given_back_when_the_funding_of_what_pays_for_it_is_taken_off() {
    let mut world = forward_that_waits();
    let all = fundings(&world);
    let before = testing::record(&world, B, C).next_htlc_id;
    see_anew(&mut world, B, &all, &all[1..]);
    world.run_to_rest();
    assert_eq!(testing::record(&world, B, C).next_htlc_id, before);
}

#[test]
fn no_preimage_goes_out_over_a_channel_whose_funding_was_taken_off() {
    let mut world = testing::world("hold-claim");
    while world.phase < 2 {
        assert!(world.advance());
    }
    let all = fundings(&world);
    see_anew(&mut world, C, &all[1..], &[]);
    // Its user claims now, and is refused.
    world.run_to_rest();
    let inbound = testing::record(&world, C, B).inbound.clone();
    assert!(inbound[&0].resolution.is_none());
    see_anew(&mut world, C, &all[1..], &all[1..]);
    let preimage = world.flow.payments[0].preimage;
    world.nodes[C].user.order(Command::Claim { preimage });
    world.run_to_rest();
    assert!(world.flow.payments[0].was_sent(&world));
    assert_eq!(rest::complaints(&world), Vec::<String>::new());
}

/// How often C's user was told that the payment can be claimed.
fn times_claimable(world: &World) -> usize {
    let told = world.nodes[C].user.handled();
    told.filter(|event| matches!(event, UserEvent::PaymentClaimable { .. }))
        .count()
}

#[test]
fn no_preimage_goes_out_over_a_closed_channel_whose_funding_was_taken_off_before() {
    let mut world = testing::world("hold-claim");
    while world.phase < 2 {
        assert!(world.advance());
    }
    let all = fundings(&world);
    see_anew(&mut world, C, &all[1..], &[]);
    let channel_id = channel_between(&world, C, B);
    let command = Command::ForceClose { channel_id };
    world.input(C, Input::Command { id: 99, command });
    let preimage = world.flow.payments[0].preimage;
    let command = Command::Claim { preimage };
    world.input(C, Input::Command { id: 100, command });
    let mut engine = engine_of(&world, C);
    drive(&mut engine);
    let record = &engine.node.channels[&channel_id].record;
    assert!(record.closure.is_some());
    assert!(record.inbound[&0].resolution.is_none());
}

#[test]
fn a_user_that_was_not_let_claim_hears_of_the_payment_again_when_the_funding_is_back() {
    let mut world = testing::world("hold-claim");
    while world.phase < 2 {
        assert!(world.advance());
    }
    let all = fundings(&world);
    see_anew(&mut world, C, &all[1..], &[]);
    world.run_to_rest();
    assert_eq!(times_claimable(&world), 1);
    see_anew(&mut world, C, &all[1..], &all[1..]);
    world.run_to_rest();
    assert_eq!(times_claimable(&world), 2);
}

#[test]
fn dust_that_a_close_gave_to_the_miners_is_not_claimed_after_it() {
    let mut world =
        testing::world_when("dust", |w| testing::has_event(w, C, B, EventKind::Accepted));
    let channel_id = channel_between(&world, C, B);
    let preimage = world.flow.payments[0].preimage;
    let mut engine = engine_of(&world, C);
    drive(&mut engine);
    for command in [
        Command::ForceClose { channel_id },
        Command::Claim { preimage },
    ] {
        engine.input(Input::Command { id: 99, command });
        drive(&mut engine);
    }
    let record = &engine.node.channels[&channel_id].record;
    assert_eq!(record.inbound[&0].preimage(), None);
    world.run_to_rest();
}

#[test]
fn a_refusal_is_told_when_it_is_durable() {
    let mut world = testing::world("hold-claim");
    while world.phase < 2 {
        assert!(world.advance());
    }
    let mut engine = engine_of(&world, C);
    let payment_hash = world.flow.payments[0].payment_hash;
    let command = Command::Fail { payment_hash };
    engine.input(Input::Command { id: 99, command });
    let is_told = |effect: &Effect| {
        let is_refusal = |event: &UserEvent| matches!(event, UserEvent::HtlcHandlingFailed { .. });
        matches!(effect, Effect::Tell { event, .. } if is_refusal(event))
    };
    let mut written = Vec::new();
    while let Some(effect) = engine.next(&mut surroundings) {
        assert!(!is_told(&effect));
        if let Effect::Persist(write) = effect {
            written.push((write.store, write.sequence));
        }
    }
    assert!(!written.is_empty());
    for (store, sequence) in written {
        engine.persisted(store, sequence);
    }
    assert!(drive(&mut engine).iter().any(is_told));
}
