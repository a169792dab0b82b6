//! Starting the node: everything loaded and caught up with the chain; nothing is sent before that.

use std::collections::BTreeSet;
use std::sync::Arc;

use faults::gate;
use lightning::chain::BestBlock as LdkBestBlock;
use lightning::events::bump_transaction::sync::WalletSync;
use lightning::sign::{NodeSigner, Recipient};
use node_core::engine::Engine;
use node_core::input::Input;
use node_core::keys::Environment;
use node_core::node::{BestBlock, Node as Core, Policy};

use super::electrs::{Electrs, lowest_gone};
use super::executor::{AllDice, Bumper, Executor, Tools, surroundings};
use super::node::{CoreIntroduction, Node};
use super::records::Records;
use super::routing::PeerPolicies;
use super::writes::Writes;
use crate::api::{ChainSource, NodeConfig};
use crate::shared::basis::{Basis, StartError};
use crate::shared::host::{Host, HostParts};
use crate::shared::mailbox::Mailbox;
use crate::shared::sync::{ChainSync, SyncError};
use crate::shared::wallet::NodeWallet;
use crate::shared::{FORWARD_CLTV_EXPIRY_DELTA, FORWARD_FEE_BASE_MSAT};

/// Unacknowledged events of a channel above which nothing more is put on it. More than two full
/// channels of BOLT 2's 483 HTLCs leave behind.
const MAXIMUM_UNACKNOWLEDGED_EVENTS: usize = 1_000;

fn policy(feerate_per_kw: u32) -> Policy {
    Policy {
        feerate_per_kw,
        fee_base_msat: FORWARD_FEE_BASE_MSAT,
        fee_proportional_millionths: 0,
        cltv_expiry_delta: FORWARD_CLTV_EXPIRY_DELTA,
        minimum_depth: 1,
        maximum_unacknowledged_events: MAXIMUM_UNACKNOWLEDGED_EVENTS,
    }
}

/// LDK's fee bumping, with this node's wallet and signer.
fn bumper(basis: &Basis, environment: Arc<Environment>) -> Bumper {
    let coins = WalletSync::new(basis.wallet.clone(), basis.logger.clone());
    Bumper::new(
        basis.broadcaster.clone(),
        Arc::new(coins),
        environment,
        basis.logger.clone(),
    )
}

/// The wallet knows blocks only: what an earlier life signed it is told, whether a block has it or not. A
/// reorganisation may take it off, and its coins must not be spent otherwise then.
fn remember_fundings(core: &Core, wallet: &NodeWallet) {
    for channel in core.channels.values() {
        if let Some(transaction) = &channel.record.funding.transaction {
            wallet.remember(transaction);
        }
    }
}

/// Loads or makes the node; it has caught up with the chain when this returns.
pub(super) fn start(config: NodeConfig) -> Result<Node, StartError> {
    let basis = Basis::lay(&config)?;
    let electrs = match &config.chain_source {
        ChainSource::Bitcoind => None,
        ChainSource::Electrs { url } => Some(Electrs::new(url.clone(), basis.logger.clone())?),
    };
    let records = Records::new(config.data_dir.join("store"), basis.names.clone());
    let stored = records.load()?;
    let environment = Environment::new(basis.seed, basis.wallet.destination_script());
    if basis.keys.get_node_id(Recipient::Node) != Ok(environment.node_id()) {
        let why = "the core and LDK derive different node ids from it".into();
        return Err(StartError::Config("seed".into(), why));
    }
    let environment = Arc::new(environment);
    let mut dice = AllDice::new(basis.seed, config.life);
    let chain = ChainSync::new(
        basis.bitcoind.clone(),
        None,
        basis.base,
        basis.names.clone(),
    );
    // What the start decides it decides as of the chain's tip, not as of what an earlier life knew:
    // an HTLC that ran out of time while the node was down is not forwarded now.
    let tip = chain.tip()?;
    let (core, effects, durable) = Core::load(
        environment.clone(),
        policy(basis.fees.get()),
        stored,
        BestBlock {
            height: tip.height,
            hash: tip.block_hash,
        },
        surroundings(&mut dice.core),
    )
    .map_err(|error| StartError::Record("log", error.to_string()))?;
    basis.names.found(core.channels.keys().copied());
    remember_fundings(&core, &basis.wallet);
    let engine = Engine::new(core, effects, durable);
    let graph = basis.graph(&records)?;
    let mailbox = Arc::new(Mailbox::new(Arc::new(CoreIntroduction)));
    let peers = basis.transport(&mailbox, &graph);
    let tools = Tools {
        records,
        bumper: bumper(&basis, environment),
        broadcaster: basis.broadcaster,
        logger: basis.logger,
    };
    let writes = Writes::new(config.persistence);
    let mut node = Node {
        executor: Executor::new(engine, tools, writes, dice),
        policies: PeerPolicies::default(),
        electrs,
        host: Host::new(HostParts {
            config,
            names: basis.names,
            fees: basis.fees,
            wallet: basis.wallet,
            peers,
            mailbox,
            graph,
            chain,
        }),
    };
    // Records do not say up to which block they know the chain, so the core sees all blocks since
    // the base again; what it knows already changes nothing.
    node.catch_up(basis.base)?;
    Ok(node)
}

impl Node {
    /// Sees the chain from the base to the tip.
    fn catch_up(&mut self, base: LdkBestBlock) -> Result<(), SyncError> {
        if self.electrs.is_none() {
            self.disconnect_what_is_gone(base)?;
        }
        self.follow(base)?;
        self.executor.run(&self.host);
        Ok(())
    }

    /// A reorganisation while the node was down took blocks away that its records rest on: the core hears of
    /// that before it sees the new chain. Below `base` there is nothing of this node.
    fn disconnect_what_is_gone(&mut self, base: LdkBestBlock) -> Result<(), SyncError> {
        let seen = self.executor.core().channels.values();
        let seen: BTreeSet<_> = seen.flat_map(|channel| channel.seen_on_chain()).collect();
        let mut there = BTreeSet::new();
        for (height, txid) in seen {
            if self.host.chain.has(height, &txid)? {
                there.insert((height, txid));
            }
        }
        let is_there = |height, txid| there.contains(&(height, txid));
        let Some(gone) = lowest_gone(self.executor.core(), is_there) else {
            return Ok(());
        };
        let height = gone.saturating_sub(1).max(base.height);
        let hash = self.host.chain.hash(height)?;
        let role = self.host.chain.role(gone);
        self.host.begin(format!("block_disconnected {role}"));
        let _ = gate::point("block.disconnected.before", &role);
        self.executor
            .input(Input::BlocksDisconnected { height, hash });
        self.executor.run(&self.host);
        let _ = gate::point("block.disconnected.after", &role);
        Ok(())
    }
}
