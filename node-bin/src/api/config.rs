//! What a node program is told at its start.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use bitcoin::BlockHash;
use bitcoin::secp256k1::PublicKey;
use faults::ArmedPoint;

/// The configuration file of a node program: one JSON object, its path the program's argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The node's name in the scenario, for roles and logs.
    pub name: String,
    /// Everything the node stores goes under this folder.
    pub data_dir: PathBuf,
    /// Where the control socket is made.
    pub control_socket: PathBuf,
    /// The descriptor of the inherited report pipe (a Unix stream socket); none if run by hand.
    pub report_fd: Option<i32>,
    /// All of the node's keys and random bytes come from this seed: 64 hexadecimal digits.
    pub seed: String,
    /// How often the process was started on this `data_dir` before: 0 the first time. Mixed into
    /// the random bytes, so that a restart does not repeat what the killed process drew.
    pub life: u32,
    /// Where the node listens for peers. Port 0 lets the system choose; `info` tells.
    pub listen: SocketAddr,
    /// Names of the peers, for roles of points and for labels of channels.
    pub peers: Vec<PeerName>,
    /// The block the scenario started from; the wallet and new channels look at nothing before it.
    pub base_height: u32,
    /// That block's hash.
    pub base_hash: BlockHash,
    /// Bitcoind, for broadcasts in every case and for blocks if `chain_source` says so.
    pub bitcoind: BitcoindAccess,
    /// Where blocks come from.
    pub chain_source: ChainSource,
    /// Points armed from the first instruction on; `None` counts none until `arm` is called.
    pub armed: Option<Vec<ArmedPoint>>,
    /// The fee rate the node estimates for everything, in satoshis per 1000 weight units.
    pub fee_rate_sat_per_kw: u32,
    /// How the store is written; the stock node, which writes as LDK does, passes it over.
    #[serde(default, skip_serializing_if = "Persistence::is_sync")]
    pub persistence: Persistence,
}

/// When a write is done that the node wants done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode", deny_unknown_fields)]
pub enum Persistence {
    /// At once.
    #[default]
    Sync,
    /// Once the node has nothing else to do: one write after the other, in order within one store
    /// and in this order across stores.
    Async {
        /// Which store comes first.
        order: WriteOrder,
    },
    /// One after the other, each by a [`write`](super::Command::Write) command: in order within one
    /// store, and any store's first, as it follows from the node's seed, its life and a count. A
    /// command whose answer rests on a write has it done.
    Held,
}

impl Persistence {
    /// Whether writes are done at once.
    pub fn is_sync(&self) -> bool {
        *self == Persistence::Sync
    }
}

/// Whose write is done first when several stores have one waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteOrder {
    /// The store's that was written to last.
    Reversed,
    /// Any one's: it follows from the node's seed, its life and a count.
    Seeded,
}

/// A peer's key and the name the scenario gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerName {
    /// Name in the scenario.
    pub name: String,
    /// The peer's node id.
    pub node_id: PublicKey,
}

/// Where below its data folder a unified node keeps its records of own payments. Everything else that resolves
/// HTLCs is in its monitors.
pub const PAYMENT_RECORDS: &str = "store/payments";

/// How bitcoind is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BitcoindAccess {
    /// `http://host:port`.
    pub url: String,
    /// The cookie's user.
    pub user: String,
    /// The cookie's password.
    pub password: String,
}

/// Where a node takes its blocks from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum ChainSource {
    /// Whole blocks from bitcoind's RPC.
    Bitcoind,
    /// Transactions of watched scripts from electrs.
    Electrs {
        /// `tcp://host:port`.
        url: String,
    },
}
