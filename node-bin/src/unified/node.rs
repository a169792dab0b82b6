//! The unified node as the one loop drives it: inputs go into the core, and all that follows is done
//! before the next.

use bitcoin::secp256k1::PublicKey;
use lightning::ln::msgs::Init;
use lightning::types::features::{InitFeatures, NodeFeatures};
use node_core::input::Input;

use super::electrs::Electrs;
use super::executor::Executor;
use super::messages;
use super::routing::PeerPolicies;
use crate::api::{Command, Reply, RequestError};
use crate::shared::control::Process;
use crate::shared::host::Host;
use crate::shared::mailbox::{Introduction, PeerMessage};

/// The unified node.
pub struct Node {
    pub(super) host: Host,
    pub(super) executor: Executor,
    pub(super) policies: PeerPolicies,
    /// Where blocks come from if not from bitcoind.
    pub(super) electrs: Option<Electrs>,
}

/// What the core says of itself to peers.
pub struct CoreIntroduction;

impl Introduction for CoreIntroduction {
    fn node_features(&self) -> NodeFeatures {
        node_core::features::node_features()
    }

    fn init_features(&self, _to: PublicKey) -> InitFeatures {
        node_core::features::init_features()
    }
}

impl Process for Node {
    fn host(&self) -> &Host {
        &self.host
    }

    fn peer_up(&mut self, peer: PublicKey, _init: &Init, _inbound: bool) -> Result<(), ()> {
        self.executor.input(Input::PeerUp { peer });
        Ok(())
    }

    fn peer_down(&mut self, peer: PublicKey) {
        self.executor.input(Input::PeerDown { peer });
    }

    fn message(&mut self, peer: PublicKey, message: PeerMessage) {
        if let PeerMessage::ChannelUpdate(told) = &message {
            self.policies.learn(self.executor.core(), &peer, told);
        }
        if let Some(message) = messages::incoming(message) {
            self.executor.input(Input::Message { peer, message });
        }
    }

    fn work(&mut self) {
        self.executor.run(&self.host);
    }

    fn waiting_writes(&self) -> u64 {
        self.executor.waiting_writes()
    }

    fn change(&mut self, command: Command) -> Result<Reply, RequestError> {
        Node::change(self, command)
    }

    fn answer(&mut self, command: Command) -> Result<Reply, RequestError> {
        Node::answer(self, command)
    }
}
