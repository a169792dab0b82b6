//! What the core wants done, in order. The executor does nothing else and decides nothing.
//!
//! The seed's `Persist`, `chain::Watch` and broadcaster, as data.

use bitcoin::secp256k1::PublicKey;
use bitcoin::{ScriptBuf, Transaction};
use lightning::ln::msgs;
use lightning::ln::types::ChannelId;
use lightning::types::payment::{PaymentHash, PaymentPreimage};

use crate::message::Message;
use crate::onchain::bumping::SecondStage;
use crate::payment::{PaymentRecord, RouteWish};
use crate::record::ChannelRecord;
use crate::source::PaymentId;
use crate::update::LogEntry;

/// One store: writes to it are atomic and in order. Nothing is promised across two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Store {
    /// A channel's monitor: a snapshot and the entries after it.
    Monitor(ChannelId),
    /// A payment's record.
    Payment(PaymentId),
}

/// What to write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // boxed where it waits
pub enum Content {
    /// The whole record of a channel; what was written before it is not needed any more.
    Snapshot(Box<ChannelRecord>),
    /// An entry of a channel's log.
    Entry(LogEntry),
    /// The whole record of a payment.
    Payment(Box<PaymentRecord>),
}

/// One write to one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Which store.
    pub store: Store,
    /// Its place among the writes to that store; ascending.
    pub sequence: u64,
    /// What.
    pub content: Content,
}

/// Names an `Effect::Tell` within one life of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TellId(pub u64);

/// What the user is told, at least once. Each event's fields are its stable identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserEvent {
    /// A channel's funding is published, or will be by the peer.
    ChannelPending {
        /// Which.
        channel_id: ChannelId,
        /// With whom.
        peer: PublicKey,
        /// The output that holds it.
        funding: bitcoin::OutPoint,
    },
    /// A channel can be used.
    ChannelReady {
        /// Which.
        channel_id: ChannelId,
        /// With whom.
        peer: PublicKey,
    },
    /// A channel has ended; what it leaves on chain may still be on its way.
    ChannelClosed {
        /// Which.
        channel_id: ChannelId,
        /// Why.
        reason: String,
    },
    /// All parts of a payment to this node are there: to be claimed or failed.
    PaymentClaimable {
        /// Its hash.
        payment_hash: PaymentHash,
        /// All parts together, in millisatoshis.
        amount_msat: u64,
        /// Known for keysend.
        keysend_preimage: Option<PaymentPreimage>,
    },
    /// A payment to this node is claimed: every part's preimage is durable.
    PaymentClaimed {
        /// Its hash.
        payment_hash: PaymentHash,
        /// All parts together, in millisatoshis.
        amount_msat: u64,
    },
    /// A payment of this node's is made. Final.
    PaymentSent {
        /// Which.
        payment_id: PaymentId,
        /// Its hash.
        payment_hash: PaymentHash,
        /// The proof.
        preimage: PaymentPreimage,
        /// Beside the amount, in millisatoshis; `None`: its record was lost, and nobody knows.
        fee_paid_msat: Option<u64>,
    },
    /// A payment of this node's is given up. Final unless a part is claimed after all.
    PaymentFailed {
        /// Which.
        payment_id: PaymentId,
        /// Its hash.
        payment_hash: PaymentHash,
        /// Why.
        reason: String,
    },
    /// A part of an own payment ended.
    PaymentPart {
        /// Of which payment.
        payment_id: PaymentId,
        /// Its hash.
        payment_hash: PaymentHash,
        /// Or else failed.
        claimed: bool,
        /// Its way, as short channel ids.
        path: Vec<u64>,
    },
    /// A forwarded HTLC was claimed, and its preimage is durable upstream; or it comes too late there.
    PaymentForwarded {
        /// Whence it came.
        inbound: ChannelId,
        /// Where it went.
        outbound: ChannelId,
        /// This node's gain, in millisatoshis. `None`: it had been given up upstream, and what was paid for it
        /// downstream may be lost.
        fee_msat: Option<u64>,
        /// Whether the claim was seen on chain.
        from_onchain: bool,
    },
    /// An inbound HTLC was failed.
    HtlcHandlingFailed {
        /// Whence it came.
        inbound: ChannelId,
        /// Why.
        reason: String,
    },
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such channel, payment or peer.
    #[error("not found: {0}")]
    NotFound(String),
    /// The node will not do that now.
    #[error("refused: {0}")]
    Refused(String),
}

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was begun.
    Begun,
    /// It had been done before, under the same idempotency key.
    Already,
}

/// What the executor has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
pub enum Effect {
    /// Makes something durable; answered by `Input::Persisted`.
    Persist(Write),
    /// Removes log entries that a durable snapshot has made needless.
    Trim {
        /// Of which channel.
        channel_id: ChannelId,
        /// First sequence to remove.
        from: u64,
        /// Last sequence to remove.
        to: u64,
    },
    /// Moves a channel's snapshot, which nobody needs any more, to the archive.
    Archive {
        /// Which.
        channel_id: ChannelId,
    },
    /// Removes the record of an own payment that is over.
    ForgetPayment {
        /// Which.
        payment_id: PaymentId,
    },
    /// Sends a message.
    Send {
        /// To whom.
        peer: PublicKey,
        /// The channel that it is about, if it has an id.
        channel_id: Option<ChannelId>,
        /// What.
        message: Message,
    },
    /// Publishes transactions, several of them as one package.
    Broadcast {
        /// The channel they are about.
        channel_id: ChannelId,
        /// They.
        transactions: Vec<Transaction>,
    },
    /// Publishes the holder's commitment of a channel, with a child that makes up for its fee. Said again
    /// until it is in a block.
    BumpCommitment {
        /// Which channel.
        channel_id: ChannelId,
        /// What both together should pay, in satoshis per 1000 weight units.
        feerate_per_kw: u32,
    },
    /// Publishes second-stage transactions of the holder's commitment, which is in a block, with fees from
    /// the wallet. Said again until they are in blocks.
    BumpHtlcs {
        /// Which channel.
        channel_id: ChannelId,
        /// What they should pay, in satoshis per 1000 weight units.
        feerate_per_kw: u32,
        /// Which HTLCs.
        htlcs: Vec<SecondStage>,
    },
    /// Tells the user; answered by `Input::Told` when the user has handled it.
    Tell {
        /// For the answer.
        id: TellId,
        /// What.
        event: UserEvent,
    },
    /// Answers a command.
    Answer {
        /// The command's.
        id: u64,
        /// What it came to.
        result: Result<Done, CommandError>,
    },
    /// Needs a signed transaction that pays; answered by `Input::Funded`. Not to be published.
    Fund {
        /// For the answer.
        temporary_channel_id: ChannelId,
        /// The funding script.
        script: ScriptBuf,
        /// Satoshis.
        amount_sat: u64,
    },
    /// Forget the coins taken for a channel that came to nothing.
    Unfund {
        /// The transaction that will never be published.
        transaction: Transaction,
    },
    /// Needs ways; answered by `Input::RouteFound`.
    FindRoute {
        /// For the answer.
        payment_id: PaymentId,
        /// What has to arrive, in millisatoshis.
        amount_msat: u64,
        /// Final expiry delta, in blocks.
        final_cltv_expiry_delta: u32,
        /// Whereto.
        wish: RouteWish,
    },
    /// Publishes a channel to everybody.
    AnnounceChannel {
        /// Signed by all four keys.
        announcement: Box<msgs::ChannelAnnouncement>,
        /// The holder's side of it.
        update: Box<msgs::ChannelUpdate>,
    },
    /// Publishes a newer policy of an announced channel to everybody.
    AnnouncePolicy {
        /// The holder's side of it.
        update: Box<msgs::ChannelUpdate>,
    },
    /// Ends a connection.
    Disconnect {
        /// Whose.
        peer: PublicKey,
    },
    /// Whatever was to be sent on this channel and still waits is not to be sent: the channel is closed.
    DropSends {
        /// Which.
        channel_id: ChannelId,
    },
}

/// An effect, and what has to be durable before it is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// What.
    pub effect: Effect,
    /// The stores whose writes before this effect it waits for. Effects that wait for the same stores are
    /// carried out first in, first out; messages with the same first store whatever else they wait for.
    pub waits_for: Vec<Store>,
}
