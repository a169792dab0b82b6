//! Names of things: which label a channel has, which key a payment was made under, which input the
//! node is working on. Owns the roles of crash points; decides nothing about channels or payments.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::PublicKey;
use bitcoin::{OutPoint, Transaction, Txid};
use lightning::ln::types::ChannelId;
use serde::{Deserialize, Serialize};

use crate::api::{NodeConfig, UserEvent, seed_bytes};

/// A payment that this node receives or sends, as its user named it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentName {
    /// Idempotency key.
    pub key: String,
    /// The user wants to decide itself.
    pub hold: bool,
}

/// What has to be known again after a restart. It is written beside the store, not in it: it is the
/// rig's bookkeeping and must add no crash point.
#[derive(Debug, Default, Serialize, Deserialize)]
struct NamesRecord {
    channels: BTreeMap<String, String>,
    fundings: BTreeMap<String, String>,
    incoming: BTreeMap<String, PaymentName>,
    outgoing: BTreeMap<String, String>,
    /// Payments made whose user was told how they ended: LDK forgets them, their keys are spent.
    #[serde(default)]
    decided: BTreeSet<String>,
    /// Channels that were ready once: their labels are theirs for ever.
    #[serde(default)]
    ready: BTreeSet<String>,
    /// Channels that came to nothing: their labels are free for the next attempt.
    #[serde(default)]
    failed: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct State {
    record: NamesRecord,
    transactions: BTreeMap<Txid, String>,
    cause: String,
}

/// The names that one node uses.
pub struct Names {
    node: String,
    seed: [u8; 32],
    peers: BTreeMap<PublicKey, String>,
    file: PathBuf,
    state: Mutex<State>,
}

fn file_in(data_dir: &Path) -> PathBuf {
    data_dir.join("names.json")
}

impl Names {
    /// Reads what an earlier life wrote, or starts empty.
    pub fn open(config: &NodeConfig) -> std::io::Result<Self> {
        let file = file_in(&config.data_dir);
        let record = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => NamesRecord::default(),
            Err(error) => return Err(error),
        };
        let seed = seed_bytes(&config.seed).map_err(std::io::Error::other)?;
        let peers = config
            .peers
            .iter()
            .map(|peer| (peer.node_id, peer.name.clone()))
            .collect();
        let state = Mutex::new(State {
            record,
            ..State::default()
        });
        Ok(Names {
            node: config.name.clone(),
            seed,
            peers,
            file,
            state,
        })
    }

    /// Of a node that knows nobody and keeps nothing.
    #[cfg(test)]
    pub(crate) fn of_nobody() -> Self {
        Names {
            node: String::new(),
            seed: [0; 32],
            peers: BTreeMap::new(),
            file: PathBuf::new(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the process if it cannot: after a restart a payment of an unknown name would be failed, though its
    /// invoice was given out.
    fn save(&self, record: &NamesRecord) {
        let scratch = self.file.with_extension("new");
        let written = serde_json::to_vec(record)
            .map_err(std::io::Error::other)
            .and_then(|bytes| {
                std::fs::write(&scratch, bytes)?;
                std::fs::rename(&scratch, &self.file)
            });
        if let Err(error) = written {
            let file = self.file.display();
            eprintln!("deadbolt node: {file} was not written: {error}; see the disk");
            std::process::abort();
        }
    }

    /// A peer's name; its id's first digits if the scenario has none for it.
    pub fn peer(&self, node_id: &PublicKey) -> String {
        self.peers
            .get(node_id)
            .cloned()
            .unwrap_or_else(|| node_id.to_string()[..8].to_owned())
    }

    fn pair(&self, node_id: &PublicKey) -> String {
        let peer = self.peer(node_id);
        if self.node < peer {
            format!("{}-{peer}", self.node)
        } else {
            format!("{peer}-{}", self.node)
        }
    }

    /// Gives a new channel its label, or returns the one it has.
    pub fn register(&self, channel: ChannelId, peer: &PublicKey, funding: OutPoint) -> String {
        let id = channel.to_string();
        let mut state = self.state();
        if let Some(label) = state.record.channels.get(&id) {
            return label.clone();
        }
        let pair = self.pair(peer);
        let further = format!("{pair}.");
        let record = &state.record;
        let before = record
            .channels
            .iter()
            .filter(|(_, label)| **label == pair || label.starts_with(&further))
            .filter(|(id, _)| !record.failed.contains(*id))
            .count();
        let label = if before == 0 {
            pair
        } else {
            format!("{pair}.{}", before + 1)
        };
        state.record.channels.insert(id, label.clone());
        state
            .record
            .fundings
            .insert(format!("{}_{}", funding.txid, funding.vout), label.clone());
        self.save(&state.record);
        label
    }

    /// Learns from what the user is told: a channel that closes before it was ever ready leaves its
    /// label to the next one, for both sides, whichever of them had got how far.
    pub fn heard(&self, event: &UserEvent) {
        let mut state = self.state();
        let record = &mut state.record;
        let changed = match event {
            UserEvent::ChannelReady { channel_id, .. } => record.ready.insert(channel_id.clone()),
            UserEvent::ChannelClosed { channel_id, .. } => {
                !record.ready.contains(channel_id) && record.failed.insert(channel_id.clone())
            }
            _ => false,
        };
        if changed {
            self.save(&state.record);
        }
    }

    /// Says which channels a start has found: of any other that was never ready nobody will hear again.
    pub fn found(&self, channels: impl IntoIterator<Item = ChannelId>) {
        let found: BTreeSet<String> = channels.into_iter().map(|id| id.to_string()).collect();
        let mut state = self.state();
        let record = &mut state.record;
        let lost = record
            .channels
            .keys()
            .filter(|id| !found.contains(*id) && !record.ready.contains(*id));
        let lost: Vec<String> = lost.cloned().collect();
        if !lost.is_empty() {
            record.failed.extend(lost);
            self.save(&state.record);
        }
    }

    /// The label of a channel, if it has one yet.
    pub fn channel(&self, channel: &ChannelId) -> Option<String> {
        self.state()
            .record
            .channels
            .get(&channel.to_string())
            .cloned()
    }

    /// The label, or the pair of names while the channel has none.
    pub fn channel_with(&self, channel: &ChannelId, peer: &PublicKey) -> String {
        self.channel(channel).unwrap_or_else(|| self.pair(peer))
    }

    /// The label that belongs to a key of the monitor store.
    pub fn monitor_key(&self, key: &str) -> String {
        let state = self.state();
        let label = state
            .record
            .fundings
            .get(key)
            .or_else(|| state.record.channels.get(key));
        label.cloned().unwrap_or_else(|| key.to_owned())
    }

    /// The preimage this node uses for a key.
    pub fn preimage(&self, key: &str) -> [u8; 32] {
        let mut bytes = self.seed.to_vec();
        bytes.extend_from_slice(b"preimage");
        bytes.extend_from_slice(key.as_bytes());
        sha256::Hash::hash(&bytes).to_byte_array()
    }

    /// Remembers a payment to come.
    pub fn expect_payment(&self, payment_hash: &str, name: PaymentName) {
        let mut state = self.state();
        state.record.incoming.insert(payment_hash.to_owned(), name);
        self.save(&state.record);
    }

    /// What is known of a payment to this node.
    pub fn incoming(&self, payment_hash: &str) -> Option<PaymentName> {
        self.state().record.incoming.get(payment_hash).cloned()
    }

    /// Remembers a payment made.
    pub fn made_payment(&self, payment_id: &str, key: &str) {
        let mut state = self.state();
        state
            .record
            .outgoing
            .insert(payment_id.to_owned(), key.to_owned());
        self.save(&state.record);
    }

    /// Remembers that a payment made has ended.
    pub fn decide(&self, payment_id: &str) {
        let mut state = self.state();
        if state.record.decided.insert(payment_id.to_owned()) {
            self.save(&state.record);
        }
    }

    /// Whether a payment made has ended.
    pub fn is_decided(&self, payment_id: &str) -> bool {
        self.state().record.decided.contains(payment_id)
    }

    /// The key a payment was made under.
    pub fn outgoing(&self, payment_id: &str) -> Option<String> {
        self.state().record.outgoing.get(payment_id).cloned()
    }

    /// The key of a payment, made or expected; empty if it has none.
    pub fn payment_role(&self, payment_id: Option<&str>, payment_hash: Option<&str>) -> String {
        payment_id
            .and_then(|id| self.outgoing(id))
            .or_else(|| {
                payment_hash
                    .and_then(|hash| self.incoming(hash))
                    .map(|name| name.key)
            })
            .unwrap_or_default()
    }

    /// Says which input the node works on from now on.
    pub fn set_cause(&self, cause: String) {
        self.state().cause = cause;
    }

    /// The input the node works on.
    pub fn cause(&self) -> String {
        self.state().cause.clone()
    }

    /// What a transaction is, by what it spends; learns it, so that its own spenders are known too.
    pub fn transaction(&self, transaction: &Transaction) -> String {
        let mut state = self.state();
        let txid = transaction.compute_txid();
        if let Some(role) = state.transactions.get(&txid) {
            return role.clone();
        }
        let role = transaction.input.iter().find_map(|input| {
            let outpoint = input.previous_output;
            let key = format!("{}_{}", outpoint.txid, outpoint.vout);
            if let Some(label) = state.record.fundings.get(&key) {
                return Some(format!("{label} close"));
            }
            let parent = state.transactions.get(&outpoint.txid)?;
            let label = parent.split(' ').next().unwrap_or(parent);
            Some(format!("{label} claim"))
        });
        match role {
            None => "wallet".to_owned(),
            Some(role) => {
                state.transactions.insert(txid, role.clone());
                role
            }
        }
    }
}
