//! Records as JSON, for evidence: read by people and by judges, never read back. Amounts and heights as
//! in the records; hashes, keys and scripts in hex. Left out: session keys, revoked secrets, and
//! onions (of an onion its SHA-256 is told).

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::hex::DisplayHex;
use bitcoin::{ScriptBuf, Transaction};
use serde_json::{Value, json};

use crate::event::{EventKey, Failure, MonitorEvent, MppClaim};
use crate::record::Rejection;
use crate::source::{HtlcSource, InboundHtlcId, PathHop};
use crate::spec::{Change, CommitmentSpec, Direction, HtlcAdd};

mod channel;
mod entry;
mod payment;

pub use channel::dump_channel;
pub use entry::dump_entry;
pub use payment::dump_payment;

fn list<T>(items: &[T], dump: impl Fn(&T) -> Value) -> Value {
    items.iter().map(dump).collect()
}

fn maybe<T>(item: &Option<T>, dump: impl Fn(&T) -> Value) -> Value {
    item.as_ref().map_or(Value::Null, dump)
}

fn hex(bytes: impl AsRef<[u8]>) -> Value {
    bytes.as_ref().to_lower_hex_string().into()
}

fn script(script: &ScriptBuf) -> Value {
    hex(script.as_bytes())
}

fn transaction(transaction: &Transaction) -> Value {
    json!({
        "txid": transaction.compute_txid().to_string(),
        "hex": serialize_hex(transaction),
    })
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

fn htlc_add(add: &HtlcAdd) -> Value {
    json!({
        "htlc_id": add.htlc_id,
        "amount_msat": add.amount_msat,
        "payment_hash": hex(add.payment_hash.0),
        "cltv_expiry": add.cltv_expiry,
        "sha256_of_onion": hex(sha256::Hash::hash(&add.onion)),
    })
}

fn change(change: &Change) -> Value {
    match change {
        Change::Add(add) => json!({ "add": htlc_add(add) }),
        Change::Fulfill { htlc_id, preimage } => {
            json!({ "fulfill": { "htlc_id": htlc_id, "preimage": hex(preimage.0) } })
        }
        Change::Fail { htlc_id, reason } => {
            json!({ "fail": { "htlc_id": htlc_id, "reason": hex(reason) } })
        }
        Change::FailMalformed {
            htlc_id,
            sha256_of_onion,
            failure_code,
        } => json!({ "fail_malformed": {
            "htlc_id": htlc_id,
            "sha256_of_onion": hex(sha256_of_onion),
            "failure_code": failure_code,
        } }),
        Change::Fee { feerate_per_kw } => json!({ "fee": { "feerate_per_kw": feerate_per_kw } }),
    }
}

fn spec(spec: &CommitmentSpec) -> Value {
    let htlcs = spec.htlcs.iter().map(|((way, htlc_id), htlc)| {
        json!({
            "direction": direction(*way),
            "htlc_id": htlc_id,
            "amount_msat": htlc.amount_msat,
            "payment_hash": hex(htlc.payment_hash.0),
            "cltv_expiry": htlc.cltv_expiry,
        })
    });
    json!({
        "feerate_per_kw": spec.feerate_per_kw,
        "holder_msat": spec.holder_msat,
        "counterparty_msat": spec.counterparty_msat,
        "htlcs": htlcs.collect::<Value>(),
    })
}

fn inbound_id(id: &InboundHtlcId) -> Value {
    json!({ "channel_id": hex(id.channel_id.0), "htlc_id": id.htlc_id })
}

fn hop(hop: &PathHop) -> Value {
    json!({
        "node_id": hop.node_id.to_string(),
        "short_channel_id": hop.short_channel_id,
        "fee_msat": hop.fee_msat,
        "cltv_expiry_delta": hop.cltv_expiry_delta,
    })
}

fn source(source: &HtlcSource) -> Value {
    match source {
        HtlcSource::Forward { parts } => json!({ "forward": list(parts, |part| json!({
            "inbound": inbound_id(&part.id),
            "amount_msat": part.amount_msat,
            "cltv_expiry": part.cltv_expiry,
        })) }),
        HtlcSource::Own {
            payment_id,
            part,
            path,
            ..
        } => json!({ "own": {
            "payment_id": hex(payment_id),
            "part": part,
            "path": list(path, hop),
        } }),
    }
}

fn claim(claim: &MppClaim) -> Value {
    json!({
        "payment_hash": hex(claim.payment_hash.0),
        "preimage": hex(claim.preimage.0),
        "amount_msat": claim.amount_msat,
        "parts": list(&claim.parts, inbound_id),
    })
}

fn failure(failure: &Failure) -> Value {
    match failure {
        Failure::Onion(reason) => json!({ "onion": hex(reason) }),
        Failure::Malformed {
            sha256_of_onion,
            failure_code,
        } => json!({ "malformed": {
            "sha256_of_onion": hex(sha256_of_onion),
            "failure_code": failure_code,
        } }),
        Failure::Local { failure_code } => json!({ "local": { "failure_code": failure_code } }),
    }
}

fn rejection(rejection: &Rejection) -> Value {
    match rejection {
        Rejection::Fail { reason } => json!({ "fail": { "reason": hex(reason) } }),
        Rejection::Malformed {
            sha256_of_onion,
            failure_code,
        } => json!({ "malformed": {
            "sha256_of_onion": hex(sha256_of_onion),
            "failure_code": failure_code,
        } }),
    }
}

/// An event with its identity: what an acknowledgement names.
fn event(event: &MonitorEvent) -> Value {
    let content = match event {
        MonitorEvent::HtlcAccepted { add } => json!({ "add": htlc_add(add) }),
        MonitorEvent::ForwardedHtlcClaimed {
            htlc_id: _,
            preimage,
            amount_msat,
            source: from,
            from_onchain,
        } => json!({
            "preimage": hex(preimage.0),
            "amount_msat": amount_msat,
            "source": source(from),
            "from_onchain": from_onchain,
        }),
        MonitorEvent::ForwardedHtlcFailed {
            htlc_id: _,
            payment_hash,
            source: from,
            failure: how,
        } => json!({
            "payment_hash": hex(payment_hash.0),
            "source": source(from),
            "failure": failure(how),
        }),
        MonitorEvent::InboundMppClaimPersisted {
            htlc_id: _,
            claim: whole,
        } => json!({ "claim": claim(whole) }),
        MonitorEvent::HolderForceClosed { reason } => json!({ "reason": reason }),
        MonitorEvent::CommitmentTxConfirmed => Value::Null,
    };
    json!({ "key": event_key(&event.key()), "content": content })
}

fn event_key(key: &EventKey) -> Value {
    json!({ "kind": format!("{:?}", key.kind), "htlc_id": key.htlc_id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record_codec::fixtures;

    #[test]
    fn a_dump_tells_what_a_judge_wants_to_know() {
        let channel = dump_channel(&fixtures::channel());
        assert_eq!(channel["holder"]["spec"]["holder_msat"], 60_000_000);
        assert_eq!(channel["inbound"][0]["add"]["htlc_id"], 5);
        assert_eq!(channel["events"][1]["event"]["key"]["kind"], "Claimed");
        assert_eq!(channel["closure"]["forced"]["broadcast"], true);
        let entry = dump_entry(&fixtures::update());
        let steps = entry["content"]["update"].as_array().unwrap();
        assert!(steps.iter().all(|step| !step.is_null()));
        assert_eq!(steps[3]["htlc_irrevocably_committed"]["htlc_id"], 5);
        assert!(steps.contains(&"funding_unconfirmed".into()));
        let payment = dump_payment(&fixtures::payment());
        assert_eq!(payment["parts"][1]["state"], "claimed");
        assert_eq!(payment["outcome"]["sent"]["preimage"], "09".repeat(32));
    }

    #[test]
    fn a_dump_gives_no_session_key_shared_secret_or_revoked_secret_away() {
        let dumps = [
            dump_channel(&fixtures::channel()),
            dump_entry(&fixtures::update()),
            dump_payment(&fixtures::payment()),
        ];
        // The fixtures' session key, shared secret and revoked secret.
        for (dump, byte) in dumps
            .iter()
            .flat_map(|dump| [17, 13, 42].map(|b| (dump, b)))
        {
            let secret = [byte; 32].to_lower_hex_string();
            assert!(!dump.to_string().contains(&secret), "{secret}");
        }
    }
}
