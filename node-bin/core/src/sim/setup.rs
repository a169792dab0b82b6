//! Worlds with open channels: opened once through the real protocol, then cloned for every case.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::rand::{SeedableRng, rngs::StdRng};
use bitcoin::{ScriptBuf, WPubkeyHash};

use crate::engine::Engine;
use crate::input::Command;
use crate::keys::Environment;
use crate::node::{LoadError, Node, Policy, Stored};

use super::chain::Chain;
use super::disk::Disk;
use super::names::Names;
use super::node::{SimNode, surroundings};
use super::user::User;
use super::world::World;

/// Satoshis of every channel.
pub const CAPACITY_SAT: u64 = 1_000_000;

/// What the opener gives the other side, in millisatoshis.
pub const PUSH_MSAT: u64 = 500_000_000;

/// What all nodes do.
pub const POLICY: Policy = Policy {
    feerate_per_kw: 500,
    fee_base_msat: 1_000,
    fee_proportional_millionths: 100,
    cltv_expiry_delta: 72,
    minimum_depth: 3,
    maximum_unacknowledged_events: 400,
};

/// Who has channels with whom; the first of a pair opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topology {
    /// A-B.
    Pair,
    /// A-B-C.
    Line,
    /// A-B-D and A-C-D.
    Diamond,
    /// A and B, connected, without a channel.
    Strangers,
}

/// A world that does not come about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// A node does not start.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An oracle found something, or a channel is not ready.
    #[error("setting up: {0}")]
    Failed(String),
}

impl Topology {
    /// The pairs with channels.
    pub fn channels(self) -> &'static [[usize; 2]] {
        match self {
            Topology::Strangers => &[],
            other => other.links(),
        }
    }

    /// The pairs that are connected.
    pub fn links(self) -> &'static [[usize; 2]] {
        match self {
            Topology::Pair | Topology::Strangers => &[[0, 1]],
            Topology::Line => &[[0, 1], [1, 2]],
            Topology::Diamond => &[[0, 1], [0, 2], [1, 3], [2, 3]],
        }
    }

    /// How many nodes.
    pub fn nodes(self) -> usize {
        match self {
            Topology::Pair | Topology::Strangers => 2,
            Topology::Line => 3,
            Topology::Diamond => 4,
        }
    }
}

/// A world of this topology with all channels open, always the same for a seed.
///
/// # Errors
///
/// [`SetupError`]: a node does not start, or a channel does not open.
pub fn open_world(topology: Topology, seed: u64) -> Result<World, SetupError> {
    static CACHE: Mutex<BTreeMap<(Topology, u64), World>> = Mutex::new(BTreeMap::new());
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(world) = cache.get(&(topology, seed)) {
        return Ok(world.clone());
    }
    let world = set_up(topology, seed, None)?;
    cache.insert((topology, seed), world.clone());
    Ok(world)
}

/// Sets up a world, without the cache; with a trace if one is given.
///
/// # Errors
///
/// [`SetupError`]: a node does not start, or a channel does not open.
pub fn set_up(
    topology: Topology,
    seed: u64,
    trace: Option<Vec<String>>,
) -> Result<World, SetupError> {
    let mut world = unopened_world(topology, seed)?;
    world.trace = trace;
    world.run_to_rest();
    for (index, pair) in topology.channels().iter().enumerate() {
        let command = Command::Open {
            user_channel_id: sha256::Hash::hash(&index.to_be_bytes()).to_byte_array(),
            peer: world.nodes[pair[1]].node_id,
            capacity_sat: CAPACITY_SAT,
            push_msat: PUSH_MSAT,
            announce: false,
        };
        world.nodes[pair[0]].user.order(command);
        world.run_to_rest();
    }
    for _ in 0..POLICY.minimum_depth + 3 {
        world.chain.mine();
        world.run_to_rest();
    }
    check(&world, topology)?;
    name_channels(&mut world, topology);
    Ok(world)
}

fn unopened_world(topology: Topology, seed: u64) -> Result<World, SetupError> {
    let nodes = (0..topology.nodes())
        .zip('A'..)
        .map(|(_, name)| node(name, seed))
        .collect::<Result<Vec<_>, _>>()?;
    let names = Names {
        nodes: nodes.iter().map(|node| (node.node_id, node.name)).collect(),
        channels: BTreeMap::new(),
    };
    let mut world = World::new(nodes, topology, seed);
    world.names = Arc::new(names);
    Ok(world)
}

fn node(name: char, seed: u64) -> Result<SimNode, SetupError> {
    let key = format!("node {name} of world {seed}");
    let key = sha256::Hash::hash(key.as_bytes()).to_byte_array();
    let destination = ScriptBuf::new_p2wpkh(&WPubkeyHash::hash(&key));
    let environment = Arc::new(Environment::new(key, destination));
    let (core, start, durable) = Node::load(
        environment.clone(),
        POLICY,
        Stored::default(),
        Chain::base(),
        surroundings(&mut StdRng::seed_from_u64(seed)),
    )?;
    Ok(SimNode {
        name,
        node_id: environment.node_id(),
        environment,
        policy: POLICY,
        engine: Some(Engine::new(core, start, durable)),
        pending: None,
        disk: Disk::default(),
        user: User::default(),
        has_lost_payments: false,
        is_gone: false,
        life: 0,
        seen_height: Chain::base().height,
        settled_height: Chain::base().height,
    })
}

fn check(world: &World, topology: Topology) -> Result<(), SetupError> {
    let failed = |problem: String| Err(SetupError::Failed(problem));
    if let Some(complaint) = world.complaints.first() {
        return failed(complaint.clone());
    }
    for node in &world.nodes {
        for order in &node.user.orders {
            if !matches!(order.answer, Some(Ok(_))) {
                return failed(format!("{:?} came to {:?}", order.command, order.answer));
            }
        }
    }
    for [one, other] in topology.channels() {
        for (node, peer) in [(*one, *other), (*other, *one)] {
            let name = world.nodes[node].name;
            let [channel_id] = world.channels_between(node, peer)[..] else {
                return failed(format!("{name} has not got its channel"));
            };
            let durable = world.nodes[node].disk.durable();
            let funding = durable
                .channels
                .get(&channel_id)
                .map(|record| &record.funding);
            let ready = funding
                .is_some_and(|f| f.holder_ready && f.counterparty_ready && f.confirmed.is_some());
            if !ready {
                return failed(format!("{name}'s channel is not ready: {funding:?}"));
            }
        }
    }
    Ok(())
}

fn name_channels(world: &mut World, topology: Topology) {
    let mut names = Names::clone(&world.names);
    for [one, other] in topology.channels() {
        let name = format!("{}-{}", world.nodes[*one].name, world.nodes[*other].name);
        for channel_id in world.channels_between(*one, *other) {
            names.channels.insert(channel_id, name.clone());
        }
    }
    world.names = Arc::new(names);
}
