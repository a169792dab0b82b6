//! The node: channels, forwards, payments. `step` takes one input and says what is to be done.
//!
//! The seed's `ChannelManager`: it forwards and pays, and holds no HTLC's state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitcoin::BlockHash;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::PublicKey;
use lightning::ln::msgs;
use lightning::ln::types::ChannelId;
use lightning::types::payment::PaymentHash;

use crate::channel::opening::PendingOpen;
use crate::channel::{Channel, ChannelError, Outbox};
use crate::effect::{Effect, Ordered, Store, TellId, UserEvent};
use crate::event::EventId;
use crate::input::{Command, Input, Surroundings};
use crate::keys::Environment;
use crate::message::Message;
use crate::payment::PaymentRecord;
use crate::record::ChannelRecord;
use crate::source::PaymentId;
use crate::update::LogEntry;

mod acknowledging;
mod blocks;
#[cfg(test)]
mod catching_up_tests;
mod commands;
mod forwarding;
#[cfg(test)]
mod hostile_tests;
mod lifecycle;
mod messages;
mod onchain;
#[cfg(test)]
mod payment_tests;
mod receiving;
mod recovering;
#[cfg(test)]
mod recovering_tests;
mod resolving;
mod second_stages;
mod sending;

use receiving::{Claim, ClaimId, ClaimState, Claimable};
use sending::Sending;

/// This node's policy. The same in every life unless the user changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What a commitment's fee rate should be, in satoshis per 1000 weight units.
    pub feerate_per_kw: u32,
    /// For forwarding, in millisatoshis.
    pub fee_base_msat: u32,
    /// For forwarding, in millionths of what is forwarded.
    pub fee_proportional_millionths: u32,
    /// Between an inbound expiry and the outbound one, in blocks.
    pub cltv_expiry_delta: u16,
    /// Confirmations that a channel needs.
    pub minimum_depth: u32,
    /// Unacknowledged events of a channel, there or to come from its HTLCs, from which on nothing more is
    /// forwarded or sent over it.
    pub maximum_unacknowledged_events: usize,
}

/// The tip that the node has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BestBlock {
    /// Height.
    pub height: u32,
    /// Hash.
    pub hash: BlockHash,
}

/// A channel as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChannel {
    /// The last whole write.
    pub snapshot: ChannelRecord,
    /// The entries after it. Entries up to the snapshot's sequence are passed over: they are what a
    /// crash left of a trim.
    pub entries: Vec<LogEntry>,
}

/// Everything that was durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Channels.
    pub channels: Vec<StoredChannel>,
    /// Own payments. May all be missing: HTLCs are resolved all the same.
    pub payments: Vec<PaymentRecord>,
}

/// A store that the node cannot start from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A log that does not fit its snapshot.
    #[error("channel {channel_id}: {error}")]
    Log {
        /// Which channel.
        channel_id: ChannelId,
        /// What.
        error: crate::channel::ApplyError,
    },
}

/// The node.
#[derive(Clone)]
pub struct Node {
    /// What never changes.
    pub environment: Arc<Environment>,
    /// Its policy.
    pub policy: Policy,
    /// Its channels, closed ones too until they are archived.
    pub channels: BTreeMap<ChannelId, Channel>,
    /// Its own payments.
    pub payments: BTreeMap<PaymentId, PaymentRecord>,
    /// The tip.
    pub best_block: BestBlock,
    pub(crate) peers: BTreeSet<PublicKey>,
    pub(crate) opens: BTreeMap<(PublicKey, ChannelId), PendingOpen>,
    /// Payments to this node that can be claimed, or could if the rest came.
    pub(crate) claimables: BTreeMap<PaymentHash, Claimable>,
    /// Claims of which the user has not handled the event yet.
    pub(crate) claims: BTreeMap<ClaimId, Claim>,
    /// What is known of own payments besides their records.
    pub(crate) sending: BTreeMap<PaymentId, Sending>,
    /// What the user was told and has not handled.
    pub(crate) tells: BTreeMap<TellId, TellPurpose>,
    next_tell: u64,
    /// Forwarded claims: whether the user has handled `PaymentForwarded`.
    pub(crate) forwarded: BTreeMap<EventId, bool>,
    /// Commands that are answered when the channel's opening begins or fails, by temporary id.
    pub(crate) surroundings: Surroundings,
    /// How many times entropy was drawn in this step.
    drawn: u32,
    /// Deferred events are told in the first pass only.
    pub(crate) starting: bool,
    /// The last block was the chain's tip: what is decided by how much time is left can be.
    at_tip: bool,
    /// Commands that wait for the tip, by their ids.
    waiting: Vec<(u64, Command)>,
}

/// What follows when the user has handled something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TellPurpose {
    /// Nothing.
    News,
    /// This claim is done.
    Claimed(ClaimId),
    /// This forward's event may go.
    Forwarded(EventId),
    /// This payment's outcome is known to the user.
    Outcome {
        /// Which.
        payment_id: PaymentId,
        /// It was told as sent; else as failed.
        sent: bool,
    },
    /// This channel's end is known to the user.
    Closed(ChannelId),
}

impl Node {
    /// A node from what is stored (nothing at the first start), that has seen the chain up to
    /// `best_block`. Returns it with what its start wants done and how far its stores are durable:
    /// what [`crate::engine::Engine::new`] takes.
    ///
    /// # Errors
    ///
    /// [`LoadError`]: which channel's log does not fit its snapshot.
    #[allow(clippy::type_complexity)]
    pub fn load(
        environment: Arc<Environment>,
        policy: Policy,
        stored: Stored,
        best_block: BestBlock,
        surroundings: Surroundings,
    ) -> Result<(Node, Vec<Ordered>, Vec<(Store, u64)>), LoadError> {
        let mut node = Node {
            environment,
            policy,
            channels: BTreeMap::new(),
            payments: BTreeMap::new(),
            best_block,
            peers: BTreeSet::new(),
            opens: BTreeMap::new(),
            claimables: BTreeMap::new(),
            claims: BTreeMap::new(),
            sending: BTreeMap::new(),
            tells: BTreeMap::new(),
            next_tell: 0,
            forwarded: BTreeMap::new(),
            surroundings,
            drawn: 0,
            starting: true,
            at_tip: true,
            waiting: Vec::new(),
        };
        let mut durable = Vec::new();
        for stored in stored.channels {
            let channel = recovering::replay_log(stored)?;
            durable.push((channel.store(), channel.record.sequence));
            node.channels.insert(channel.id(), channel);
        }
        for record in stored.payments {
            let store = Store::Payment(record.payment_id);
            durable.push((store, record.sequence));
            node.sending
                .insert(record.payment_id, Sending::durable_at(record.sequence));
            node.payments.insert(record.payment_id, record);
        }
        let mut out = Outbox::default();
        node.publish_again(&mut out);
        node.rebuild_payments();
        node.know_claims_downstream(&mut out);
        node.tell_again(&mut out);
        node.settle(&mut out);
        node.starting = false;
        Ok((node, out.take(), durable))
    }

    /// Handles one input. All that follows is in the effects, in order.
    pub fn step(&mut self, input: Input, surroundings: Surroundings) -> Vec<Ordered> {
        self.surroundings = surroundings;
        self.drawn = 0;
        let mut out = Outbox::default();
        match input {
            Input::PeerUp { peer } => self.peer_up(peer, &mut out),
            Input::PeerDown { peer } => self.peer_down(peer, &mut out),
            Input::Message { peer, message } => self.receive(peer, message, &mut out),
            Input::BlockConnected {
                height,
                hash,
                is_tip,
                transactions,
            } => {
                let block = BestBlock { height, hash };
                self.block_connected(block, is_tip, &transactions, &mut out);
            }
            Input::BlocksDisconnected { height, hash } => {
                self.blocks_disconnected(BestBlock { height, hash }, &mut out);
            }
            Input::Command { id, command } => self.command(id, command, &mut out),
            Input::Persisted { store, sequence } => self.persisted(store, sequence, &mut out),
            Input::Told { id } => self.told(id, &mut out),
            Input::Funded {
                temporary_channel_id,
                transaction,
            } => self.funded(temporary_channel_id, transaction, &mut out),
            Input::RouteFound { payment_id, paths } => {
                self.route_found(payment_id, paths, &mut out);
            }
            Input::Tick => self.tick(&mut out),
        }
        self.settle(&mut out);
        out.take()
    }

    /// Lets everything follow: events are told, resolutions signed, acknowledgements written, until
    /// nothing is left that needs no input.
    fn settle(&mut self, out: &mut Outbox) {
        while self.surface(out) | self.flush(out) {}
        self.continue_closing(out);
        // In a catch-up how long a claim has waited is not known yet, nor whether it is still there to take.
        if self.at_tip {
            self.publish_claims(out);
        }
        self.finish_claims(out);
        self.acknowledge(out);
        self.archive(out);
    }

    /// Random bytes, different at each call within a step.
    pub(crate) fn draw_entropy(&mut self) -> [u8; 32] {
        self.drawn += 1;
        let mut bytes = self.surroundings.entropy.to_vec();
        bytes.extend_from_slice(&self.drawn.to_be_bytes());
        sha256::Hash::hash(&bytes).to_byte_array()
    }

    /// Tells the user something, after the store's writes so far if it rests on them.
    pub(crate) fn tell(
        &mut self,
        event: UserEvent,
        purpose: TellPurpose,
        after: Option<Store>,
        out: &mut Outbox,
    ) {
        self.next_tell += 1;
        let id = TellId(self.next_tell);
        self.tells.insert(id, purpose);
        let effect = Effect::Tell { id, event };
        match after {
            Some(store) => out.after(store, effect),
            None => out.now(effect),
        }
    }

    fn told(&mut self, id: TellId, out: &mut Outbox) {
        match self.tells.remove(&id) {
            None | Some(TellPurpose::News) => {}
            Some(TellPurpose::Claimed(id)) => {
                if let Some(claim) = self.claims.get_mut(&id) {
                    claim.state = ClaimState::Handled;
                }
            }
            Some(TellPurpose::Forwarded(event)) => {
                self.forwarded.insert(event, true);
            }
            Some(TellPurpose::Outcome { payment_id, sent }) => {
                self.outcome_handled(payment_id, sent, out);
            }
            Some(TellPurpose::Closed(channel_id)) => {
                if let Some(channel) = self.channels.get_mut(&channel_id) {
                    channel.volatile.closure_told = true;
                }
            }
        }
    }

    fn persisted(&mut self, store: Store, sequence: u64, out: &mut Outbox) {
        match store {
            Store::Monitor(channel_id) => {
                let Some(channel) = self.channels.get_mut(&channel_id) else {
                    return;
                };
                let durable = &mut channel.volatile.durable;
                *durable = (*durable).max(sequence);
                if channel.is_durable() {
                    for channel in self.channels.values_mut() {
                        channel.volatile.claims_rest_on.remove(&channel_id);
                    }
                }
            }
            Store::Payment(payment_id) => {
                let sending = self.sending.entry(payment_id).or_default();
                sending.durable = sending.durable.max(sequence);
                self.drive_payment(payment_id, out);
            }
        }
    }

    /// Whatever follows from a channel's own error: the channel ends, or the peer is told, or nothing.
    pub(crate) fn handle_channel_error(
        &mut self,
        channel_id: ChannelId,
        error: ChannelError,
        out: &mut Outbox,
    ) {
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return;
        };
        match error {
            ChannelError::Close(reason) => {
                channel.force_close(&self.environment, &reason, true, out);
                let data = reason;
                let message = Message::Error(msgs::ErrorMessage { channel_id, data });
                out.send_now(channel.peer(), message);
            }
            ChannelError::Warn(data) => {
                let message = Message::Warning(msgs::WarningMessage { channel_id, data });
                out.send_now(channel.peer(), message);
                out.now(Effect::Disconnect {
                    peer: channel.peer(),
                });
            }
            ChannelError::Ignore(_) => {}
        }
    }
}
