//! A channel's record.

use serde_json::{Value, json};

use super::{
    change, direction, event, hex, htlc_add, list, maybe, rejection, script, source, spec,
    transaction,
};
use crate::record::{
    ChannelLimits, ChannelParameters, ChannelRecord, Closure, CounterpartyCommitment, FundingState,
    InboundHtlc, OutboundHtlc, Resolution, RevokedHtlcRecord, SeenTransaction,
};

/// A channel's record.
pub fn dump_channel(record: &ChannelRecord) -> Value {
    json!({
        "sequence": record.sequence,
        "parameters": parameters(&record.parameters),
        "funding": funding(&record.funding),
        "holder": {
            "number": record.holder.number,
            "spec": spec(&record.holder.spec),
            "signature": record.holder.signature.to_string(),
            "htlc_signatures": record.holder.htlc_signatures.len(),
        },
        "counterparty": commitment(&record.counterparty),
        "next_counterparty": maybe(&record.next_counterparty, |next| json!({
            "commitment": commitment(&next.commitment),
            "holder_number": next.holder_number,
        })),
        "counterparty_next_point": maybe(&record.counterparty_next_point, |point| {
            point.to_string().into()
        }),
        "counterparty_secrets_down_to": record.counterparty_secrets.0.get_min_seen_secret(),
        "revoked_htlcs": record.revoked_htlcs.iter().map(|(number, revoked)| json!({
            "number": number,
            "htlcs": list(&revoked.htlcs, revoked_htlc),
        })).collect::<Value>(),
        "holder_changes": {
            "signed": list(&record.holder_changes.signed, change),
            "acked": list(&record.holder_changes.acked, change),
        },
        "counterparty_changes": {
            "acked": list(&record.counterparty_changes.acked, change),
            "signed": list(&record.counterparty_changes.signed, change),
        },
        "next_htlc_id": record.next_htlc_id,
        "next_counterparty_htlc_id": record.next_counterparty_htlc_id,
        "inbound": record.inbound.values().map(inbound).collect::<Value>(),
        "outbound": record.outbound.values().map(outbound).collect::<Value>(),
        "events": list(&record.events, |pending| json!({
            "event": event(&pending.event),
            "made_by": pending.made_by,
        })),
        "shutdown": {
            "holder": maybe(&record.shutdown.holder, script),
            "counterparty": maybe(&record.shutdown.counterparty, script),
        },
        "closure": maybe(&record.closure, closure),
        "onchain": {
            "funding_spend": maybe(&record.onchain.funding_spend, seen),
            "spends": record.onchain.spends.iter().map(seen).collect::<Vec<_>>(),
        },
    })
}

fn parameters(parameters: &ChannelParameters) -> Value {
    json!({
        "channel_id": hex(parameters.channel_id.0),
        "user_channel_id": hex(parameters.user_channel_id),
        "counterparty_node_id": parameters.counterparty_node_id.to_string(),
        "keys_id": hex(parameters.keys_id),
        "is_opener": parameters.is_opener,
        "capacity_sat": parameters.capacity_sat,
        "funding": parameters.funding.into_bitcoin_outpoint().to_string(),
        "announce": parameters.announce,
        "minimum_depth": parameters.minimum_depth,
        "holder_limits": limits(&parameters.holder_limits),
        "counterparty_limits": limits(&parameters.counterparty_limits),
        "holder_shutdown_script": script(&parameters.holder_shutdown_script),
    })
}

fn limits(limits: &ChannelLimits) -> Value {
    json!({
        "dust_limit_sat": limits.dust_limit_sat,
        "max_htlc_value_in_flight_msat": limits.max_htlc_value_in_flight_msat,
        "reserve_sat": limits.reserve_sat,
        "htlc_minimum_msat": limits.htlc_minimum_msat,
        "to_self_delay": limits.to_self_delay,
        "max_accepted_htlcs": limits.max_accepted_htlcs,
    })
}

fn funding(funding: &FundingState) -> Value {
    json!({
        "transaction": maybe(&funding.transaction, transaction),
        "confirmed": maybe(&funding.confirmed, |(height, transaction_index)| json!({
            "height": height,
            "transaction_index": transaction_index,
        })),
        "holder_ready": funding.holder_ready,
        "counterparty_ready": funding.counterparty_ready,
        "announced": funding.announcement.is_some(),
        "accepted_at": maybe(&funding.accepted_at, |height| json!(height)),
    })
}

fn commitment(commitment: &CounterpartyCommitment) -> Value {
    json!({
        "number": commitment.number,
        "spec": spec(&commitment.spec),
        "point": commitment.point.to_string(),
    })
}

fn revoked_htlc(htlc: &RevokedHtlcRecord) -> Value {
    json!({
        "direction": direction(htlc.direction),
        "htlc_id": htlc.htlc_id,
        "payment_hash": hex(htlc.payment_hash.0),
        "cltv_expiry": htlc.cltv_expiry,
        "amount_msat": htlc.amount_msat,
    })
}

fn inbound(htlc: &InboundHtlc) -> Value {
    json!({
        "add": htlc_add(&htlc.add),
        "committed": htlc.committed,
        "resolution": maybe(&htlc.resolution, resolution),
        "resolved_by": htlc.resolved_by,
        "removed_by": htlc.removed_by,
    })
}

fn resolution(resolution: &Resolution) -> Value {
    match resolution {
        Resolution::Claimed { preimage } => {
            json!({ "claimed": { "preimage": hex(preimage.0) } })
        }
        Resolution::Rejected { rejection: how } => json!({ "rejected": rejection(how) }),
    }
}

fn outbound(htlc: &OutboundHtlc) -> Value {
    json!({
        "add": htlc_add(&htlc.add),
        "source": source(&htlc.source),
        "added_by": htlc.added_by,
        "preimage": maybe(&htlc.preimage, |preimage| hex(preimage.0)),
        "failed_back": htlc.failed_back,
    })
}

fn seen(seen: &SeenTransaction) -> Value {
    json!({ "transaction": transaction(&seen.transaction), "height": seen.height })
}

fn closure(closure: &Closure) -> Value {
    match closure {
        Closure::Cooperative {
            transaction: closing,
        } => {
            json!({ "cooperative": { "transaction": transaction(closing) } })
        }
        Closure::Forced { reason, broadcast } => {
            json!({ "forced": { "reason": reason, "broadcast": broadcast } })
        }
    }
}
