//! The start that both node programs share: the configuration, the report pipe, and the parts that need
//! nothing of the Lightning part. Sends nothing.

use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::Network;
use faults::gate;
use lightning::chain::BestBlock;
use lightning::ln::peer_handler::{IgnoringMessageHandler, MessageHandler};
use lightning::routing::gossip::{NetworkGraph, P2PGossipSync};
use lightning::sign::{EntropySource, KeysManager};
use lightning::util::persist::{KVStoreSync, NETWORK_GRAPH_PERSISTENCE_KEY};
use lightning::util::ser::ReadableArgs;

use super::broadcaster::{Broadcaster, Fees};
use super::control::{self, Process};
use super::logger::NodeLogger;
use super::mailbox::Mailbox;
use super::names::Names;
use super::rpc::{Bitcoind, RpcError};
use super::sync::SyncError;
use super::wallet::{NodeWallet, WalletError};
use super::{Graph, Keys, Logger, Peers};
use crate::api::{BadSeed, NodeConfig, seed_bytes};

/// The node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration file.
    #[error("the configuration {0} cannot be used: {1}")]
    Config(String, String),
    /// The seed.
    #[error(transparent)]
    Seed(#[from] BadSeed),
    /// The store or another file.
    #[error("{0}: {1}")]
    Io(&'static str, std::io::Error),
    /// A record that cannot be read.
    #[error("the stored {0} cannot be read: {1}; the folder may belong to another version")]
    Record(&'static str, String),
    /// The wallet.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// bitcoind.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// Catching up.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

/// Runs the node that the configuration file describes until it is told to stop.
pub(crate) fn main<P: Process>(
    config_path: &Path,
    start: fn(NodeConfig) -> Result<P, StartError>,
) -> ExitCode {
    match run(config_path, start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("deadbolt node: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run<P: Process>(
    config_path: &Path,
    start: fn(NodeConfig) -> Result<P, StartError>,
) -> Result<(), Box<dyn std::error::Error>> {
    let config = read_config(config_path)?;
    // The node's own words stand beside LDK's on standard error. A second subscriber, as in a test
    // that runs two nodes, is refused and not missed.
    let _ = tracing_subscriber::fmt()
        .json()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .try_init();
    open_pipe(&config);
    // One thread: the order in which the node does things is the order of its inputs.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let node = start(config)?;
        control::serve(node).await?;
        Ok(())
    })
}

fn read_config(path: &Path) -> Result<NodeConfig, StartError> {
    let wrong = |error: String| StartError::Config(path.display().to_string(), error);
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
}

/// Takes over the report pipe that the configuration names.
fn open_pipe(config: &NodeConfig) {
    if let Some(fd) = config.report_fd {
        // SAFETY: the rig made this descriptor for this process and nothing else here owns it.
        gate::open_pipe(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    if let Some(points) = &config.armed {
        gate::arm(points.clone());
    }
}

/// Whole seconds since 1970.
pub(crate) fn now_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// The same as LDK wants it.
pub(crate) fn now_seconds_u32() -> u32 {
    u32::try_from(now_seconds()).unwrap_or(u32::MAX)
}

/// What a node has before it has a Lightning part.
pub(crate) struct Basis {
    pub(crate) seed: [u8; 32],
    pub(crate) names: Arc<Names>,
    pub(crate) logger: Logger,
    pub(crate) keys: Keys,
    pub(crate) fees: Arc<Fees>,
    pub(crate) bitcoind: Arc<Bitcoind>,
    pub(crate) broadcaster: Arc<Broadcaster>,
    pub(crate) wallet: Arc<NodeWallet>,
    pub(crate) base: BestBlock,
}

impl Basis {
    /// From the configuration. Talks to nobody.
    pub(crate) fn lay(config: &NodeConfig) -> Result<Self, StartError> {
        gate::begin_input();
        std::fs::create_dir_all(&config.data_dir).map_err(|e| StartError::Io("data_dir", e))?;
        let seed = seed_bytes(&config.seed)?;
        let names = Arc::new(Names::open(config).map_err(|e| StartError::Io("names.json", e))?);
        names.set_cause("start".into());
        let bitcoind = Arc::new(Bitcoind::new(&config.bitcoind)?);
        let base = BestBlock::new(config.base_hash, config.base_height);
        Ok(Basis {
            seed,
            logger: Arc::new(NodeLogger::from_environment()),
            keys: Arc::new(KeysManager::new(&seed, u64::from(config.life), 0, true)),
            fees: Arc::new(Fees::new(config.fee_rate_sat_per_kw)),
            broadcaster: Arc::new(Broadcaster::new(bitcoind.clone(), names.clone())),
            wallet: Arc::new(NodeWallet::new(&seed, base)?),
            names,
            bitcoind,
            base,
        })
    }

    /// The stored network graph, or an empty one.
    pub(crate) fn graph(&self, store: &impl KVStoreSync) -> Result<Arc<Graph>, StartError> {
        let graph = match read_record(store, NETWORK_GRAPH_PERSISTENCE_KEY)? {
            None => NetworkGraph::new(Network::Regtest, self.logger.clone()),
            Some(bytes) => NetworkGraph::read(&mut &bytes[..], self.logger.clone())
                .map_err(|error| StartError::Record("network graph", format!("{error:?}")))?,
        };
        Ok(Arc::new(graph))
    }

    /// LDK's transport in front of this mailbox.
    pub(crate) fn transport(&self, mailbox: &Arc<Mailbox>, graph: &Arc<Graph>) -> Arc<Peers> {
        let gossip = P2PGossipSync::new(graph.clone(), None, self.logger.clone());
        let handlers = MessageHandler {
            chan_handler: mailbox.clone(),
            route_handler: Arc::new(gossip),
            onion_message_handler: IgnoringMessageHandler {},
            custom_message_handler: IgnoringMessageHandler {},
            send_only_message_handler: IgnoringMessageHandler {},
        };
        Arc::new(Peers::new(
            handlers,
            now_seconds_u32(),
            &self.keys.get_secure_random_bytes(),
            self.logger.clone(),
            self.keys.clone(),
        ))
    }
}

/// A record at the top of the store.
pub(crate) fn read_record(
    store: &impl KVStoreSync,
    key: &'static str,
) -> Result<Option<Vec<u8>>, StartError> {
    match store.read("", "", key) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == lightning::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StartError::Io(
            key,
            std::io::Error::other(error.to_string()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_cannot_be_used_is_named_with_its_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.json");
        std::fs::write(&path, r#"{"name":"A","nonsense":1}"#).unwrap();
        let error = read_config(&path).unwrap_err().to_string();
        assert!(error.contains("node.json"), "{error}");
        assert!(error.contains("nonsense"), "{error}");

        let error = read_config(&folder.path().join("absent")).unwrap_err();
        assert!(matches!(error, StartError::Config(..)));
    }
}
