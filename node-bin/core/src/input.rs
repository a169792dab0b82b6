//! What the core is told. Inputs are handled one after the other, each with 32 random bytes and the time.
//!
//! Stands for the seed's `chain::Watch`, `Completed` and all that a `ChannelManager` is called with.

use bitcoin::secp256k1::PublicKey;
use bitcoin::{BlockHash, Transaction};
use lightning::ln::types::ChannelId;
use lightning::types::payment::{PaymentHash, PaymentPreimage, PaymentSecret};

use crate::effect::{Store, TellId};
use crate::message::Message;
use crate::payment::RouteWish;
use crate::source::{PathHop, PaymentId};

/// What comes with every input, so that the core needs neither a clock nor dice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Fresh random bytes.
    pub entropy: [u8; 32],
    /// Seconds since 1970.
    pub now_s: u64,
}

/// What the user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Opens a channel.
    Open {
        /// SHA-256 of the idempotency key: a channel known under it is not opened again.
        user_channel_id: [u8; 32],
        /// With whom.
        peer: PublicKey,
        /// Satoshis.
        capacity_sat: u64,
        /// Given to the peer from the start, in millisatoshis.
        push_msat: u64,
        /// Whether gossip shall tell of it.
        announce: bool,
    },
    /// Closes a channel by agreement.
    Close {
        /// Which.
        channel_id: ChannelId,
    },
    /// Closes a channel with the holder's commitment.
    ForceClose {
        /// Which.
        channel_id: ChannelId,
    },
    /// Pays.
    Pay(Box<PayCommand>),
    /// Claims a payment that is claimable.
    Claim {
        /// Its preimage.
        preimage: PaymentPreimage,
    },
    /// Fails a payment that is claimable.
    Fail {
        /// Its hash.
        payment_hash: PaymentHash,
    },
    /// What a commitment's fee rate should be from now on; channels that the node opened follow.
    FeeRate {
        /// Satoshis per 1000 weight units.
        sat_per_kw: u32,
    },
}

/// A payment that the user wants made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayCommand {
    /// SHA-256 of the idempotency key: a payment known under it is not made again.
    pub payment_id: PaymentId,
    /// Its hash.
    pub payment_hash: PaymentHash,
    /// What the payee gets, in millisatoshis.
    pub amount_msat: u64,
    /// From the invoice.
    pub payment_secret: Option<PaymentSecret>,
    /// For keysend.
    pub keysend_preimage: Option<PaymentPreimage>,
    /// From the invoice.
    pub payment_metadata: Option<Vec<u8>>,
    /// Final expiry delta, in blocks.
    pub final_cltv_expiry_delta: u32,
    /// One path a part; empty: `route` says how to find some.
    pub paths: Vec<Vec<PathHop>>,
    /// How to find a way. Used when `paths` is empty, and for retries.
    pub route: Option<RouteWish>,
    /// When the invoice expires, in seconds since 1970; `None`: never.
    pub expires_at_s: Option<u64>,
}

/// A transaction of a block, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedTransaction {
    /// Place in the block.
    pub index: u32,
    /// It.
    pub transaction: Transaction,
}

/// What happens to the node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
pub enum Input {
    /// A peer's `init` is exchanged.
    PeerUp {
        /// Who.
        peer: PublicKey,
    },
    /// A connection is gone.
    PeerDown {
        /// Whose.
        peer: PublicKey,
    },
    /// A peer sent a message.
    Message {
        /// Who.
        peer: PublicKey,
        /// What.
        message: Message,
    },
    /// A block is connected on top of the last one.
    BlockConnected {
        /// Its height.
        height: u32,
        /// Its hash.
        hash: BlockHash,
        /// No further block is at hand: what is to be published is published now.
        is_tip: bool,
        /// Its transactions; those that concern no channel may be left out.
        transactions: Vec<PlacedTransaction>,
    },
    /// The blocks above this height are disconnected.
    BlocksDisconnected {
        /// The height of the new tip.
        height: u32,
        /// Its hash.
        hash: BlockHash,
    },
    /// The user commands. Answered by `Effect::Answer` with the same id.
    Command {
        /// Chosen by the executor.
        id: u64,
        /// What.
        command: Command,
    },
    /// A write is durable.
    Persisted {
        /// Of which store.
        store: Store,
        /// Which.
        sequence: u64,
    },
    /// The user has handled what was told.
    Told {
        /// Which `Effect::Tell`.
        id: TellId,
    },
    /// Answers `Effect::Fund`.
    Funded {
        /// The temporary id of the channel to fund.
        temporary_channel_id: ChannelId,
        /// A signed transaction that pays to the script, or what was wrong.
        transaction: Result<Transaction, String>,
    },
    /// Answers `Effect::FindRoute`.
    RouteFound {
        /// For which payment.
        payment_id: PaymentId,
        /// One path a part; none if there is no way.
        paths: Vec<Vec<PathHop>>,
    },
    /// A tick of the node's timers.
    Tick,
}
