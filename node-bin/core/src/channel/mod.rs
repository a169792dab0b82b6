//! A channel: its durable record and what a crash or a disconnection may take. One file a phase:
//! `opening`, `operating`, `reestablishing`, `closing`, `announcing`; `applying` is what updates do to
//! the record, alive and at a start alike.
//!
//! The seed's `Channel` and `ChannelMonitor` in one; `corrections.md`, 10.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitcoin::secp256k1::PublicKey;
use lightning::ln::types::ChannelId;

use crate::effect::{Content, Effect, Ordered, Store, Write};
use crate::event::{EventKey, EventKind};
use crate::message::Message;
use crate::record::ChannelRecord;
use crate::source::{HtlcSource, PaymentId};
use crate::spec::{Change, Direction, HtlcAdd};
use crate::update::{EntryContent, LogEntry, Update, UpdateStep};

#[cfg(test)]
mod affording_tests;
pub mod announcing;
mod applying;
mod applying_lifecycle;
mod applying_onchain;
pub mod closing;
mod confirming;
mod forcing;
#[cfg(test)]
mod lifecycle_tests;
pub mod onchain;
pub mod opening;
mod operating;
#[cfg(test)]
mod operating_tests;
mod reestablishing;
#[cfg(test)]
mod reestablishing_tests;
#[cfg(test)]
mod testing;
mod watching;
#[cfg(test)]
mod watching_tests;

pub use applying::ApplyError;
pub use operating::LEAST_FEERATE_PER_KW;
pub(crate) use operating::MAXIMUM_DUST_EXPOSURE_MSAT;
pub(crate) use operating::Unable;

/// Log entries after which the whole record is written instead of one more.
const ENTRIES_PER_SNAPSHOT: u64 = 8;

/// How far a channel's connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connection {
    /// No peer.
    #[default]
    Down,
    /// `channel_reestablish` was sent; the peer's has not come.
    Reestablishing,
    /// Messages may be exchanged.
    Up,
}

/// An HTLC to be offered that waits for its turn. It has no id until it is signed, and no monitor knows
/// of it: whoever asked for it must be able to ask again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WaitingAdd {
    /// Its `htlc_id` is not set yet.
    pub add: HtlcAdd,
    pub source: HtlcSource,
}

/// What a crash takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Volatile {
    pub connection: Connection,
    /// The last write that is durable.
    pub durable: u64,
    /// The last whole write of the record.
    pub snapshot: u64,
    /// The counterparty's changes that it has not signed.
    pub proposed: Vec<Change>,
    /// HTLCs that wait to be signed. (Resolutions wait too, but the record knows them.)
    pub adds: Vec<WaitingAdd>,
    /// A fee rate to propose.
    pub fee: Option<u32>,
    /// Acknowledgements of failures of own payments that may not be durable yet: by which write, of which
    /// payment.
    pub failures_acknowledged: Vec<(u64, PaymentId)>,
    /// Ticks for which the peer has owed an answer: `channel_reestablish`, or `revoke_and_ack`.
    pub unanswered_ticks: u32,
    /// Events that the manager has been told of in this life.
    pub surfaced: BTreeSet<EventKey>,
    /// Other channels with a preimage, not durable there yet, that an HTLC was claimed with here.
    pub claims_rest_on: BTreeSet<ChannelId>,
    /// Negotiation of the closing fee; forgotten with the connection (BOLT 2).
    pub closing: closing::Negotiation,
    /// What has been said about the channel.
    pub announcing: announcing::Progress,
    /// `ChannelReady` was told in this life.
    pub ready_told: bool,
    /// `ChannelClosed` was handled by the user in this life.
    pub closure_told: bool,
    /// Height at which the peer failed a channel that both were closing by agreement.
    pub given_up_at: Option<u32>,
    /// Something has happened that may let the holder claim something on chain.
    pub claims_due: bool,
    /// Height at which the holder's commitment was first published in this life.
    pub published_at: Option<u32>,
    /// Heights at which claims of HTLCs were first published in this life, by direction and id.
    pub claimed_at: BTreeMap<(Direction, u64), u32>,
    /// Where the channel stands on the chain, by the record of this sequence.
    pub position: Option<(u64, Arc<onchain::Position>)>,
}

/// A funded channel.
#[derive(Clone, Debug)]
pub struct Channel {
    /// What is durable, or on its way to be.
    pub record: ChannelRecord,
    pub(crate) volatile: Volatile,
}

/// A peer's message that does not fit, or that the holder cannot live with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The peer broke a rule such that the channel cannot go on: it is closed by force.
    #[error("{0}")]
    Close(String),
    /// The peer broke a rule, but the channel can live with it: it is warned, and disconnected.
    #[error("{0}")]
    Warn(String),
    /// The message came at a wrong time and means nothing now.
    #[error("{0}")]
    Ignore(String),
}

/// Effects in the order in which they are wanted.
#[derive(Debug, Default)]
pub struct Outbox {
    effects: Vec<Ordered>,
}

impl Outbox {
    /// Wants this done, at once.
    pub fn now(&mut self, effect: Effect) {
        self.effects.push(Ordered {
            effect,
            waits_for: Vec::new(),
        });
    }

    /// Wants this done once all writes to the store so far are durable.
    pub fn after(&mut self, store: Store, effect: Effect) {
        self.after_all(vec![store], effect);
    }

    /// Wants this done once all writes to these stores so far are durable.
    pub fn after_all(&mut self, stores: Vec<Store>, effect: Effect) {
        self.effects.push(Ordered {
            effect,
            waits_for: stores,
        });
    }

    /// A message that belongs to no channel's record.
    pub fn send_now(&mut self, peer: PublicKey, message: Message) {
        self.now(Effect::Send {
            peer,
            channel_id: None,
            message,
        });
    }

    /// All of them.
    pub fn take(&mut self) -> Vec<Ordered> {
        std::mem::take(&mut self.effects)
    }
}

impl Channel {
    /// A channel from its record, with everything in it durable.
    pub fn loaded(record: ChannelRecord, snapshot: u64) -> Self {
        let volatile = Volatile {
            durable: record.sequence,
            snapshot,
            claims_due: true,
            ..Volatile::default()
        };
        Channel { record, volatile }
    }

    /// A new channel; its first snapshot is wanted.
    pub fn created(record: ChannelRecord, out: &mut Outbox) -> Self {
        let sequence = record.sequence;
        let channel = Channel {
            record,
            volatile: Volatile {
                connection: Connection::Up,
                snapshot: sequence,
                ..Volatile::default()
            },
        };
        channel.write(Content::Snapshot(Box::new(channel.record.clone())), out);
        channel
    }

    /// Its id.
    pub fn id(&self) -> ChannelId {
        self.record.parameters.channel_id
    }

    /// The other side.
    pub fn peer(&self) -> PublicKey {
        self.record.parameters.counterparty_node_id
    }

    /// Its monitor's store.
    pub fn store(&self) -> Store {
        Store::Monitor(self.id())
    }

    /// Whether everything the record says is durable.
    pub fn is_durable(&self) -> bool {
        self.volatile.durable >= self.record.sequence
    }

    /// Whether this event is there, and durable.
    pub(crate) fn is_event_durable(&self, key: EventKey) -> bool {
        let mut events = self.record.events.iter();
        events.any(|pending| pending.event.key() == key && pending.made_by <= self.volatile.durable)
    }

    /// Sends a message of this channel once all that was written about it before is durable, and the
    /// preimages too that HTLCs here were claimed with. This alone is why no message runs ahead of the
    /// records that it rests on.
    pub(crate) fn send(&self, message: Message, out: &mut Outbox) {
        let mut stores = vec![self.store()];
        let preimages = self.volatile.claims_rest_on.iter();
        stores.extend(preimages.map(|id| Store::Monitor(*id)));
        out.after_all(
            stores,
            Effect::Send {
                peer: self.peer(),
                channel_id: Some(self.id()),
                message,
            },
        );
    }

    /// Applies an update and wants it durable.
    pub(crate) fn commit(
        &mut self,
        steps: Vec<UpdateStep>,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        self.log(EntryContent::Update(Update { steps }), out)
            .map_err(|error| ChannelError::Close(error.to_string()))?;
        // A claim takes a failure's event away.
        let record = &self.record;
        self.volatile.surfaced.retain(|key| record.has_event(*key));
        Ok(())
    }

    /// Takes events out whose effects are durable.
    pub(crate) fn acknowledge(&mut self, keys: Vec<EventKey>, out: &mut Outbox) {
        for key in &keys {
            self.volatile.surfaced.remove(key);
        }
        let failed = self.own_failures(&keys);
        // Acknowledging changes nothing but the list of events and cannot be refused.
        let _ = self.log(EntryContent::Acks(keys), out);
        let (durable, sequence) = (self.volatile.durable, self.record.sequence);
        let acknowledged = &mut self.volatile.failures_acknowledged;
        acknowledged.retain(|(by, _)| *by > durable);
        acknowledged.extend(failed.into_iter().map(|payment_id| (sequence, payment_id)));
    }

    /// The own payments of which these events are failures.
    fn own_failures(&self, keys: &[EventKey]) -> Vec<PaymentId> {
        let events = self.record.events.iter();
        let failed = events.filter(|pending| {
            let key = pending.event.key();
            key.kind == EventKind::Failed && keys.contains(&key)
        });
        failed
            .filter_map(|pending| match pending.event.resolved_source()? {
                HtlcSource::Own { payment_id, .. } => Some(*payment_id),
                HtlcSource::Forward { .. } => None,
            })
            .collect()
    }

    fn log(&mut self, content: EntryContent, out: &mut Outbox) -> Result<(), ApplyError> {
        let entry = LogEntry {
            sequence: self.record.sequence + 1,
            content,
        };
        self.record.apply(&entry)?;
        if entry.sequence - self.volatile.snapshot < ENTRIES_PER_SNAPSHOT {
            self.write(Content::Entry(entry), out);
            return Ok(());
        }
        let from = self.volatile.snapshot + 1;
        self.volatile.snapshot = entry.sequence;
        self.write(Content::Snapshot(Box::new(self.record.clone())), out);
        out.after(
            self.store(),
            Effect::Trim {
                channel_id: self.id(),
                from,
                to: entry.sequence - 1,
            },
        );
        Ok(())
    }

    fn write(&self, content: Content, out: &mut Outbox) {
        out.now(Effect::Persist(Write {
            store: self.store(),
            sequence: self.record.sequence,
            content,
        }));
    }
}
