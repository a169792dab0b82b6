//! Starting the node: everything loaded and caught up with the chain; nothing is sent before that.

use std::sync::Arc;

use lightning::events::bump_transaction::sync::WalletSync;
use lightning::sign::{NodeSigner, Recipient};
use node_core::engine::Engine;
use node_core::keys::Environment;
use node_core::node::{BestBlock, Node as Core, Policy};

use super::executor::{AllDice, Bumper, Executor, Tools, surroundings};
use super::node::{CoreIntroduction, Node};
use super::records::Records;
use super::routing::PeerPolicies;
use super::writes::Writes;
use crate::api::{ChainSource, NodeConfig};
use crate::shared::basis::{Basis, StartError};
use crate::shared::host::{Host, HostParts};
use crate::shared::mailbox::Mailbox;
use crate::shared::sync::ChainSync;
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

/// Loads or makes the node; it has caught up with the chain when this returns.
pub(super) fn start(config: NodeConfig) -> Result<Node, StartError> {
    let basis = Basis::lay(&config)?;
    if let ChainSource::Electrs { .. } = &config.chain_source {
        tracing::warn!(
            "the unified node takes its blocks from bitcoind, whatever chain_source says"
        );
    }
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
    let base = basis.base;
    node.follow(base)?;
    node.executor.run(&node.host);
    Ok(node)
}
