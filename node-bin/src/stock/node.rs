//! The node: LDK's parts, and the one loop that lets them work. Every input is handled to its end
//! (events, forwards, messages, the manager's record) before the next one is looked at.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitcoin::secp256k1::PublicKey;
use faults::gate;
use lightning::ln::msgs::BaseMessageHandler;
use lightning::util::ser::Writeable;

use super::broadcaster::Fees;
use super::mailbox::{Mail, Mailbox};
use super::names::Names;
use super::router::PlannedRouter;
use super::store::PointStore;
use super::sync::ChainSync;
use super::views::CommitmentCounts;
use super::wallet::NodeWallet;
use super::wire::{self, Outgoing};
use super::writer::{ManagerWrite, ManagerWriter};
use super::{Bumper, Graph, Manager, Monitors, Peers, Sweeper};
use crate::api::{NodeConfig, Report, WireMessage};

/// Everything that changes but is not LDK's.
#[derive(Default)]
pub(super) struct Progress {
    /// Events handled since the manager was last durable: point name and role.
    handled_events: Vec<(&'static str, String)>,
    /// The manager's newest state is not durable because a write hangs.
    dirty: bool,
    /// Id of the last request answered.
    pub(super) handled_request: u64,
    /// What was last reported, to report only news.
    last_idle: Option<Report>,
    /// Where peers connect to.
    pub(super) address: String,
    /// Commitment numbers, as messages told.
    pub(super) commitments: CommitmentCounts,
}

impl Progress {
    pub(super) fn mark_dirty(&mut self) {
        self.dirty = true;
    }
}

/// The stock node.
pub struct Node {
    pub(super) config: NodeConfig,
    pub(super) names: Arc<Names>,
    pub(super) fees: Arc<Fees>,
    pub(super) wallet: Arc<NodeWallet>,
    pub(super) manager: Arc<Manager>,
    pub(super) monitors: Arc<Monitors>,
    pub(super) peers: Arc<Peers>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) graph: Arc<Graph>,
    pub(super) router: Arc<PlannedRouter>,
    pub(super) sweeper: Arc<Sweeper>,
    pub(super) bumper: Bumper,
    pub(super) store: Arc<PointStore>,
    pub(super) chain: ChainSync,
    pub(super) writer: Mutex<ManagerWriter>,
    pub(super) progress: Mutex<Progress>,
}

impl Node {
    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, ManagerWriter> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remember_handled(&self, name: &'static str, role: String) {
        self.progress().handled_events.push((name, role));
    }

    /// Begins an input: names it, so that what it causes can be told apart.
    pub(super) fn begin(&self, cause: String) {
        gate::begin_input();
        self.names.set_cause(cause);
    }

    /// Lets every part of LDK do what it has to do, until none has anything left.
    pub(super) fn work(&self) {
        loop {
            if self.manager.needs_pending_htlc_processing() {
                // What it does changes the manager, and that is seen below. Being needed is no sign
                // of it: it is, for as long as a payment may be retried.
                self.manager.process_pending_htlc_forwards();
            }
            let told = std::cell::Cell::new(false);
            let handler = |event| {
                told.set(true);
                self.handle_event(event)
            };
            use lightning::events::EventsProvider;
            self.manager.process_pending_events(&handler);
            self.monitors.process_pending_events(&handler);
            let mut busy = told.get();
            busy |= self.send_messages();
            busy |= self.store_manager();
            if !busy {
                return;
            }
        }
    }

    fn send_messages(&self) -> bool {
        let events = self.manager.get_and_clear_pending_msg_events();
        let any = !events.is_empty();
        let queue: VecDeque<_> = events.into_iter().flat_map(wire::split).collect();
        for event in queue {
            self.send(wire::describe(event));
        }
        any
    }

    fn send(&self, outgoing: Outgoing) {
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
        let _ = gate::point(&format!("send.{name}.before"), &role);
        if let Some(label) = &label {
            self.progress().commitments.sent(label, &message);
        }
        gate::emit(&Report::Sent {
            peer: self.names.peer(&to),
            channel: label,
            message,
        });
        self.mailbox.release(event);
        self.peers.process_events();
        self.mailbox.count_sent(&to);
        let _ = gate::point(&format!("send.{name}.after"), &role);
    }

    /// Writes the manager if it changed; `true` if it was written.
    fn store_manager(&self) -> bool {
        let changed = self.manager.get_and_clear_needs_persistence();
        if !changed && !self.progress().dirty {
            return false;
        }
        let handled = std::mem::take(&mut self.progress().handled_events);
        for (name, role) in &handled {
            let _ = gate::point(&format!("event.{name}.durable.before"), role);
        }
        let written = self
            .writer()
            .write(self.manager.encode(), self.names.cause());
        if written == ManagerWrite::Hangs {
            let mut progress = self.progress();
            progress.dirty = true;
            progress.handled_events.extend(handled);
            return false;
        }
        self.progress().dirty = false;
        for (name, role) in &handled {
            let _ = gate::point(&format!("event.{name}.durable.after"), role);
        }
        true
    }

    /// After a held write was released: waits for it and writes what has changed since.
    pub(super) fn after_release(&self) {
        self.writer().finish_released();
        self.work();
    }

    /// Handles everything that peers have sent.
    pub(super) fn handle_mail(&self) -> Vec<PublicKey> {
        let mut connected = Vec::new();
        while let Some(mail) = self.mailbox.take() {
            match mail {
                Mail::Up(peer, init, inbound) => {
                    let name = self.names.peer(&peer);
                    self.begin(format!("peer_up {name}"));
                    self.mailbox.set_connected(peer, true);
                    gate::emit(&Report::PeerUp { peer: name });
                    self.idle_is_news();
                    if self.manager.peer_connected(peer, &init, inbound).is_err() {
                        self.peers.disconnect_by_node_id(peer);
                    }
                    connected.push(peer);
                }
                Mail::Down(peer) => {
                    let name = self.names.peer(&peer);
                    self.begin(format!("peer_down {name}"));
                    self.mailbox.set_connected(peer, false);
                    gate::emit(&Report::PeerDown { peer: name });
                    self.idle_is_news();
                    self.manager.peer_disconnected(peer);
                }
                Mail::Message(peer, message) => self.handle_message(peer, *message),
            }
            self.work();
        }
        connected
    }

    fn handle_message(&self, peer: PublicKey, message: super::mailbox::PeerMessage) {
        let Some((channel, what)) = wire::received(&message) else {
            self.begin(format!("recv gossip {}", self.names.peer(&peer)));
            message.handle(&self.manager, peer);
            return;
        };
        let role = match channel {
            Some(id) => self.names.channel_with(&id, &peer),
            None => self.names.peer(&peer),
        };
        let label = channel.and_then(|id| self.names.channel(&id));
        self.begin(format!("recv {} {role}", what.name()));
        if let Some(label) = &label {
            self.progress().commitments.received(label, &what);
        }
        gate::emit(&Report::Received {
            peer: self.names.peer(&peer),
            channel: label,
            message: what,
        });
        message.handle(&self.manager, peer);
        self.mailbox.count_received(&peer);
    }

    /// Connections changed: the rig waits for the next idle, even one with the same counters (a
    /// peer that came and went between two of them, or came back).
    fn idle_is_news(&self) {
        self.progress().last_idle = None;
    }

    /// Reports that all is handled, if that says anything new.
    pub(super) fn report_idle(&self) {
        if !self.mailbox.is_empty() {
            return;
        }
        let counters: BTreeMap<_, _> = self
            .mailbox
            .counters()
            .into_iter()
            .map(|(peer, counters)| (self.names.peer(&peer), counters))
            .collect();
        let mut progress = self.progress();
        let idle = Report::Idle {
            handled: progress.handled_request,
            counters,
        };
        if progress.last_idle.as_ref() != Some(&idle) {
            gate::emit(&idle);
            progress.last_idle = Some(idle);
        }
    }
}

/// Whether a message is one more commitment of the receiver.
pub(super) fn signs_commitment(message: &WireMessage) -> bool {
    matches!(message, WireMessage::CommitmentSigned { .. })
}
