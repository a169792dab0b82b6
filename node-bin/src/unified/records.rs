//! The node's records in its store: where each one is, its crash points, and all of them read at a start.
//! Owns the layout of the data folder; decides neither what is written nor when.

use std::path::PathBuf;
use std::sync::Arc;

use faults::{Outcome, gate};
use lightning::io;
use lightning::ln::types::ChannelId;
use lightning::util::persist::{
    ARCHIVED_CHANNEL_MONITOR_PERSISTENCE_PRIMARY_NAMESPACE as ARCHIVE,
    CHANNEL_MONITOR_PERSISTENCE_PRIMARY_NAMESPACE as MONITORS,
    CHANNEL_MONITOR_UPDATE_PERSISTENCE_PRIMARY_NAMESPACE as UPDATES, KVStoreSync,
};
use node_core::effect::{Content, Store, Write};
use node_core::node::{Stored, StoredChannel};
use node_core::record_codec as codec;
use node_core::update::{EntryContent, LogEntry, UpdateStep};

use super::store::{FileStore, Stage};
use crate::api::Report;
use crate::shared::basis::StartError;
use crate::shared::names::Names;

/// Namespace of the records of own payments.
const PAYMENTS: &str = "payments";

/// A write or a removal that the store refused.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {error}")]
pub struct StoreError {
    what: String,
    error: io::Error,
}

/// One operation on the store as its points name it.
struct Named {
    family: &'static str,
    role: String,
}

impl Named {
    fn point(&self, place: &str) -> io::Result<()> {
        match gate::point(&format!("{}.{place}", self.family), &self.role) {
            Outcome::Continue => Ok(()),
            Outcome::Fail => Err(io::Error::new(
                io::ErrorKind::Other,
                "the rig made this write fail",
            )),
        }
    }
}

/// The node's records.
pub struct Records {
    store: FileStore,
    names: Arc<Names>,
}

fn path_of(primary: &str, secondary: &str, key: &str) -> String {
    [primary, secondary, key]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/")
}

/// Whether a write releases a part of a claim: makes an inbound HTLC's preimage durable.
fn claims_a_part(content: &Content) -> bool {
    let Content::Entry(LogEntry {
        content: EntryContent::Update(update),
        ..
    }) = content
    else {
        return false;
    };
    update
        .steps
        .iter()
        .any(|step| matches!(step, UpdateStep::PaymentPreimage { .. }))
}

impl Records {
    /// Under this folder.
    pub fn new(folder: PathBuf, names: Arc<Names>) -> Self {
        Records {
            store: FileStore::new(folder),
            names,
        }
    }

    fn label(&self, channel_id: &ChannelId) -> String {
        self.names
            .channel(channel_id)
            .unwrap_or_else(|| channel_id.to_string())
    }

    /// Makes one write durable.
    pub fn write(&self, write: &Write) -> Result<(), StoreError> {
        let claim = match write.store {
            Store::Monitor(channel_id) if claims_a_part(&write.content) => {
                Some(self.label(&channel_id))
            }
            _ => None,
        };
        if let Some(role) = &claim {
            let _ = gate::point("mpp.claim.part.before", role);
        }
        self.write_content(write)?;
        if let Some(role) = &claim {
            let _ = gate::point("mpp.claim.part.after", role);
        }
        Ok(())
    }

    fn write_content(&self, write: &Write) -> Result<(), StoreError> {
        let id = match write.store {
            Store::Monitor(channel_id) => channel_id.to_string(),
            Store::Payment(payment_id) => hex(&payment_id),
        };
        let label = match write.store {
            Store::Monitor(channel_id) => self.label(&channel_id),
            Store::Payment(_) => self.names.payment_role(Some(&id), None),
        };
        match &write.content {
            Content::Snapshot(record) => self.put(
                Named {
                    family: "persist.monitor",
                    role: label,
                },
                (MONITORS, "", &id),
                &codec::encode_channel(record),
            ),
            Content::Entry(entry) => self.put(
                Named {
                    family: match entry.content {
                        EntryContent::Update(_) => "persist.monitor_update",
                        EntryContent::Acks(_) => "persist.monitor_ack",
                    },
                    // Not the place in the log: acknowledgements wait for other channels too, so where they
                    // stand among a channel's updates differs from run to run.
                    role: label,
                },
                (UPDATES, &id, &entry.sequence.to_string()),
                &codec::encode_entry(entry),
            ),
            Content::Payment(record) => self.put(
                Named {
                    family: "persist.payment",
                    role: label,
                },
                (PAYMENTS, "", &id),
                &codec::encode_payment(record),
            ),
        }
    }

    fn put(
        &self,
        named: Named,
        (primary, secondary, key): (&str, &str, &str),
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let path = path_of(primary, secondary, key);
        let failed = |error| StoreError {
            what: format!("{path} could not be written"),
            error,
        };
        named.point("before").map_err(failed)?;
        let mut passed = |stage: Stage| named.point(stage.name());
        self.store
            .write_in_stages((primary, secondary, key), bytes, &mut passed)
            .map_err(failed)?;
        gate::emit(&Report::Stored {
            key: path.clone(),
            bytes: bytes.len() as u64,
        });
        named.point("after").map_err(failed)
    }

    /// Removes log entries that a snapshot has made needless.
    pub fn trim(&self, channel_id: &ChannelId, from: u64, to: u64) -> Result<(), StoreError> {
        let id = channel_id.to_string();
        for sequence in from..=to {
            let key = sequence.to_string();
            let failed = |error| StoreError {
                what: format!("{} could not be removed", path_of(UPDATES, &id, &key)),
                error,
            };
            let named = Named {
                family: "remove.monitor_update",
                role: format!("{} #{sequence}", self.label(channel_id)),
            };
            named.point("before").map_err(failed)?;
            // What a power cut brings back is older than the snapshot and passed over.
            self.store
                .remove(UPDATES, &id, &key, true)
                .map_err(failed)?;
            named.point("after").map_err(failed)?;
        }
        Ok(())
    }

    /// Removes the record of a payment that is over.
    pub fn forget_payment(&self, payment_id: &[u8; 32]) -> Result<(), StoreError> {
        let id = hex(payment_id);
        let failed = |error| StoreError {
            what: format!("{} could not be removed", path_of(PAYMENTS, "", &id)),
            error,
        };
        let named = Named {
            family: "remove.payment",
            role: self.names.payment_role(Some(&id), None),
        };
        named.point("before").map_err(failed)?;
        // What a power cut brings back is removed again.
        self.store.remove(PAYMENTS, "", &id, true).map_err(failed)?;
        named.point("after").map_err(failed)
    }

    /// Moves a channel's snapshot to the archive, and drops its log.
    pub fn archive(&self, channel_id: &ChannelId) -> Result<(), StoreError> {
        let id = channel_id.to_string();
        let failed = |error| StoreError {
            what: format!("{} could not be archived", path_of(MONITORS, "", &id)),
            error,
        };
        let named = Named {
            family: "archive.monitor",
            role: self.label(channel_id),
        };
        named.point("before").map_err(failed)?;
        self.copy_to_archive(&id).map_err(failed)?;
        named.point("after").map_err(failed)
    }

    /// Copy first, then the snapshot goes, and its log last: a crash between leaves a channel whole
    /// or archived, and a log without a snapshot is nobody's.
    fn copy_to_archive(&self, id: &str) -> io::Result<()> {
        let bytes = match self.store.read(MONITORS, "", id) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        self.store.write(ARCHIVE, "", id, bytes)?;
        self.store.remove(MONITORS, "", id, false)?;
        for key in self.store.list(UPDATES, id)? {
            self.store.remove(UPDATES, id, &key, true)?;
        }
        Ok(())
    }

    /// Everything that is durable.
    pub fn load(&self) -> Result<Stored, StartError> {
        let mut stored = Stored::default();
        for id in self.list(MONITORS, "")? {
            stored.channels.push(self.load_channel(&id)?);
        }
        for id in self.list(PAYMENTS, "")? {
            let record = codec::decode_payment(&self.read("payment", PAYMENTS, "", &id)?)
                .map_err(|error| StartError::Record("payment", format!("{id}: {error}")))?;
            stored.payments.push(record);
        }
        Ok(stored)
    }

    fn load_channel(&self, id: &str) -> Result<StoredChannel, StartError> {
        let wrong = |what: String| StartError::Record("channel", format!("{id}: {what}"));
        let snapshot = codec::decode_channel(&self.read("channel", MONITORS, "", id)?)
            .map_err(|error| wrong(error.to_string()))?;
        if snapshot.parameters.channel_id.to_string() != id {
            return Err(wrong("the record is another channel's".into()));
        }
        let mut sequences = Vec::new();
        for key in self.list(UPDATES, id)? {
            let sequence: u64 = key
                .parse()
                .map_err(|_| wrong(format!("{key:?} is no log entry's number")))?;
            sequences.push(sequence);
        }
        sequences.sort_unstable();
        let mut entries = Vec::new();
        for sequence in sequences {
            let bytes = self.read("channel", UPDATES, id, &sequence.to_string())?;
            let entry = codec::decode_entry(&bytes)
                .map_err(|error| wrong(format!("entry {sequence}: {error}")))?;
            if entry.sequence != sequence {
                return Err(wrong(format!("entry {sequence} is another's")));
            }
            entries.push(entry);
        }
        Ok(StoredChannel { snapshot, entries })
    }

    fn list(&self, primary: &str, secondary: &str) -> Result<Vec<String>, StartError> {
        self.store
            .list(primary, secondary)
            .map_err(|error| StartError::Io("store", std::io::Error::other(error.to_string())))
    }

    fn read(
        &self,
        what: &'static str,
        primary: &str,
        secondary: &str,
        key: &str,
    ) -> Result<Vec<u8>, StartError> {
        self.store
            .read(primary, secondary, key)
            .map_err(|error| StartError::Io(what, std::io::Error::other(error.to_string())))
    }
}

/// 64 lower-case digits.
pub fn hex(bytes: &[u8; 32]) -> String {
    bitcoin::hex::DisplayHex::to_lower_hex_string(bytes)
}

/// Whatever is no channel's and no payment's: the network graph, once a tick.
impl KVStoreSync for Records {
    fn read(&self, primary: &str, secondary: &str, key: &str) -> io::Result<Vec<u8>> {
        self.store.read(primary, secondary, key)
    }

    fn write(&self, primary: &str, secondary: &str, key: &str, bytes: Vec<u8>) -> io::Result<()> {
        let graph = key == lightning::util::persist::NETWORK_GRAPH_PERSISTENCE_KEY;
        let named = match graph {
            true => Named {
                family: "persist.graph",
                role: self.names.cause(),
            },
            false => Named {
                family: "persist.other",
                role: path_of(primary, secondary, key),
            },
        };
        self.put(named, (primary, secondary, key), &bytes)
            .map_err(|error| error.error)
    }

    fn remove(&self, primary: &str, secondary: &str, key: &str, lazy: bool) -> io::Result<()> {
        self.store.remove(primary, secondary, key, lazy)
    }

    fn list(&self, primary: &str, secondary: &str) -> io::Result<Vec<String>> {
        self.store.list(primary, secondary)
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
