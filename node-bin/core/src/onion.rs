//! Onions (BOLT 4): peeled, built, and wrapped failures. Borrowed from `lightning` where it exports them.

use lightning::types::payment::{PaymentPreimage, PaymentSecret};

mod building;
mod failure;
mod payment_secret;
mod peeling;

#[cfg(test)]
mod testing;

pub use building::{BuildError, BuiltOnion, build};
pub use failure::{DecodedFailure, decode_failure, wrap_own_failure, wrap_relayed_failure};
pub use payment_secret::{make_payment_secret, read_payment_secret};
pub use peeling::peel;

/// BOLT 4 failure codes that this node uses.
pub mod code {
    /// A flag: the onion could not be read; answered with `update_fail_malformed_htlc`.
    pub const BADONION: u16 = 0x8000;
    /// A flag: it will fail again.
    pub const PERM: u16 = 0x4000;
    /// A flag: the node's trouble, not a channel's.
    pub const NODE: u16 = 0x2000;
    /// A flag: a `channel_update` may come with it.
    pub const UPDATE: u16 = 0x1000;
    /// The node's trouble, for now.
    pub const TEMPORARY_NODE_FAILURE: u16 = NODE | 2;
    /// The node's trouble, for good.
    pub const PERMANENT_NODE_FAILURE: u16 = PERM | NODE | 2;
    /// The onion needs a feature that the node does not have.
    pub const REQUIRED_NODE_FEATURE_MISSING: u16 = PERM | NODE | 3;
    /// The onion's version is unknown.
    pub const INVALID_ONION_VERSION: u16 = BADONION | PERM | 4;
    /// The onion is not for this node and this payment hash.
    pub const INVALID_ONION_HMAC: u16 = BADONION | PERM | 5;
    /// The onion's key is no point.
    pub const INVALID_ONION_KEY: u16 = BADONION | PERM | 6;
    /// Something is wrong inside a blinded path.
    pub const INVALID_ONION_BLINDING: u16 = BADONION | PERM | 24;
    /// The payload cannot be understood, or lacks something.
    pub const INVALID_ONION_PAYLOAD: u16 = PERM | 22;
    /// The next channel cannot take it now.
    pub const TEMPORARY_CHANNEL_FAILURE: u16 = UPDATE | 7;
    /// The next channel cannot take it, ever.
    pub const PERMANENT_CHANNEL_FAILURE: u16 = PERM | 8;
    /// The node has no such channel.
    pub const UNKNOWN_NEXT_PEER: u16 = PERM | 10;
    /// Less than the next channel takes.
    pub const AMOUNT_BELOW_MINIMUM: u16 = UPDATE | 11;
    /// Less than the node asks for passing it on.
    pub const FEE_INSUFFICIENT: u16 = UPDATE | 12;
    /// Too few blocks between both expiries.
    pub const INCORRECT_CLTV_EXPIRY: u16 = UPDATE | 13;
    /// The expiry is too near.
    pub const EXPIRY_TOO_SOON: u16 = UPDATE | 14;
    /// The payee does not know the payment, or not so.
    pub const INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS: u16 = PERM | 15;
    /// The HTLC expires earlier than its sender meant.
    pub const FINAL_INCORRECT_CLTV_EXPIRY: u16 = 18;
    /// The HTLC holds less than its sender meant.
    pub const FINAL_INCORRECT_HTLC_AMOUNT: u16 = 19;
    /// The next channel is disabled.
    pub const CHANNEL_DISABLED: u16 = UPDATE | 20;
    /// The expiry is too far away.
    pub const EXPIRY_TOO_FAR: u16 = 21;
    /// Not all parts came in time.
    pub const MPP_TIMEOUT: u16 = 23;
}

/// A failure that this node originates: BOLT 4's code and the data that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFailure {
    /// BOLT 4's code.
    pub code: u16,
    /// As BOLT 4 lays it out for the code. For codes with UPDATE: what comes before the
    /// `channel_update`'s length, then a length of 0 or the update.
    pub data: Vec<u8>,
}

/// What an onion asks of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)]
pub enum Peeled {
    /// To be forwarded.
    Forward {
        /// With whoever wrapped it.
        shared_secret: [u8; 32],
        /// The onion for the next hop, on the wire's form.
        onion: Vec<u8>,
        /// Over which channel.
        short_channel_id: u64,
        /// What the next hop shall get, in millisatoshis.
        amount_msat: u64,
        /// When the next HTLC shall expire.
        cltv_expiry: u32,
    },
    /// For this node.
    Receive {
        /// With the sender.
        shared_secret: [u8; 32],
        /// What the sender meant to arrive with this part, in millisatoshis.
        amount_msat: u64,
        /// All parts together, in millisatoshis.
        total_msat: u64,
        /// The expiry that the sender meant at the least.
        cltv_expiry: u32,
        /// From the invoice.
        payment_secret: Option<PaymentSecret>,
        /// For keysend.
        keysend_preimage: Option<PaymentPreimage>,
    },
    /// It cannot be read at all: answered with `update_fail_malformed_htlc`.
    Malformed {
        /// Of the packet.
        sha256_of_onion: [u8; 32],
        /// With BADONION set.
        failure_code: u16,
    },
    /// It was read, and asks for something that cannot be: answered with a wrapped failure.
    Refused {
        /// With whoever wrapped it.
        shared_secret: [u8; 32],
        /// Why.
        failure: OwnFailure,
    },
}

impl OwnFailure {
    /// A failure without data.
    pub fn bare(code: u16) -> OwnFailure {
        OwnFailure {
            code,
            data: Vec::new(),
        }
    }

    /// `incorrect_or_unknown_payment_details` for an HTLC of this amount, at this height.
    pub fn incorrect_payment_details(amount_msat: u64, height: u32) -> OwnFailure {
        let mut data = amount_msat.to_be_bytes().to_vec();
        data.extend_from_slice(&height.to_be_bytes());
        OwnFailure {
            code: code::INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS,
            data,
        }
    }

    /// A failure with UPDATE set and no `channel_update`: BOLT 4's fields of the code, then a length
    /// of 0. (Without the length a sender blames the node instead of the channel.)
    pub fn update(code: u16, fields: &[u8]) -> OwnFailure {
        let mut data = fields.to_vec();
        data.extend_from_slice(&0u16.to_be_bytes());
        OwnFailure { code, data }
    }
}
