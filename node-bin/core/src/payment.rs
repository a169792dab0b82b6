//! The record of a payment of this node's own: what is to be paid and what has been tried. HTLCs are in
//! their monitors; without this record they are resolved all the same, and the user is told.
//!
//! `corrections.md`, 4 and 16.

use bitcoin::secp256k1::{PublicKey, SecretKey};
use lightning::types::payment::{PaymentHash, PaymentPreimage, PaymentSecret};

use crate::input::PayCommand;
use crate::source::{PathHop, PaymentId};

/// What a part of a payment has come to, as far as the payment's record knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartState {
    /// To be sent, or in a monitor: the monitors know which.
    Pending,
    /// Failed for good.
    Failed,
    /// Claimed.
    Claimed,
}

/// A part of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentPart {
    /// Its number; never used again within the payment.
    pub part: u32,
    /// Its onion's session key.
    pub session_key: SecretKey,
    /// Its way.
    pub path: Vec<PathHop>,
    /// What it has come to.
    pub state: PartState,
}

/// How a payment ended. Terminal: never changes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentOutcome {
    /// Paid.
    Sent {
        /// The proof.
        preimage: PaymentPreimage,
    },
    /// Given up.
    Failed {
        /// For the user.
        reason: String,
    },
}

/// Where a payment without given paths finds its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteWish {
    /// The payee.
    pub payee: PublicKey,
    /// The invoice as text, for its hints and features; empty for keysend.
    pub invoice: String,
    /// How often parts may still be replaced.
    pub attempts_left: u32,
    /// Channels that failed this payment.
    pub failed_channels: Vec<u64>,
}

/// A payment of this node's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentRecord {
    /// How often it was written.
    pub sequence: u64,
    /// The SHA-256 of the user's idempotency key.
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
    /// How to find more ways; none if the paths were given.
    pub route: Option<RouteWish>,
    /// Its parts.
    pub parts: Vec<PaymentPart>,
    /// How it ended, once it has.
    pub outcome: Option<PaymentOutcome>,
    /// The user has handled the event that tells of the outcome.
    pub told: bool,
    /// When the outcome was decided, in seconds since 1970. `None`: not yet, or by an older release.
    pub ended_at_s: Option<u64>,
    /// When the invoice expires, in seconds since 1970 (BOLT 11): later no part is offered. `None`: never
    /// (keysend), or asked for by an older release.
    pub expires_at_s: Option<u64>,
}

impl PaymentRecord {
    /// What a user asks for, before anything was tried.
    pub fn asked(command: &PayCommand) -> Self {
        PaymentRecord {
            sequence: 0,
            payment_id: command.payment_id,
            payment_hash: command.payment_hash,
            amount_msat: command.amount_msat,
            payment_secret: command.payment_secret,
            keysend_preimage: command.keysend_preimage,
            payment_metadata: command.payment_metadata.clone(),
            final_cltv_expiry_delta: command.final_cltv_expiry_delta,
            route: command.route.clone(),
            parts: Vec::new(),
            outcome: None,
            told: false,
            ended_at_s: None,
            expires_at_s: command.expires_at_s,
        }
    }

    /// Whether the invoice has expired at this second since 1970 (BOLT 11).
    pub fn is_expired(&self, now_s: u64) -> bool {
        self.expires_at_s
            .is_some_and(|expires_at_s| now_s > expires_at_s)
    }
}
