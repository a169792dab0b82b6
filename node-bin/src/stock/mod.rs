//! The stock node: unmodified LDK as a process of its own, driven by the rig.
//!
//! One thread runs everything; nothing happens unless a peer or the rig asks for it; every input is
//! handled to its end before the next. What LDK does with an input is LDK's alone: this module wires
//! it, names what passes, and puts crash points around it.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, RwLock};

use lightning::chain::chainmonitor::ChainMonitor;
use lightning::events::bump_transaction::sync::{BumpTransactionEventHandlerSync, WalletSync};
use lightning::ln::channelmanager::ChannelManager;
use lightning::onion_message::messenger::DefaultMessageRouter;
use lightning::routing::router::DefaultRouter;
use lightning::routing::scoring::{ProbabilisticScorer, ProbabilisticScoringFeeParameters};
use lightning::sign::InMemorySigner;
use lightning::util::persist::MonitorUpdatingPersister;
use lightning::util::sweep::OutputSweeperSync;

use crate::shared::broadcaster::{Broadcaster, Fees};
use crate::shared::wallet::NodeWallet;
use crate::shared::{ElectrsFilter, Graph, Keys, Logger, basis};

mod commands;
mod events;
mod node;
mod router;
mod start;
mod store;
mod views;
mod watch;
mod writer;

use router::PlannedRouter;
use store::PointStore;
use watch::PointWatch;

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
    basis::main(config_path, start::start)
}
