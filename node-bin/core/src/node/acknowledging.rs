//! Acknowledging: an event goes when what it asked for is durable, and not before. Looked at anew after
//! every input, from what is known to be durable; so nothing about it has to be remembered.

use crate::channel::{Channel, Outbox};
use crate::effect::Effect;
use crate::event::{EventId, EventKey, MonitorEvent};
use crate::source::{HtlcSource, InboundHtlcId};

use super::Node;
use super::receiving::{ClaimId, ClaimState};

impl Node {
    pub(super) fn acknowledge(&mut self, out: &mut Outbox) {
        let mut done: Vec<(lightning::ln::types::ChannelId, Vec<EventKey>)> = Vec::new();
        for channel in self.channels.values() {
            let keys: Vec<_> = channel
                .record
                .events
                .iter()
                .filter(|pending| pending.made_by <= channel.volatile.durable)
                .filter(|pending| self.is_done(channel, &pending.event))
                .map(|pending| pending.event.key())
                .collect();
            if !keys.is_empty() {
                done.push((channel.id(), keys));
            }
        }
        for (channel_id, keys) in done {
            for key in &keys {
                self.forwarded.remove(&EventId {
                    channel_id,
                    key: *key,
                });
            }
            if let Some(channel) = self.channels.get_mut(&channel_id) {
                channel.acknowledge(keys, out);
            }
        }
        self.forget_claims();
    }

    fn is_done(&self, channel: &Channel, event: &MonitorEvent) -> bool {
        let key = event.key();
        match event {
            MonitorEvent::HtlcAccepted { add } => {
                channel.volatile.surfaced.contains(&key)
                    && self.is_accept_done(channel, add.htlc_id)
            }
            MonitorEvent::ForwardedHtlcClaimed { source, .. } => match source {
                HtlcSource::Forward { parts } => {
                    let id = EventId {
                        channel_id: channel.id(),
                        key,
                    };
                    self.forwarded.get(&id) == Some(&true)
                        && parts.iter().all(|part| self.is_resolved(part.id))
                }
                HtlcSource::Own { payment_id, .. } => self.is_claim_known(payment_id),
            },
            MonitorEvent::ForwardedHtlcFailed { source, .. } => {
                channel.volatile.surfaced.contains(&key)
                    && match source {
                        HtlcSource::Forward { parts } => {
                            parts.iter().all(|part| self.is_resolved(part.id))
                        }
                        HtlcSource::Own {
                            payment_id, part, ..
                        } => self.is_failure_known(payment_id, *part),
                    }
            }
            MonitorEvent::InboundMppClaimPersisted { claim, .. } => {
                self.claims
                    .get(&ClaimId::of(claim))
                    .is_some_and(|known| known.state == ClaimState::Handled)
                    && claim.parts.iter().all(|part| self.is_claimed_part(*part))
            }
            MonitorEvent::HolderForceClosed { .. } => channel.volatile.closure_told,
            MonitorEvent::CommitmentTxConfirmed => channel.volatile.surfaced.contains(&key),
        }
    }

    /// The outbound monitor durably holds the HTLC, or the inbound HTLC is durably resolved.
    fn is_accept_done(&self, channel: &Channel, htlc_id: u64) -> bool {
        let inbound = InboundHtlcId {
            channel_id: channel.id(),
            htlc_id,
        };
        let in_claim = |parts: &[InboundHtlcId]| parts.contains(&inbound);
        if self
            .claims
            .values()
            .any(|claim| in_claim(&claim.claim.parts))
        {
            return false;
        }
        if channel.is_resolution_durable(htlc_id) {
            return true;
        }
        // Nothing is paid on for an HTLC of a closed channel: the chain resolves it. But its payee may
        // still claim it, after a crash too.
        let is_claimable = self.claimables.values().any(|known| known.has(inbound));
        if channel.record.closure.is_some()
            && channel.is_durable()
            && !is_claimable
            && !self.is_source(inbound)
        {
            return true;
        }
        self.channels.values().any(|other| {
            let durable = other.volatile.durable;
            other
                .record
                .outbound
                .values()
                .any(|htlc| htlc.added_by <= durable && htlc.source.names(inbound))
                || other.record.events.iter().any(|pending| {
                    let source = pending.event.resolved_source();
                    pending.made_by <= durable && source.is_some_and(|s| s.names(inbound))
                })
        })
    }

    /// What was to become of this inbound HTLC is durable on its channel, or nothing can become of
    /// it any more.
    fn is_resolved(&self, inbound: InboundHtlcId) -> bool {
        let Some(channel) = self.channels.get(&inbound.channel_id) else {
            return true;
        };
        if channel.is_resolution_durable(inbound.htlc_id) {
            return true;
        }
        // A closed channel resolves its HTLCs on chain; a failure has nothing to do there.
        channel.record.closure.is_some()
            && channel.is_durable()
            && channel.resolution(inbound.htlc_id).is_none()
    }

    /// Takes channels away whose end is beyond any reorganisation, of which nothing is left to claim or
    /// to wait for, and that owe nobody an event.
    pub(super) fn archive(&mut self, out: &mut Outbox) {
        let tip = self.best_block.height;
        let environment = &self.environment;
        let over: Vec<_> = self
            .channels
            .values_mut()
            .filter_map(|channel| {
                let owes_nothing = channel.volatile.closure_told
                    && channel.record.events.is_empty()
                    && channel.is_durable();
                if !owes_nothing || !channel.may_be_settled(tip) {
                    return None;
                }
                let position = channel.current_position(environment)?;
                channel.is_settled(&position, tip).then(|| channel.id())
            })
            .collect();
        for channel_id in over {
            self.channels.remove(&channel_id);
            out.now(Effect::Archive { channel_id });
        }
    }
}
