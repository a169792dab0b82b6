//! What one node has written, as bytes: durable files, and writes on their way. Beside the bytes stands
//! what they decode to, so that a crash image can be judged without reading all of it again; a restart
//! reads the bytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use lightning::ln::types::ChannelId;

use crate::effect::{Content, Store, Write};
use crate::event::MonitorEvent;
use crate::node::{Stored, StoredChannel};
use crate::payment::PaymentRecord;
use crate::record::ChannelRecord;
use crate::record_codec as codec;
use crate::source::PaymentId;
use crate::update::{EntryContent, LogEntry};

/// What a file holds; never changes, so that worlds share it.
type Bytes = Arc<[u8]>;

/// The durable files of one store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Files {
    snapshot: Option<Bytes>,
    entries: BTreeMap<u64, Bytes>,
}

/// What kind of file a write makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Snapshot,
    Entry,
    Payment,
}

/// A write that is on its way.
#[derive(Clone, Debug)]
struct InFlight {
    sequence: u64,
    kind: Kind,
    bytes: Bytes,
}

/// Durable records of one node, decoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durable {
    /// Channels by id, archived ones not among them.
    pub channels: BTreeMap<ChannelId, Arc<ChannelRecord>>,
    /// Payments by id.
    pub payments: BTreeMap<PaymentId, Arc<PaymentRecord>>,
}

/// What a write changed once it was durable.
#[derive(Clone, Debug)]
pub enum Landed {
    /// A channel: its record before (none: it is new) and after.
    Channel {
        /// Before.
        before: Option<Arc<ChannelRecord>>,
        /// After.
        after: Arc<ChannelRecord>,
    },
    /// A payment.
    Payment,
}

/// A node's disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: BTreeMap<Store, Files>,
    in_flight: BTreeMap<Store, VecDeque<InFlight>>,
    archived: Vec<ChannelId>,
    durable: Durable,
}

/// A write, or what is read back, that cannot be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// The codec does not read what it wrote.
    #[error("written, and not readable: {0}")]
    Codec(#[from] codec::CodecError),
    /// An entry that does not fit.
    #[error("{0}")]
    Apply(#[from] crate::channel::ApplyError),
    /// A write out of order or without its snapshot.
    #[error("{0}")]
    Order(String),
}

impl Disk {
    /// Starts a write.
    pub fn write(&mut self, write: &Write) {
        let (kind, bytes) = match &write.content {
            Content::Snapshot(record) => (Kind::Snapshot, codec::encode_channel(record)),
            Content::Entry(entry) => (Kind::Entry, codec::encode_entry(entry)),
            Content::Payment(record) => (Kind::Payment, codec::encode_payment(record)),
        };
        self.in_flight
            .entry(write.store)
            .or_default()
            .push_back(InFlight {
                sequence: write.sequence,
                kind,
                bytes: bytes.into(),
            });
    }

    /// Stores with writes on their way, and how many each.
    pub fn in_flight(&self) -> impl Iterator<Item = (Store, usize)> {
        self.in_flight
            .iter()
            .filter(|(_, writes)| !writes.is_empty())
            .map(|(store, writes)| (*store, writes.len()))
    }

    /// The oldest write to this store becomes durable. Returns its sequence and what it changed; `None`
    /// if none is on its way.
    pub fn land(&mut self, store: Store) -> Option<(u64, Result<Landed, DiskError>)> {
        let write = self.in_flight.get_mut(&store)?.pop_front()?;
        let sequence = write.sequence;
        let landed = self.durable.take_in(store, &write);
        let files = self.files.entry(store).or_default();
        match write.kind {
            Kind::Snapshot | Kind::Payment => files.snapshot = Some(write.bytes),
            Kind::Entry => {
                files.entries.insert(sequence, write.bytes);
            }
        }
        Some((sequence, landed))
    }

    /// The node is dead: writes on their way are lost.
    pub fn lose_writes(&mut self) {
        self.in_flight.clear();
    }

    /// Takes the acknowledgements at the end of every log away again, as if they had not been written.
    /// Returns how many entries went.
    ///
    /// # Errors
    ///
    /// [`DiskError`]: an entry on the disk cannot be read.
    pub fn lose_last_acks(&mut self) -> Result<usize, DiskError> {
        let mut lost = 0;
        for files in self.files.values_mut() {
            while let Some(last) = files.entries.last_entry() {
                match codec::decode_entry(last.get())?.content {
                    EntryContent::Acks(_) => last.remove(),
                    EntryContent::Update(_) => break,
                };
                lost += 1;
            }
        }
        if lost > 0 {
            self.durable = Durable::read(&self.stored()?)?;
        }
        Ok(lost)
    }

    /// All records of payments are gone.
    pub fn lose_payments(&mut self) {
        self.files
            .retain(|store, _| !matches!(store, Store::Payment(_)));
        self.durable.payments.clear();
    }

    /// Removes the record of a payment.
    pub fn forget_payment(&mut self, payment_id: &PaymentId) {
        self.files.remove(&Store::Payment(*payment_id));
        self.durable.payments.remove(payment_id);
    }

    /// Removes log entries.
    pub fn trim(&mut self, channel_id: ChannelId, from: u64, to: u64) {
        if let Some(files) = self.files.get_mut(&Store::Monitor(channel_id)) {
            files
                .entries
                .retain(|sequence, _| *sequence < from || *sequence > to);
        }
    }

    /// Moves a channel to the archive. Returns its last durable record.
    pub fn archive(&mut self, channel_id: ChannelId) -> Option<Arc<ChannelRecord>> {
        self.files.remove(&Store::Monitor(channel_id));
        self.archived.push(channel_id);
        self.durable.channels.remove(&channel_id)
    }

    /// Channels in the archive.
    pub fn archived(&self) -> &[ChannelId] {
        &self.archived
    }

    /// What is durable.
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// For tests that make a bad disk of a good one.
    #[cfg(test)]
    pub(super) fn durable_mut(&mut self) -> &mut Durable {
        &mut self.durable
    }

    /// What a restart reads: everything from its bytes.
    ///
    /// # Errors
    ///
    /// [`DiskError`]: something on the disk cannot be read, or has no snapshot.
    pub fn stored(&self) -> Result<Stored, DiskError> {
        let mut stored = Stored::default();
        for (store, files) in &self.files {
            let Some(bytes) = &files.snapshot else {
                return Err(DiskError::Order(format!("{store:?} has no snapshot")));
            };
            match store {
                Store::Monitor(_) => stored.channels.push(StoredChannel {
                    snapshot: codec::decode_channel(bytes)?,
                    entries: files
                        .entries
                        .values()
                        .map(|bytes| codec::decode_entry(bytes))
                        .collect::<Result<_, _>>()?,
                }),
                Store::Payment(_) => stored.payments.push(codec::decode_payment(bytes)?),
            }
        }
        Ok(stored)
    }

    /// Whether the bytes on both disks are the same.
    pub fn same_bytes(&self, other: &Disk) -> bool {
        self.files == other.files
    }
}

impl Durable {
    /// What these files say.
    ///
    /// # Errors
    ///
    /// [`DiskError`]: an entry does not fit its snapshot.
    pub fn read(stored: &Stored) -> Result<Durable, DiskError> {
        let mut durable = Durable::default();
        for channel in &stored.channels {
            let mut record = channel.snapshot.clone();
            for entry in &channel.entries {
                if entry.sequence > record.sequence {
                    record.apply(entry)?;
                }
            }
            let channel_id = record.parameters.channel_id;
            durable.channels.insert(channel_id, Arc::new(record));
        }
        for payment in &stored.payments {
            let payment_id = payment.payment_id;
            durable
                .payments
                .insert(payment_id, Arc::new(payment.clone()));
        }
        Ok(durable)
    }

    /// Applies one write, read from its bytes.
    fn take_in(&mut self, store: Store, write: &InFlight) -> Result<Landed, DiskError> {
        match (store, write.kind) {
            (Store::Payment(payment_id), _) => {
                let record = codec::decode_payment(&write.bytes)?;
                self.payments.insert(payment_id, Arc::new(record));
                Ok(Landed::Payment)
            }
            (Store::Monitor(channel_id), Kind::Entry) => {
                let entry = codec::decode_entry(&write.bytes)?;
                self.apply(channel_id, &entry)
            }
            (Store::Monitor(channel_id), _) => {
                let record = codec::decode_channel(&write.bytes)?;
                let after = Arc::new(record);
                let before = self.channels.insert(channel_id, after.clone());
                Ok(Landed::Channel { before, after })
            }
        }
    }

    fn apply(&mut self, channel_id: ChannelId, entry: &LogEntry) -> Result<Landed, DiskError> {
        let Some(record) = self.channels.get_mut(&channel_id) else {
            let problem = format!("entry {} has no snapshot before it", entry.sequence);
            return Err(DiskError::Order(problem));
        };
        let before = record.clone();
        Arc::make_mut(record).apply(entry)?;
        Ok(Landed::Channel {
            before: Some(before),
            after: record.clone(),
        })
    }

    /// All unacknowledged events, with the channel that holds each.
    pub fn events(&self) -> impl Iterator<Item = (ChannelId, &MonitorEvent)> {
        self.channels.iter().flat_map(|(channel_id, record)| {
            record
                .events
                .iter()
                .map(move |pending| (*channel_id, &pending.event))
        })
    }
}
