//! Invariants 10 and 12: starting again with nothing to do changes nothing and closes nothing.

use crate::effect::{Effect, UserEvent};
use crate::message::Message;
use crate::record::Closure;
use crate::sim::crash::Image;
use crate::sim::schedule::Action;
use crate::sim::world::World;

/// Actions after which a restart at rest is given up.
const ACTIONS: usize = 5_000;

/// Restarts every node at once, twice, and says what came of it. The world is used up.
pub fn complaints(world: &mut World) -> Vec<String> {
    let mut found = Vec::new();
    for round in ["once", "twice"] {
        let before: Vec<_> = world.nodes.iter().map(|node| node.disk.clone()).collect();
        for node in 0..world.nodes.len() {
            if world.nodes[node].is_gone {
                continue;
            }
            world.crash(node, &Image::default());
        }
        run(world, &mut found);
        for (node, before) in world.nodes.iter().zip(&before) {
            if !node.disk.same_bytes(before) {
                found.push(format!(
                    "{} writes when it is restarted {round} at rest",
                    node.name
                ));
            }
        }
        found.append(&mut world.complaints);
    }
    found
}

/// Runs to rest, looking at each effect.
fn run(world: &mut World, found: &mut Vec<String>) {
    for _ in 0..ACTIONS {
        let Some(action) = world.choose() else {
            return;
        };
        if let Action::Run(node) = action
            && let Some(effect) = &world.nodes[node].pending
            && !is_harmless(effect)
            && !is_published_again(world, node, effect)
        {
            found.push(format!(
                "{} does this when it is restarted at rest: {}",
                world.nodes[node].name,
                world.names.effect(effect)
            ));
        }
        world.perform(action);
    }
    found.push("restarted at rest, the world does not rest again".to_owned());
}

/// What a start may do although nothing is to be done.
fn is_harmless(effect: &Effect) -> bool {
    match effect {
        Effect::Send { message, .. } => matches!(
            message,
            Message::ChannelReestablish(_)
                | Message::ChannelReady(_)
                | Message::ChannelUpdate(_)
                | Message::AnnouncementSignatures(_)
        ),
        Effect::Tell { event, .. } => matches!(
            event,
            UserEvent::ChannelReady { .. } | UserEvent::ChannelClosed { .. }
        ),
        // Whatever was published before.
        Effect::Broadcast { .. }
        | Effect::Trim { .. }
        | Effect::AnnounceChannel { .. }
        | Effect::AnnouncePolicy { .. } => true,
        _ => false,
    }
}

/// Whether this is the commitment of a channel that ended before, whose funding never came into a block: nothing
/// can take it, and it is offered with every start.
fn is_published_again(world: &World, node: usize, effect: &Effect) -> bool {
    let Effect::BumpCommitment { channel_id, .. } = effect else {
        return false;
    };
    let durable = world.nodes[node].disk.durable();
    durable.channels.get(channel_id).is_some_and(|record| {
        let was_published = record.closure.as_ref().is_some_and(Closure::is_published);
        let funding = &record.parameters.funding.txid;
        was_published && world.chain.height_of(funding).is_none()
    })
}
