//! What both node programs are made of besides their Lightning part: the API's sockets, names and
//! points, the transport, the wallet, the line to the chain. Decides nothing about channels.

use std::sync::Arc;

use lightning::chain::Filter;
use lightning::ln::peer_handler::{IgnoringMessageHandler, PeerManager};
use lightning::routing::gossip::{NetworkGraph, P2PGossipSync};
use lightning::routing::utxo::UtxoLookup;
use lightning::sign::KeysManager;
use lightning_net_tokio::SocketDescriptor;

pub(crate) mod basis;
pub(crate) mod broadcaster;
pub(crate) mod commands;
pub(crate) mod control;
pub(crate) mod events;
pub(crate) mod host;
pub(crate) mod logger;
pub(crate) mod mailbox;
pub(crate) mod names;
mod reserve;
pub(crate) mod rpc;
pub(crate) mod sync;
pub(crate) mod wallet;
pub(crate) mod wire;

use logger::NodeLogger;
use mailbox::Mailbox;

/// The release of `lightning` that the nodes are built on.
pub const LIGHTNING_VERSION: &str = "0.2.7";

/// What a forward costs: a flat fee, so that explicit routes need no gossip.
pub const FORWARD_FEE_BASE_MSAT: u32 = 1_000;
/// LDK's least, in blocks.
pub const FORWARD_CLTV_EXPIRY_DELTA: u16 = 48;

pub(crate) type Logger = Arc<NodeLogger>;
pub(crate) type Keys = Arc<KeysManager>;
pub(crate) type Graph = NetworkGraph<Logger>;
pub(crate) type ElectrsFilter = dyn Filter + Send + Sync;
pub(crate) type Gossip = P2PGossipSync<Arc<Graph>, Arc<dyn UtxoLookup + Send + Sync>, Logger>;
pub(crate) type Peers = PeerManager<
    SocketDescriptor,
    Arc<Mailbox>,
    Arc<Gossip>,
    IgnoringMessageHandler,
    Logger,
    IgnoringMessageHandler,
    Keys,
    IgnoringMessageHandler,
>;
