//! What a node tells about itself when asked.

use serde::{Deserialize, Serialize};

use bitcoin::secp256k1::PublicKey;

/// Answer to `info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// The node's id.
    pub node_id: PublicKey,
    /// `stock` or `unified`, or what another program calls itself.
    pub kind: String,
    /// The implementation and its version.
    pub version: String,
    /// Where peers connect to, `host:port`.
    pub address: String,
    /// Height of the last block it has connected.
    pub block_height: u32,
    /// Whether this build has crash points.
    pub crash_points: bool,
}

/// A channel as one side sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelView {
    /// The label both sides give it: the peers' names in order, and `.2`, `.3` for further channels
    /// between the same two, for example `A-B`.
    pub label: String,
    /// 64 hexadecimal digits.
    pub channel_id: String,
    /// Funding output, `txid:index`, once known.
    pub funding: Option<String>,
    /// Once the funding is deep enough.
    pub short_channel_id: Option<u64>,
    /// The other side.
    pub peer: PublicKey,
    /// Whether this side opened it.
    pub opener: bool,
    /// Size in satoshis.
    pub capacity_sat: u64,
    /// What would be ours if all pending HTLCs failed; before commitment fees. `None` where the
    /// implementation cannot tell exactly (below the reserve, or while closing).
    pub balance_msat: Option<u64>,
    /// `channel_ready` was exchanged.
    pub ready: bool,
    /// Ready, connected, and not closing.
    pub usable: bool,
    /// HTLCs in it.
    pub htlcs: Vec<HtlcView>,
    /// How many commitment transactions this side has had signed, the first being 0 (BOLT 3 counts
    /// up); as far as messages told.
    pub holder_commitment_number: Option<u64>,
    /// The same of the other side.
    pub counterparty_commitment_number: Option<u64>,
}

/// Which way an HTLC goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HtlcDirection {
    /// Offered by the peer.
    Inbound,
    /// Offered by this node.
    Outbound,
}

/// A pending HTLC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HtlcView {
    /// Which way.
    pub direction: HtlcDirection,
    /// BOLT 2's id; `None` while it waits to be sent.
    pub htlc_id: Option<u64>,
    /// Amount in millisatoshis.
    pub amount_msat: u64,
    /// 64 hexadecimal digits.
    pub payment_hash: String,
    /// Absolute height.
    pub cltv_expiry: u32,
    /// The implementation's own word for its state.
    pub state: String,
}

/// How far a payment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// Not decided.
    Pending,
    /// Sent, or claimed.
    Succeeded,
    /// Failed.
    Failed,
}

/// A payment as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentView {
    /// Idempotency key's SHA-256, for a payment sent.
    pub payment_id: Option<String>,
    /// 64 hexadecimal digits; unknown for some decided payments.
    pub payment_hash: Option<String>,
    /// `Outbound` for one sent.
    pub direction: HtlcDirection,
    /// How far.
    pub state: PaymentState,
}

/// On-chain balance of the wallet, in satoshis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// In blocks.
    pub confirmed_sat: u64,
    /// In the mempool only.
    pub unconfirmed_sat: u64,
}

/// What gossip has told: channels with both directions known, and nodes that have told of themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphView {
    /// Short channel ids.
    pub channels: Vec<u64>,
    /// Node ids.
    pub nodes: Vec<PublicKey>,
}

/// Something a closed (or open) channel still owes the node on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnchainClaim {
    /// The channel's label.
    pub channel: String,
    /// The implementation's word, for example `claimable_awaiting_confirmations`.
    pub kind: String,
    /// Satoshis.
    pub amount_sat: u64,
    /// The payment, for an HTLC.
    pub payment_hash: Option<String>,
}

/// Everything the verdict needs of a node at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestView {
    /// Height of the last block connected.
    pub block_height: u32,
    /// Channels the node still counts as its own, open or shutting down.
    pub channels: Vec<ChannelView>,
    /// Payments.
    pub payments: Vec<PaymentView>,
    /// Wallet.
    pub balance: Balance,
    /// Of closed channels; empty once all is swept.
    pub claims: Vec<OnchainClaim>,
    /// Outputs that the sweeper has not seen spent deep enough.
    pub unswept: u32,
}
