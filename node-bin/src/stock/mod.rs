//! The stock node: unmodified LDK as a process of its own, driven by the rig.
//!
//! One thread runs everything; nothing happens unless a peer or the rig asks for it; every input is
//! handled to its end before the next. What LDK does with an input is LDK's alone: this module wires
//! it, names what passes, and puts crash points around it.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, RwLock};

use lightning::chain::Filter;
use lightning::chain::chainmonitor::ChainMonitor;
use lightning::events::bump_transaction::sync::{BumpTransactionEventHandlerSync, WalletSync};
use lightning::ln::channelmanager::ChannelManager;
use lightning::ln::peer_handler::{IgnoringMessageHandler, PeerManager};
use lightning::onion_message::messenger::DefaultMessageRouter;
use lightning::routing::gossip::{NetworkGraph, P2PGossipSync};
use lightning::routing::router::DefaultRouter;
use lightning::routing::scoring::{ProbabilisticScorer, ProbabilisticScoringFeeParameters};
use lightning::routing::utxo::UtxoLookup;
use lightning::sign::{InMemorySigner, KeysManager};
use lightning::util::persist::MonitorUpdatingPersister;
use lightning::util::sweep::OutputSweeperSync;
use lightning_net_tokio::SocketDescriptor;

use crate::api::NodeConfig;

mod broadcaster;
mod commands;
mod control;
mod events;
mod logger;
mod mailbox;
mod names;
mod node;
mod router;
mod rpc;
mod start;
mod store;
mod sync;
mod views;
mod wallet;
mod watch;
mod wire;
mod writer;

use broadcaster::{Broadcaster, Fees};
use logger::NodeLogger;
use mailbox::Mailbox;
use router::PlannedRouter;
use store::PointStore;
use wallet::NodeWallet;
use watch::PointWatch;

pub use start::{FORWARD_CLTV_EXPIRY_DELTA, FORWARD_FEE_BASE_MSAT, StartError};

/// The release of `lightning` this node is built on.
pub const LIGHTNING_VERSION: &str = "0.2.7";

type Logger = Arc<NodeLogger>;
type Keys = Arc<KeysManager>;
type Graph = NetworkGraph<Logger>;
type ElectrsFilter = dyn Filter + Send + Sync;
type Persister =
    MonitorUpdatingPersister<Arc<PointStore>, Logger, Keys, Keys, Arc<Broadcaster>, Arc<Fees>>;
type Monitors = ChainMonitor<
    InMemorySigner,
    Arc<ElectrsFilter>,
    Arc<Broadcaster>,
    Arc<Fees>,
    Logger,
    Arc<Persister>,
    Keys,
>;
type Scorer = ProbabilisticScorer<Arc<Graph>, Logger>;
type GossipRouter = DefaultRouter<
    Arc<Graph>,
    Logger,
    Keys,
    Arc<RwLock<Scorer>>,
    ProbabilisticScoringFeeParameters,
    Scorer,
>;
type Manager = ChannelManager<
    Arc<PointWatch>,
    Arc<Broadcaster>,
    Keys,
    Keys,
    Keys,
    Arc<Fees>,
    Arc<PlannedRouter>,
    Arc<DefaultMessageRouter<Arc<Graph>, Logger, Keys>>,
    Logger,
>;
type Gossip = P2PGossipSync<Arc<Graph>, Arc<dyn UtxoLookup + Send + Sync>, Logger>;
type Peers = PeerManager<
    SocketDescriptor,
    Arc<Mailbox>,
    Arc<Gossip>,
    IgnoringMessageHandler,
    Logger,
    IgnoringMessageHandler,
    Keys,
    IgnoringMessageHandler,
>;
type Sweeper = OutputSweeperSync<
    Arc<Broadcaster>,
    Arc<NodeWallet>,
    Arc<Fees>,
    Arc<ElectrsFilter>,
    Arc<PointStore>,
    Logger,
    Keys,
>;
type Bumper = BumpTransactionEventHandlerSync<
    Arc<Broadcaster>,
    Arc<WalletSync<Arc<NodeWallet>, Logger>>,
    Keys,
    Logger,
>;

/// Runs the node that the configuration file describes until it is told to stop.
pub fn main(config_path: &Path) -> ExitCode {
    match run(config_path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("deadbolt node: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(config_path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let shown = || config_path.display().to_string();
    let text = std::fs::read_to_string(config_path)
        .map_err(|error| StartError::Config(shown(), error.to_string()))?;
    let config: NodeConfig = serde_json::from_str(&text)
        .map_err(|error| StartError::Config(shown(), error.to_string()))?;
    // The node's own words stand beside LDK's on standard error. A second subscriber, as in a test
    // that runs two nodes, is refused and not missed.
    let _ = tracing_subscriber::fmt()
        .json()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .try_init();
    start::open_pipe(&config);
    // One thread: the order in which the node does things is the order of its inputs.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let node = start::start(config)?;
        control::serve(node).await?;
        Ok(())
    })
}
