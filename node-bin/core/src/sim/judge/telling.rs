//! What a user is told is so for good: it rests on what is durable, and nothing under way can undo it.

use lightning::ln::types::ChannelId;

use crate::effect::UserEvent;
use crate::event::MonitorEvent;
use crate::payment::PaymentOutcome;
use crate::sim::disk::Durable;
use crate::sim::node::SimNode;
use crate::sim::world::World;
use crate::source::{HtlcSource, PaymentId};

use super::durable::has_preimage_or_is_gone;

/// Judges what a node tells its user now.
pub fn told(world: &mut World, node: usize, event: &UserEvent) {
    let early = early_claims(&world.nodes[node]);
    if let Some(problem) = premature(world.nodes[node].disk.durable(), &early, event) {
        let name = world.nodes[node].name;
        let words = world.names.event(event);
        world.complain(format!("{name} tells {words}: {problem}"));
    }
}

/// All unacknowledged claims that a living node knows of, durable or not: a claim may go upstream before it is
/// durable downstream.
fn early_claims(node: &SimNode) -> Vec<(ChannelId, MonitorEvent)> {
    let channels = node.engine.iter().flat_map(|engine| &engine.node.channels);
    let events = channels.flat_map(|(channel_id, channel)| {
        let events = channel.record.events.iter();
        events.map(|pending| (*channel_id, pending.event.clone()))
    });
    events
        .filter(|(_, event)| matches!(event, MonitorEvent::ForwardedHtlcClaimed { .. }))
        .collect()
}

/// What speaks against telling this, with these claims under way. `None`: nothing.
pub fn premature(
    durable: &Durable,
    claims_under_way: &[(ChannelId, MonitorEvent)],
    event: &UserEvent,
) -> Option<String> {
    match event {
        UserEvent::PaymentFailed { payment_id, .. } => {
            let is_live = durable.channels.values().any(|record| {
                let mut outbound = record.outbound.values();
                outbound.any(|htlc| is_of(&htlc.source, payment_id))
            });
            let is_claimed = claims(durable).any(|source| is_of(source, payment_id));
            (is_live || is_claimed).then(|| "a part of it may still be claimed".to_owned())
        }
        UserEvent::PaymentSent { payment_id, .. } => {
            let payment = durable.payments.get(payment_id);
            let is_recorded = payment.is_some_and(|payment| {
                matches!(payment.outcome, Some(PaymentOutcome::Sent { .. }))
            });
            let is_claimed = claims(durable).any(|source| is_of(source, payment_id));
            (!is_recorded && !is_claimed).then(|| "its preimage is not durable".to_owned())
        }
        UserEvent::PaymentClaimed { payment_hash, .. } => {
            let all_claimed = durable.channels.values().all(|record| {
                let mut inbound = record.inbound.values();
                inbound
                    .all(|htlc| htlc.add.payment_hash != *payment_hash || htlc.preimage().is_some())
            });
            (!all_claimed).then(|| "a part of it is not durably claimed".to_owned())
        }
        UserEvent::ChannelClosed { channel_id, .. } => {
            let record = durable.channels.get(channel_id);
            let is_open = record.is_some_and(|record| record.closure.is_none());
            is_open.then(|| "the close is not durable".to_owned())
        }
        UserEvent::PaymentForwarded {
            inbound,
            outbound,
            fee_msat: Some(fee_msat),
            ..
        } => {
            let is_covered = claims_under_way.iter().any(|(channel_id, event)| {
                channel_id == outbound && covers(durable, event, *inbound, *fee_msat)
            });
            (!is_covered).then(|| "it is not durably claimed upstream".to_owned())
        }
        _ => None,
    }
}

/// Whether this is a claim that earns this fee and is durable upstream.
fn covers(durable: &Durable, event: &MonitorEvent, inbound: ChannelId, fee_msat: u64) -> bool {
    let MonitorEvent::ForwardedHtlcClaimed {
        source,
        amount_msat,
        ..
    } = event
    else {
        return false;
    };
    let parts = source.parts();
    let received_msat: u64 = parts.iter().map(|part| part.amount_msat).sum();
    received_msat == amount_msat + fee_msat
        && parts
            .iter()
            .all(|part| part.id.channel_id == inbound && has_preimage_or_is_gone(durable, part.id))
}

/// The sources of all unacknowledged claims.
fn claims(durable: &Durable) -> impl Iterator<Item = &HtlcSource> {
    durable.events().filter_map(|(_, event)| match event {
        MonitorEvent::ForwardedHtlcClaimed { source, .. } => Some(source),
        _ => None,
    })
}

fn is_of(source: &HtlcSource, payment: &PaymentId) -> bool {
    matches!(source, HtlcSource::Own { payment_id, .. } if payment_id == payment)
}
