//! Announcing (BOLT 7): announcement signatures, the announcement, this node's channel updates.

use bitcoin::constants::ChainHash;
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::secp256k1::{self, PublicKey};
use lightning::ln::msgs::{self, UnsignedGossipMessage};
use lightning::routing::gossip::NodeId;
use lightning::sign::NodeSigner;
use lightning::types::features::ChannelFeatures;
use lightning::util::ser::Writeable;

use crate::channel::{Channel, ChannelError, Connection, Outbox};
use crate::effect::Effect;
use crate::keys::Environment;
use crate::message::Message;
use crate::node::Policy;
use crate::update::UpdateStep;

/// Confirmations before a channel may be announced (BOLT 7).
const ANNOUNCEMENT_DEPTH: u32 = 6;
/// `channel_update`: the only message flag, which must be set.
const MUST_BE_ONE: u8 = 1;
/// `channel_update`: the sender is the second of the two nodes.
const DIRECTION: u8 = 1;
/// `channel_update`: the channel takes no HTLCs now.
const DISABLED: u8 = 2;

/// This node's policy for a channel, signed. `None` before the funding is in a block. The timestamp is
/// the time, in seconds since 1970: a newer policy needs a later one.
pub fn channel_update(
    channel: &Channel,
    environment: &Environment,
    policy: &Policy,
    now_s: u64,
    enabled: bool,
) -> Option<msgs::ChannelUpdate> {
    let parameters = &channel.record.parameters;
    let is_second = environment.node_id().serialize() > parameters.counterparty_node_id.serialize();
    let limits = &parameters.counterparty_limits;
    let capacity_msat = parameters.capacity_sat * 1000;
    let contents = msgs::UnsignedChannelUpdate {
        chain_hash: ChainHash::REGTEST,
        short_channel_id: channel.short_channel_id()?,
        timestamp: u32::try_from(now_s).unwrap_or(u32::MAX),
        message_flags: MUST_BE_ONE,
        channel_flags: if is_second { DIRECTION } else { 0 } | if enabled { 0 } else { DISABLED },
        cltv_expiry_delta: policy.cltv_expiry_delta,
        htlc_minimum_msat: limits.htlc_minimum_msat,
        htlc_maximum_msat: limits.max_htlc_value_in_flight_msat.min(capacity_msat),
        fee_base_msat: policy.fee_base_msat,
        fee_proportional_millionths: policy.fee_proportional_millionths,
        excess_data: Vec::new(),
    };
    let signature = environment
        .node_keys
        .sign_gossip_message(UnsignedGossipMessage::ChannelUpdate(&contents))
        .ok()?;
    Some(msgs::ChannelUpdate {
        signature,
        contents,
    })
}

impl Channel {
    /// Tells the peer this node's policy, which it needs before, or without, an announcement: it puts
    /// it into its invoices. To be called when the channel becomes usable.
    pub fn send_policy(
        &self,
        environment: &Environment,
        policy: &Policy,
        now_s: u64,
        out: &mut Outbox,
    ) {
        if self.is_usable()
            && let Some(update) = channel_update(self, environment, policy, now_s, true)
        {
            self.send(Message::ChannelUpdate(update), out);
        }
    }

    /// Sends `announcement_signatures` once the channel may be announced and the peer may not have
    /// them: once a connection until the peer's have come. To be called with each block and when the
    /// channel becomes usable; does nothing at every other time.
    pub fn continue_announcing(
        &mut self,
        environment: &Environment,
        best_height: u32,
        out: &mut Outbox,
    ) {
        if self.record.funding.announcement.is_none() {
            self.send_announcement_signatures(environment, best_height, out);
        }
    }

    /// The peer's `announcement_signatures`: kept, answered if that was not done on this connection,
    /// and the channel is announced.
    pub fn receive_announcement_signatures(
        &mut self,
        environment: &Environment,
        policy: &Policy,
        best_height: u32,
        now_s: u64,
        message: &msgs::AnnouncementSignatures,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        if self.volatile.connection != Connection::Up || !self.may_be_announced(best_height) {
            // The peer may have seen a block that has yet to come here; it sends them again.
            let early = "announcement_signatures came too early";
            return Err(ChannelError::Ignore(early.into()));
        }
        let contents = self.announcement(environment).ok_or_else(|| {
            ChannelError::Ignore("announcement_signatures for no announced channel".into())
        })?;
        if message.short_channel_id != contents.short_channel_id {
            let moved = "announcement_signatures for another short channel id";
            return Err(ChannelError::Ignore(moved.into()));
        }
        self.check_announcement(environment, &contents, message)?;
        let signatures = (message.node_signature, message.bitcoin_signature);
        if self.record.funding.announcement != Some(signatures) {
            let step = UpdateStep::Announced {
                node_signature: message.node_signature,
                bitcoin_signature: message.bitcoin_signature,
            };
            self.commit(vec![step], out)?;
        }
        self.send_announcement_signatures(environment, best_height, out);
        self.announce(environment, policy, now_s, out);
        Ok(())
    }

    /// Publishes the channel, if the peer's signatures are there: also after a start.
    pub fn announce(
        &self,
        environment: &Environment,
        policy: &Policy,
        now_s: u64,
        out: &mut Outbox,
    ) {
        let signed = self.signed_announcement(environment);
        let update = channel_update(self, environment, policy, now_s, true);
        if let (Some(announcement), Some(update)) = (signed, update) {
            out.after(
                self.store(),
                Effect::AnnounceChannel {
                    announcement: Box::new(announcement),
                    update: Box::new(update),
                },
            );
        }
    }

    fn may_be_announced(&self, best_height: u32) -> bool {
        self.record.parameters.announce
            && self.is_ready()
            && !self.is_shutting_down()
            && self.record.confirmations(best_height) >= ANNOUNCEMENT_DEPTH
    }

    fn send_announcement_signatures(
        &mut self,
        environment: &Environment,
        best_height: u32,
        out: &mut Outbox,
    ) {
        let is_due = self.volatile.connection == Connection::Up
            && !self.volatile.announcement_sent
            && self.may_be_announced(best_height);
        if !is_due {
            return;
        }
        let Some(contents) = self.announcement(environment) else {
            return;
        };
        let Some((node_signature, bitcoin_signature)) =
            self.sign_announcement(environment, &contents)
        else {
            return;
        };
        self.volatile.announcement_sent = true;
        let message = msgs::AnnouncementSignatures {
            channel_id: self.id(),
            short_channel_id: contents.short_channel_id,
            node_signature,
            bitcoin_signature,
        };
        self.send(Message::AnnouncementSignatures(message), out);
    }

    /// What all four keys sign.
    fn announcement(&self, environment: &Environment) -> Option<msgs::UnsignedChannelAnnouncement> {
        let parameters = &self.record.parameters;
        let holder = (
            environment.node_id(),
            environment
                .channel_points(&parameters.keys_id)
                .funding_pubkey,
        );
        let counterparty = (
            parameters.counterparty_node_id,
            parameters.counterparty_keys.funding_pubkey,
        );
        let (first, second) = if self.holder_is_first(environment) {
            (holder, counterparty)
        } else {
            (counterparty, holder)
        };
        let id = |key: &PublicKey| NodeId::from_pubkey(key);
        Some(msgs::UnsignedChannelAnnouncement {
            features: ChannelFeatures::empty(),
            chain_hash: ChainHash::REGTEST,
            short_channel_id: self.short_channel_id()?,
            node_id_1: id(&first.0),
            node_id_2: id(&second.0),
            bitcoin_key_1: id(&first.1),
            bitcoin_key_2: id(&second.1),
            excess_data: Vec::new(),
        })
    }

    fn holder_is_first(&self, environment: &Environment) -> bool {
        let counterparty = self.record.parameters.counterparty_node_id;
        environment.node_id().serialize() < counterparty.serialize()
    }

    fn sign_announcement(
        &self,
        environment: &Environment,
        contents: &msgs::UnsignedChannelAnnouncement,
    ) -> Option<(secp256k1::ecdsa::Signature, secp256k1::ecdsa::Signature)> {
        let keys = environment.channel_keys(&self.record.parameters.keys_id);
        let by_node = environment
            .node_keys
            .sign_gossip_message(UnsignedGossipMessage::ChannelAnnouncement(contents))
            .ok()?;
        let by_funding = environment
            .secp
            .sign_ecdsa(&digest(contents), &keys.funding);
        Some((by_node, by_funding))
    }

    fn check_announcement(
        &self,
        environment: &Environment,
        contents: &msgs::UnsignedChannelAnnouncement,
        message: &msgs::AnnouncementSignatures,
    ) -> Result<(), ChannelError> {
        let parameters = &self.record.parameters;
        let digest = digest(contents);
        for (signature, key) in [
            (&message.node_signature, &parameters.counterparty_node_id),
            (
                &message.bitcoin_signature,
                &parameters.counterparty_keys.funding_pubkey,
            ),
        ] {
            environment
                .secp
                .verify_ecdsa(&digest, signature, key)
                .map_err(|_| {
                    ChannelError::Close("announcement_signatures with a wrong signature".into())
                })?;
        }
        Ok(())
    }

    fn signed_announcement(&self, environment: &Environment) -> Option<msgs::ChannelAnnouncement> {
        let (node_signature, bitcoin_signature) = self.record.funding.announcement?;
        let contents = self.announcement(environment)?;
        let (own_node_signature, own_bitcoin_signature) =
            self.sign_announcement(environment, &contents)?;
        let own = (own_node_signature, own_bitcoin_signature);
        let theirs = (node_signature, bitcoin_signature);
        let (first, second) = if self.holder_is_first(environment) {
            (own, theirs)
        } else {
            (theirs, own)
        };
        Some(msgs::ChannelAnnouncement {
            node_signature_1: first.0,
            node_signature_2: second.0,
            bitcoin_signature_1: first.1,
            bitcoin_signature_2: second.1,
            contents,
        })
    }
}

fn digest(contents: &msgs::UnsignedChannelAnnouncement) -> secp256k1::Message {
    secp256k1::Message::from_digest(sha256d::Hash::hash(&contents.encode()).to_byte_array())
}
