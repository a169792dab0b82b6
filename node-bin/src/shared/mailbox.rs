//! The node's mailbox: what peers send is queued here, and what the node sends leaves through here
//! one message at a time. Owns the queue, the counters, and the wire messages' names; handles nothing.
//!
//! lightning-net-tokio calls LDK's handlers while it reads a socket and would handle several
//! messages in a row. Queueing them lets the node finish one, with all that follows (but what rests on
//! held writes), before it begins the next, so that crash points come in the same order in every run.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitcoin::constants::ChainHash;
use bitcoin::secp256k1::PublicKey;
use lightning::ln::msgs::{self, BaseMessageHandler, ChannelMessageHandler, MessageSendEvent};
use lightning::ln::types::ChannelId;
use lightning::types::features::{InitFeatures, NodeFeatures};
use tokio::sync::Notify;

use crate::api::Counters;

/// Something that came from a peer.
pub enum Mail {
    /// `init` was exchanged.
    Up(PublicKey, Box<msgs::Init>, bool),
    /// The connection is gone.
    Down(PublicKey),
    /// A message.
    Message(PublicKey, Box<PeerMessage>),
}

#[derive(Default)]
struct Queue {
    mail: VecDeque<Mail>,
    outgoing: Vec<MessageSendEvent>,
    counters: BTreeMap<PublicKey, Counters>,
}

/// What the transport has to know of a node at once, while it reads a socket.
pub trait Introduction: Send + Sync {
    /// What the node says of itself in `node_announcement`.
    fn node_features(&self) -> NodeFeatures;
    /// What it says of itself in `init`.
    fn init_features(&self, to: PublicKey) -> InitFeatures;
    /// A message of whatever kind came in.
    fn message_received(&self) {}
}

/// The handler that the transport talks to.
pub struct Mailbox {
    introduction: Arc<dyn Introduction>,
    queue: Mutex<Queue>,
    arrived: Notify,
}

impl Mailbox {
    /// Of the node that introduces itself so.
    pub fn new(introduction: Arc<dyn Introduction>) -> Self {
        Mailbox {
            introduction,
            queue: Mutex::default(),
            arrived: Notify::new(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, mail: Mail) {
        self.queue().mail.push_back(mail);
        self.arrived.notify_one();
    }

    fn message(&self, from: PublicKey, message: PeerMessage) {
        self.put(Mail::Message(from, Box::new(message)));
    }

    /// Waits until there is mail.
    pub async fn arrival(&self) {
        self.arrived.notified().await;
    }

    /// The next of it.
    pub fn take(&self) -> Option<Mail> {
        self.queue().mail.pop_front()
    }

    /// Whether there is more.
    pub fn is_empty(&self) -> bool {
        self.queue().mail.is_empty()
    }

    /// Puts one message where the transport takes it at its next `process_events`.
    pub fn release(&self, event: MessageSendEvent) {
        self.queue().outgoing.push(event);
    }

    /// Counts a message that was handed to the transport.
    pub fn count_sent(&self, peer: &PublicKey) {
        if let Some(counters) = self.queue().counters.get_mut(peer) {
            counters.sent += 1;
        }
    }

    /// Counts a message that was handled.
    pub fn count_received(&self, peer: &PublicKey) {
        if let Some(counters) = self.queue().counters.get_mut(peer) {
            counters.received += 1;
        }
    }

    /// Starts or stops counting for a peer.
    pub fn set_connected(&self, peer: PublicKey, connected: bool) {
        let mut queue = self.queue();
        if connected {
            queue.counters.insert(peer, Counters::default());
        } else {
            queue.counters.remove(&peer);
        }
    }

    /// Whether the node itself has handled this peer's `init` and no disconnect since.
    pub fn is_connected(&self, peer: &PublicKey) -> bool {
        self.queue().counters.contains_key(peer)
    }

    /// The counters of all connected peers.
    pub fn counters(&self) -> BTreeMap<PublicKey, Counters> {
        self.queue().counters.clone()
    }
}

impl BaseMessageHandler for Mailbox {
    fn get_and_clear_pending_msg_events(&self) -> Vec<MessageSendEvent> {
        std::mem::take(&mut self.queue().outgoing)
    }

    fn peer_disconnected(&self, their_node_id: PublicKey) {
        self.put(Mail::Down(their_node_id));
    }

    fn provided_node_features(&self) -> NodeFeatures {
        self.introduction.node_features()
    }

    fn provided_init_features(&self, their_node_id: PublicKey) -> InitFeatures {
        self.introduction.init_features(their_node_id)
    }

    fn peer_connected(
        &self,
        their_node_id: PublicKey,
        msg: &msgs::Init,
        inbound: bool,
    ) -> Result<(), ()> {
        self.put(Mail::Up(their_node_id, Box::new(msg.clone()), inbound));
        Ok(())
    }
}

macro_rules! peer_messages {
    (
        by_reference { $($reference:ident($reference_type:ident) = $reference_handler:ident,)* }
        by_value { $($value:ident($value_type:ident) = $value_handler:ident,)* }
    ) => {
        /// A channel message of a peer.
        #[derive(Debug)]
        #[allow(missing_docs)] // one variant a BOLT message, by its name
        #[allow(clippy::large_enum_variant)] // it is boxed wherever it waits
        pub enum PeerMessage {
            $($reference(msgs::$reference_type),)*
            $($value(msgs::$value_type),)*
            CommitmentSignedBatch(ChannelId, Vec<msgs::CommitmentSigned>),
        }

        impl PeerMessage {
            /// Lets one of LDK's handlers have it.
            pub fn handle(self, handler: &impl ChannelMessageHandler, from: PublicKey) {
                match self {
                    $(PeerMessage::$reference(msg) => handler.$reference_handler(from, &msg),)*
                    $(PeerMessage::$value(msg) => handler.$value_handler(from, msg),)*
                    PeerMessage::CommitmentSignedBatch(channel_id, batch) => {
                        handler.handle_commitment_signed_batch(from, channel_id, batch);
                    }
                }
            }
        }

        impl ChannelMessageHandler for Mailbox {
            $(fn $reference_handler(&self, from: PublicKey, msg: &msgs::$reference_type) {
                self.message(from, PeerMessage::$reference(msg.clone()));
            })*
            $(fn $value_handler(&self, from: PublicKey, msg: msgs::$value_type) {
                self.message(from, PeerMessage::$value(msg));
            })*
            fn handle_commitment_signed_batch(
                &self,
                from: PublicKey,
                channel_id: ChannelId,
                batch: Vec<msgs::CommitmentSigned>,
            ) {
                self.message(from, PeerMessage::CommitmentSignedBatch(channel_id, batch));
            }
            fn get_chain_hashes(&self) -> Option<Vec<ChainHash>> {
                Some(vec![ChainHash::REGTEST])
            }
            fn message_received(&self) {
                self.introduction.message_received();
            }
        }
    };
}

peer_messages! {
    by_reference {
        OpenChannel(OpenChannel) = handle_open_channel,
        OpenChannelV2(OpenChannelV2) = handle_open_channel_v2,
        AcceptChannel(AcceptChannel) = handle_accept_channel,
        AcceptChannelV2(AcceptChannelV2) = handle_accept_channel_v2,
        FundingCreated(FundingCreated) = handle_funding_created,
        FundingSigned(FundingSigned) = handle_funding_signed,
        ChannelReady(ChannelReady) = handle_channel_ready,
        Shutdown(Shutdown) = handle_shutdown,
        ClosingSigned(ClosingSigned) = handle_closing_signed,
        Stfu(Stfu) = handle_stfu,
        SpliceInit(SpliceInit) = handle_splice_init,
        SpliceAck(SpliceAck) = handle_splice_ack,
        SpliceLocked(SpliceLocked) = handle_splice_locked,
        TxAddInput(TxAddInput) = handle_tx_add_input,
        TxAddOutput(TxAddOutput) = handle_tx_add_output,
        TxRemoveInput(TxRemoveInput) = handle_tx_remove_input,
        TxRemoveOutput(TxRemoveOutput) = handle_tx_remove_output,
        TxComplete(TxComplete) = handle_tx_complete,
        TxSignatures(TxSignatures) = handle_tx_signatures,
        TxInitRbf(TxInitRbf) = handle_tx_init_rbf,
        TxAckRbf(TxAckRbf) = handle_tx_ack_rbf,
        TxAbort(TxAbort) = handle_tx_abort,
        UpdateAddHtlc(UpdateAddHTLC) = handle_update_add_htlc,
        UpdateFailHtlc(UpdateFailHTLC) = handle_update_fail_htlc,
        UpdateFailMalformedHtlc(UpdateFailMalformedHTLC) = handle_update_fail_malformed_htlc,
        CommitmentSigned(CommitmentSigned) = handle_commitment_signed,
        RevokeAndAck(RevokeAndACK) = handle_revoke_and_ack,
        UpdateFee(UpdateFee) = handle_update_fee,
        AnnouncementSignatures(AnnouncementSignatures) = handle_announcement_signatures,
        ChannelReestablish(ChannelReestablish) = handle_channel_reestablish,
        ChannelUpdate(ChannelUpdate) = handle_channel_update,
        Error(ErrorMessage) = handle_error,
    }
    by_value {
        PeerStorage(PeerStorage) = handle_peer_storage,
        PeerStorageRetrieval(PeerStorageRetrieval) = handle_peer_storage_retrieval,
        UpdateFulfillHtlc(UpdateFulfillHTLC) = handle_update_fulfill_htlc,
    }
}
