//! What a user is told is so for good: it rests on what is durable, and nothing under way can undo it.

use crate::effect::UserEvent;
use crate::event::MonitorEvent;
use crate::payment::PaymentOutcome;
use crate::sim::disk::Durable;
use crate::sim::world::World;
use crate::source::{HtlcSource, PaymentId};

/// Judges what a node tells its user now.
pub fn told(world: &mut World, node: usize, event: &UserEvent) {
    if let Some(problem) = premature(world.nodes[node].disk.durable(), event) {
        let name = world.nodes[node].name;
        let words = world.names.event(event);
        world.complain(format!("{name} tells {words}: {problem}"));
    }
}

/// What speaks against telling this. `None`: nothing.
pub fn premature(durable: &Durable, event: &UserEvent) -> Option<String> {
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
        _ => None,
    }
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
