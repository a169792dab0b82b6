//! A channel's log entries.

use serde_json::{Value, json};

use super::{change, claim, event_key, hex, list, maybe, rejection, script, source, transaction};
use crate::update::{EntryContent, LogEntry, UpdateStep};

/// A log entry.
pub fn dump_entry(entry: &LogEntry) -> Value {
    let content = match &entry.content {
        EntryContent::Update(update) => json!({ "update": list(&update.steps, step) }),
        EntryContent::Acks(keys) => json!({ "acks": list(keys, event_key) }),
    };
    json!({ "sequence": entry.sequence, "content": content })
}

fn step(step: &UpdateStep) -> Value {
    match step {
        UpdateStep::FundingConfirmed { .. }
        | UpdateStep::FundingUnconfirmed
        | UpdateStep::HolderReady
        | UpdateStep::CounterpartyReady { .. }
        | UpdateStep::Announced { .. }
        | UpdateStep::HolderShutdown { .. }
        | UpdateStep::CounterpartyShutdown { .. }
        | UpdateStep::CooperativelyClosed { .. }
        | UpdateStep::ChannelForceClosed { .. } => life_step(step),
        UpdateStep::FundingSpent { .. }
        | UpdateStep::OutputsSpent { .. }
        | UpdateStep::BlocksDisconnected { .. }
        | UpdateStep::OutboundClaimed { .. }
        | UpdateStep::OutboundFailed { .. }
        | UpdateStep::OutboundGone { .. } => chain_step(step),
        UpdateStep::LatestHolderCommitment {
            number,
            signature: _,
            htlc_signatures,
            changes,
        } => json!({ "latest_holder_commitment": {
            "number": number,
            "htlc_signatures": htlc_signatures.len(),
            "changes": list(changes, change),
        } }),
        UpdateStep::LatestCounterpartyCommitment {
            number,
            changes,
            sources,
        } => json!({ "latest_counterparty_commitment": {
            "number": number,
            "changes": list(changes, change),
            "sources": list(sources, |(htlc_id, from)| json!({
                "htlc_id": htlc_id,
                "source": source(from),
            })),
        } }),
        UpdateStep::CommitmentSecret {
            number,
            secret: _,
            next_point,
        } => json!({ "commitment_secret": {
            "number": number,
            "next_point": next_point.to_string(),
        } }),
        UpdateStep::HtlcIrrevocablyCommitted { htlc_id } => {
            json!({ "htlc_irrevocably_committed": { "htlc_id": htlc_id } })
        }
        UpdateStep::FulfillHtlc { htlc_id, preimage } => {
            json!({ "fulfill_htlc": { "htlc_id": htlc_id, "preimage": hex(preimage.0) } })
        }
        UpdateStep::RejectHtlc {
            htlc_id,
            rejection: how,
        } => json!({ "reject_htlc": { "htlc_id": htlc_id, "rejection": rejection(how) } }),
        UpdateStep::PaymentPreimage {
            htlc_id,
            preimage,
            claim: whole,
        } => json!({ "payment_preimage": {
            "htlc_id": htlc_id,
            "preimage": hex(preimage.0),
            "claim": maybe(whole, claim),
        } }),
    }
}

fn life_step(step: &UpdateStep) -> Value {
    match step {
        UpdateStep::FundingConfirmed {
            height,
            transaction_index,
        } => json!({ "funding_confirmed": {
            "height": height,
            "transaction_index": transaction_index,
        } }),
        UpdateStep::FundingUnconfirmed => "funding_unconfirmed".into(),
        UpdateStep::HolderReady => "holder_ready".into(),
        UpdateStep::CounterpartyReady { next_point } => {
            json!({ "counterparty_ready": { "next_point": next_point.to_string() } })
        }
        UpdateStep::Announced { .. } => "announced".into(),
        UpdateStep::HolderShutdown { script: to } => {
            json!({ "holder_shutdown": { "script": script(to) } })
        }
        UpdateStep::CounterpartyShutdown { script: to } => {
            json!({ "counterparty_shutdown": { "script": script(to) } })
        }
        UpdateStep::CooperativelyClosed {
            transaction: closing,
        } => json!({ "cooperatively_closed": { "transaction": transaction(closing) } }),
        UpdateStep::ChannelForceClosed { reason, broadcast } => {
            json!({ "channel_force_closed": { "reason": reason, "broadcast": broadcast } })
        }
        _ => Value::Null,
    }
}

fn chain_step(step: &UpdateStep) -> Value {
    match step {
        UpdateStep::FundingSpent {
            transaction: spend,
            height,
        } => json!({ "funding_spent": { "transaction": transaction(spend), "height": height } }),
        UpdateStep::OutputsSpent {
            transaction: spend,
            height,
        } => json!({ "outputs_spent": { "transaction": transaction(spend), "height": height } }),
        UpdateStep::BlocksDisconnected { height } => {
            json!({ "blocks_disconnected": { "height": height } })
        }
        UpdateStep::OutboundClaimed { htlc_id, preimage } => json!({ "outbound_claimed": {
            "htlc_id": htlc_id,
            "preimage": hex(preimage.0),
        } }),
        UpdateStep::OutboundFailed {
            htlc_id,
            failure_code,
            is_final,
        } => json!({ "outbound_failed": {
            "htlc_id": htlc_id,
            "failure_code": failure_code,
            "is_final": is_final,
        } }),
        UpdateStep::OutboundGone { htlc_id } => json!({ "outbound_gone": { "htlc_id": htlc_id } }),
        _ => Value::Null,
    }
}
