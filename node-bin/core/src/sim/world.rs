//! A world: nodes with disks and users, links, a chain, and the flow that is played. `Clone`, so that it can
//! be forked at any point. One [`World::advance`] does one atomic thing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitcoin::Txid;
use bitcoin::secp256k1::PublicKey;
use bitcoin::secp256k1::rand::{SeedableRng, rngs::StdRng};
use lightning::ln::types::ChannelId;

use crate::input::Input;
use crate::record::ChannelRecord;
use crate::source::InboundHtlcId;

use super::chain::Chain;
use super::flow::Flow;
use super::link::Link;
use super::names::Names;
use super::node::SimNode;
use super::setup::Topology;

/// When a write is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// When the effect has been carried out.
    Synchronous,
    /// Some time later; of writes to different stores, in any order.
    Asynchronous,
}

/// Which of the things that could happen next does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Nodes finish what they can do alone before a message is delivered, and writes become durable
    /// when nothing else is left to happen.
    Fixed,
    /// Anything, by the world's dice.
    Random,
}

/// How an inbound HTLC was resolved by what is durable. Never flips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// With its preimage.
    Claimed,
    /// Without.
    Failed,
}

/// A world.
#[derive(Clone)]
pub struct World {
    /// Its nodes.
    pub nodes: Vec<SimNode>,
    /// Who is there.
    pub topology: Topology,
    /// Who may be connected with whom.
    pub links: Vec<Link>,
    /// The chain.
    pub chain: Chain,
    /// What is played.
    pub flow: Arc<Flow>,
    /// Phases of the flow that have begun.
    pub phase: usize,
    /// When a write is durable.
    pub persistence: Persistence,
    /// What happens next.
    pub schedule: Schedule,
    /// Every random byte of this world.
    pub dice: StdRng,
    /// Things that have happened since the flow began.
    pub actions: u64,
    /// Ticks since the flow's last phase.
    pub ticks: u32,
    /// After a crash, until nothing is left to happen by itself.
    pub recovering: bool,
    /// Crashes and cuts so far.
    pub faults: u32,
    /// A node cannot live again: nothing more happens.
    pub given_up: bool,
    /// What oracles found while it ran.
    pub complaints: Vec<String>,
    /// How inbound HTLCs were resolved, by node.
    pub resolutions: BTreeMap<(usize, InboundHtlcId), Resolution>,
    /// What happened, in words, if somebody wants to read it.
    pub trace: Option<Vec<String>>,
    /// Words for what the trace and the oracles speak of.
    pub names: Arc<Names>,
    /// Who has published which revoked commitment.
    pub cheats: Vec<(usize, Txid)>,
    /// Every commitment that a node has had, with its record at that time.
    pub(super) commitments: Arc<Commitments>,
    /// The chain's height when the flow began.
    pub first_height: u32,
    /// Blocks mined so that channels settle.
    pub(super) settled_blocks: u32,
    pub(super) next_command_id: u64,
    pub(super) next_coin: u32,
}

/// Records in which a node's own commitment was new, by node and channel, in order.
pub(super) type Commitments = BTreeMap<(usize, ChannelId), Vec<Arc<ChannelRecord>>>;

impl World {
    /// A world of these nodes, all links down.
    pub fn new(nodes: Vec<SimNode>, topology: Topology, seed: u64) -> Self {
        World {
            nodes,
            topology,
            links: topology.links().iter().copied().map(Link::new).collect(),
            chain: Chain::default(),
            flow: Arc::default(),
            phase: 0,
            persistence: Persistence::Synchronous,
            schedule: Schedule::Fixed,
            dice: StdRng::seed_from_u64(seed),
            actions: 0,
            ticks: 0,
            recovering: false,
            faults: 0,
            given_up: false,
            complaints: Vec::new(),
            resolutions: BTreeMap::new(),
            trace: None,
            names: Arc::default(),
            cheats: Vec::new(),
            commitments: Arc::default(),
            first_height: 0,
            settled_blocks: 0,
            next_command_id: 0,
            next_coin: 0,
        }
    }

    /// Begins to play a flow.
    pub fn play(&mut self, flow: Flow) {
        for payment in &flow.payments {
            let user = &mut self.nodes[payment.payee].user;
            user.wishes.insert(payment.payment_hash, payment.wish);
        }
        self.flow = Arc::new(flow);
        self.phase = 0;
        self.actions = 0;
        self.ticks = 0;
        self.settled_blocks = 0;
        self.first_height = self.chain.height();
        for node in &mut self.nodes {
            node.user.heard.clear();
            node.user.orders.clear();
        }
    }

    /// The node with this id.
    pub fn by_id(&self, node_id: &PublicKey) -> Option<usize> {
        self.nodes.iter().position(|node| node.node_id == *node_id)
    }

    /// The link between these two.
    pub fn link_between(&mut self, one: usize, other: usize) -> Option<&mut Link> {
        self.links
            .iter_mut()
            .find(|link| link.touches(one) && link.touches(other))
    }

    /// The ids of all channels between these two, by the records of the first.
    pub fn channels_between(&self, one: usize, other: usize) -> Vec<ChannelId> {
        let peer = self.nodes[other].node_id;
        let durable = self.nodes[one].disk.durable();
        durable
            .channels
            .iter()
            .filter(|(_, record)| record.parameters.counterparty_node_id == peer)
            .map(|(channel_id, _)| *channel_id)
            .collect()
    }

    /// Gives a node an input.
    pub fn input(&mut self, node: usize, input: Input) {
        self.nodes[node].input(input, &mut self.dice);
    }

    /// Notes what happens, if somebody wants to read it.
    pub fn note(&mut self, words: impl FnOnce(&World) -> String) {
        if self.trace.is_some() {
            let line = format!("{:>5} {}", self.actions, words(self));
            if let Some(trace) = &mut self.trace {
                trace.push(line);
            }
        }
    }

    /// An oracle finds something.
    pub fn complain(&mut self, complaint: String) {
        if self.complaints.contains(&complaint) {
            return;
        }
        self.note(|_| format!("!! {complaint}"));
        if self.complaints.len() < 20 {
            self.complaints.push(complaint);
        }
    }
}
