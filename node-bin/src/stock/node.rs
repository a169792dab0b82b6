//! The node: LDK's parts, and the one loop that lets them work. Every input is handled to its end
//! (events, forwards, messages, the manager's record) before the next one is looked at.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitcoin::secp256k1::PublicKey;
use faults::gate;
use lightning::ln::msgs::{BaseMessageHandler, ChannelMessageHandler, Init};
use lightning::types::features::{InitFeatures, NodeFeatures};
use lightning::util::ser::Writeable;

use super::router::PlannedRouter;
use super::store::PointStore;
use super::views::CommitmentCounts;
use super::writer::{ManagerWrite, ManagerWriter};
use super::{Bumper, Manager, Monitors, Sweeper};
use crate::api::{Command, Reply, RequestError, WireMessage};
use crate::shared::control::Process;
use crate::shared::host::Host;
use crate::shared::mailbox::{Introduction, PeerMessage};
use crate::shared::wire::{self, Outgoing};

/// Everything that changes but is not LDK's.
#[derive(Default)]
pub(super) struct Progress {
    /// Events handled since the manager was last durable: point name and role.
    handled_events: Vec<(&'static str, String)>,
    /// The manager's newest state is not durable because a write hangs.
    dirty: bool,
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
    pub(super) host: Host,
    pub(super) manager: Arc<Manager>,
    pub(super) monitors: Arc<Monitors>,
    pub(super) router: Arc<PlannedRouter>,
    pub(super) sweeper: Arc<Sweeper>,
    pub(super) bumper: Bumper,
    pub(super) store: Arc<PointStore>,
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
        let label = outgoing.channel.and_then(|id| self.host.names.channel(&id));
        if let (Some(label), Some(message)) = (label, &outgoing.message) {
            self.progress().commitments.sent(&label, message);
        }
        self.host.send(outgoing);
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
            .write(self.manager.encode(), self.host.names.cause());
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
}

impl Introduction for Manager {
    fn node_features(&self) -> NodeFeatures {
        self.provided_node_features()
    }

    fn init_features(&self, to: PublicKey) -> InitFeatures {
        self.provided_init_features(to)
    }

    fn message_received(&self) {
        ChannelMessageHandler::message_received(self);
    }
}

impl Process for Node {
    fn host(&self) -> &Host {
        &self.host
    }

    fn peer_up(&mut self, peer: PublicKey, init: &Init, inbound: bool) -> Result<(), ()> {
        self.manager.peer_connected(peer, init, inbound)
    }

    fn peer_down(&mut self, peer: PublicKey) {
        self.manager.peer_disconnected(peer);
    }

    fn message(&mut self, peer: PublicKey, message: PeerMessage) {
        message.handle(&*self.manager, peer);
    }

    fn sees_message(&mut self, label: &str, message: &WireMessage) {
        self.progress().commitments.received(label, message);
    }

    fn work(&mut self) {
        Node::work(self);
    }

    fn change(&mut self, command: Command) -> Result<Reply, RequestError> {
        Node::change(self, command)
    }

    fn answer(&mut self, command: Command) -> Result<Reply, RequestError> {
        Node::answer(self, command)
    }
}

/// Whether a message is one more commitment of the receiver.
pub(super) fn signs_commitment(message: &WireMessage) -> bool {
    matches!(message, WireMessage::CommitmentSigned { .. })
}
