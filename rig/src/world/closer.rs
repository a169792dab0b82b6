//! Force-closes channels while a node stands at a point: its peers at once, and what the node itself is
//! to close as a request that goes with the order to go on. Never starts or stops a process.

use std::sync::{Arc, Mutex, PoisonError};

use bitcoin::secp256k1::PublicKey;
use faults::Closing;
use node_bin::api::{Command, PeerName, Request};

use super::act::other_side;
use super::bounds::Bounds;
use super::control::Controls;
use super::live::Live;
use super::recorder::{Heed, Recorder};
use super::rig_fault::RigFault;
use crate::evidence::{OpenedChannel, RigEntry};

/// The case's channels as far as they are known, for those who have to name one from beside a node.
#[derive(Default)]
pub(super) struct KnownChannels(Mutex<Vec<OpenedChannel>>);

impl KnownChannels {
    /// These are all.
    pub(super) fn set(&self, channels: &[OpenedChannel]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = channels.to_vec();
    }

    fn of(&self, label: &str) -> Option<OpenedChannel> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|known| known.label == label).cloned()
    }
}

/// Closes channels of one node.
pub(super) struct Closer {
    pub(super) node: String,
    pub(super) peers: Vec<PeerName>,
    pub(super) channels: Arc<KnownChannels>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) controls: Arc<Controls>,
    pub(super) bounds: Bounds,
}

impl Closer {
    /// Has every other node of these close, each once it has handled all that this one has sent, and
    /// gives the requests for this one.
    pub(super) async fn close(&self, closes: &[Closing]) -> Result<Vec<String>, RigFault> {
        let mut requests = Vec::new();
        for closing in closes {
            let command = self.command(closing)?;
            if closing.by == self.node {
                // No answer comes, so any id will do.
                let request = Request { id: 0, command };
                let unwritable = |error: serde_json::Error| RigFault::BadPlan(error.to_string());
                requests.push(serde_json::to_string(&request).map_err(unwritable)?);
            } else {
                self.have_peer_close(closing, command).await;
            }
        }
        Ok(requests)
    }

    /// Notes what this node is told to close with the order to go on.
    pub(super) fn note_own(&self, closes: &[Closing]) {
        for closing in closes.iter().filter(|closing| closing.by == self.node) {
            self.note(closing);
        }
    }

    fn note(&self, closing: &Closing) {
        self.recorder.rig(RigEntry::ForceClosed {
            node: closing.by.clone(),
            channel: closing.channel.clone(),
        });
    }

    fn command(&self, closing: &Closing) -> Result<Command, RigFault> {
        let (label, by) = (&closing.channel, &closing.by);
        let channel = self.channels.of(label).ok_or_else(|| {
            RigFault::BadPlan(format!("a fault closes {label:?}, which is no channel yet"))
        })?;
        let node_id = other_side(&channel, by)
            .and_then(|peer| self.node_id(peer))
            .ok_or_else(|| RigFault::BadPlan(format!("{by} has no part in channel {label:?}")))?;
        Ok(Command::ForceClose {
            channel_id: channel.channel_id,
            node_id,
        })
    }

    fn node_id(&self, name: &str) -> Option<PublicKey> {
        let mut peers = self.peers.iter();
        peers
            .find(|peer| peer.name == name)
            .map(|peer| peer.node_id)
    }

    async fn have_peer_close(&self, closing: &Closing, command: Command) {
        let peer = closing.by.as_str();
        let Some((life, control)) = self.controls.of(peer) else {
            return;
        };
        let arrived = |live: &Live| {
            let is_up = live.is_link_up(&self.node, peer);
            (!is_up || live.has_arrived(&self.node, peer) || live.is_over(peer, life)).then_some(())
        };
        let what = format!("{peer} to handle what {} has sent", self.node);
        // A wait in vain shows in what comes after it.
        let bound = self.bounds.wait;
        let heed = Heed::FaultsOnly;
        let _ = self.recorder.try_wait(bound, &what, heed, arrived).await;
        self.note(closing);
        let sent = |id| self.recorder.request_sent(peer, life, id);
        // A peer that does not answer is dead or at fault, and others find that out.
        let _ = tokio::time::timeout(self.bounds.call, control.call(command, sent)).await;
    }
}
