//! A payment's record.

use serde_json::{Value, json};

use super::{hex, hop, list, maybe};
use crate::payment::{PartState, PaymentOutcome, PaymentRecord};

/// A payment's record.
pub fn dump_payment(record: &PaymentRecord) -> Value {
    json!({
        "sequence": record.sequence,
        "payment_id": hex(record.payment_id),
        "payment_hash": hex(record.payment_hash.0),
        "amount_msat": record.amount_msat,
        "payment_secret": maybe(&record.payment_secret, |secret| hex(secret.0)),
        "keysend_preimage": maybe(&record.keysend_preimage, |preimage| hex(preimage.0)),
        "payment_metadata": maybe(&record.payment_metadata, |bytes| hex(bytes)),
        "final_cltv_expiry_delta": record.final_cltv_expiry_delta,
        "route": maybe(&record.route, |wish| json!({
            "payee": wish.payee.to_string(),
            "invoice": wish.invoice,
            "attempts_left": wish.attempts_left,
            "failed_channels": wish.failed_channels,
        })),
        "parts": list(&record.parts, |part| json!({
            "part": part.part,
            "path": list(&part.path, hop),
            "state": state(part.state),
        })),
        "outcome": maybe(&record.outcome, outcome),
        "told": record.told,
        "ended_at_s": maybe(&record.ended_at_s, |second| json!(second)),
        "expires_at_s": maybe(&record.expires_at_s, |second| json!(second)),
    })
}

fn state(state: PartState) -> &'static str {
    match state {
        PartState::Pending => "pending",
        PartState::Failed => "failed",
        PartState::Claimed => "claimed",
    }
}

fn outcome(outcome: &PaymentOutcome) -> Value {
    match outcome {
        PaymentOutcome::Sent { preimage } => json!({ "sent": { "preimage": hex(preimage.0) } }),
        PaymentOutcome::Failed { reason } => json!({ "failed": { "reason": reason } }),
    }
}
