//! What stands around a node's Lightning part: names, wallet, transport, chain, and what was last
//! reported. Owns the points around sending and the rule for `idle`; knows no channel.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitcoin::secp256k1::PublicKey;
use faults::gate;
use lightning::routing::gossip::ChannelInfo;
use lightning::util::persist::{KVStoreSync, NETWORK_GRAPH_PERSISTENCE_KEY};
use lightning::util::ser::Writeable;

use super::broadcaster::Fees;
use super::mailbox::Mailbox;
use super::names::Names;
use super::sync::ChainSync;
use super::wallet::NodeWallet;
use super::wire::Outgoing;
use super::{Graph, Peers};
use crate::api::{ErrorCode, GraphView, NodeConfig, Report, RequestError};

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
        GraphView { channels }
    }

    /// The graph's part of a tick: forgets what is stale and writes the rest.
    pub(crate) fn tick_graph(&self, store: &impl KVStoreSync) -> Result<(), RequestError> {
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
