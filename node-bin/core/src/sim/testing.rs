//! Worlds at chosen moments, for tests.

use lightning::ln::types::ChannelId;

use crate::event::EventKind;
use crate::record::ChannelRecord;

use super::judge::rest;
use super::plan::Plan;
use super::world::{Persistence, Schedule, World};

pub const A: usize = 0;
pub const B: usize = 1;
pub const C: usize = 2;

pub fn world(flow: &str) -> World {
    let plan = Plan::new(flow, Persistence::Synchronous, Schedule::Fixed, 0);
    plan.start().expect("a world comes about")
}

/// A world of this flow at the first moment at which that is true.
pub fn world_when(flow: &str, is_there: impl Fn(&World) -> bool) -> World {
    let mut world = world(flow);
    while !is_there(&world) {
        assert!(world.advance(), "{flow} never comes there");
    }
    world
}

pub fn rested(flow: &str) -> World {
    let mut world = world(flow);
    world.run_to_rest();
    assert_eq!(rest::complaints(&world), Vec::<String>::new());
    world
}

pub fn channel(world: &World, one: usize, other: usize) -> ChannelId {
    world.flow.channel(one, other).expect("they have a channel")
}

pub fn record(world: &World, node: usize, peer: usize) -> &ChannelRecord {
    let channel_id = channel(world, node, peer);
    &world.nodes[node].disk.durable().channels[&channel_id]
}

/// Whether the node's peer has claimed an HTLC of the node's.
pub fn was_claimed(world: &World, node: usize, peer: usize) -> bool {
    let mut outbound = record(world, node, peer).outbound.values();
    outbound.any(|htlc| htlc.preimage.is_some())
}

pub fn has_event(world: &World, node: usize, peer: usize, kind: EventKind) -> bool {
    let mut events = record(world, node, peer).events.iter();
    events.any(|pending| pending.event.key().kind == kind)
}
