//! What a node reports by itself, in order, on its pipe. These lines become the trace.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One line on the report pipe (besides those of `faults::GateReport`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Report {
    /// A protocol message is handed to the transport: the line comes just before.
    Sent {
        /// To whom, by name.
        peer: String,
        /// The channel's label, if the message belongs to one that has a label.
        channel: Option<String>,
        /// What.
        message: WireMessage,
    },
    /// A protocol message was taken from the peer and is about to be handled.
    Received {
        /// From whom, by name.
        peer: String,
        /// As in `sent`.
        channel: Option<String>,
        /// What.
        message: WireMessage,
    },
    /// `init` was exchanged. Message counters of this peer start from zero.
    PeerUp {
        /// Name.
        peer: String,
    },
    /// The connection is gone.
    PeerDown {
        /// Name.
        peer: String,
    },
    /// All inputs so far are handled, and all that follows from them is done and sent, but for what rests on
    /// writes that wait.
    Idle {
        /// Id of the last request handled in this life, 0 before the first. Reported before the
        /// request is answered, so that an answer is never ahead of what it caused.
        handled: u64,
        /// Per connected peer: messages sent and received since `peer_up`. When both sides' agree
        /// for all connections, nothing is under way anywhere.
        counters: BTreeMap<String, Counters>,
        /// Writes that wait for a `write`.
        #[serde(default, skip_serializing_if = "is_zero")]
        waiting_writes: u64,
    },
    /// The node's user was told something.
    Event {
        /// What.
        event: UserEvent,
    },
    /// A record was written to the store and is durable.
    Stored {
        /// Namespaces and key, with slashes.
        key: String,
        /// Its length.
        bytes: u64,
    },
    /// Transactions went to bitcoind.
    Broadcast {
        /// They, in order; several are one package.
        transactions: Vec<BroadcastTransaction>,
        /// bitcoind's refusal, if it refused (already known is no refusal).
        error: Option<String>,
    },
    /// A `sync` is done, with all that follows from its blocks.
    Block {
        /// The height reached.
        height: u32,
    },
    /// A line of the implementation's log at warning or above.
    Log {
        /// Level.
        level: LogLevel,
        /// Module.
        module: String,
        /// Text.
        message: String,
    },
}

/// Messages on one connection, as one side counts them. Gossip, pings and `init` are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Handed to the transport.
    pub sent: u64,
    /// Handled.
    pub received: u64,
}

/// A transaction that was broadcast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroadcastTransaction {
    /// Its id.
    pub txid: String,
    /// `LABEL close`, `LABEL claim`, or `wallet` for what spends no channel's outputs.
    pub role: String,
    /// The whole, in hexadecimal.
    pub raw: String,
}

/// Levels that are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Something to look at.
    Warn,
    /// Something went wrong.
    Error,
}

/// A protocol message, with what a judge needs of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum WireMessage {
    /// BOLT 2.
    UpdateAddHtlc {
        /// The id on this channel in this direction.
        htlc_id: u64,
        /// Millisatoshis.
        amount_msat: u64,
        /// 64 hexadecimal digits.
        payment_hash: String,
        /// Absolute height.
        cltv_expiry: u32,
    },
    /// BOLT 2.
    UpdateFulfillHtlc {
        /// The id.
        htlc_id: u64,
        /// 64 hexadecimal digits.
        preimage: String,
    },
    /// BOLT 2.
    UpdateFailHtlc {
        /// The id.
        htlc_id: u64,
    },
    /// BOLT 2.
    UpdateFailMalformedHtlc {
        /// The id.
        htlc_id: u64,
        /// BOLT 4's code.
        failure_code: u16,
    },
    /// BOLT 2.
    UpdateFee {
        /// Satoshis per 1000 weight units.
        feerate_per_kw: u32,
    },
    /// BOLT 2: one more commitment of the receiver is signed.
    CommitmentSigned {
        /// Number of HTLC signatures.
        htlc_signatures: u32,
    },
    /// BOLT 2: one more commitment of the sender is revoked.
    RevokeAndAck {},
    /// BOLT 2.
    ChannelReestablish {
        /// As in the message.
        next_local_commitment_number: u64,
        /// As in the message.
        next_remote_commitment_number: u64,
    },
    /// BOLT 1.
    Error {
        /// What the peer is told.
        data: String,
    },
    /// BOLT 1.
    Warning {
        /// What the peer is told.
        data: String,
    },
    /// Any other message.
    Other {
        /// BOLT's name, for example `channel_ready`.
        message: String,
    },
}

impl WireMessage {
    /// BOLT's name of the message.
    pub fn name(&self) -> &str {
        match self {
            WireMessage::UpdateAddHtlc { .. } => "update_add_htlc",
            WireMessage::UpdateFulfillHtlc { .. } => "update_fulfill_htlc",
            WireMessage::UpdateFailHtlc { .. } => "update_fail_htlc",
            WireMessage::UpdateFailMalformedHtlc { .. } => "update_fail_malformed_htlc",
            WireMessage::UpdateFee { .. } => "update_fee",
            WireMessage::CommitmentSigned { .. } => "commitment_signed",
            WireMessage::RevokeAndAck {} => "revoke_and_ack",
            WireMessage::ChannelReestablish { .. } => "channel_reestablish",
            WireMessage::Error { .. } => "error",
            WireMessage::Warning { .. } => "warning",
            WireMessage::Other { message } => message,
        }
    }

    /// Whether it is BOLT 1's `warning`, which no node's handler gets to see.
    pub fn is_warning(&self) -> bool {
        matches!(self, WireMessage::Warning { .. })
    }
}

/// How an HTLC ended, as a user event tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HtlcResolution {
    /// With the preimage.
    Claimed,
    /// Without.
    Failed,
}

/// What the node's user is told. Delivery is at least once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum UserEvent {
    /// The funding transaction is signed and on its way.
    ChannelPending {
        /// Label.
        channel: String,
        /// 64 hexadecimal digits.
        channel_id: String,
        /// `txid:index`.
        funding: String,
    },
    /// The channel can be used.
    ChannelReady {
        /// Label.
        channel: String,
        /// 64 hexadecimal digits.
        channel_id: String,
    },
    /// The channel is closed, or closing on chain.
    ChannelClosed {
        /// Label.
        channel: String,
        /// 64 hexadecimal digits.
        channel_id: String,
        /// The implementation's word for the reason, for example `OutdatedChannelManager`.
        reason: String,
    },
    /// A payment is here and can be claimed.
    PaymentClaimable {
        /// 64 hexadecimal digits.
        payment_hash: String,
        /// Millisatoshis.
        amount_msat: u64,
    },
    /// A payment was claimed for good.
    PaymentClaimed {
        /// 64 hexadecimal digits.
        payment_hash: String,
        /// Millisatoshis.
        amount_msat: u64,
    },
    /// A payment of ours was paid.
    PaymentSent {
        /// 64 hexadecimal digits.
        payment_id: String,
        /// 64 hexadecimal digits.
        payment_hash: String,
        /// 64 hexadecimal digits.
        preimage: String,
        /// Millisatoshis, where the implementation still knows.
        fee_paid_msat: Option<u64>,
    },
    /// A payment of ours failed for good.
    PaymentFailed {
        /// 64 hexadecimal digits.
        payment_id: String,
        /// 64 hexadecimal digits; unknown where no invoice was ever asked for.
        payment_hash: Option<String>,
        /// The implementation's word.
        reason: String,
    },
    /// A part of a payment of ours ended.
    PaymentPart {
        /// 64 hexadecimal digits.
        payment_id: String,
        /// 64 hexadecimal digits.
        payment_hash: Option<String>,
        /// How.
        resolution: HtlcResolution,
        /// The short channel ids of its path.
        path: Vec<u64>,
    },
    /// A forward was claimed downstream and carried upstream.
    PaymentForwarded {
        /// Inbound channel's label.
        inbound: String,
        /// Outbound channel's label.
        outbound: String,
        /// Millisatoshis earned, where known. A unified node says none if it had given the HTLC up upstream.
        fee_msat: Option<u64>,
        /// The downstream claim was seen on chain.
        from_onchain: bool,
    },
    /// A forward, or a payment to us, failed.
    HtlcHandlingFailed {
        /// Inbound channel's label.
        inbound: String,
        /// The implementation's word.
        reason: String,
    },
    /// Outputs on chain became the node's own to sweep.
    SpendableOutputs {
        /// How many.
        count: u32,
        /// Label, where known.
        channel: Option<String>,
    },
    /// Anything else, by the implementation's name.
    Other {
        /// Name.
        event: String,
    },
}
