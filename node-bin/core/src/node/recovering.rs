//! A start: records and their logs become channels, what one channel's record knows of another's HTLC is
//! known there too, and the events are told again. That is all of it.
//!
//! The seed's "Restart == replay"; `corrections.md`, 12.

use lightning::ln::types::ChannelId;
use lightning::types::payment::PaymentHash;

use crate::channel::{Channel, Outbox};
use crate::effect::UserEvent;
use crate::event::{EventKey, EventKind};
use crate::payment::{PartState, PaymentPart, PaymentRecord};
use crate::record::{Closure, OutboundHtlc};
use crate::source::HtlcSource;
use crate::update::UpdateStep;

use super::{LoadError, Node, StoredChannel, TellPurpose};

/// The channel that a snapshot and its log make.
pub(super) fn replay_log(stored: StoredChannel) -> Result<Channel, LoadError> {
    let mut record = stored.snapshot;
    let snapshot = record.sequence;
    for entry in &stored.entries {
        // What a crash left of a trim.
        if entry.sequence <= snapshot {
            continue;
        }
        record.apply(entry).map_err(|error| LoadError::Log {
            channel_id: record.parameters.channel_id,
            error,
        })?;
    }
    Ok(Channel::loaded(record, snapshot))
}

impl Node {
    /// The source of every HTLC that a monitor holds or has an unacknowledged resolution of, with its
    /// amount in millisatoshis (0 if the monitor does not know any more) and its hash.
    fn sources_in_monitors(&self) -> Vec<(HtlcSource, u64, PaymentHash)> {
        let mut found: Vec<_> = Vec::new();
        for channel in self.channels.values() {
            for (htlc_id, htlc) in &channel.record.outbound {
                // A claim that is acknowledged was handled by the user; only the removal is under way.
                let claimed = EventKey {
                    kind: EventKind::Claimed,
                    htlc_id: *htlc_id,
                };
                if htlc.preimage.is_some() && !channel.record.has_event(claimed) {
                    continue;
                }
                found.push((
                    htlc.source.clone(),
                    htlc.add.amount_msat,
                    htlc.add.payment_hash,
                ));
            }
            for pending in &channel.record.events {
                match &pending.event {
                    crate::event::MonitorEvent::ForwardedHtlcClaimed {
                        source,
                        preimage,
                        amount_msat,
                        ..
                    } => found.push((source.clone(), *amount_msat, (*preimage).into())),
                    crate::event::MonitorEvent::ForwardedHtlcFailed {
                        source,
                        payment_hash,
                        ..
                    } => found.push((source.clone(), 0, *payment_hash)),
                    _ => {}
                }
            }
        }
        found
    }

    /// Knows every own payment again that a monitor holds a part of, even if its record is lost. All
    /// monitors are looked at before any event is told: one alone could say Failed where another says
    /// Sent.
    pub(super) fn rebuild_payments(&mut self) {
        let found = self.sources_in_monitors();
        for (source, amount_msat, payment_hash) in found {
            let HtlcSource::Own {
                payment_id,
                part,
                session_key,
                path,
            } = source
            else {
                continue;
            };
            let payment = self
                .payments
                .entry(payment_id)
                .or_insert_with(|| PaymentRecord {
                    sequence: 0,
                    payment_id,
                    payment_hash,
                    amount_msat,
                    payment_secret: None,
                    keysend_preimage: None,
                    payment_metadata: None,
                    final_cltv_expiry_delta: 0,
                    route: None,
                    parts: Vec::new(),
                    outcome: None,
                    told: false,
                    ended_at_s: None,
                    expires_at_s: None,
                });
            self.sending.entry(payment_id).or_default();
            if !payment.parts.iter().any(|known| known.part == part) {
                payment.parts.push(PaymentPart {
                    part,
                    session_key,
                    path,
                    state: PartState::Pending,
                });
            }
        }
    }

    /// Knows downstream what upstream was claimed with. A claim goes upstream before its preimage is durable
    /// downstream, so a crash may leave it there alone; and the peer, who told it, may close instead of telling it
    /// again. Upstream forgets the HTLC when it is gone, and the forward would be told as failed.
    pub(super) fn know_claims_downstream(&mut self, out: &mut Outbox) {
        let claimed_upstream = |htlc: &OutboundHtlc| {
            let mut parts = htlc.source.parts().iter();
            parts.find_map(|part| {
                let upstream = self.channels.get(&part.id.channel_id)?;
                upstream.record.inbound.get(&part.id.htlc_id)?.preimage()
            })
        };
        let mut found: Vec<(ChannelId, Vec<UpdateStep>)> = Vec::new();
        for channel in self.channels.values() {
            let outbound = channel.record.outbound.iter();
            let unknown = outbound.filter(|(_, htlc)| htlc.preimage.is_none());
            let steps: Vec<_> = unknown
                .filter_map(|(htlc_id, htlc)| {
                    let preimage = claimed_upstream(htlc)?;
                    Some(UpdateStep::FulfillHtlc {
                        htlc_id: *htlc_id,
                        preimage,
                    })
                })
                .collect();
            if !steps.is_empty() {
                found.push((channel.id(), steps));
            }
        }
        for (channel_id, steps) in found {
            let Some(channel) = self.channels.get_mut(&channel_id) else {
                continue;
            };
            if let Err(error) = channel.commit(steps, out) {
                self.handle_channel_error(channel_id, error, out);
            }
        }
    }

    /// A crash may have come before a channel's funding transaction was published, or with it in a mempool
    /// that forgot it. What a closed channel has to publish besides is published with its claims.
    pub(super) fn publish_again(&self, out: &mut Outbox) {
        for channel in self.channels.values() {
            channel.publish_funding(out);
        }
    }

    /// Tells the user what may have been told or not before the crash and has no event of its own.
    pub(super) fn tell_again(&mut self, out: &mut Outbox) {
        let ids: Vec<_> = self.payments.keys().copied().collect();
        for payment_id in ids {
            self.sending.entry(payment_id).or_default();
            self.tell_outcome(payment_id, out);
            self.drive_payment(payment_id, out);
        }
        let closed: Vec<_> = self
            .channels
            .values()
            .filter_map(|channel| {
                let reason = match channel.record.closure.as_ref()? {
                    Closure::Cooperative { .. } => super::blocks::COOPERATIVE.to_owned(),
                    Closure::Forced { reason, .. } => reason.clone(),
                };
                Some((channel.id(), reason))
            })
            .collect();
        for (channel_id, reason) in closed {
            let event = UserEvent::ChannelClosed { channel_id, reason };
            self.tell(event, TellPurpose::Closed(channel_id), None, out);
        }
    }
}
