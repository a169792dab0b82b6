//! The store: lightning-persister's `FilesystemStore` with a crash point before and after each write
//! and removal. Owns the names of those points; changes nothing about what is stored.

use std::path::PathBuf;
use std::sync::Arc;

use faults::{Outcome, gate};
use lightning::io;
use lightning::util::persist::{
    ARCHIVED_CHANNEL_MONITOR_PERSISTENCE_PRIMARY_NAMESPACE,
    CHANNEL_MONITOR_PERSISTENCE_PRIMARY_NAMESPACE,
    CHANNEL_MONITOR_UPDATE_PERSISTENCE_PRIMARY_NAMESPACE, KVStoreSync,
    NETWORK_GRAPH_PERSISTENCE_KEY, OUTPUT_SWEEPER_PERSISTENCE_KEY, SCORER_PERSISTENCE_KEY,
};
use lightning_persister::fs_store::FilesystemStore;

use crate::api::Report;
use crate::shared::names::Names;

/// A `KVStoreSync` with crash points.
pub struct PointStore {
    inner: FilesystemStore,
    names: Arc<Names>,
}

struct PointName {
    before: &'static str,
    after: &'static str,
    role: String,
}

impl PointStore {
    /// Stores under this folder.
    pub fn new(folder: PathBuf, names: Arc<Names>) -> Self {
        PointStore {
            inner: FilesystemStore::new(folder),
            names,
        }
    }

    /// The store without points, for the manager's writer, which has its own.
    pub fn without_points(&self) -> &FilesystemStore {
        &self.inner
    }

    fn write_point(&self, primary: &str, secondary: &str, key: &str) -> PointName {
        let name = |before, after, role| PointName {
            before,
            after,
            role,
        };
        match primary {
            CHANNEL_MONITOR_PERSISTENCE_PRIMARY_NAMESPACE => {
                let role = self.names.monitor_key(key);
                name("persist.monitor.before", "persist.monitor.after", role)
            }
            CHANNEL_MONITOR_UPDATE_PERSISTENCE_PRIMARY_NAMESPACE => {
                let role = format!("{} #{key}", self.names.monitor_key(secondary));
                name(
                    "persist.monitor_update.before",
                    "persist.monitor_update.after",
                    role,
                )
            }
            ARCHIVED_CHANNEL_MONITOR_PERSISTENCE_PRIMARY_NAMESPACE => {
                let role = self.names.monitor_key(key);
                name("archive.monitor.before", "archive.monitor.after", role)
            }
            _ => match key {
                OUTPUT_SWEEPER_PERSISTENCE_KEY => name(
                    "persist.sweeper.before",
                    "persist.sweeper.after",
                    self.names.cause(),
                ),
                NETWORK_GRAPH_PERSISTENCE_KEY => name(
                    "persist.graph.before",
                    "persist.graph.after",
                    self.names.cause(),
                ),
                SCORER_PERSISTENCE_KEY => name(
                    "persist.scorer.before",
                    "persist.scorer.after",
                    self.names.cause(),
                ),
                _ => name(
                    "persist.other.before",
                    "persist.other.after",
                    key.to_owned(),
                ),
            },
        }
    }
}

fn path_of(primary: &str, secondary: &str, key: &str) -> String {
    let parts = [primary, secondary, key];
    parts
        .iter()
        .filter(|part| !part.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join("/")
}

fn told_to_fail() -> io::Error {
    io::Error::new(io::ErrorKind::Other, "the rig made this write fail")
}

impl KVStoreSync for PointStore {
    fn read(&self, primary: &str, secondary: &str, key: &str) -> Result<Vec<u8>, io::Error> {
        KVStoreSync::read(&self.inner, primary, secondary, key)
    }

    fn write(
        &self,
        primary: &str,
        secondary: &str,
        key: &str,
        buf: Vec<u8>,
    ) -> Result<(), io::Error> {
        let point = self.write_point(primary, secondary, key);
        if gate::point(point.before, &point.role) == Outcome::Fail {
            return Err(told_to_fail());
        }
        let bytes = buf.len() as u64;
        KVStoreSync::write(&self.inner, primary, secondary, key, buf)?;
        gate::emit(&Report::Stored {
            key: path_of(primary, secondary, key),
            bytes,
        });
        let _ = gate::point(point.after, &point.role);
        Ok(())
    }

    fn remove(
        &self,
        primary: &str,
        secondary: &str,
        key: &str,
        lazy: bool,
    ) -> Result<(), io::Error> {
        let (before, after, role) = match primary {
            CHANNEL_MONITOR_UPDATE_PERSISTENCE_PRIMARY_NAMESPACE => (
                "remove.monitor_update.before",
                "remove.monitor_update.after",
                format!("{} #{key}", self.names.monitor_key(secondary)),
            ),
            _ => (
                "remove.other.before",
                "remove.other.after",
                path_of(primary, secondary, key),
            ),
        };
        if gate::point(before, &role) == Outcome::Fail {
            return Err(told_to_fail());
        }
        KVStoreSync::remove(&self.inner, primary, secondary, key, lazy)?;
        let _ = gate::point(after, &role);
        Ok(())
    }

    fn list(&self, primary: &str, secondary: &str) -> Result<Vec<String>, io::Error> {
        KVStoreSync::list(&self.inner, primary, secondary)
    }
}
