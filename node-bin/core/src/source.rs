//! Where an outbound HTLC came from: what a resolution needs to find its way back, across restarts.
//!
//! The seed's `HTLCSource`; `corrections.md`, 4 and 15.

use bitcoin::secp256k1::{PublicKey, SecretKey};
use lightning::ln::types::ChannelId;

/// An inbound HTLC's name: its channel and BOLT 2's id there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundHtlcId {
    /// The channel it came in on.
    pub channel_id: ChannelId,
    /// BOLT 2's id.
    pub htlc_id: u64,
}

/// One inbound HTLC that pays for an outbound one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundPart {
    /// Which.
    pub id: InboundHtlcId,
    /// What it is worth, in millisatoshis.
    pub amount_msat: u64,
    /// Its absolute expiry height.
    pub cltv_expiry: u32,
    /// The onion's shared secret with its sender: failures are wrapped with it (BOLT 4).
    pub shared_secret: [u8; 32],
}

/// A hop of a path of this node's own payment, as LDK's `RouteHop` without what only routing needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathHop {
    /// The node that the hop leads to.
    pub node_id: PublicKey,
    /// The channel it uses.
    pub short_channel_id: u64,
    /// What its node keeps, in millisatoshis; in the last hop the amount that arrives.
    pub fee_msat: u64,
    /// What its node adds to the expiry; in the last hop the final delta.
    pub cltv_expiry_delta: u32,
}

/// The id of a payment of this node's own: the SHA-256 of the user's idempotency key.
pub type PaymentId = [u8; 32];

/// Where an outbound HTLC came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HtlcSource {
    /// Forwarded. A list from the start: a trampoline forward has several parts.
    Forward {
        /// What pays for it.
        parts: Vec<InboundPart>,
    },
    /// A part of a payment of this node's own. It has all that is needed to know the payment again
    /// and to decode its failure when every other record is lost.
    Own {
        /// The payment.
        payment_id: PaymentId,
        /// Which part, counted from 0; never used twice within a payment.
        part: u32,
        /// The onion's session key.
        session_key: SecretKey,
        /// The path.
        path: Vec<PathHop>,
    },
}

impl HtlcSource {
    /// The inbound HTLCs that pay for it; none for an own payment.
    pub fn parts(&self) -> &[InboundPart] {
        match self {
            HtlcSource::Forward { parts } => parts,
            HtlcSource::Own { .. } => &[],
        }
    }

    /// Whether this inbound HTLC pays for it.
    pub fn names(&self, id: InboundHtlcId) -> bool {
        self.parts().iter().any(|part| part.id == id)
    }
}
