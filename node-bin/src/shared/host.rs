//! What stands around a node's Lightning part: names, wallet, transport, chain, and what was last
//! reported. Owns the points around sending and the rule for `idle`; knows no channel.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitcoin::secp256k1::PublicKey;
use faults::gate;
use lightning::ln::msgs::SocketAddress;
use lightning::routing::gossip::{ChannelInfo, NodeId, NodeInfo};
use lightning::util::persist::{KVStoreSync, NETWORK_GRAPH_PERSISTENCE_KEY};
use lightning::util::ser::Writeable;

use super::basis::now_seconds;
use super::broadcaster::Fees;
use super::mailbox::Mailbox;
use super::names::Names;
use super::sync::ChainSync;
use super::wallet::NodeWallet;
use super::wire::Outgoing;
use super::{Graph, Peers};
use crate::api::{ErrorCode, GraphView, NodeConfig, Report, RequestError, node_id_of_seed};

/// A node tells of itself again after so long: others forget a node of which they heard nothing for two
/// weeks.
const ANNOUNCE_AFTER_S: u64 = 24 * 60 * 60;

/// What was told to the rig.
#[derive(Default)]
struct Told {
    /// Id of the last request answered.
    handled_request: u64,
    /// What was last reported, to report only news.
    last_idle: Option<Report>,
    /// Where peers connect to.
    address: String,
}

/// A node without its Lightning part.
pub(crate) struct Host {
    pub(crate) config: NodeConfig,
    pub(crate) names: Arc<Names>,
    pub(crate) fees: Arc<Fees>,
    pub(crate) wallet: Arc<NodeWallet>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) graph: Arc<Graph>,
    pub(crate) chain: ChainSync,
    told: Mutex<Told>,
}

/// All fields of a [`Host`] that its maker gives.
pub(crate) struct HostParts {
    pub(crate) config: NodeConfig,
    pub(crate) names: Arc<Names>,
    pub(crate) fees: Arc<Fees>,
    pub(crate) wallet: Arc<NodeWallet>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) graph: Arc<Graph>,
    pub(crate) chain: ChainSync,
}

impl Host {
    /// That has told the rig nothing yet.
    pub(crate) fn new(parts: HostParts) -> Self {
        Host {
            config: parts.config,
            names: parts.names,
            fees: parts.fees,
            wallet: parts.wallet,
            peers: parts.peers,
            mailbox: parts.mailbox,
            graph: parts.graph,
            chain: parts.chain,
            told: Mutex::default(),
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an input: names it, so that what it causes can be told apart.
    pub(crate) fn begin(&self, cause: String) {
        gate::begin_input();
        self.names.set_cause(cause);
    }

    /// Where peers connect to.
    pub(crate) fn address(&self) -> String {
        self.told().address.clone()
    }

    /// Learns it.
    pub(crate) fn set_address(&self, address: String) {
        self.told().address = address;
    }

    /// Hands one message to the transport, between its two points and with its report. Gossip, and
    /// what else has no name, goes without.
    pub(crate) fn send(&self, outgoing: Outgoing) {
        let Outgoing {
            event,
            to,
            channel,
            message,
        } = outgoing;
        let (Some(to), Some(message)) = (to, message) else {
            self.mailbox.release(event);
            self.peers.process_events();
            return;
        };
        let role = match channel {
            Some(id) => self.names.channel_with(&id, &to),
            None => self.names.peer(&to),
        };
        let label = channel.and_then(|id| self.names.channel(&id));
        let name = message.name().to_owned();
        // A peer's transport keeps warnings to itself, so that it cannot count them.
        let is_counted = !message.is_warning();
        let _ = gate::point(&format!("send.{name}.before"), &role);
        gate::emit(&Report::Sent {
            peer: self.names.peer(&to),
            channel: label,
            message,
        });
        self.mailbox.release(event);
        self.peers.process_events();
        if is_counted {
            self.mailbox.count_sent(&to);
        }
        let _ = gate::point(&format!("send.{name}.after"), &role);
    }

    /// Connections changed: the rig waits for the next idle, even one with the same counters (a
    /// peer that came and went between two of them, or came back).
    pub(crate) fn idle_is_news(&self) {
        self.told().last_idle = None;
    }

    /// A request of this id has been handled.
    pub(crate) fn handled(&self, id: u64) {
        let mut told = self.told();
        told.handled_request = told.handled_request.max(id);
    }

    /// Reports that all is handled but for so many writes that wait, if that says anything new.
    pub(crate) fn report_idle(&self, waiting_writes: u64) {
        if !self.mailbox.is_empty() {
            return;
        }
        let counters: BTreeMap<_, _> = self
            .mailbox
            .counters()
            .into_iter()
            .map(|(peer, counters)| (self.names.peer(&peer), counters))
            .collect();
        let mut told = self.told();
        let idle = Report::Idle {
            handled: told.handled_request,
            counters,
            waiting_writes,
        };
        if told.last_idle.as_ref() != Some(&idle) {
            gate::emit(&idle);
            told.last_idle = Some(idle);
        }
    }

    /// What gossip has told of both directions.
    pub(crate) fn graph_view(&self) -> GraphView {
        let graph = self.graph.read_only();
        let both = |(scid, channel): (&u64, &ChannelInfo)| {
            (channel.one_to_two.is_some() && channel.two_to_one.is_some()).then_some(*scid)
        };
        let mut channels: Vec<u64> = graph.channels().unordered_iter().filter_map(both).collect();
        channels.sort_unstable();
        let announced = |(id, node): (&NodeId, &NodeInfo)| {
            node.announcement_info.as_ref()?;
            id.as_pubkey().ok()
        };
        let mut nodes: Vec<PublicKey> = graph
            .nodes()
            .unordered_iter()
            .filter_map(announced)
            .collect();
        nodes.sort_unstable();
        GraphView { channels, nodes }
    }

    /// Tells everybody who this node is (BOLT 7, `node_announcement`) if it has a channel that everybody
    /// may know and has not said so for a day. Its alias is its name.
    fn announce_node(&self) {
        let Ok(own) = node_id_of_seed(&self.config.seed) else {
            return;
        };
        let is_due = match self.graph.read_only().node(&NodeId::from_pubkey(&own)) {
            // No announced channel: others would not pass it on.
            None => false,
            Some(node) => node.announcement_info.as_ref().is_none_or(|info| {
                let last_s = u64::from(info.last_update());
                now_seconds() >= last_s.saturating_add(ANNOUNCE_AFTER_S)
            }),
        };
        if is_due {
            let mut alias = [0; 32];
            for (to, from) in alias.iter_mut().zip(self.config.name.bytes()) {
                *to = from;
            }
            let address = self.address().parse::<SocketAddr>();
            let address = address.into_iter().map(SocketAddress::from).collect();
            self.peers
                .broadcast_node_announcement([0; 3], alias, address);
            self.peers.process_events();
        }
    }

    /// The gossip's part of a tick: tells of this node, forgets what is stale, and writes the rest.
    pub(crate) fn tick_graph(&self, store: &impl KVStoreSync) -> Result<(), RequestError> {
        self.announce_node();
        self.graph.remove_stale_channels_and_tracking();
        store
            .write("", "", NETWORK_GRAPH_PERSISTENCE_KEY, self.graph.encode())
            .map_err(|error| RequestError {
                code: ErrorCode::Internal,
                message: format!("the network graph could not be written: {error}"),
            })
    }

    /// Whether the peer's `init` was handled and no disconnect since.
    pub(crate) fn is_connected(&self, peer: &PublicKey) -> bool {
        self.mailbox.is_connected(peer)
    }
}
