//! Arbitrary values of all that is stored, for property tests.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
use bitcoin::transaction::Version;
use bitcoin::{Amount, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
use lightning::ln::types::ChannelId;
use lightning::types::payment::{PaymentHash, PaymentPreimage};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::event::{EventKey, EventKind, Failure, MonitorEvent, MppClaim};
use crate::source::{HtlcSource, InboundHtlcId, InboundPart, PathHop};
use crate::spec::{Change, CommitmentSpec, Direction, HtlcAdd, ONION_PACKET_BYTES, SpecHtlc};

mod channel;
mod entry;
mod payment;

pub(crate) use channel::channel_record;
pub(crate) use entry::log_entry;
pub(crate) use payment::payment_record;

pub(super) fn bytes_32() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

pub(super) fn secret_key() -> impl Strategy<Value = SecretKey> {
    bytes_32().prop_filter_map("no key", |bytes| SecretKey::from_slice(&bytes).ok())
}

pub(super) fn public_key() -> impl Strategy<Value = PublicKey> {
    secret_key().prop_map(|key| key.public_key(&Secp256k1::signing_only()))
}

pub(super) fn signature() -> impl Strategy<Value = Signature> {
    (bytes_32(), bytes_32()).prop_filter_map("no signature", |(r, s)| {
        Signature::from_compact(&[r, s].concat()).ok()
    })
}

pub(super) fn channel_id() -> impl Strategy<Value = ChannelId> {
    bytes_32().prop_map(ChannelId)
}

pub(super) fn payment_hash() -> impl Strategy<Value = PaymentHash> {
    bytes_32().prop_map(PaymentHash)
}

pub(super) fn preimage() -> impl Strategy<Value = PaymentPreimage> {
    bytes_32().prop_map(PaymentPreimage)
}

pub(super) fn script() -> impl Strategy<Value = ScriptBuf> {
    vec(any::<u8>(), 0..40).prop_map(ScriptBuf::from_bytes)
}

pub(super) fn text() -> impl Strategy<Value = String> {
    ".{0,20}"
}

/// Short ones, and some as long as an onion.
pub(super) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..40),
        1 => any::<u8>().prop_map(|byte| vec![byte; ONION_PACKET_BYTES]),
    ]
}

prop_compose! {
    fn input()(
        txid in bytes_32(),
        vout in any::<u32>(),
        script_sig in script(),
        sequence in any::<u32>(),
        witness in vec(vec(any::<u8>(), 0..8), 0..3),
    ) -> TxIn {
        TxIn {
            previous_output: bitcoin::OutPoint { txid: Txid::from_byte_array(txid), vout },
            script_sig,
            sequence: Sequence(sequence),
            witness: Witness::from_slice(&witness),
        }
    }
}

prop_compose! {
    fn output()(sat in any::<u64>(), script_pubkey in script()) -> TxOut {
        TxOut { value: Amount::from_sat(sat), script_pubkey }
    }
}

prop_compose! {
    pub(super) fn transaction()(
        version in any::<i32>(),
        lock_time in any::<u32>(),
        input in vec(input(), 1..3),
        output in vec(output(), 0..3),
    ) -> Transaction {
        Transaction {
            version: Version(version),
            lock_time: LockTime::from_consensus(lock_time),
            input,
            output,
        }
    }
}

prop_compose! {
    pub(super) fn htlc_add()(
        htlc_id in any::<u64>(),
        amount_msat in any::<u64>(),
        payment_hash in payment_hash(),
        cltv_expiry in any::<u32>(),
        onion in bytes(),
    ) -> HtlcAdd {
        HtlcAdd { htlc_id, amount_msat, payment_hash, cltv_expiry, onion }
    }
}

pub(super) fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        htlc_add().prop_map(Change::Add),
        (any::<u64>(), preimage())
            .prop_map(|(htlc_id, preimage)| Change::Fulfill { htlc_id, preimage }),
        (any::<u64>(), bytes()).prop_map(|(htlc_id, reason)| Change::Fail { htlc_id, reason }),
        (any::<u64>(), bytes_32(), any::<u16>()).prop_map(
            |(htlc_id, sha256_of_onion, failure_code)| Change::FailMalformed {
                htlc_id,
                sha256_of_onion,
                failure_code,
            }
        ),
        any::<u32>().prop_map(|feerate_per_kw| Change::Fee { feerate_per_kw }),
    ]
}

pub(super) fn changes() -> impl Strategy<Value = Vec<Change>> {
    vec(change(), 0..3)
}

prop_compose! {
    fn spec_htlc()(
        amount_msat in any::<u64>(),
        payment_hash in payment_hash(),
        cltv_expiry in any::<u32>(),
    ) -> SpecHtlc {
        SpecHtlc { amount_msat, payment_hash, cltv_expiry }
    }
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Inbound), Just(Direction::Outbound)]
}

prop_compose! {
    pub(super) fn spec()(
        feerate_per_kw in any::<u32>(),
        holder_msat in any::<u64>(),
        counterparty_msat in any::<u64>(),
        htlcs in proptest::collection::btree_map((direction(), any::<u64>()), spec_htlc(), 0..3),
    ) -> CommitmentSpec {
        CommitmentSpec { feerate_per_kw, holder_msat, counterparty_msat, htlcs }
    }
}

prop_compose! {
    fn inbound_htlc_id()(channel_id in channel_id(), htlc_id in any::<u64>()) -> InboundHtlcId {
        InboundHtlcId { channel_id, htlc_id }
    }
}

prop_compose! {
    fn inbound_part()(
        id in inbound_htlc_id(),
        amount_msat in any::<u64>(),
        cltv_expiry in any::<u32>(),
        shared_secret in bytes_32(),
    ) -> InboundPart {
        InboundPart { id, amount_msat, cltv_expiry, shared_secret }
    }
}

prop_compose! {
    fn path_hop()(
        node_id in public_key(),
        short_channel_id in any::<u64>(),
        fee_msat in any::<u64>(),
        cltv_expiry_delta in any::<u32>(),
    ) -> PathHop {
        PathHop { node_id, short_channel_id, fee_msat, cltv_expiry_delta }
    }
}

pub(crate) fn path() -> impl Strategy<Value = Vec<PathHop>> {
    vec(path_hop(), 0..3)
}

pub(super) fn source() -> impl Strategy<Value = HtlcSource> {
    prop_oneof![
        vec(inbound_part(), 0..3).prop_map(|parts| HtlcSource::Forward { parts }),
        (bytes_32(), any::<u32>(), secret_key(), path()).prop_map(
            |(payment_id, part, session_key, path)| HtlcSource::Own {
                payment_id,
                part,
                session_key,
                path,
            }
        ),
    ]
}

prop_compose! {
    pub(super) fn mpp_claim()(
        payment_hash in payment_hash(),
        preimage in preimage(),
        amount_msat in any::<u64>(),
        parts in vec(inbound_htlc_id(), 0..3),
    ) -> MppClaim {
        MppClaim { payment_hash, preimage, amount_msat, parts }
    }
}

fn failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        bytes().prop_map(Failure::Onion),
        (bytes_32(), any::<u16>()).prop_map(|(sha256_of_onion, failure_code)| {
            Failure::Malformed {
                sha256_of_onion,
                failure_code,
            }
        }),
        any::<u16>().prop_map(|failure_code| Failure::Local { failure_code }),
    ]
}

pub(super) fn monitor_event() -> impl Strategy<Value = MonitorEvent> {
    prop_oneof![
        htlc_add().prop_map(|add| MonitorEvent::HtlcAccepted { add }),
        (
            any::<u64>(),
            preimage(),
            any::<u64>(),
            source(),
            any::<bool>()
        )
            .prop_map(|(htlc_id, preimage, amount_msat, source, from_onchain)| {
                MonitorEvent::ForwardedHtlcClaimed {
                    htlc_id,
                    preimage,
                    amount_msat,
                    source,
                    from_onchain,
                }
            }),
        (any::<u64>(), payment_hash(), source(), failure()).prop_map(
            |(htlc_id, payment_hash, source, failure)| MonitorEvent::ForwardedHtlcFailed {
                htlc_id,
                payment_hash,
                source,
                failure,
            }
        ),
        (any::<u64>(), mpp_claim()).prop_map(|(htlc_id, claim)| {
            MonitorEvent::InboundMppClaimPersisted { htlc_id, claim }
        }),
        text().prop_map(|reason| MonitorEvent::HolderForceClosed { reason }),
        Just(MonitorEvent::CommitmentTxConfirmed),
    ]
}

fn event_kind() -> impl Strategy<Value = EventKind> {
    prop_oneof![
        Just(EventKind::Accepted),
        Just(EventKind::Claimed),
        Just(EventKind::Failed),
        Just(EventKind::MppClaim),
        Just(EventKind::HolderForceClosed),
        Just(EventKind::CommitmentTxConfirmed),
    ]
}

prop_compose! {
    pub(super) fn event_key()(kind in event_kind(), htlc_id in any::<u64>()) -> EventKey {
        EventKey { kind, htlc_id }
    }
}

pub(super) fn maybe<S: Strategy>(strategy: S) -> impl Strategy<Value = Option<S::Value>> {
    option::of(strategy)
}
