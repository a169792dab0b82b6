//! What is written about a channel: updates in order, acknowledgements among them, and now and then the
//! whole. A channel's record is what its updates make of it and nothing else.
//!
//! The seed's `ChannelMonitorUpdateStep`s and acknowledgements; `corrections.md`, 1, 2, 5.

use bitcoin::secp256k1::PublicKey;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::{ScriptBuf, Transaction};
use lightning::types::payment::PaymentPreimage;

use crate::event::{EventKey, MppClaim};
use crate::record::Rejection;
use crate::source::HtlcSource;
use crate::spec::Change;

/// One step of an update: the smallest thing that can happen to a channel's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateStep {
    /// The counterparty signed the holder's next commitment.
    LatestHolderCommitment {
        /// BOLT 3's number of that commitment, from 0.
        number: u64,
        /// Of the commitment transaction.
        signature: Signature,
        /// Of its HTLC transactions, in output order.
        htlc_signatures: Vec<Signature>,
        /// The counterparty's changes that this commitment is the first to hold.
        changes: Vec<Change>,
    },
    /// The holder signs the counterparty's next commitment.
    LatestCounterpartyCommitment {
        /// BOLT 3's number of that commitment, from 0.
        number: u64,
        /// The holder's changes that this commitment is the first to hold.
        changes: Vec<Change>,
        /// Where every add among them came from, by id.
        sources: Vec<(u64, HtlcSource)>,
    },
    /// The counterparty revoked a commitment. Its secret and what it makes irrevocable travel in one
    /// update, so that nothing is forwarded that could be taken back unpunished.
    CommitmentSecret {
        /// BOLT 3's number of the revoked commitment, from 0.
        number: u64,
        /// The secret.
        secret: [u8; 32],
        /// Its commitment point for the commitment after its next.
        next_point: PublicKey,
    },
    /// An inbound HTLC is irrevocably committed: raises `HTLCAccepted`.
    HtlcIrrevocablyCommitted {
        /// Which.
        htlc_id: u64,
    },
    /// The counterparty fulfilled an outbound HTLC: raises `ForwardedHTLCClaimed` with its source.
    FulfillHtlc {
        /// Which.
        htlc_id: u64,
        /// Its preimage, which has been checked.
        preimage: PaymentPreimage,
    },
    /// An inbound HTLC's preimage is known and may be released once this is durable.
    PaymentPreimage {
        /// Which.
        htlc_id: u64,
        /// Its preimage.
        preimage: PaymentPreimage,
        /// For a payment to this node: the whole claim, kept as a deferred event.
        claim: Option<MppClaim>,
    },
    /// An inbound HTLC is to be refused.
    RejectHtlc {
        /// Which.
        htlc_id: u64,
        /// How.
        rejection: Rejection,
    },
    /// The funding transaction is in a block.
    FundingConfirmed {
        /// Height of the block.
        height: u32,
        /// Place in the block.
        transaction_index: u32,
    },
    /// A reorganisation took the funding transaction out again.
    FundingUnconfirmed,
    /// The holder sent `channel_ready`.
    HolderReady,
    /// The counterparty's `channel_ready` came.
    CounterpartyReady {
        /// Its commitment point for commitment 1.
        next_point: PublicKey,
    },
    /// The counterparty's `announcement_signatures` came and are right.
    Announced {
        /// By its node's key.
        node_signature: Signature,
        /// By its funding key.
        bitcoin_signature: Signature,
    },
    /// The holder sent `shutdown`.
    HolderShutdown {
        /// Where the holder's balance goes.
        script: ScriptBuf,
    },
    /// The counterparty's `shutdown` came.
    CounterpartyShutdown {
        /// Where its balance goes.
        script: ScriptBuf,
    },
    /// The closing transaction is agreed on and signed by both.
    CooperativelyClosed {
        /// It.
        transaction: Transaction,
    },
    /// A transaction in a block spends the funding output.
    FundingSpent {
        /// It.
        transaction: Transaction,
        /// The block's height.
        height: u32,
    },
    /// A transaction in a block spends an output of a commitment, or of a second-stage transaction.
    OutputsSpent {
        /// It.
        transaction: Transaction,
        /// The block's height.
        height: u32,
    },
    /// Blocks above this height are gone, and with them what they said.
    BlocksDisconnected {
        /// The new tip's.
        height: u32,
    },
    /// An outbound HTLC's preimage was seen on chain: final at once. Raises `ForwardedHTLCClaimed`.
    OutboundClaimed {
        /// Which.
        htlc_id: u64,
        /// Its preimage, which has been checked.
        preimage: PaymentPreimage,
    },
    /// An outbound HTLC is lost to its receiver for good on chain, or has to be failed upstream before
    /// that is sure. Raises `ForwardedHTLCFailed`.
    OutboundFailed {
        /// Which.
        htlc_id: u64,
        /// BOLT 4's code, for upstream.
        failure_code: u16,
        /// The chain has decided; else a claim may still come, and then wins.
        is_final: bool,
    },
    /// An outbound HTLC that was claimed on chain is beyond any reorganisation.
    OutboundGone {
        /// Which.
        htlc_id: u64,
    },
    /// The channel is to be closed with the holder's commitment, or is closed by the counterparty's.
    ChannelForceClosed {
        /// Why, for the user.
        reason: String,
        /// Whether the holder's commitment may be published: not if the peer proved it stale.
        broadcast: bool,
    },
}

/// The steps that become durable together: LDK's `ChannelMonitorUpdate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// In order.
    pub steps: Vec<UpdateStep>,
}

/// What one entry of a channel's log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryContent {
    /// A change.
    Update(Update),
    /// Events whose effects are durable: they are gone from now on. No update, so that nothing
    /// waits for it, and losing it is harmless.
    Acks(Vec<EventKey>),
}

/// One entry of a channel's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place: the snapshot's `sequence` and one more for each entry.
    pub sequence: u64,
    /// What it says.
    pub content: EntryContent,
}
