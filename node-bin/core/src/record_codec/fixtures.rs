//! A record of each kind, with everything in it, and the bytes that format 1 made of it. The bytes are
//! kept for ever: whoever changes a codec learns here whether old stores can still be read.
//!
//! `record-v1` is what format 1 began with, `record-v1b` the same with the odd fields that came later. For more
//! of these, or a format 2: leave the folders and the expectations here as they are (new fields get the value that a
//! reader gives to their absence), write a further set with `write_the_fixtures`, which is ignored otherwise, and add
//! its test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bitcoin::hashes::Hash;
use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
use bitcoin::{Amount, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
use lightning::chain::transaction::OutPoint;
use lightning::ln::chan_utils::{
    ChannelPublicKeys, CounterpartyCommitmentSecrets, build_commitment_secret,
};
use lightning::ln::channel_keys::{DelayedPaymentBasepoint, HtlcBasepoint, RevocationBasepoint};
use lightning::ln::types::ChannelId;
use lightning::types::payment::{PaymentHash, PaymentPreimage, PaymentSecret};

use super::*;
use crate::event::{EventKey, EventKind, Failure, MonitorEvent, MppClaim};
use crate::payment::{PartState, PaymentOutcome, PaymentPart, RouteWish};
use crate::record::*;
use crate::source::{HtlcSource, InboundHtlcId, InboundPart, PathHop};
use crate::spec::{Change, CommitmentSpec, Direction, HtlcAdd, ONION_PACKET_BYTES, SpecHtlc};
use crate::update::{EntryContent, Update, UpdateStep};

fn secret(byte: u8) -> SecretKey {
    SecretKey::from_slice(&[byte; 32]).unwrap()
}

fn key(byte: u8) -> PublicKey {
    secret(byte).public_key(&Secp256k1::new())
}

fn signature(byte: u8) -> Signature {
    Signature::from_compact(&[byte; 64]).unwrap()
}

fn script(byte: u8) -> ScriptBuf {
    ScriptBuf::from_bytes(vec![byte; 22])
}

fn transaction(byte: u8) -> Transaction {
    Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::from_consensus(800_000),
        input: vec![TxIn {
            previous_output: bitcoin::OutPoint {
                txid: Txid::from_byte_array([byte; 32]),
                vout: 1,
            },
            script_sig: ScriptBuf::new(),
            sequence: Sequence(0xffff_fffd),
            witness: Witness::from_slice(&[vec![byte; 71], vec![byte; 33]]),
        }],
        output: vec![TxOut {
            value: Amount::from_sat(100_000),
            script_pubkey: script(byte),
        }],
    }
}

fn add(htlc_id: u64) -> HtlcAdd {
    HtlcAdd {
        htlc_id,
        amount_msat: 1_000_000 + htlc_id,
        payment_hash: PaymentHash([7; 32]),
        cltv_expiry: 700,
        onion: vec![8; ONION_PACKET_BYTES],
    }
}

fn changes() -> Vec<Change> {
    vec![
        Change::Add(add(4)),
        Change::Fulfill {
            htlc_id: 1,
            preimage: PaymentPreimage([9; 32]),
        },
        Change::Fail {
            htlc_id: 2,
            reason: vec![10; 292],
        },
        Change::FailMalformed {
            htlc_id: 3,
            sha256_of_onion: [11; 32],
            failure_code: 0xc005,
        },
        Change::Fee {
            feerate_per_kw: 253,
        },
    ]
}

fn inbound_id(htlc_id: u64) -> InboundHtlcId {
    InboundHtlcId {
        channel_id: ChannelId([12; 32]),
        htlc_id,
    }
}

fn forward() -> HtlcSource {
    HtlcSource::Forward {
        parts: vec![InboundPart {
            id: inbound_id(6),
            amount_msat: 1_001_000,
            cltv_expiry: 748,
            shared_secret: [13; 32],
        }],
    }
}

fn path() -> Vec<PathHop> {
    [(14, 1_000, 48), (15, 1_000_000, 18)]
        .map(|(byte, fee_msat, cltv_expiry_delta)| PathHop {
            node_id: key(byte),
            short_channel_id: 0x0000_6e00_0001_0000 + u64::from(byte),
            fee_msat,
            cltv_expiry_delta,
        })
        .into()
}

fn own() -> HtlcSource {
    HtlcSource::Own {
        payment_id: [16; 32],
        part: 2,
        session_key: secret(17),
        path: path(),
    }
}

fn claim() -> MppClaim {
    MppClaim {
        payment_hash: PaymentHash([7; 32]),
        preimage: PaymentPreimage([9; 32]),
        amount_msat: 2_000_000,
        parts: vec![inbound_id(0), inbound_id(1)],
    }
}

fn failed(htlc_id: u64, failure: Failure) -> MonitorEvent {
    MonitorEvent::ForwardedHtlcFailed {
        htlc_id,
        payment_hash: PaymentHash([7; 32]),
        source: own(),
        failure,
    }
}

fn events() -> Vec<PendingEvent> {
    let events = [
        MonitorEvent::HtlcAccepted { add: add(5) },
        MonitorEvent::ForwardedHtlcClaimed {
            htlc_id: 1,
            preimage: PaymentPreimage([9; 32]),
            amount_msat: 1_000_001,
            source: forward(),
            from_onchain: true,
        },
        failed(2, Failure::Onion(vec![18; 292])),
        failed(
            3,
            Failure::Malformed {
                sha256_of_onion: [19; 32],
                failure_code: 0xc006,
            },
        ),
        failed(
            4,
            Failure::Local {
                failure_code: 0x4008,
            },
        ),
        MonitorEvent::InboundMppClaimPersisted {
            htlc_id: 0,
            claim: claim(),
        },
        MonitorEvent::HolderForceClosed {
            reason: "an HTLC expires".into(),
        },
        MonitorEvent::CommitmentTxConfirmed,
    ];
    let pending = events
        .into_iter()
        .zip(40..)
        .map(|(event, made_by)| PendingEvent { event, made_by });
    pending.collect()
}

fn spec() -> CommitmentSpec {
    let htlc = |amount_msat| SpecHtlc {
        amount_msat,
        payment_hash: PaymentHash([7; 32]),
        cltv_expiry: 700,
    };
    CommitmentSpec {
        feerate_per_kw: 1_000,
        holder_msat: 60_000_000,
        counterparty_msat: 38_000_000,
        htlcs: BTreeMap::from([
            ((Direction::Inbound, 5), htlc(1_500_000)),
            ((Direction::Outbound, 1), htlc(500_000)),
        ]),
    }
}

fn limits(dust_limit_sat: u64) -> ChannelLimits {
    ChannelLimits {
        dust_limit_sat,
        max_htlc_value_in_flight_msat: 90_000_000,
        reserve_sat: 1_000,
        htlc_minimum_msat: 1,
        to_self_delay: 144,
        max_accepted_htlcs: 30,
    }
}

fn parameters() -> ChannelParameters {
    ChannelParameters {
        channel_id: ChannelId([12; 32]),
        user_channel_id: [20; 32],
        counterparty_node_id: key(21),
        keys_id: [22; 32],
        is_opener: true,
        capacity_sat: 100_000,
        funding: OutPoint {
            txid: Txid::from_byte_array([23; 32]),
            index: 1,
        },
        announce: true,
        minimum_depth: 6,
        counterparty_keys: ChannelPublicKeys {
            funding_pubkey: key(24),
            revocation_basepoint: RevocationBasepoint(key(25)),
            payment_point: key(26),
            delayed_payment_basepoint: DelayedPaymentBasepoint(key(27)),
            htlc_basepoint: HtlcBasepoint(key(28)),
        },
        holder_limits: limits(354),
        counterparty_limits: limits(546),
        holder_shutdown_script: script(29),
    }
}

fn revoked() -> RevokedSecrets {
    let mut secrets = CounterpartyCommitmentSecrets::new();
    for number in 0..3 {
        let index = (1 << 48) - 1 - number;
        let secret = build_commitment_secret(&[30; 32], index);
        secrets.provide_secret(index, secret).unwrap();
    }
    RevokedSecrets(secrets)
}

fn counterparty(number: u64) -> CounterpartyCommitment {
    CounterpartyCommitment {
        number,
        spec: spec(),
        point: key(31),
    }
}

pub(crate) fn channel() -> ChannelRecord {
    let inbound = InboundHtlc {
        add: add(5),
        committed: true,
        resolution: Some(Resolution::Claimed {
            preimage: PaymentPreimage([9; 32]),
        }),
        resolved_by: Some(40),
        removed_by: Some(41),
    };
    let outbound = |htlc_id, source, preimage| OutboundHtlc {
        add: add(htlc_id),
        source,
        added_by: 39,
        preimage,
        failed_back: false,
    };
    ChannelRecord {
        sequence: 47,
        parameters: parameters(),
        funding: FundingState {
            transaction: Some(transaction(32)),
            confirmed: Some((110, 1)),
            holder_ready: true,
            counterparty_ready: true,
            announcement: Some((signature(33), signature(34))),
            accepted_at: None,
        },
        holder: HolderCommitment {
            number: 4,
            spec: spec(),
            signature: signature(35),
            htlc_signatures: vec![signature(36), signature(37)],
        },
        counterparty: counterparty(3),
        next_counterparty: Some(SignedCommitment {
            commitment: counterparty(4),
            holder_number: 4,
        }),
        counterparty_next_point: Some(key(38)),
        counterparty_secrets: revoked(),
        revoked_htlcs: BTreeMap::from([(2, revoked_commitment())]),
        holder_changes: HolderChanges {
            signed: changes(),
            acked: vec![],
        },
        counterparty_changes: CounterpartyChanges {
            acked: vec![],
            signed: changes(),
        },
        next_htlc_id: 5,
        next_counterparty_htlc_id: 6,
        inbound: BTreeMap::from([(5, inbound)]),
        outbound: BTreeMap::from([
            (1, outbound(1, forward(), Some(PaymentPreimage([9; 32])))),
            (2, outbound(2, own(), None)),
        ]),
        events: events(),
        shutdown: ShutdownState {
            holder: Some(script(29)),
            counterparty: Some(script(39)),
        },
        closure: Some(Closure::Forced {
            reason: "an HTLC expires".into(),
            broadcast: true,
        }),
        onchain: onchain(),
    }
}

fn onchain() -> OnchainRecord {
    OnchainRecord {
        funding_spend: Some(SeenTransaction {
            transaction: transaction(57),
            height: 118,
        }),
        spends: vec![SeenTransaction {
            transaction: transaction(58),
            height: 119,
        }],
    }
}

fn revoked_commitment() -> RevokedCommitment {
    RevokedCommitment {
        htlcs: vec![RevokedHtlcRecord {
            direction: Direction::Inbound,
            htlc_id: 4,
            payment_hash: PaymentHash([59; 32]),
            cltv_expiry: 690,
            amount_msat: 2_000_000,
        }],
    }
}

fn commitment_steps() -> Vec<UpdateStep> {
    vec![
        UpdateStep::LatestHolderCommitment {
            number: 5,
            signature: signature(40),
            htlc_signatures: vec![signature(41)],
            changes: changes(),
        },
        UpdateStep::LatestCounterpartyCommitment {
            number: 5,
            changes: changes(),
            sources: vec![(4, forward()), (5, own())],
        },
        UpdateStep::CommitmentSecret {
            number: 4,
            secret: [42; 32],
            next_point: key(43),
        },
        UpdateStep::HtlcIrrevocablyCommitted { htlc_id: 5 },
        UpdateStep::FulfillHtlc {
            htlc_id: 1,
            preimage: PaymentPreimage([9; 32]),
        },
        UpdateStep::PaymentPreimage {
            htlc_id: 5,
            preimage: PaymentPreimage([9; 32]),
            claim: Some(claim()),
        },
        UpdateStep::PaymentPreimage {
            htlc_id: 6,
            preimage: PaymentPreimage([9; 32]),
            claim: None,
        },
        UpdateStep::RejectHtlc {
            htlc_id: 7,
            rejection: Rejection::Fail {
                reason: vec![53; 4],
            },
        },
        UpdateStep::RejectHtlc {
            htlc_id: 8,
            rejection: Rejection::Malformed {
                sha256_of_onion: [54; 32],
                failure_code: 0xc005,
            },
        },
    ]
}

fn life_steps() -> Vec<UpdateStep> {
    vec![
        UpdateStep::FundingConfirmed {
            height: 110,
            transaction_index: 1,
        },
        UpdateStep::FundingUnconfirmed,
        UpdateStep::HolderReady,
        UpdateStep::CounterpartyReady {
            next_point: key(44),
        },
        UpdateStep::Announced {
            node_signature: signature(45),
            bitcoin_signature: signature(46),
        },
        UpdateStep::HolderShutdown { script: script(47) },
        UpdateStep::CounterpartyShutdown { script: script(48) },
        UpdateStep::CooperativelyClosed {
            transaction: transaction(49),
        },
        UpdateStep::ChannelForceClosed {
            reason: "the peer proved it stale".into(),
            broadcast: false,
        },
    ]
}

fn chain_steps() -> Vec<UpdateStep> {
    vec![
        UpdateStep::FundingSpent {
            transaction: transaction(55),
            height: 120,
        },
        UpdateStep::OutputsSpent {
            transaction: transaction(56),
            height: 121,
        },
        UpdateStep::BlocksDisconnected { height: 119 },
        UpdateStep::OutboundClaimed {
            htlc_id: 1,
            preimage: PaymentPreimage([9; 32]),
        },
        UpdateStep::OutboundFailed {
            htlc_id: 2,
            failure_code: 0x4008,
            is_final: true,
        },
        UpdateStep::OutboundGone { htlc_id: 1 },
    ]
}

pub(crate) fn update() -> LogEntry {
    let steps = [commitment_steps(), life_steps(), chain_steps()].concat();
    LogEntry {
        sequence: 48,
        content: EntryContent::Update(Update { steps }),
    }
}

fn acks() -> LogEntry {
    let kinds = [
        EventKind::Accepted,
        EventKind::Claimed,
        EventKind::Failed,
        EventKind::MppClaim,
        EventKind::HolderForceClosed,
        EventKind::CommitmentTxConfirmed,
    ];
    let keys = kinds
        .into_iter()
        .zip(0..)
        .map(|(kind, htlc_id)| EventKey { kind, htlc_id });
    LogEntry {
        sequence: 49,
        content: EntryContent::Acks(keys.collect()),
    }
}

pub(crate) fn payment() -> PaymentRecord {
    let part = |part, state| PaymentPart {
        part,
        session_key: secret(17),
        path: path(),
        state,
    };
    PaymentRecord {
        sequence: 3,
        payment_id: [16; 32],
        payment_hash: PaymentHash([7; 32]),
        amount_msat: 2_000_000,
        payment_secret: Some(PaymentSecret([50; 32])),
        keysend_preimage: Some(PaymentPreimage([9; 32])),
        payment_metadata: Some(vec![51; 5]),
        final_cltv_expiry_delta: 18,
        route: Some(RouteWish {
            payee: key(15),
            invoice: "lnbcrt1".into(),
            attempts_left: 2,
            failed_channels: vec![1, u64::MAX],
        }),
        parts: vec![
            part(0, PartState::Failed),
            part(1, PartState::Claimed),
            part(2, PartState::Pending),
        ],
        outcome: Some(PaymentOutcome::Sent {
            preimage: PaymentPreimage([9; 32]),
        }),
        told: true,
        ended_at_s: None,
        expires_at_s: None,
    }
}

fn gave_up() -> PaymentRecord {
    PaymentRecord {
        sequence: 1,
        payment_id: [52; 32],
        payment_hash: PaymentHash([7; 32]),
        amount_msat: 1,
        payment_secret: None,
        keysend_preimage: None,
        payment_metadata: None,
        final_cltv_expiry_delta: 18,
        route: None,
        parts: vec![],
        outcome: Some(PaymentOutcome::Failed {
            reason: "no route".into(),
        }),
        told: false,
        ended_at_s: None,
        expires_at_s: None,
    }
}

fn folder(set: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fixtures.join(set)
}

/// The bytes of a record in a set.
fn written(set: &str, name: &str) -> Vec<u8> {
    let path = folder(set).join(name).with_extension("hex");
    let text = std::fs::read_to_string(path).unwrap();
    Vec::from_hex(text.trim()).unwrap()
}

/// The same with every odd field that format 1 has been given since.
pub(crate) fn later_channel() -> ChannelRecord {
    let mut record = channel();
    record.funding.accepted_at = Some(103);
    record
}

fn later_payment() -> PaymentRecord {
    PaymentRecord {
        ended_at_s: Some(1_750_000_000),
        expires_at_s: Some(1_750_003_600),
        ..payment()
    }
}

#[test]
fn records_that_format_1_wrote_are_read() {
    let written = |name| written("record-v1", name);
    assert_eq!(decode_channel(&written("channel")), Ok(channel()));
    assert_eq!(decode_entry(&written("entry-update")), Ok(update()));
    assert_eq!(decode_entry(&written("entry-acks")), Ok(acks()));
    assert_eq!(decode_payment(&written("payment-sent")), Ok(payment()));
    assert_eq!(decode_payment(&written("payment-failed")), Ok(gave_up()));
}

#[test]
fn records_that_format_1_wrote_with_its_later_fields_are_read() {
    let written = |name| written("record-v1b", name);
    assert_eq!(decode_channel(&written("channel")), Ok(later_channel()));
    assert_eq!(
        decode_payment(&written("payment-sent")),
        Ok(later_payment())
    );
}

#[test]
fn a_fixture_is_what_is_written_today() {
    // Else the newest set does not hold all that a store may hold.
    let channel = encode_channel(&later_channel());
    assert_eq!(channel, written("record-v1b", "channel"));
    let payment = encode_payment(&later_payment());
    assert_eq!(payment, written("record-v1b", "payment-sent"));
}

#[test]
#[ignore = "writes files that are kept for ever"]
fn write_the_fixtures() {
    let folder = folder("record-v1b");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in [
        ("channel", encode_channel(&later_channel())),
        ("payment-sent", encode_payment(&later_payment())),
    ] {
        let text = format!("{}\n", bytes.to_lower_hex_string());
        std::fs::write(folder.join(format!("{name}.hex")), text).unwrap();
    }
}
