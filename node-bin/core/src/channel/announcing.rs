//! Announcing (BOLT 7): announcement signatures, the announcement, this node's channel updates.

use bitcoin::constants::ChainHash;
use bitcoin::hashes::{Hash, sha256d};
use bitcoin::secp256k1::{self, PublicKey};
use lightning::ln::msgs::{self, UnsignedGossipMessage};
use lightning::routing::gossip::NodeId;
use lightning::sign::NodeSigner;
use lightning::types::features::ChannelFeatures;
use lightning::util::ser::Writeable;

use crate::channel::{Channel, ChannelError, Outbox};
use crate::effect::Effect;
use crate::keys::Environment;
use crate::message::Message;
use crate::node::Policy;
use crate::update::UpdateStep;

/// A policy this old is published again: others forget a channel of which they heard nothing for two weeks
/// (BOLT 7, pruning the network view).
const REFRESH_AFTER_S: u64 = 24 * 60 * 60;
/// Ticks without the peer after which everybody is told that the channel takes no HTLCs: a connection that
/// comes back soon is nobody's news.
const TICKS_TO_DISABLE: u32 = 10;
/// Ticks with the peer back after which everybody is told that it takes them again.
const TICKS_TO_ENABLE: u32 = 3;

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
        channel_flags: (DIRECTION * u8::from(is_second)) | (DISABLED * u8::from(!enabled)),
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

/// What has been said about a channel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// `announcement_signatures` went to the peer on this connection.
    signatures_sent: bool,
    /// The peer's came on this connection: it may lack this node's.
    signatures_asked: bool,
    /// This node's policy went to the peer on this connection.
    policy_sent: bool,
    /// The short channel id under which the channel was published in this life.
    published: Option<u64>,
    /// What everybody was told last.
    told: Option<Told>,
    /// Ticks for which the channel has been other than was told.
    untrue_ticks: u32,
}

/// A policy that was published.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Its timestamp, in seconds since 1970.
    timestamp_s: u64,
    /// Whether it says that the channel takes HTLCs.
    enabled: bool,
}

impl Progress {
    /// What is still true when the connection is gone.
    pub(crate) fn without_connection(self) -> Progress {
        Progress {
            published: self.published,
            told: self.told,
            untrue_ticks: self.untrue_ticks,
            ..Progress::default()
        }
    }
}

impl Channel {
    /// Says whatever is due about the channel: to the peer its policy and, six confirmations deep,
    /// the announcement's signatures; to everybody the announcement. To be called with each block, when
    /// the channel becomes usable, and when the peer's signatures came; does nothing at other times.
    pub(crate) fn continue_announcing(
        &mut self,
        environment: &Environment,
        policy: &Policy,
        best_height: u32,
        now_s: u64,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        self.send_policy(environment, policy, now_s, out);
        if self.may_be_announced(best_height) {
            self.send_announcement_signatures(environment, out);
            self.publish(environment, policy, now_s, out);
        }
        Ok(())
    }

    /// The peer's `announcement_signatures`: checked and kept. [`Self::continue_announcing`] answers
    /// them, and may have to wait for a block that the peer has seen already.
    pub(crate) fn receive_announcement_signatures(
        &mut self,
        environment: &Environment,
        message: &msgs::AnnouncementSignatures,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        let ignored = |why: &str| ChannelError::Ignore(format!("announcement_signatures {why}"));
        if !self.is_usable() || !self.record.parameters.announce {
            return Err(ignored("for a channel that is not to be announced now"));
        }
        let contents = self
            .announcement(environment)
            .ok_or_else(|| ignored("before the funding is in a block"))?;
        if message.short_channel_id != contents.short_channel_id {
            return Err(ignored("for another short channel id"));
        }
        self.check_announcement(environment, &contents, message)?;
        self.volatile.announcing.signatures_asked = true;
        let signatures = (message.node_signature, message.bitcoin_signature);
        if self.record.funding.announcement == Some(signatures) {
            return Ok(());
        }
        let step = UpdateStep::Announced {
            node_signature: message.node_signature,
            bitcoin_signature: message.bitcoin_signature,
        };
        self.commit(vec![step], out)
    }

    /// Tells the peer this node's policy, which it needs before, or without, an announcement: it puts
    /// it into its invoices.
    fn send_policy(
        &mut self,
        environment: &Environment,
        policy: &Policy,
        now_s: u64,
        out: &mut Outbox,
    ) {
        if !self.is_usable() || self.volatile.announcing.policy_sent {
            return;
        }
        if let Some(update) = channel_update(self, environment, policy, now_s, true) {
            self.volatile.announcing.policy_sent = true;
            self.send(Message::ChannelUpdate(update), out);
        }
    }

    /// Publishes the channel once in each life, if the peer's signatures are there.
    fn publish(
        &mut self,
        environment: &Environment,
        policy: &Policy,
        now_s: u64,
        out: &mut Outbox,
    ) {
        let short_channel_id = self.short_channel_id();
        if self.volatile.announcing.published == short_channel_id {
            return;
        }
        let signed = self.signed_announcement(environment);
        let update = channel_update(self, environment, policy, now_s, true);
        if let (Some(announcement), Some(update)) = (signed, update) {
            self.volatile.announcing.published = short_channel_id;
            self.volatile.announcing.told = Some(Told {
                timestamp_s: now_s,
                enabled: true,
            });
            out.after(
                self.store(),
                Effect::AnnounceChannel {
                    announcement: Box::new(announcement),
                    update: Box::new(update),
                },
            );
        }
    }

    /// A tick has passed: everybody hears when a channel that was published takes no HTLCs any more, or does
    /// again, and once a day that it is still there (BOLT 7, `channel_update`).
    pub(crate) fn tick_announcing(
        &mut self,
        environment: &Environment,
        policy: &Policy,
        now_s: u64,
        out: &mut Outbox,
    ) {
        let Some(told) = self.volatile.announcing.told else {
            return;
        };
        let enabled = self.is_usable() && !self.is_shutting_down();
        let untrue_ticks = match enabled == told.enabled {
            true => 0,
            false => self.volatile.announcing.untrue_ticks + 1,
        };
        self.volatile.announcing.untrue_ticks = untrue_ticks;
        let patience = match (enabled, self.is_ready() && !self.is_shutting_down()) {
            (true, _) => TICKS_TO_ENABLE,
            (false, true) => TICKS_TO_DISABLE,
            // It does not come back.
            (false, false) => 1,
        };
        let is_old = now_s >= told.timestamp_s.saturating_add(REFRESH_AFTER_S);
        let says_enabled = match untrue_ticks >= patience {
            true => enabled,
            false if is_old => told.enabled,
            false => return,
        };
        // Of two with the same timestamp others keep the first.
        let timestamp_s = now_s.max(told.timestamp_s + 1);
        let update = channel_update(self, environment, policy, timestamp_s, says_enabled);
        if let Some(update) = update {
            self.volatile.announcing.untrue_ticks = 0;
            self.volatile.announcing.told = Some(Told {
                timestamp_s,
                enabled: says_enabled,
            });
            out.now(Effect::AnnouncePolicy {
                update: Box::new(update),
            });
        }
    }

    fn may_be_announced(&self, best_height: u32) -> bool {
        self.record.parameters.announce
            && self.is_ready()
            && !self.is_shutting_down()
            && self.record.confirmations(best_height) >= ANNOUNCEMENT_DEPTH
    }

    /// Once a connection: until the peer's have come, and again when they come again (BOLT 7).
    fn send_announcement_signatures(&mut self, environment: &Environment, out: &mut Outbox) {
        let progress = self.volatile.announcing;
        let is_wanted = self.record.funding.announcement.is_none() || progress.signatures_asked;
        if !self.is_usable() || progress.signatures_sent || !is_wanted {
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
        self.volatile.announcing.signatures_sent = true;
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
