//! Channels come and go: openings, confirmations, announcements, closes by agreement.
//!
//! BOLT 2, "Channel Establishment v1" and "Channel Close"; `corrections.md`, 13 (archival).

use bitcoin::Transaction;
use bitcoin::secp256k1::PublicKey;
use lightning::chain::transaction::OutPoint;
use lightning::ln::msgs;
use lightning::ln::types::ChannelId;

use crate::channel::opening::{self, PendingOpen};
use crate::channel::{Channel, ChannelError, Outbox};
use crate::effect::UserEvent;
use crate::message::Message;
use crate::record::Closure;

use super::{Node, TellPurpose};

/// Channels that a peer may have in the making at once: each takes memory here, and a record, and costs
/// it nothing until its funding confirms.
const MAXIMUM_UNFUNDED: usize = 20;

impl Node {
    /// Takes a message about an opening; `false` if it is about none.
    pub(super) fn receive_opening(
        &mut self,
        peer: PublicKey,
        id: ChannelId,
        message: &Message,
        out: &mut Outbox,
    ) -> bool {
        if let Message::OpenChannel(open) = message {
            self.receive_open(peer, open, out);
            return true;
        }
        let key = match message {
            Message::FundingSigned(_) | Message::Error(_) => self.open_by_channel_id(peer, id),
            _ => Some((peer, id)),
        };
        let Some(key) = key.filter(|key| self.opens.contains_key(key)) else {
            return false;
        };
        let Some(pending) = self.opens.remove(&key) else {
            return false;
        };
        let environment = self.environment.clone();
        let height = self.best_block.height;
        let result = match message {
            Message::AcceptChannel(m) => {
                opening::handle_accept_channel(&environment, pending, m, out).map(|open| {
                    self.opens.insert(key, open);
                })
            }
            Message::FundingCreated(m) => self.expect_unknown_funding(m).and_then(|()| {
                opening::handle_funding_created(&environment, pending, m, height, out)
                    .map(|channel| self.add_channel(channel, out))
            }),
            Message::FundingSigned(m) => {
                opening::handle_funding_signed(&environment, pending, m, out)
                    .map(|channel| self.add_channel(channel, out))
            }
            Message::Error(_) => {
                pending.abandon(out);
                Ok(())
            }
            _ => {
                self.opens.insert(key, pending);
                Ok(())
            }
        };
        if let Err(error) = result {
            self.refuse_opening(peer, id, &error, out);
        }
        true
    }

    /// A channel's id follows from its funding output, which the peer names: one that another channel
    /// has would put the new record in that channel's place.
    fn expect_unknown_funding(&self, message: &msgs::FundingCreated) -> Result<(), ChannelError> {
        let funding = OutPoint {
            txid: message.funding_txid,
            index: message.funding_output_index,
        };
        let channel_id = ChannelId::v1_from_funding_outpoint(funding);
        if self.channels.contains_key(&channel_id) {
            let known = "funding_created with the funding output of another channel";
            return Err(ChannelError::Close(known.into()));
        }
        Ok(())
    }

    /// Channels of this peer's making that cost it nothing yet: without a confirmed funding.
    /// How many channels may end on the chain and cost fees then: what was opened or is being opened, and what peers have
    /// funded, but for what is closed by agreement.
    pub fn channels_to_end(&self) -> usize {
        let opens = self.opens.values().filter(|open| open.is_funded()).count();
        let may_cost = |channel: &&Channel| {
            let record = &channel.record;
            let is_funded = record.parameters.is_opener || record.funding.confirmed.is_some();
            is_funded && !matches!(record.closure, Some(Closure::Cooperative { .. }))
        };
        opens + self.channels.values().filter(may_cost).count()
    }

    fn unfunded_by(&self, peer: PublicKey) -> usize {
        let opens = self
            .opens
            .iter()
            .filter(|((owner, _), open)| *owner == peer && open.is_by_peer());
        let channels = self.channels.values().filter(|channel| {
            channel.peer() == peer
                && !channel.record.parameters.is_opener
                && channel.record.funding.confirmed.is_none()
                && channel.record.closure.is_none()
        });
        opens.count() + channels.count()
    }

    fn receive_open(&mut self, peer: PublicKey, open: &msgs::OpenChannel, out: &mut Outbox) {
        let id = open.common_fields.temporary_channel_id;
        if self.opens.contains_key(&(peer, id)) {
            let error = ChannelError::Close("a second open_channel with this id".into());
            self.refuse_opening(peer, id, &error, out);
            return;
        }
        if self.unfunded_by(peer) >= MAXIMUM_UNFUNDED {
            let error = ChannelError::Close("too many channels of yours wait for funding".into());
            self.refuse_opening(peer, id, &error, out);
            return;
        }
        let entropy = self.draw_entropy();
        let accepted = opening::accept(&self.environment, &self.policy, peer, open, entropy, out);
        match accepted {
            Ok(pending) => {
                self.opens.insert((peer, id), pending);
            }
            Err(error) => self.refuse_opening(peer, id, &error, out),
        }
    }

    /// The key of an opening that the peer calls by the channel's id, or by its temporary one.
    fn open_by_channel_id(&self, peer: PublicKey, id: ChannelId) -> Option<(PublicKey, ChannelId)> {
        let by_id = self
            .opens
            .iter()
            .find(|((owner, _), open)| *owner == peer && open.channel_id() == Some(id));
        by_id.map(|(key, _)| *key).or(Some((peer, id)))
    }

    fn refuse_opening(
        &mut self,
        peer: PublicKey,
        channel_id: ChannelId,
        error: &ChannelError,
        out: &mut Outbox,
    ) {
        let data = error.to_string();
        let message = Message::Error(msgs::ErrorMessage { channel_id, data });
        out.send_now(peer, message);
    }

    fn add_channel(&mut self, channel: Channel, out: &mut Outbox) {
        let funding = channel.record.parameters.funding.into_bitcoin_outpoint();
        let event = UserEvent::ChannelPending {
            channel_id: channel.id(),
            peer: channel.peer(),
            funding,
        };
        let store = channel.store();
        self.channels.insert(channel.id(), channel);
        self.tell(event, TellPurpose::News, Some(store), out);
    }

    pub(super) fn funded(
        &mut self,
        temporary_channel_id: ChannelId,
        transaction: Result<Transaction, String>,
        out: &mut Outbox,
    ) {
        let key = self
            .opens
            .keys()
            .find(|(_, id)| *id == temporary_channel_id)
            .copied();
        let Some((peer, pending)) = key.and_then(|key| Some((key.0, self.opens.remove(&key)?)))
        else {
            if let Ok(transaction) = transaction {
                out.now(crate::effect::Effect::Unfund { transaction });
            }
            return;
        };
        let funded = opening::handle_funded(&self.environment, pending, transaction, out);
        match funded {
            Ok(open) => {
                self.opens.insert((peer, temporary_channel_id), open);
            }
            Err(error) => self.refuse_opening(peer, temporary_channel_id, &error, out),
        }
    }

    /// Openings end with their connection (BOLT 2).
    pub(super) fn forget_opens(&mut self, peer: PublicKey, out: &mut Outbox) {
        let ids: Vec<_> = self
            .opens
            .keys()
            .filter(|key| key.0 == peer)
            .copied()
            .collect();
        for key in ids {
            if let Some(open) = self.opens.remove(&key) {
                PendingOpen::abandon(open, out);
            }
        }
    }

    /// Messages of a funded channel that are not about HTLCs.
    pub(super) fn receive_lifecycle(
        &mut self,
        channel_id: ChannelId,
        message: Message,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        let environment = self.environment.clone();
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return Ok(());
        };
        match message {
            Message::ChannelReady(m) => {
                channel.receive_channel_ready(&m, out)?;
                self.resume_lifecycle(channel_id, out)
            }
            Message::Shutdown(m) => channel.receive_shutdown(&environment, &m, out),
            Message::ClosingSigned(m) => {
                let feerate_per_kw = self.policy.feerate_per_kw;
                let was_open = channel.record.closure.is_none();
                channel.receive_closing_signed(&environment, feerate_per_kw, &m, out)?;
                if was_open && channel.record.closure.is_some() {
                    self.tell_cooperative(channel_id, out);
                }
                Ok(())
            }
            Message::AnnouncementSignatures(m) => {
                channel.receive_announcement_signatures(&environment, &m, out)?;
                self.resume_lifecycle(channel_id, out)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn tell_cooperative(&mut self, channel_id: ChannelId, out: &mut Outbox) {
        let event = UserEvent::ChannelClosed {
            channel_id,
            reason: super::blocks::COOPERATIVE.into(),
        };
        let store = crate::effect::Store::Monitor(channel_id);
        self.tell(event, TellPurpose::Closed(channel_id), Some(store), out);
    }

    /// Whatever a channel's life makes due now: its readiness, its announcement, its policy for the peer.
    pub(super) fn resume_lifecycle(
        &mut self,
        channel_id: ChannelId,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        let environment = self.environment.clone();
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return Ok(());
        };
        channel.depth_reached(&environment, self.best_block.height, out)?;
        if channel.is_ready() && !channel.volatile.ready_told {
            channel.volatile.ready_told = true;
            let event = UserEvent::ChannelReady {
                channel_id,
                peer: channel.peer(),
            };
            let store = channel.store();
            self.tell(event, TellPurpose::News, Some(store), out);
        }
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return Ok(());
        };
        let (height, now_s) = (self.best_block.height, self.surroundings.now_s);
        channel.continue_announcing(&environment, &self.policy, height, now_s, out)
    }

    pub(super) fn depth_reached(
        &mut self,
        channel_id: ChannelId,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        self.resume_lifecycle(channel_id, out)
    }

    /// Closes under way go on when a channel has nothing pending any more.
    pub(super) fn continue_closing(&mut self, out: &mut Outbox) {
        let environment = self.environment.clone();
        let ids: Vec<_> = self.channels.keys().copied().collect();
        for channel_id in ids {
            let Some(channel) = self.channels.get_mut(&channel_id) else {
                continue;
            };
            if let Err(error) =
                channel.continue_closing(&environment, self.policy.feerate_per_kw, out)
            {
                self.handle_channel_error(channel_id, error, out);
            }
        }
    }
}
