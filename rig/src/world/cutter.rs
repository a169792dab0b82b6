//! Drops the connection that a message is about to take, or has just taken: the other side is told to,
//! while this one stands at the point. Never starts or stops a process.

use std::sync::Arc;

use bitcoin::secp256k1::PublicKey;
use faults::PointId;
use node_bin::api::Command;

use super::bounds::Bounds;
use super::control::Controls;
use super::live::Live;
use super::recorder::{Heed, Recorder};

/// Cuts connections of one node.
pub(super) struct Cutter {
    pub(super) node: String,
    pub(super) node_id: PublicKey,
    pub(super) recorder: Arc<Recorder>,
    pub(super) controls: Arc<Controls>,
    pub(super) bounds: Bounds,
}

impl Cutter {
    /// Has the peer of this message drop the connection, once it has handled all that was sent before:
    /// at a `.before` the message is the only one that is lost, at an `.after` none is. Where there is
    /// no connection, nothing happens.
    pub(super) async fn cut(&self, point: &PointId) {
        let Some(peer) = other_name(&point.role, &self.node) else {
            return;
        };
        let is_up = |live: &Live| live.side_is_up(peer, &self.node);
        let Some((life, control)) = self.controls.of(peer) else {
            return;
        };
        if !self.recorder.look(is_up) {
            return;
        }
        let what = format!("{peer} to handle what {} has sent", self.node);
        let arrived = |live: &Live| {
            (live.has_arrived(&self.node, peer) || live.is_over(peer, life)).then_some(())
        };
        self.wait(&what, arrived).await;
        let command = Command::Disconnect {
            node_id: self.node_id,
        };
        let sent = |id| self.recorder.request_sent(peer, life, id);
        // A peer that does not answer is dead or at fault, and others find that out.
        let _ = tokio::time::timeout(self.bounds.call, control.call(command, sent)).await;
        let what = format!("{peer} to drop its connection to {}", self.node);
        self.wait(&what, |live| (!is_up(live)).then_some(())).await;
        self.recorder.cut(&self.node, peer);
    }

    /// A wait whose end in vain shows in what comes after it.
    async fn wait(&self, what: &str, seen: impl FnMut(&Live) -> Option<()>) {
        let bound = self.bounds.wait;
        let _ = self
            .recorder
            .try_wait(bound, what, Heed::FaultsOnly, seen)
            .await;
    }
}

/// The other one of a channel's label (`A-B`, `A-B.2`), or the role itself where it is a peer's name.
fn other_name<'a>(role: &'a str, node: &str) -> Option<&'a str> {
    let pair = role.split('.').next().unwrap_or(role);
    match pair.split_once('-') {
        Some((one, other)) if one == node => Some(other),
        Some((one, other)) if other == node => Some(one),
        Some(_) => None,
        None => (!pair.is_empty() && pair != node).then_some(pair),
    }
}

#[cfg(test)]
mod tests {
    use super::other_name;

    #[test]
    fn the_other_side_is_read_from_the_role() {
        assert_eq!(other_name("A-B", "A"), Some("B"));
        assert_eq!(other_name("A-B.2", "B"), Some("A"));
        assert_eq!(other_name("C", "A"), Some("C"));
        assert_eq!(other_name("B-C", "A"), None);
        assert_eq!(other_name("", "A"), None);
    }
}
