//! What a start has to know though a crash kept only a part of it.

use bitcoin::secp256k1::PublicKey;

use crate::effect::{Effect, Store, UserEvent};
use crate::engine::Engine;
use crate::event::EventKind;
use crate::input::Input;
use crate::message::Message;
use crate::node::{Node, StoredChannel};
use crate::sim::testing;
use crate::sim::world::World;

use super::hostile_tests::{A, B, C, channel_between, drive, empty_block, engine_of, surroundings};

/// B as it is started again from this disk, but with its channel to C as it was stored before.
fn restarted(world: &World, downstream: StoredChannel) -> Engine {
    let node = &engine_of(world, B).node;
    let mut stored = world.nodes[B].disk.stored().unwrap();
    let id = |channel: &StoredChannel| channel.snapshot.parameters.channel_id;
    let channels = stored.channels.into_iter();
    stored.channels = channels
        .filter(|channel| id(channel) != id(&downstream))
        .collect();
    stored.channels.push(downstream);
    let (node, start, durable) = Node::load(
        node.environment.clone(),
        node.policy.clone(),
        stored,
        node.best_block,
        surroundings(),
    )
    .unwrap();
    Engine::new(node, start, durable)
}

/// B's channel to C, as its disk has it.
fn stored_downstream(world: &World) -> StoredChannel {
    let channel_id = channel_between(world, B, C);
    let stored = world.nodes[B].disk.stored().unwrap();
    let mut channels = stored.channels.into_iter();
    channels
        .find(|channel| channel.snapshot.parameters.channel_id == channel_id)
        .unwrap()
}

/// A world in which B has claimed A's HTLC with what C told it, and B's channel to C as it was just before C did.
fn claimed_upstream(flow: &str) -> (World, StoredChannel) {
    let is_told = |world: &World| testing::has_event(world, B, C, EventKind::Claimed);
    let mut world = testing::world_when(flow, |world| {
        !testing::record(world, B, C).outbound.is_empty()
    });
    let mut before = stored_downstream(&world);
    while !is_told(&world) {
        before = stored_downstream(&world);
        assert!(world.advance());
    }
    let is_claimed = |world: &World| {
        let mut inbound = testing::record(world, B, A).inbound.values();
        inbound.any(|htlc| htlc.preimage().is_some())
    };
    while !is_claimed(&world) {
        assert!(world.advance());
    }
    (world, before)
}

fn forwards_and_failures(effects: &[Effect]) -> (usize, usize) {
    let count = |is_it: fn(&UserEvent) -> bool| {
        let told = effects.iter();
        told.filter(|effect| matches!(effect, Effect::Tell { event, .. } if is_it(event)))
            .count()
    };
    (
        count(|event| matches!(event, UserEvent::PaymentForwarded { .. })),
        count(|event| matches!(event, UserEvent::HtlcHandlingFailed { .. })),
    )
}

#[test]
fn a_claim_that_a_crash_left_upstream_alone_is_told_as_a_forward_though_the_peer_closes() {
    for flow in ["dust", "forward"] {
        let (world, before) = claimed_upstream(flow);
        let mut engine = restarted(&world, before);
        let peer = world.nodes[C].node_id;
        let channel_id = channel_between(&world, B, C);
        engine.input(Input::PeerUp { peer });
        engine.input(Input::Message {
            peer,
            message: Message::Error(lightning::ln::msgs::ErrorMessage {
                channel_id,
                data: "closed by its user".into(),
            }),
        });
        let height = engine.node.best_block.height;
        engine.input(empty_block(height + 1));
        assert_eq!(forwards_and_failures(&drive(&mut engine)), (1, 0), "{flow}");
        let record = &engine.node.channels[&channel_id].record;
        assert!(record.closure.is_some());
        assert!(record.outbound.values().all(|htlc| htlc.preimage.is_some()));
    }
}

/// What the engine sends to this peer, with every write durable at once but those of one channel; and the last of
/// those.
fn sent_with_one_store_late(
    engine: &mut Engine,
    peer: PublicKey,
    late: Store,
) -> (Vec<&'static str>, Option<u64>) {
    let (mut sent, mut last) = (Vec::new(), None);
    while let Some(effect) = engine.next(&mut surroundings) {
        match effect {
            Effect::Persist(write) if write.store == late => last = Some(write.sequence),
            Effect::Persist(write) => engine.persisted(write.store, write.sequence),
            Effect::Send {
                peer: to, message, ..
            } if to == peer => sent.push(message.name()),
            _ => {}
        }
    }
    (sent, last)
}

/// How this node greets that peer.
fn reestablish(world: &World, node: usize, peer: usize) -> Message {
    let mut engine = engine_of(world, node);
    let peer = world.nodes[peer].node_id;
    engine.input(Input::PeerDown { peer });
    engine.input(Input::PeerUp { peer });
    let mut effects = drive(&mut engine).into_iter();
    let greeting = effects.find_map(|effect| match effect {
        Effect::Send {
            peer: to,
            message: message @ Message::ChannelReestablish(_),
            ..
        } if to == peer => Some(message),
        _ => None,
    });
    greeting.expect("they have a channel")
}

#[test]
fn a_claim_is_not_told_upstream_before_a_crash_could_leave_it_downstream() {
    for flow in ["dust", "forward"] {
        let (world, before) = claimed_upstream(flow);
        let mut engine = restarted(&world, before);
        let peer = world.nodes[A].node_id;
        let late = Store::Monitor(channel_between(&world, B, C));
        engine.input(Input::PeerUp { peer });
        engine.input(Input::Message {
            peer,
            message: reestablish(&world, A, B),
        });
        let (sent, last) = sent_with_one_store_late(&mut engine, peer, late);
        assert!(!sent.contains(&"update_fulfill_htlc"), "{flow}: {sent:?}");
        // The peer owes no answer to what was not sent.
        for _ in 0..10 {
            engine.input(Input::Tick);
        }
        let (still, _) = sent_with_one_store_late(&mut engine, peer, late);
        assert_eq!(still, Vec::<&str>::new(), "{flow}");
        engine.persisted(late, last.expect("the start knows the claim"));
        let (sent, _) = sent_with_one_store_late(&mut engine, peer, late);
        let fulfil = sent.iter().position(|name| *name == "update_fulfill_htlc");
        assert_eq!(
            sent.first(),
            Some(&"channel_reestablish"),
            "{flow}: {sent:?}"
        );
        assert_eq!(
            fulfil.map(|at| sent[at + 1]),
            Some("commitment_signed"),
            "{flow}: {sent:?}"
        );
    }
}

#[test]
fn a_start_with_nothing_claimed_upstream_knows_no_claim_downstream() {
    let world = testing::world_when("forward", |world| {
        !testing::record(world, B, C).outbound.is_empty()
    });
    let mut engine = restarted(&world, stored_downstream(&world));
    assert_eq!(forwards_and_failures(&drive(&mut engine)), (0, 0));
    let outbound = &engine.node.channels[&channel_between(&world, B, C)]
        .record
        .outbound;
    assert!(!outbound.is_empty());
    assert!(outbound.values().all(|htlc| htlc.preimage.is_none()));
}
