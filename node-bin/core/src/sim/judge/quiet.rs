//! Whenever nothing is left to happen by itself, held payments or not: both sides of every channel say the
//! same of both commitments, and what lives is what is durable.

use crate::channel::{Channel, Connection};
use crate::sim::world::World;

use super::rest::disagreements;

/// Looks at all channels of a quiet world.
pub fn look(world: &mut World) {
    let mut found = Vec::new();
    for opened in &world.flow.opened {
        let [one, other] = opened.pair;
        let side = |node: usize| {
            let engine = world.nodes[node].engine.as_ref()?;
            engine.node.channels.get(&opened.channel_id)
        };
        let (Some(near), Some(far)) = (side(one), side(other)) else {
            continue;
        };
        if is_working(near) && is_working(far) {
            let title = world.names.channel(&opened.channel_id);
            found.extend(disagreements(&title, &near.record, &far.record));
        }
    }
    for node in &world.nodes {
        let durable = node.disk.durable();
        let channels = node.engine.iter().flat_map(|engine| &engine.node.channels);
        for (channel_id, channel) in channels {
            let written = durable.channels.get(channel_id);
            if written.is_none_or(|record| **record != channel.record) {
                let title = world.names.channel(channel_id);
                let name = node.name;
                found.push(format!(
                    "{name}'s {title}: what lives is not what is durable"
                ));
            }
        }
    }
    for complaint in found {
        world.complain(format!("quiet: {complaint}"));
    }
}

fn is_working(channel: &Channel) -> bool {
    channel.volatile.connection == Connection::Up && channel.record.closure.is_none()
}
