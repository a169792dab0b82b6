//! Peers: connections and messages, given to the channel they are about.
//!
//! BOLT 1, "The `init` Message" and "The `error` and `warning` Messages"; BOLT 2.

use bitcoin::secp256k1::PublicKey;
use lightning::ln::msgs;
use lightning::ln::types::ChannelId;

use crate::channel::{ChannelError, Outbox};
use crate::message::Message;
use crate::record::Closure;
use crate::wire;

use super::Node;

impl Node {
    pub(super) fn peer_up(&mut self, peer: PublicKey, out: &mut Outbox) {
        if !self.peers.insert(peer) {
            // Nobody said that the connection before was lost, but it was.
            self.peer_down(peer, out);
            self.peers.insert(peer);
        }
        for channel in self.channels.values_mut() {
            let is_forced = matches!(channel.record.closure, Some(Closure::Forced { .. }));
            if channel.peer() == peer
                && !is_forced
                && channel.record.onchain.funding_spend.is_none()
            {
                channel.peer_up(&self.environment, out);
            }
        }
    }

    pub(super) fn peer_down(&mut self, peer: PublicKey, out: &mut Outbox) {
        self.peers.remove(&peer);
        for channel in self.channels.values_mut() {
            if channel.peer() == peer {
                channel.peer_down();
            }
        }
        self.forget_opens(peer, out);
    }

    pub(super) fn receive(&mut self, peer: PublicKey, message: Message, out: &mut Outbox) {
        if !self.peers.contains(&peer) {
            return;
        }
        let Some(channel_id) = message.channel_id() else {
            return;
        };
        if self.receive_opening(peer, channel_id, &message, out) {
            return;
        }
        let is_peers = |channel: &crate::channel::Channel| channel.peer() == peer;
        match self.channels.get(&channel_id) {
            Some(channel) if is_peers(channel) => {}
            _ => {
                self.answer_unknown(peer, channel_id, &message, out);
                return;
            }
        }
        if let Err(error) = self.receive_on(channel_id, message, out) {
            self.handle_channel_error(channel_id, error, out);
        }
    }

    /// A message about a channel that this node does not have, or not with this peer.
    fn answer_unknown(
        &mut self,
        peer: PublicKey,
        channel_id: ChannelId,
        message: &Message,
        out: &mut Outbox,
    ) {
        match message {
            Message::Error(error) if error.channel_id == ChannelId([0; 32]) => {
                let theirs = self.channels.values().filter(|c| c.peer() == peer);
                let ids: Vec<_> = theirs.map(|channel| channel.id()).collect();
                for id in ids {
                    self.peer_gave_up(id, &error.data, out);
                }
            }
            Message::Error(_) | Message::Warning(_) | Message::ChannelUpdate(_) => {}
            _ => out.send_now(
                peer,
                Message::Error(msgs::ErrorMessage {
                    channel_id,
                    data: "no such channel with this peer".into(),
                }),
            ),
        }
    }

    /// The peer failed the channel: the holder publishes (BOLT 1). But where nothing is left but the last
    /// words of a close by agreement, the peer may have closed and forgotten: the chain is given some
    /// blocks to say so.
    fn peer_gave_up(&mut self, channel_id: ChannelId, data: &str, out: &mut Outbox) {
        let height = self.best_block.height;
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return;
        };
        if channel.is_drained() {
            channel.volatile.given_up_at.get_or_insert(height);
            return;
        }
        let reason = format!("the peer failed the channel: {}", data.escape_default());
        channel.force_close(&self.environment, &reason, true, out);
    }

    fn receive_on(
        &mut self,
        channel_id: ChannelId,
        message: Message,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        let environment = self.environment.clone();
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return Ok(());
        };
        if matches!(channel.record.closure, Some(Closure::Forced { .. })) {
            return self.receive_on_closed(channel_id, &message, out);
        }
        match message {
            Message::UpdateAddHtlc(m) => channel.receive_add(&m),
            Message::UpdateFulfillHtlc(m) => channel.receive_fulfill(&m, out),
            Message::UpdateFailHtlc(m) => {
                let reason =
                    wire::fail_reason(&m).map_err(|e| ChannelError::Close(e.to_string()))?;
                channel.receive_fail(m.htlc_id, reason)
            }
            Message::UpdateFailMalformedHtlc(m) => {
                let hash =
                    wire::malformed_hash(&m).map_err(|e| ChannelError::Close(e.to_string()))?;
                channel.receive_fail_malformed(m.htlc_id, hash, m.failure_code)
            }
            Message::UpdateFee(m) => channel.receive_fee(m.feerate_per_kw),
            Message::CommitmentSigned(m) => {
                channel.receive_commitment_signed(&m, &environment, out)
            }
            Message::RevokeAndAck(m) => channel.receive_revocation(&m, &environment, out),
            Message::ChannelReestablish(m) => {
                channel.receive_reestablish(&m, &environment, out)?;
                self.reestablished(channel_id, out)
            }
            Message::Error(m) => {
                self.peer_gave_up(channel_id, &m.data, out);
                Ok(())
            }
            Message::Warning(_) | Message::ChannelUpdate(_) => Ok(()),
            other => self.receive_lifecycle(channel_id, other, out),
        }
    }

    /// Whoever still talks about a channel that was closed by force is told so.
    fn receive_on_closed(
        &mut self,
        channel_id: ChannelId,
        message: &Message,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return Ok(());
        };
        match message {
            Message::ChannelReestablish(m) => {
                channel.heed_proof(m, &self.environment, out)?;
                channel.answer_when_closed(&self.environment, out);
                Ok(())
            }
            // It cannot be answered any more, but its preimage is worth money upstream.
            Message::UpdateFulfillHtlc(m) => channel.receive_fulfill(m, out),
            _ => Ok(()),
        }
    }

    /// Both sides know where they stand: what waited goes on.
    fn reestablished(
        &mut self,
        channel_id: ChannelId,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        let waiting: Vec<_> = self.payments.keys().copied().collect();
        for payment_id in waiting {
            self.drive_payment(payment_id, out);
        }
        if let Some(channel) = self.channels.get(&channel_id) {
            channel.send_shutdown(out);
        }
        self.resume_lifecycle(channel_id, out)
    }
}
