//! Starting the node: everything loaded, caught up with the chain, and wired together; nothing is
//! sent before that. Owns the order of loading (LDK's documented one) and LDK's settings.

use std::sync::{Arc, Mutex, RwLock};

use bitcoin::{BlockHash, Network};
use faults::gate;
use lightning::chain::{BestBlock, ChannelMonitorUpdateStatus, Listen};
use lightning::events::bump_transaction::sync::{BumpTransactionEventHandlerSync, WalletSync};
use lightning::ln::channelmanager::{ChainParameters, ChannelManagerReadArgs};
use lightning::onion_message::messenger::DefaultMessageRouter;
use lightning::routing::router::DefaultRouter;
use lightning::routing::scoring::{
    ProbabilisticScorer, ProbabilisticScoringDecayParameters, ProbabilisticScoringFeeParameters,
};
use lightning::sign::NodeSigner;
use lightning::util::config::UserConfig;
use lightning::util::persist::{
    CHANNEL_MANAGER_PERSISTENCE_KEY, MonitorUpdatingPersister, OUTPUT_SWEEPER_PERSISTENCE_KEY,
};
use lightning::util::ser::ReadableArgs;
use lightning_transaction_sync::ElectrumSyncClient;

use super::node::Node;
use super::router::PlannedRouter;
use super::store::PointStore;
use super::watch::PointWatch;
use super::writer::ManagerWriter;
use super::{ElectrsFilter, Manager, Monitors, Sweeper};
use crate::api::{ChainSource, NodeConfig};
use crate::shared::basis::{Basis, StartError, now_seconds_u32, read_record};
use crate::shared::host::{Host, HostParts};
use crate::shared::mailbox::Mailbox;
use crate::shared::sync::{ChainSync, Follower, SyncError};
use crate::shared::{FORWARD_CLTV_EXPIRY_DELTA, FORWARD_FEE_BASE_MSAT};

/// How many updates of a monitor are kept as updates before the whole is written again. Few, so
/// that a short scenario passes both kinds of write.
const MAXIMUM_PENDING_UPDATES: u64 = 5;

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

/// Loads or makes the node; it has caught up with the chain when this returns.
pub(super) fn start(config: NodeConfig) -> Result<Node, StartError> {
    let basis = Basis::lay(&config)?;
    let Basis {
        names,
        logger,
        keys,
        fees,
        bitcoind,
        broadcaster,
        wallet,
        base,
        ..
    } = &basis;
    let (names, logger, keys) = (names.clone(), logger.clone(), keys.clone());
    let (fees, bitcoind, broadcaster) = (fees.clone(), bitcoind.clone(), broadcaster.clone());
    let (wallet, base) = (wallet.clone(), *base);
    let store = Arc::new(PointStore::new(
        config.data_dir.join("store"),
        names.clone(),
    ));
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

    let graph = basis.graph(&*store)?;
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

    let stored = read_record(&*store, CHANNEL_MANAGER_PERSISTENCE_KEY)?;
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
                now_seconds_u32(),
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

    let (sweeper_best, sweeper) = match read_record(&*store, OUTPUT_SWEEPER_PERSISTENCE_KEY)? {
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
        chain.follow(&mut followers, &begin, &mut || ())?;
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
    let peers = basis.transport(&mailbox, &graph);
    let bump_wallet = Arc::new(WalletSync::new(wallet.clone(), logger.clone()));
    let bumper = BumpTransactionEventHandlerSync::new(broadcaster, bump_wallet, keys, logger);
    let writer = ManagerWriter::start(store.clone()).map_err(|e| StartError::Io("writer", e))?;
    let channels = manager.list_channels();
    names.found(channels.iter().map(|channel| channel.channel_id));
    let host = Host::new(HostParts {
        config,
        names,
        fees,
        wallet,
        peers,
        mailbox,
        graph,
        chain,
    });
    let node = Node {
        host,
        manager,
        monitors,
        router,
        sweeper,
        bumper,
        store,
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
