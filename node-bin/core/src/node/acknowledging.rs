//! Acknowledging: an event goes when what it asked for is durable, and not before. Looked at anew after
//! every input, from what is known to be durable; so nothing about it has to be remembered.
//!
//! The seed's acknowledgement path, as `corrections.md`, 1 to 3, has it.

use std::collections::BTreeSet;

use lightning::ln::types::ChannelId;

use crate::channel::{Channel, Outbox};
use crate::effect::Effect;
use crate::event::{EventId, EventKey, MonitorEvent};
use crate::source::{HtlcSource, InboundHtlcId, PaymentId};

use super::Node;
use super::receiving::{ClaimId, ClaimState};

/// Where inbound HTLCs are known besides on their own channel. Read once for all events of an input: asked for
/// each event anew, the question would cost the square of what is pending.
#[derive(Default)]
struct Whereabouts {
    /// Of a claim under way.
    claimed: BTreeSet<InboundHtlcId>,
    /// Of a payment that may be claimed.
    claimable: BTreeSet<InboundHtlcId>,
    /// The source of an outbound HTLC, or named by an unacknowledged resolution.
    sources: BTreeSet<InboundHtlcId>,
    /// Those of `sources` of which that is durable.
    durable_sources: BTreeSet<InboundHtlcId>,
}

impl Whereabouts {
    fn note(&mut self, source: &HtlcSource, is_durable: bool) {
        let ids = source.parts().iter().map(|part| part.id);
        self.sources.extend(ids.clone());
        if is_durable {
            self.durable_sources.extend(ids);
        }
    }
}

impl Node {
    fn whereabouts(&self) -> Whereabouts {
        let mut found = Whereabouts::default();
        let mut events = self
            .channels
            .values()
            .flat_map(|channel| &channel.record.events);
        if !events.any(|pending| matches!(pending.event, MonitorEvent::HtlcAccepted { .. })) {
            return found;
        }
        for claim in self.claims.values() {
            found.claimed.extend(&claim.claim.parts);
        }
        for known in self.claimables.values() {
            found
                .claimable
                .extend(known.parts.iter().map(|part| part.id));
        }
        for channel in self.channels.values() {
            for waiting in &channel.volatile.adds {
                found.note(&waiting.source, false);
            }
            for htlc in channel.record.outbound.values() {
                found.note(&htlc.source, htlc.added_by <= channel.volatile.durable);
            }
            for pending in &channel.record.events {
                if let Some(source) = pending.event.resolved_source() {
                    found.note(source, pending.made_by <= channel.volatile.durable);
                }
            }
        }
        found
    }

    pub(super) fn acknowledge(&mut self, out: &mut Outbox) {
        let whereabouts = self.whereabouts();
        let mut done: Vec<(lightning::ln::types::ChannelId, Vec<EventKey>)> = Vec::new();
        for channel in self.channels.values() {
            let keys: Vec<_> = channel
                .record
                .events
                .iter()
                .filter(|pending| pending.made_by <= channel.volatile.durable)
                .filter(|pending| self.is_done(channel, &pending.event, &whereabouts))
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

    fn is_done(&self, channel: &Channel, event: &MonitorEvent, known: &Whereabouts) -> bool {
        let key = event.key();
        match event {
            MonitorEvent::HtlcAccepted { add } => {
                channel.volatile.surfaced.contains(&key)
                    && Self::is_accept_done(channel, add.htlc_id, known)
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
                HtlcSource::Own {
                    payment_id, part, ..
                } => self.is_claim_known(payment_id) && !self.may_another_fail(payment_id, *part),
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

    /// Whether another part of this payment may still fail, or is durably known to have failed. With the
    /// claim's event gone and the payment's record lost, a crash would leave that failure and nothing
    /// else, and the user would hear that a payment failed that was sent.
    fn may_another_fail(&self, payment_id: &PaymentId, part: u32) -> bool {
        let is_other = |source: &HtlcSource| {
            matches!(source, HtlcSource::Own { payment_id: id, part: of, .. }
                if id == payment_id && *of != part)
        };
        self.channels.values().any(|channel| {
            let durable = channel.volatile.durable;
            let mut outbound = channel.record.outbound.values();
            let mut waiting = channel.volatile.adds.iter();
            let mut acknowledged = channel.volatile.failures_acknowledged.iter();
            outbound.any(|htlc| htlc.preimage.is_none() && is_other(&htlc.source))
                || waiting.any(|add| is_other(&add.source))
                || acknowledged.any(|(by, of)| *by > durable && of == payment_id)
                || channel.record.events.iter().any(|pending| {
                    let is_claim =
                        matches!(pending.event, MonitorEvent::ForwardedHtlcClaimed { .. });
                    let source = pending.event.resolved_source();
                    (!is_claim || pending.made_by > durable) && source.is_some_and(is_other)
                })
        })
    }

    /// The outbound monitor durably holds the HTLC, or the inbound HTLC is durably resolved.
    fn is_accept_done(channel: &Channel, htlc_id: u64, known: &Whereabouts) -> bool {
        let inbound = InboundHtlcId {
            channel_id: channel.id(),
            htlc_id,
        };
        if known.claimed.contains(&inbound) {
            return false;
        }
        if channel.is_resolution_durable(htlc_id) || known.durable_sources.contains(&inbound) {
            return true;
        }
        // Nothing is paid on for an HTLC of a closed channel: the chain resolves it. But its payee may
        // still claim it, after a crash too.
        channel.record.closure.is_some()
            && channel.is_durable()
            && !known.claimable.contains(&inbound)
            && !known.sources.contains(&inbound)
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

    /// A channel that the peer opened and never funded is as if it had never been.
    fn is_forgotten(&self, channel: &Channel) -> bool {
        channel.record.closure.is_some() && channel.is_never_funded(self.best_block.height)
    }

    /// Takes channels away whose end is beyond any reorganisation, of which nothing is left to claim or
    /// to wait for, and that owe nobody an event.
    pub(super) fn archive(&mut self, out: &mut Outbox) {
        let tip = self.best_block.height;
        let channels = self.channels.values();
        let forgotten: BTreeSet<ChannelId> = channels
            .filter(|channel| self.is_forgotten(channel))
            .map(Channel::id)
            .collect();
        let environment = &self.environment;
        let over: Vec<_> = self
            .channels
            .values_mut()
            .filter_map(|channel| {
                let owes_nothing = channel.volatile.closure_told
                    && channel.record.events.is_empty()
                    && channel.is_durable()
                    // Else nobody might know of the claim after a crash.
                    && channel.volatile.claims_rest_on.is_empty();
                let id = channel.id();
                if owes_nothing && forgotten.contains(&id) {
                    return Some(id);
                }
                if !owes_nothing || !channel.may_be_settled(tip) {
                    return None;
                }
                let position = channel.current_position(environment)?;
                channel.is_settled(&position, tip).then_some(id)
            })
            .collect();
        for channel_id in over {
            self.channels.remove(&channel_id);
            out.now(Effect::Archive { channel_id });
        }
    }
}
