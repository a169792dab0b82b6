//! What must hold of one node's durable records at any moment, and of every change to them: the invariants
//! 1 to 6. A crash image is nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lightning::ln::types::ChannelId;

use crate::effect::UserEvent;
use crate::event::{EventKey, MonitorEvent};
use crate::payment::PartState;
use crate::record::{self, ChannelRecord};
use crate::sim::disk::Durable;
use crate::sim::user::User;
use crate::sim::world::{Persistence, Resolution, World};
use crate::source::{HtlcSource, InboundHtlcId};
use crate::spec::Change;

/// An HTLC that is written down to be offered when the channel that it was paid over is closed: it may be dust there.
pub(super) fn reckless(
    durable: &Durable,
    before: Option<&ChannelRecord>,
    after: &ChannelRecord,
) -> Option<String> {
    let is_new = |id: &u64| before.is_some_and(|before| !before.outbound.contains_key(id));
    let new = after.outbound.iter().filter(|(id, _)| is_new(id));
    let mut parts =
        new.flat_map(|(id, htlc)| htlc.source.parts().iter().map(move |part| (id, part)));
    let found = parts.find(|(_, part)| {
        let inbound = durable.channels.get(&part.id.channel_id);
        inbound.is_some_and(|record| record.closure.is_some())
    });
    found.map(|(id, _)| format!("offers HTLC {id} for one whose channel it has closed"))
}

/// Judges all nodes' durable records, at a crash.
pub fn image(world: &mut World) {
    for node in 0..world.nodes.len() {
        let name = world.nodes[node].name;
        let found: Vec<String> = complaints(world.nodes[node].disk.durable());
        for complaint in found {
            world.complain(format!("{name}'s durable state: {complaint}"));
        }
    }
}

/// Judges a write to a channel that has just become durable.
pub fn landed(
    world: &mut World,
    node: usize,
    before: Option<&ChannelRecord>,
    after: &Arc<ChannelRecord>,
) {
    let name = world.nodes[node].name;
    if let Some(before) = before {
        let kept: BTreeSet<EventKey> = after.events.iter().map(|e| e.event.key()).collect();
        for gone in &before.events {
            if kept.contains(&gone.event.key()) {
                continue;
            }
            let user = &world.nodes[node].user;
            let durable = world.nodes[node].disk.durable();
            let problem = acknowledged(durable, user, after, &gone.event);
            if let Some(problem) = problem {
                world.complain(format!("{name} acknowledges too early: {problem}"));
            }
        }
    }
    for complaint in complaints(world.nodes[node].disk.durable()) {
        world.complain(format!("{name}'s durable state: {complaint}"));
    }
    // Writes that are done late may have been begun before the close.
    if world.persistence == Persistence::Synchronous
        && let Some(problem) = reckless(world.nodes[node].disk.durable(), before, after)
    {
        world.complain(format!("{name} {problem}"));
    }
    let channel_id = after.parameters.channel_id;
    for (htlc_id, resolution) in signed_removals(after) {
        let id = InboundHtlcId {
            channel_id,
            htlc_id,
        };
        let first = *world.resolutions.entry((node, id)).or_insert(resolution);
        if first != resolution {
            let channel = world.names.channel(&channel_id);
            world.complain(format!(
                "{name} has {first:?} inbound HTLC {htlc_id} of {channel} and now {resolution:?} it"
            ));
        }
    }
}

/// What is wrong with one node's durable records.
pub fn complaints(durable: &Durable) -> Vec<String> {
    let sources = Sources::of(durable);
    let mut found = Vec::new();
    for (channel_id, record) in &durable.channels {
        gaps(*channel_id, record, &sources, &mut found);
        early_fails(*channel_id, record, &sources, &mut found);
        contradictions(record, &mut found);
        lost_preimages(record, durable, &mut found);
    }
    for (id, outbound) in &sources.outbound {
        let events = sources.resolved.get(id).into_iter().flatten();
        let all: BTreeSet<_> = outbound.iter().chain(events).collect();
        if all.len() > 1 {
            found.push(format!(
                "inbound HTLC {} is forwarded {} times",
                id.htlc_id,
                all.len()
            ));
        }
    }
    found
}

/// Which inbound HTLCs are the source of what.
struct Sources {
    /// Outbound HTLCs that a record holds.
    outbound: BTreeMap<InboundHtlcId, Vec<(ChannelId, u64)>>,
    /// Outbound HTLCs of which an unacknowledged event says how they ended.
    resolved: BTreeMap<InboundHtlcId, Vec<(ChannelId, u64)>>,
    /// Those of `resolved` that were claimed.
    claimed: BTreeSet<InboundHtlcId>,
}

impl Sources {
    fn of(durable: &Durable) -> Self {
        let mut sources = Sources {
            outbound: BTreeMap::new(),
            resolved: BTreeMap::new(),
            claimed: BTreeSet::new(),
        };
        for (channel_id, record) in &durable.channels {
            // What was failed upstream in time, before the chain had decided, is nobody's hope any more.
            let live = record.outbound.iter().filter(|(_, htlc)| !htlc.failed_back);
            for (htlc_id, htlc) in live {
                for part in htlc.source.parts() {
                    let named = sources.outbound.entry(part.id).or_default();
                    named.push((*channel_id, *htlc_id));
                }
            }
            for pending in &record.events {
                let Some(source) = pending.event.resolved_source() else {
                    continue;
                };
                for part in source.parts() {
                    let named = sources.resolved.entry(part.id).or_default();
                    named.push((*channel_id, pending.event.key().htlc_id));
                    if matches!(pending.event, MonitorEvent::ForwardedHtlcClaimed { .. }) {
                        sources.claimed.insert(part.id);
                    }
                }
            }
        }
        sources
    }

    fn names(&self, id: &InboundHtlcId) -> bool {
        self.outbound.contains_key(id) || self.resolved.contains_key(id)
    }
}

/// Invariant 1: every committed inbound HTLC has something that will resolve it, or has resolved it.
fn gaps(channel_id: ChannelId, record: &ChannelRecord, sources: &Sources, found: &mut Vec<String>) {
    for (htlc_id, htlc) in &record.inbound {
        let id = InboundHtlcId {
            channel_id,
            htlc_id: *htlc_id,
        };
        let has_accept = record.events.iter().any(|pending| {
            matches!(&pending.event, MonitorEvent::HtlcAccepted { add } if add.htlc_id == *htlc_id)
        });
        // Of a closed channel, the chain resolves what nobody pays on.
        let is_resolved = htlc.resolution.is_some() || record.closure.is_some();
        if htlc.committed && !has_accept && !is_resolved && !sources.names(&id) {
            found.push(format!("nothing will ever resolve inbound HTLC {htlc_id}"));
        }
    }
}

/// Invariant 4: nothing is failed upstream that could still be claimed downstream.
fn early_fails(
    channel_id: ChannelId,
    record: &ChannelRecord,
    sources: &Sources,
    found: &mut Vec<String>,
) {
    for (htlc_id, resolution) in removals(record) {
        let id = InboundHtlcId {
            channel_id,
            htlc_id,
        };
        if resolution == Resolution::Failed
            && (sources.outbound.contains_key(&id) || sources.claimed.contains(&id))
        {
            found.push(format!(
                "inbound HTLC {htlc_id} is failed, and downstream may claim it"
            ));
        }
    }
}

/// Invariant 5: nothing is both claimed and failed.
fn contradictions(record: &ChannelRecord, found: &mut Vec<String>) {
    for (htlc_id, resolution) in removals(record) {
        let preimage = record
            .inbound
            .get(&htlc_id)
            .and_then(|htlc| htlc.preimage());
        if resolution == Resolution::Failed && preimage.is_some() {
            found.push(format!(
                "inbound HTLC {htlc_id} is failed though its preimage is known"
            ));
        }
    }
    let mut ends: BTreeMap<u64, bool> = BTreeMap::new();
    for pending in &record.events {
        let (htlc_id, claimed) = match &pending.event {
            MonitorEvent::ForwardedHtlcClaimed { htlc_id, .. } => (*htlc_id, true),
            MonitorEvent::ForwardedHtlcFailed { htlc_id, .. } => (*htlc_id, false),
            _ => continue,
        };
        if ends
            .insert(htlc_id, claimed)
            .is_some_and(|other| other != claimed)
        {
            found.push(format!("outbound HTLC {htlc_id} is claimed and failed"));
        }
    }
}

/// Invariant 3: a preimage known downstream is known upstream, or its claim is unacknowledged.
fn lost_preimages(record: &ChannelRecord, durable: &Durable, found: &mut Vec<String>) {
    for (htlc_id, htlc) in &record.outbound {
        let told = record.events.iter().any(|pending| {
            matches!(&pending.event,
                MonitorEvent::ForwardedHtlcClaimed { htlc_id: of, .. } if of == htlc_id)
        });
        if htlc.preimage.is_none() || told {
            continue;
        }
        for part in htlc.source.parts() {
            if !has_preimage_or_is_gone(durable, part.id) {
                found.push(format!(
                    "the preimage of outbound HTLC {htlc_id} is not known upstream"
                ));
            }
        }
    }
}

/// How inbound HTLCs of this record are resolved: decided or signed.
fn removals(record: &ChannelRecord) -> impl Iterator<Item = (u64, Resolution)> {
    let decided = record.inbound.iter().filter_map(|(htlc_id, htlc)| {
        let resolution = match htlc.resolution.as_ref()? {
            record::Resolution::Claimed { .. } => Resolution::Claimed,
            record::Resolution::Rejected { .. } => Resolution::Failed,
        };
        Some((*htlc_id, resolution))
    });
    decided.chain(signed_removals(record))
}

/// The removals of inbound HTLCs that this record holds as signed.
fn signed_removals(record: &ChannelRecord) -> impl Iterator<Item = (u64, Resolution)> {
    let changes = &record.holder_changes;
    let all = changes.signed.iter().chain(&changes.acked);
    all.filter_map(|change| match change {
        Change::Fulfill { htlc_id, .. } => Some((*htlc_id, Resolution::Claimed)),
        Change::Fail { htlc_id, .. } | Change::FailMalformed { htlc_id, .. } => {
            Some((*htlc_id, Resolution::Failed))
        }
        Change::Add(_) | Change::Fee { .. } => None,
    })
}

/// Its preimage is on its own record, or it is history.
pub(super) fn has_preimage_or_is_gone(durable: &Durable, id: InboundHtlcId) -> bool {
    let Some(record) = durable.channels.get(&id.channel_id) else {
        return true;
    };
    let htlc = record.inbound.get(&id.htlc_id);
    htlc.is_none_or(|htlc| htlc.preimage().is_some())
}

/// What is to become of it is durable on its own record (where a crash cannot part it from its HTLC), or its
/// channel is closed.
fn is_decided(durable: &Durable, id: InboundHtlcId) -> bool {
    let Some(record) = durable.channels.get(&id.channel_id) else {
        return true;
    };
    let htlc = record.inbound.get(&id.htlc_id);
    record.closure.is_some() || htlc.is_none_or(|htlc| htlc.resolution.is_some())
}

/// Invariant 6: what an acknowledgement rests on, once the event is gone from `after`. `None`: it is there.
pub fn acknowledged(
    durable: &Durable,
    user: &User,
    after: &ChannelRecord,
    event: &MonitorEvent,
) -> Option<String> {
    match event {
        MonitorEvent::HtlcAccepted { add } => {
            let id = InboundHtlcId {
                channel_id: after.parameters.channel_id,
                htlc_id: add.htlc_id,
            };
            let htlc = after.inbound.get(&add.htlc_id);
            // Of a closed channel, the chain resolves what nobody pays on and the user cannot claim.
            let is_claimable = user.handled().any(|event| {
                matches!(event, UserEvent::PaymentClaimable { payment_hash, .. }
                    if *payment_hash == add.payment_hash)
            });
            let is_resolved = htlc.is_none_or(|htlc| htlc.resolution.is_some())
                || (after.closure.is_some() && !is_claimable);
            (!is_resolved && !Sources::of(durable).names(&id))
                .then(|| format!("inbound HTLC {} is nowhere else", add.htlc_id))
        }
        MonitorEvent::ForwardedHtlcClaimed {
            htlc_id, source, ..
        } => resolved(durable, user, *htlc_id, source, true),
        MonitorEvent::ForwardedHtlcFailed {
            htlc_id, source, ..
        } => resolved(durable, user, *htlc_id, source, false),
        MonitorEvent::InboundMppClaimPersisted { claim, .. } => {
            let all = claim
                .parts
                .iter()
                .all(|part| has_preimage_or_is_gone(durable, *part));
            let handled = user.handled().any(|event| {
                matches!(event, UserEvent::PaymentClaimed { payment_hash, .. }
                    if *payment_hash == claim.payment_hash)
            });
            match (all, handled) {
                (true, true) => None,
                (false, _) => Some("a part of an MPP claim is not durable".to_owned()),
                (_, false) => Some("the user has not handled PaymentClaimed".to_owned()),
            }
        }
        MonitorEvent::HolderForceClosed { .. } => {
            let handled = user.handled().any(|event| {
                matches!(event, UserEvent::ChannelClosed { channel_id, .. }
                    if *channel_id == after.parameters.channel_id)
            });
            (!handled).then(|| "the user has not handled ChannelClosed".to_owned())
        }
        MonitorEvent::CommitmentTxConfirmed => None,
    }
}

fn resolved(
    durable: &Durable,
    user: &User,
    htlc_id: u64,
    source: &HtlcSource,
    claimed: bool,
) -> Option<String> {
    match source {
        HtlcSource::Forward { parts } => {
            let all = parts.iter().all(|part| {
                is_decided(durable, part.id)
                    && (!claimed || has_preimage_or_is_gone(durable, part.id))
            });
            (!all).then(|| {
                format!("outbound HTLC {htlc_id} has ended, and its inbound one is not removed")
            })
        }
        HtlcSource::Own {
            payment_id, part, ..
        } => {
            let ended = user.handled().any(|event| match event {
                UserEvent::PaymentSent { payment_id: id, .. } => id == payment_id,
                UserEvent::PaymentFailed { payment_id: id, .. } => !claimed && id == payment_id,
                _ => false,
            });
            let recorded = !claimed
                && durable.payments.get(payment_id).is_some_and(|payment| {
                    let mut parts = payment.parts.iter();
                    parts.any(|p| p.part == *part && p.state == PartState::Failed)
                });
            (!ended && !recorded)
                .then(|| format!("the user has not handled the end of outbound HTLC {htlc_id}"))
        }
    }
}
