//! A funding transaction that was published implies a channel on both sides; without one the opener has
//! nothing, and its coins are its own.

use std::sync::Arc;

use crate::record::ChannelRecord;
use crate::sim::world::World;

use super::rest::disagreements;

/// What is wrong with the channels that were to be opened, at rest.
pub fn complaints(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for [opener, acceptor] in &world.flow.opens {
        let title = format!(
            "{}-{}",
            world.nodes[*opener].name, world.nodes[*acceptor].name
        );
        let near = records(world, *opener, *acceptor);
        let far = records(world, *acceptor, *opener);
        if near.len() > 1 {
            found.push(format!("{title} was opened {} times", near.len()));
        }
        if near.is_empty() && world.faults == 0 {
            found.push(format!("{title} was never opened"));
        }
        for record in &near {
            let same = |other: &&Arc<ChannelRecord>| {
                other.parameters.channel_id == record.parameters.channel_id
            };
            let is_published = world.chain.knows(&record.parameters.funding.txid);
            match far.iter().find(same) {
                Some(other) if is_published && is_open(record) && is_open(other) => {
                    found.extend(disagreements(&title, record, other));
                }
                other => found.push(format!(
                    "{title}: published: {is_published}, at the opener {:?}, at the acceptor {:?}",
                    record.funding,
                    other.map(|record| &record.funding)
                )),
            }
        }
        for record in &far {
            let is_known = near
                .iter()
                .any(|known| known.parameters.channel_id == record.parameters.channel_id);
            if !is_known && world.chain.knows(&record.parameters.funding.txid) {
                found.push(format!("{title} is funded, and its opener does not know"));
            }
        }
    }
    found
}

fn is_open(record: &ChannelRecord) -> bool {
    let funding = &record.funding;
    record.closure.is_none() && funding.holder_ready && funding.counterparty_ready
}

fn records(world: &World, node: usize, peer: usize) -> Vec<Arc<ChannelRecord>> {
    let durable = world.nodes[node].disk.durable();
    world
        .channels_between(node, peer)
        .iter()
        .filter_map(|channel_id| durable.channels.get(channel_id).cloned())
        .collect()
}
