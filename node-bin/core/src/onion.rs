//! Onions (BOLT 4): peeled, built, and wrapped failures. Borrowed from `lightning` where it exports them.

use bitcoin::secp256k1::SecretKey;
use lightning::types::payment::{PaymentHash, PaymentPreimage, PaymentSecret};

use crate::keys::Environment;
use crate::payment::PaymentRecord;
use crate::source::PathHop;
use crate::spec::HtlcAdd;

/// BOLT 4 failure codes that this node uses.
#[allow(missing_docs)] // BOLT 4's names
pub mod code {
    pub const BADONION: u16 = 0x8000;
    pub const PERM: u16 = 0x4000;
    pub const NODE: u16 = 0x2000;
    pub const UPDATE: u16 = 0x1000;
    pub const TEMPORARY_NODE_FAILURE: u16 = NODE | 2;
    pub const INVALID_ONION_PAYLOAD: u16 = PERM | 22;
    pub const TEMPORARY_CHANNEL_FAILURE: u16 = UPDATE | 7;
    pub const PERMANENT_CHANNEL_FAILURE: u16 = PERM | 8;
    pub const UNKNOWN_NEXT_PEER: u16 = PERM | 10;
    pub const AMOUNT_BELOW_MINIMUM: u16 = UPDATE | 11;
    pub const FEE_INSUFFICIENT: u16 = UPDATE | 12;
    pub const INCORRECT_CLTV_EXPIRY: u16 = UPDATE | 13;
    pub const EXPIRY_TOO_SOON: u16 = UPDATE | 14;
    pub const INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS: u16 = PERM | 15;
    pub const FINAL_INCORRECT_CLTV_EXPIRY: u16 = 18;
    pub const FINAL_INCORRECT_HTLC_AMOUNT: u16 = 19;
    pub const CHANNEL_DISABLED: u16 = UPDATE | 20;
    pub const EXPIRY_TOO_FAR: u16 = 21;
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

/// Peels one layer. Checks nothing that depends on the height or on this node's policy.
pub fn peel(_environment: &Environment, _add: &HtlcAdd) -> Peeled {
    unimplemented!()
}

/// Wraps a failure of this node's own for the sender.
pub fn wrap_own_failure(_shared_secret: &[u8; 32], _failure: &OwnFailure) -> Vec<u8> {
    unimplemented!()
}

/// Wraps a failure that came from downstream once more.
pub fn wrap_relayed_failure(_shared_secret: &[u8; 32], _reason: Vec<u8>) -> Vec<u8> {
    unimplemented!()
}

/// An onion for a part of an own payment, and what its first hop has to get and when it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltOnion {
    /// On the wire's form.
    pub onion: Vec<u8>,
    /// For the first hop, in millisatoshis.
    pub amount_msat: u64,
    /// Of the first HTLC.
    pub cltv_expiry: u32,
}

/// Builds the onion of a part. `total_msat` in the onion is the payment's amount.
pub fn build(
    _environment: &Environment,
    _payment: &PaymentRecord,
    _session_key: &SecretKey,
    _path: &[PathHop],
    _height: u32,
) -> Result<BuiltOnion, String> {
    unimplemented!()
}

/// What a failure onion told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedFailure {
    /// The hop that failed it, counted from 0 for the first hop; `None`: nobody on the path can have
    /// made this onion.
    pub hop: Option<usize>,
    /// BOLT 4's code, if it could be read.
    pub code: Option<u16>,
    /// The channel to avoid in a retry.
    pub failed_channel: Option<u64>,
    /// Trying again makes no sense: the payee itself refused for good.
    pub is_permanent: bool,
}

/// Decodes a failure onion of an own part.
pub fn decode_failure(
    _environment: &Environment,
    _session_key: &SecretKey,
    _path: &[PathHop],
    _reason: &[u8],
) -> DecodedFailure {
    unimplemented!()
}

/// A stateless payment secret: says to this node alone, later, for which hash, what least amount and
/// until when it was given out.
pub fn make_payment_secret(
    _environment: &Environment,
    _payment_hash: &PaymentHash,
    _least_amount_msat: u64,
    _expires_at_s: u64,
) -> PaymentSecret {
    unimplemented!()
}

/// What a payment secret of this node's says: the least amount in millisatoshis, and the second since
/// 1970 at which it expires. `None`: this node never gave it out for this hash.
pub fn read_payment_secret(
    _environment: &Environment,
    _payment_hash: &PaymentHash,
    _secret: &PaymentSecret,
) -> Option<(u64, u64)> {
    unimplemented!()
}
