//! Starting the node: everything loaded, caught up with the chain, and wired together; nothing is
//! sent before that. Owns the order of loading (LDK's documented one) and LDK's settings.

use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::{BlockHash, Network};
use faults::gate;
use lightning::chain::{BestBlock, ChannelMonitorUpdateStatus, Listen};
use lightning::events::bump_transaction::sync::{BumpTransactionEventHandlerSync, WalletSync};
use lightning::ln::channelmanager::{ChainParameters, ChannelManagerReadArgs};
use lightning::ln::peer_handler::{IgnoringMessageHandler, MessageHandler};
use lightning::onion_message::messenger::DefaultMessageRouter;
use lightning::routing::gossip::{NetworkGraph, P2PGossipSync};
use lightning::routing::router::DefaultRouter;
use lightning::routing::scoring::{
    ProbabilisticScorer, ProbabilisticScoringDecayParameters, ProbabilisticScoringFeeParameters,
};
use lightning::sign::{EntropySource, KeysManager, NodeSigner};
use lightning::util::config::UserConfig;
use lightning::util::persist::{
    CHANNEL_MANAGER_PERSISTENCE_KEY, KVStoreSync, MonitorUpdatingPersister,
    NETWORK_GRAPH_PERSISTENCE_KEY, OUTPUT_SWEEPER_PERSISTENCE_KEY,
};
use lightning::util::ser::ReadableArgs;
use lightning_transaction_sync::ElectrumSyncClient;

use super::broadcaster::{Broadcaster, Fees};
use super::logger::NodeLogger;
use super::mailbox::Mailbox;
use super::names::Names;
use super::node::Node;
use super::router::PlannedRouter;
use super::rpc::{Bitcoind, RpcError};
use super::store::PointStore;
use super::sync::{ChainSync, Follower, SyncError};
use super::wallet::{NodeWallet, WalletError};
use super::watch::PointWatch;
use super::writer::ManagerWriter;
use super::{ElectrsFilter, Manager, Monitors, Peers, Sweeper};
use crate::api::{BadSeed, ChainSource, NodeConfig, seed_bytes};

/// How many updates of a monitor are kept as updates before the whole is written again. Few, so
/// that a short scenario passes both kinds of write.
const MAXIMUM_PENDING_UPDATES: u64 = 5;

/// What a forward costs: a flat fee, so that explicit routes need no gossip.
pub const FORWARD_FEE_BASE_MSAT: u32 = 1_000;
/// LDK's least, in blocks.
pub const FORWARD_CLTV_EXPIRY_DELTA: u16 = 48;

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
    /// A record that LDK cannot read.
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

/// LDK's settings: anchors on, inbound channels accepted by hand (LDK asks for that with anchors),
/// unannounced channels forward too, and the fees that explicit routes expect.
fn user_config() -> UserConfig {
    let mut config = UserConfig::default();
    config
        .channel_handshake_config
        .negotiate_anchors_zero_fee_htlc_tx = true;
    config.channel_handshake_config.minimum_depth = 1;
    config
        .channel_handshake_config
        .max_inbound_htlc_value_in_flight_percent_of_channel = 100;
    config
        .channel_handshake_limits
        .force_announced_channel_preference = false;
    config.channel_config.forwarding_fee_base_msat = FORWARD_FEE_BASE_MSAT;
    config.channel_config.forwarding_fee_proportional_millionths = 0;
    config.channel_config.cltv_expiry_delta = FORWARD_CLTV_EXPIRY_DELTA;
    config.accept_forwards_to_priv_channels = true;
    config.manually_accept_inbound_channels = true;
    config
}

/// Whole seconds since 1970.
fn now_seconds() -> u32 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u32::try_from(elapsed.as_secs()).unwrap_or(u32::MAX)
}

fn read_record(store: &PointStore, key: &'static str) -> Result<Option<Vec<u8>>, StartError> {
    match store.read("", "", key) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == lightning::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StartError::Io(
            key,
            std::io::Error::other(error.to_string()),
        )),
    }
}

/// Takes over the report pipe that the configuration names.
pub fn open_pipe(config: &NodeConfig) {
    if let Some(fd) = config.report_fd {
        // SAFETY: the rig made this descriptor for this process and nothing else here owns it.
        gate::open_pipe(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    if let Some(points) = &config.armed {
        gate::arm(points.clone());
    }
}

/// Loads or makes the node; it has caught up with the chain when this returns.
pub fn start(config: NodeConfig) -> Result<Node, StartError> {
    gate::begin_input();
    std::fs::create_dir_all(&config.data_dir).map_err(|e| StartError::Io("data_dir", e))?;
    let seed = seed_bytes(&config.seed)?;
    let names = Arc::new(Names::open(&config).map_err(|e| StartError::Io("names.json", e))?);
    names.set_cause("start".into());
    let logger = Arc::new(NodeLogger::from_environment());
    let keys = Arc::new(KeysManager::new(&seed, u64::from(config.life), 0, true));
    let fees = Arc::new(Fees::new(config.fee_rate_sat_per_kw));
    let bitcoind = Arc::new(Bitcoind::new(&config.bitcoind)?);
    let broadcaster = Arc::new(Broadcaster::new(bitcoind.clone(), names.clone()));
    let store = Arc::new(PointStore::new(
        config.data_dir.join("store"),
        names.clone(),
    ));
    let base = BestBlock::new(config.base_hash, config.base_height);
    let wallet = Arc::new(NodeWallet::new(&seed, base)?);
    let electrs = match &config.chain_source {
        ChainSource::Bitcoind => None,
        ChainSource::Electrs { url } => {
            let client = ElectrumSyncClient::new(url.clone(), logger.clone())
                .map_err(|error| SyncError::Electrs(error.to_string()))?;
            Some(Arc::new(client))
        }
    };
    let filter: Option<Arc<ElectrsFilter>> =
        electrs.clone().map(|client| client as Arc<ElectrsFilter>);

    let persister = Arc::new(MonitorUpdatingPersister::new(
        store.clone(),
        logger.clone(),
        MAXIMUM_PENDING_UPDATES,
        keys.clone(),
        keys.clone(),
        broadcaster.clone(),
        fees.clone(),
    ));
    let loaded = persister
        .read_all_channel_monitors_with_updates()
        .map_err(|error| StartError::Record("monitors", error.to_string()))?;
    let monitors = Arc::new(Monitors::new(
        filter.clone(),
        broadcaster.clone(),
        logger.clone(),
        fees.clone(),
        persister,
        keys.clone(),
        keys.get_peer_storage_key(),
    ));
    let watch = Arc::new(PointWatch::new(monitors.clone(), names.clone()));

    let graph = Arc::new(match read_record(&store, NETWORK_GRAPH_PERSISTENCE_KEY)? {
        None => NetworkGraph::new(Network::Regtest, logger.clone()),
        Some(bytes) => NetworkGraph::read(&mut &bytes[..], logger.clone())
            .map_err(|error| StartError::Record("network graph", format!("{error:?}")))?,
    });
    let scorer = Arc::new(RwLock::new(ProbabilisticScorer::new(
        ProbabilisticScoringDecayParameters::default(),
        graph.clone(),
        logger.clone(),
    )));
    let router = Arc::new(PlannedRouter::new(Arc::new(DefaultRouter::new(
        graph.clone(),
        logger.clone(),
        keys.clone(),
        scorer,
        ProbabilisticScoringFeeParameters::default(),
    ))));
    let message_router = Arc::new(DefaultMessageRouter::new(graph.clone(), keys.clone()));

    let stored = read_record(&store, CHANNEL_MANAGER_PERSISTENCE_KEY)?;
    let fresh = stored.is_none();
    let (manager_best, manager) = match stored {
        None => {
            let params = ChainParameters {
                network: Network::Regtest,
                best_block: base,
            };
            let manager = Manager::new(
                fees.clone(),
                watch.clone(),
                broadcaster.clone(),
                router.clone(),
                message_router,
                logger.clone(),
                keys.clone(),
                keys.clone(),
                keys.clone(),
                user_config(),
                params,
                now_seconds(),
            );
            (base, manager)
        }
        Some(bytes) => {
            let args = ChannelManagerReadArgs::new(
                keys.clone(),
                keys.clone(),
                keys.clone(),
                fees.clone(),
                watch.clone(),
                broadcaster.clone(),
                router.clone(),
                message_router,
                logger.clone(),
                user_config(),
                loaded.iter().map(|(_, monitor)| monitor).collect(),
            );
            let (_, manager) = <(BlockHash, Manager)>::read(&mut &bytes[..], args)
                .map_err(|error| StartError::Record("manager", format!("{error:?}")))?;
            (manager.current_best_block(), manager)
        }
    };
    let manager = Arc::new(manager);

    let (sweeper_best, sweeper) = match read_record(&store, OUTPUT_SWEEPER_PERSISTENCE_KEY)? {
        None => {
            let sweeper = Sweeper::new(
                base,
                broadcaster.clone(),
                fees.clone(),
                filter,
                keys.clone(),
                wallet.clone(),
                store.clone(),
                logger.clone(),
            );
            (base, sweeper)
        }
        Some(bytes) => {
            let args = (
                broadcaster.clone(),
                fees.clone(),
                filter,
                keys.clone(),
                wallet.clone(),
                store.clone(),
                logger.clone(),
            );
            <(BestBlock, Sweeper)>::read(&mut &bytes[..], args)
                .map_err(|error| StartError::Record("sweeper", format!("{error:?}")))?
        }
    };
    let sweeper = Arc::new(sweeper);

    let chain = ChainSync::new(bitcoind, electrs, base, names.clone());
    let begin = |cause: String| {
        gate::begin_input();
        names.set_cause(cause);
    };
    let monitor_listeners: Vec<_> = loaded
        .into_iter()
        .map(|(_, monitor)| (monitor, broadcaster.clone(), fees.clone(), logger.clone()))
        .collect();
    {
        let follower = |best, listener| Follower { best, listener };
        let mut followers = vec![follower(base, &*wallet as &dyn Listen)];
        if chain.electrs.is_none() {
            followers.push(follower(manager_best, &*manager as &dyn Listen));
            followers.push(follower(sweeper_best, &*sweeper as &dyn Listen));
            for listener in &monitor_listeners {
                followers.push(follower(
                    listener.0.current_best_block(),
                    listener as &dyn Listen,
                ));
            }
        }
        chain.follow(&mut followers, &begin, &|| Ok(()))?;
    }
    names.set_cause("start".into());
    for (monitor, ..) in monitor_listeners {
        let channel_id = monitor.channel_id();
        let loaded = monitors.load_existing_monitor(channel_id, monitor);
        if loaded != Ok(ChannelMonitorUpdateStatus::Completed) {
            return Err(StartError::Record(
                "monitor",
                format!("{channel_id}: {loaded:?}"),
            ));
        }
    }

    let mailbox = Arc::new(Mailbox::new(manager.clone()));
    let gossip = Arc::new(P2PGossipSync::new(graph.clone(), None, logger.clone()));
    let handlers = MessageHandler {
        chan_handler: mailbox.clone(),
        route_handler: gossip,
        onion_message_handler: IgnoringMessageHandler {},
        custom_message_handler: IgnoringMessageHandler {},
        send_only_message_handler: IgnoringMessageHandler {},
    };
    let peers = Arc::new(Peers::new(
        handlers,
        now_seconds(),
        &keys.get_secure_random_bytes(),
        logger.clone(),
        keys.clone(),
    ));
    let bump_wallet = Arc::new(WalletSync::new(wallet.clone(), logger.clone()));
    let bumper = BumpTransactionEventHandlerSync::new(broadcaster, bump_wallet, keys, logger);
    let writer = ManagerWriter::start(store.clone()).map_err(|e| StartError::Io("writer", e))?;
    let channels = manager.list_channels();
    names.found(channels.iter().map(|channel| channel.channel_id));
    let node = Node {
        config,
        names,
        fees,
        wallet,
        manager,
        monitors,
        peers,
        mailbox,
        graph,
        router,
        sweeper,
        bumper,
        store,
        chain,
        writer: Mutex::new(writer),
        progress: Mutex::default(),
    };
    if fresh {
        node.write_fresh_manager();
    }
    node.sync()?;
    node.work();
    Ok(node)
}
