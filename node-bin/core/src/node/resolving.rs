//! Telling events: which may be told, in which order, and what follows from each. Telling twice is
//! harmless, in any order of monitors; what an event asks for is done only if it is not done already.
//!
//! The seed's resolution flows; `corrections.md`, 4, 8, 12.

use lightning::types::payment::PaymentPreimage;

use crate::channel::Outbox;
use crate::effect::{Effect, Store, UserEvent};
use crate::event::{EventId, EventKind, Failure, MonitorEvent};
use crate::onion::{self, OwnFailure};
use crate::record::Rejection;
use crate::source::{HtlcSource, InboundHtlcId, InboundPart};
use crate::update::UpdateStep;

use super::{Node, TellPurpose};

/// Resolutions before claims of several parts before accepts: an accept is recognised as handled by
/// what the others know.
fn rank(kind: EventKind) -> u8 {
    match kind {
        EventKind::HolderForceClosed | EventKind::CommitmentTxConfirmed => 0,
        EventKind::Claimed => 1,
        EventKind::Failed => 2,
        EventKind::MppClaim => 3,
        EventKind::Accepted => 4,
    }
}

impl Node {
    /// Tells every event that may be told and was not in this life. Whether there was any.
    pub(super) fn surface(&mut self, out: &mut Outbox) -> bool {
        let mut ready: Vec<(u8, EventId, MonitorEvent)> = Vec::new();
        for channel in self.channels.values() {
            if channel.record.events.len() <= channel.volatile.surfaced.len() {
                continue;
            }
            for pending in &channel.record.events {
                let key = pending.event.key();
                let is_durable = pending.made_by <= channel.volatile.durable;
                let may = (is_durable || pending.event.may_surface_early())
                    && (self.starting || !pending.event.is_deferred())
                    && (!pending.event.is_accept() || (channel.is_backed() && self.at_tip));
                if may && !channel.volatile.surfaced.contains(&key) {
                    let id = EventId {
                        channel_id: channel.id(),
                        key,
                    };
                    ready.push((rank(key.kind), id, pending.event.clone()));
                }
            }
        }
        ready.sort_by_key(|(rank, id, _)| (*rank, *id));
        let any = !ready.is_empty();
        for (_, id, event) in ready {
            if let Some(channel) = self.channels.get_mut(&id.channel_id) {
                channel.volatile.surfaced.insert(id.key);
            }
            self.process(id, event, out);
        }
        any
    }

    fn process(&mut self, id: EventId, event: MonitorEvent, out: &mut Outbox) {
        match event {
            MonitorEvent::ForwardedHtlcClaimed {
                preimage,
                source,
                amount_msat,
                from_onchain,
                ..
            } => match source {
                HtlcSource::Forward { parts } => {
                    let msat = amount_msat;
                    self.claim_forward(id, &parts, preimage, msat, from_onchain, out);
                }
                HtlcSource::Own {
                    payment_id, part, ..
                } => self.part_claimed(payment_id, part, preimage, amount_msat, out),
            },
            MonitorEvent::ForwardedHtlcFailed {
                source, failure, ..
            } => match source {
                HtlcSource::Forward { parts } => match self.late_preimage(id) {
                    Some(preimage) => self.claim_given_up(id, preimage, out),
                    None => self.fail_forward(&parts, &failure, out),
                },
                HtlcSource::Own {
                    payment_id,
                    part,
                    session_key,
                    path,
                } => {
                    let failed = self.read_failure(&session_key, &path, &failure);
                    self.part_failed(payment_id, part, failed, out);
                }
            },
            MonitorEvent::InboundMppClaimPersisted { claim, .. } => self.resume_claim(claim, out),
            MonitorEvent::HtlcAccepted { add } => {
                let inbound = InboundHtlcId {
                    channel_id: id.channel_id,
                    htlc_id: add.htlc_id,
                };
                if !self.is_handled(inbound) {
                    self.accept(inbound, &add, out);
                }
            }
            MonitorEvent::HolderForceClosed { reason } => {
                let channel_id = id.channel_id;
                let event = UserEvent::ChannelClosed { channel_id, reason };
                self.tell(event, TellPurpose::Closed(channel_id), None, out);
                out.now(Effect::DropSends { channel_id });
                if let Some(channel) = self.channels.get_mut(&channel_id) {
                    channel.volatile.claims_due = true;
                }
            }
            MonitorEvent::CommitmentTxConfirmed => {}
        }
    }

    /// Whether what an accept asks for is done or under way: whoever asks twice would pay twice, for
    /// the next peer cannot tell a duplicate.
    fn is_handled(&self, inbound: InboundHtlcId) -> bool {
        let Some(channel) = self.channels.get(&inbound.channel_id) else {
            return true;
        };
        match channel.record.inbound.get(&inbound.htlc_id) {
            None => return true,
            Some(htlc) if htlc.resolution.is_some() => return true,
            Some(_) => {}
        }
        self.is_source(inbound)
            || self
                .claims
                .values()
                .any(|claim| claim.claim.parts.contains(&inbound))
            || self
                .claimables
                .values()
                .any(|claimable| claimable.has(inbound))
    }

    /// Whether an outbound HTLC, signed or waiting, or an unacknowledged resolution names it.
    pub(super) fn is_source(&self, inbound: InboundHtlcId) -> bool {
        self.channels.values().any(|channel| {
            let outbound = &channel.record.outbound;
            outbound.values().any(|htlc| htlc.source.names(inbound))
                || channel
                    .volatile
                    .adds
                    .iter()
                    .any(|waiting| waiting.source.names(inbound))
                || channel.record.events.iter().any(|pending| {
                    let source = pending.event.resolved_source();
                    source.is_some_and(|source| source.names(inbound))
                })
        })
    }

    /// The downstream preimage goes upstream, closed or open.
    fn claim_forward(
        &mut self,
        id: EventId,
        parts: &[InboundPart],
        preimage: PaymentPreimage,
        amount_msat: u64,
        from_onchain: bool,
        out: &mut Outbox,
    ) {
        let downstream = self.channels.get(&id.channel_id);
        let is_durable = downstream.is_some_and(|channel| channel.is_event_durable(id.key));
        let mut is_paid = true;
        for part in parts {
            let Some(channel) = self.channels.get_mut(&part.id.channel_id) else {
                is_paid = false;
                continue;
            };
            if !is_durable && part.id.channel_id != id.channel_id {
                channel.volatile.claims_rest_on.insert(id.channel_id);
            }
            let claimed = channel.claim_inbound(part.id.htlc_id, preimage, None, out);
            let inbound = channel.record.inbound.get(&part.id.htlc_id);
            // A refusal that is signed may become irrevocable yet, and a closed channel's HTLC be taken back.
            is_paid &= inbound.is_some_and(|htlc| htlc.preimage().is_some())
                && !channel.record.is_refusal_signed(part.id.htlc_id)
                && channel.record.closure.is_none();
            if let Err(error) = claimed {
                self.handle_channel_error(part.id.channel_id, error, out);
            }
        }
        let downstream = self.channels.get(&id.channel_id);
        let outbound = downstream.and_then(|channel| channel.record.outbound.get(&id.key.htlc_id));
        let was_given_up = outbound.is_some_and(|htlc| htlc.failed_back);
        let received_msat: u64 = parts.iter().map(|part| part.amount_msat).sum();
        let Some(first) = parts.first() else { return };
        let event = UserEvent::PaymentForwarded {
            inbound: first.id.channel_id,
            outbound: id.channel_id,
            fee_msat: (is_paid || !was_given_up)
                .then_some(received_msat.saturating_sub(amount_msat)),
            from_onchain,
        };
        let store = Store::Monitor(first.id.channel_id);
        self.forwarded.insert(id, false);
        self.tell(event, TellPurpose::Forwarded(id), Some(store), out);
    }

    /// An HTLC was to be failed upstream though its peer could still take it; by now its preimage is known.
    fn claim_given_up(&mut self, id: EventId, preimage: PaymentPreimage, out: &mut Outbox) {
        let Some(channel) = self.channels.get_mut(&id.channel_id) else {
            return;
        };
        let htlc_id = id.key.htlc_id;
        let step = UpdateStep::OutboundClaimed { htlc_id, preimage };
        if let Err(error) = channel.commit(vec![step], out) {
            self.handle_channel_error(id.channel_id, error, out);
        }
    }

    /// The downstream failure goes upstream: irrevocable down there, or it would not be told.
    fn fail_forward(&mut self, parts: &[InboundPart], failure: &Failure, out: &mut Outbox) {
        for part in parts {
            let secret = &part.shared_secret;
            let reason = match failure {
                Failure::Onion(reason) => onion::wrap_relayed_failure(secret, reason.clone()),
                Failure::Malformed {
                    sha256_of_onion,
                    failure_code,
                } => {
                    let failure = OwnFailure {
                        code: *failure_code,
                        data: sha256_of_onion.to_vec(),
                    };
                    onion::wrap_own_failure(secret, &failure)
                }
                Failure::Local { failure_code } => {
                    let failure = OwnFailure::bare(*failure_code);
                    onion::wrap_own_failure(secret, &failure)
                }
            };
            self.reject(
                part.id,
                Rejection::Fail { reason },
                "failed downstream",
                out,
            );
        }
    }

    /// Refuses an inbound HTLC and tells the user.
    pub(super) fn reject(
        &mut self,
        inbound: InboundHtlcId,
        rejection: Rejection,
        why: &str,
        out: &mut Outbox,
    ) {
        let Some(channel) = self.channels.get_mut(&inbound.channel_id) else {
            return;
        };
        let is_news = channel.resolution(inbound.htlc_id).is_none();
        let rejected = channel.reject_inbound(inbound.htlc_id, rejection, out);
        if let Err(error) = rejected {
            self.handle_channel_error(inbound.channel_id, error, out);
            return;
        }
        if is_news {
            let event = UserEvent::HtlcHandlingFailed {
                inbound: inbound.channel_id,
                reason: why.to_owned(),
            };
            // Before that a crash would take the refusal back, and the HTLC might be paid after all.
            let store = Store::Monitor(inbound.channel_id);
            self.tell(event, TellPurpose::News, Some(store), out);
        }
    }
}
