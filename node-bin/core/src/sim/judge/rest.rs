//! Invariant 9, at rest: nothing is pending, both sides of every channel agree, and what everybody owns is
//! what the payments that went through make of it, to the millisatoshi.

use crate::channel::{Channel, Connection};
use crate::record::{ChannelRecord, Closure};
use crate::sim::flow::{OpenedChannel, PlannedPayment};
use crate::sim::node::SimNode;
use crate::sim::world::World;
use crate::spec::CommitmentSpec;

use super::payments::is_dust_on_chain;

/// What is wrong with a world at rest.
pub fn complaints(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for node in world.nodes.iter().filter(|node| !node.is_gone) {
        of_node(world, node, &mut found);
    }
    for opened in &world.flow.opened {
        of_channel(world, opened, &mut found);
    }
    found
}

fn of_node(world: &World, node: &SimNode, found: &mut Vec<String>) {
    let name = node.name;
    let Some(engine) = &node.engine else {
        return found.push(format!("{name} is dead"));
    };
    if !node.is_quiet() {
        found.push(format!("{name} is not quiet"));
    }
    for order in node.user.unanswered() {
        found.push(format!("{name} never answered {:?}", order.command));
    }
    for payment in engine.node.payments.values() {
        if payment.outcome.is_none() {
            found.push(format!("{name} has a payment without an end"));
        }
    }
    for (channel_id, channel) in &engine.node.channels {
        let title = format!("{name}'s {}", world.names.channel(channel_id));
        of_one_side(&title, channel, found);
    }
    for (channel_id, event) in node.disk.durable().events() {
        let channel = world.names.channel(&channel_id);
        found.push(format!(
            "{name}'s {channel} has an event: {:?}",
            event.key()
        ));
    }
}

/// One side of a channel has nothing under way.
fn of_one_side(title: &str, channel: &Channel, found: &mut Vec<String>) {
    let record = &channel.record;
    let changes = &record.holder_changes;
    let theirs = &record.counterparty_changes;
    let volatile = &channel.volatile;
    let pending = [
        ("inbound HTLCs", record.inbound.len()),
        ("outbound HTLCs", record.outbound.len()),
        ("signed changes", changes.signed.len()),
        ("acked changes", changes.acked.len()),
        ("counterparty's acked changes", theirs.acked.len()),
        ("counterparty's signed changes", theirs.signed.len()),
        (
            "unrevoked commitments",
            usize::from(record.next_counterparty.is_some()),
        ),
        ("HTLCs in commitments", record.holder.spec.htlcs.len()),
        ("unsigned proposals", volatile.proposed.len()),
        ("waiting adds", volatile.adds.len()),
    ];
    if record.closure.is_some() {
        return;
    }
    for (what, count) in pending {
        if count > 0 {
            found.push(format!("{title} has {count} {what}"));
        }
    }
    if volatile.connection != Connection::Up {
        found.push(format!("{title} is {:?}", volatile.connection));
    }
}

fn of_channel(world: &World, opened: &OpenedChannel, found: &mut Vec<String>) {
    if world.flow.forces.contains(&opened.pair) {
        return;
    }
    let [one, other] = opened.pair;
    let title = format!("{}-{}", world.nodes[one].name, world.nodes[other].name);
    let closes = world.flow.closes.contains(&opened.pair);
    let record = |node: usize| {
        let durable = world.nodes[node].disk.durable();
        durable.channels.get(&opened.channel_id)
    };
    let (Some(near), Some(far)) = (record(one), record(other)) else {
        let archived = |node: &usize| {
            let archive = world.nodes[*node].disk.archived();
            record(*node).is_some() || archive.contains(&opened.channel_id)
        };
        if !closes || !opened.pair.iter().all(archived) {
            found.push(format!("{title} is gone"));
        }
        return;
    };
    for record in [near, far] {
        match (&record.closure, closes) {
            (None, false) => {}
            (Some(Closure::Cooperative { transaction }), true) => {
                if !world.chain.knows(&transaction.compute_txid()) {
                    found.push(format!("{title}'s closing transaction was never published"));
                }
            }
            (closure, _) => found.push(format!("{title} ends as {closure:?}")),
        }
    }
    found.extend(disagreements(&title, near, far));
    let expected = owned(world, opened);
    // Whoever passed dust on whose inbound channel has closed has lost it.
    let with_lost_dust = owned_after(world, opened, |payment| {
        payment.was_sent(world) || is_dust_on_chain(world, payment)
    });
    let spec = &near.holder.spec;
    let owned = [spec.holder_msat, spec.counterparty_msat];
    if owned != expected && owned != with_lost_dust {
        found.push(format!(
            "{title}: {} and {} msat instead of {} and {}",
            spec.holder_msat, spec.counterparty_msat, expected[0], expected[1]
        ));
    }
    let sum_msat = spec.holder_msat + spec.counterparty_msat;
    if spec.htlcs.is_empty() && sum_msat != near.parameters.capacity_sat * 1000 {
        found.push(format!("{title} holds {sum_msat} msat, not its capacity"));
    }
}

/// What two sides of a channel without anything under way say differently.
pub fn disagreements(title: &str, near: &ChannelRecord, far: &ChannelRecord) -> Vec<String> {
    let mut found = Vec::new();
    let pairs = [
        (&near.holder.spec, &far.counterparty.spec),
        (&near.counterparty.spec, &far.holder.spec),
        (&near.holder.spec, &near.counterparty.spec),
    ];
    for (index, (one, other)) in pairs.iter().enumerate() {
        let seen = if index < 2 {
            mirrored(other)
        } else {
            (*other).clone()
        };
        if **one != seen {
            found.push(format!("{title}: {one:?} is not {seen:?}"));
        }
    }
    let numbers = [
        (near.holder.number, far.counterparty.number),
        (far.holder.number, near.counterparty.number),
        (near.next_htlc_id, far.next_counterparty_htlc_id),
        (far.next_htlc_id, near.next_counterparty_htlc_id),
    ];
    if numbers.iter().any(|(one, other)| one != other) {
        found.push(format!(
            "{title}: both sides count differently: {numbers:?}"
        ));
    }
    found
}

/// A commitment as the other side sees it.
pub fn mirrored(spec: &CommitmentSpec) -> CommitmentSpec {
    CommitmentSpec {
        feerate_per_kw: spec.feerate_per_kw,
        holder_msat: spec.counterparty_msat,
        counterparty_msat: spec.holder_msat,
        htlcs: spec
            .htlcs
            .iter()
            .map(|((direction, htlc_id), htlc)| ((direction.reverse(), *htlc_id), htlc.clone()))
            .collect(),
    }
}

/// What both sides own after the payments that went through.
pub fn owned(world: &World, opened: &OpenedChannel) -> [u64; 2] {
    owned_after(world, opened, |payment| payment.was_sent(world))
}

fn owned_after(
    world: &World,
    opened: &OpenedChannel,
    went_through: impl Fn(&PlannedPayment) -> bool,
) -> [u64; 2] {
    let mut received_msat = opened.balances_msat;
    let mut paid_msat = [0; 2];
    for payment in &world.flow.payments {
        let sent = went_through(payment);
        let hops = payment.parts.iter().filter(|_| sent).flat_map(|part| {
            let pairs = part.nodes.iter().zip(part.nodes.iter().skip(1));
            pairs.zip(&part.amounts_msat)
        });
        for ((from, to), amount_msat) in hops {
            for (side, own) in opened.pair.iter().enumerate() {
                let other = opened.pair[1 - side];
                if (own, &other) == (from, to) {
                    paid_msat[side] += amount_msat;
                    received_msat[1 - side] += amount_msat;
                }
            }
        }
    }
    // Only in sum: a side may have paid what it got from a payment that the flow names later.
    [0, 1].map(|side| received_msat[side].saturating_sub(paid_msat[side]))
}
