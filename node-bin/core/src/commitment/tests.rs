//! BOLT 3's vectors for anchors, and what the vectors do not cover.

use std::collections::BTreeMap;

use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::hashes::sha256;
use bitcoin::hex::FromHex;
use bitcoin::secp256k1::SecretKey;
use lightning::chain::transaction::OutPoint;
use lightning::sign::ChannelDerivationParameters;
use lightning::types::payment::{PaymentHash, PaymentPreimage};
use serde_json::Value;

use super::*;
use crate::onchain::bumping::{descriptor_of, feeless_second_stage};
use crate::onchain::signer::HolderSigner;

const VECTORS: &str = include_str!("../../vectors/bolt3_anchors.json");
const FUNDING_TXID: &str = "8984484a580b825b9972d7adb15050b3ab624ccd731946b3eeddb92f4e7ef6be";
const POINT: &str = "025f7117a78150fe2ef97db7cfc83bd57b2e2c0d0dd25eaf467a4a1c2a45ce1486";
const NUMBER: u64 = 42;

fn secret(hex: &str) -> SecretKey {
    hex.parse().unwrap()
}

fn repeated(byte: u8) -> SecretKey {
    SecretKey::from_slice(&[byte; 32]).unwrap()
}

/// Appendix C's "local", who opened the channel.
fn local() -> ChannelKeys {
    ChannelKeys {
        funding: secret("30ff4956bbdd3222d44cc5e8a1261dab1e07957bdac5ae88fe3261ef321f3749"),
        revocation_base: repeated(0x55),
        payment: repeated(0x11),
        delayed_payment_base: repeated(0x33),
        htlc_base: repeated(0x11),
        commitment_seed: [0; 32],
    }
}

/// Appendix C's "remote".
fn remote() -> ChannelKeys {
    ChannelKeys {
        funding: secret("1552dfba4f6cf29a62a0af13c8d6981d36d0ef8d61ba10fb0fe90da7634d7e13"),
        revocation_base: repeated(0x22),
        payment: repeated(0x44),
        delayed_payment_base: repeated(0x66),
        htlc_base: repeated(0x44),
        commitment_seed: [0; 32],
    }
}

fn limits(dust_limit_sat: u64) -> ChannelLimits {
    ChannelLimits {
        dust_limit_sat,
        max_htlc_value_in_flight_msat: 10_000_000_000,
        reserve_sat: 100_000,
        htlc_minimum_msat: 1,
        to_self_delay: 144,
        max_accepted_htlcs: 50,
    }
}

/// The channel as local (or, turned round, as remote) knows it.
fn transaction_parameters_of(
    secp: &Secp256k1<All>,
    holder: &ChannelKeys,
    counterparty: &ChannelKeys,
    is_opener: bool,
) -> ChannelTransactionParameters {
    let parameters = ChannelParameters {
        channel_id: lightning::ln::types::ChannelId([0; 32]),
        user_channel_id: [0; 32],
        counterparty_node_id: counterparty.funding.public_key(secp),
        keys_id: [0; 32],
        is_opener,
        capacity_sat: 10_000_000,
        funding: OutPoint {
            txid: FUNDING_TXID.parse().unwrap(),
            index: 0,
        },
        announce: false,
        minimum_depth: 1,
        counterparty_keys: counterparty.public(secp),
        holder_limits: limits(546),
        counterparty_limits: limits(546),
        holder_shutdown_script: ScriptBuf::new(),
    };
    transaction_parameters(holder.public(secp), &parameters)
}

/// Appendix C's HTLCs by number, as local sees them.
fn test_htlc(number: u8) -> ((Direction, u64), SpecHtlc) {
    let (direction, amount_msat, cltv_expiry, preimage) = match number {
        0 => (Direction::Inbound, 1_000_000, 500, 0),
        1 => (Direction::Inbound, 2_000_000, 501, 1),
        2 => (Direction::Outbound, 2_000_000, 502, 2),
        3 => (Direction::Outbound, 3_000_000, 503, 3),
        4 => (Direction::Inbound, 4_000_000, 504, 4),
        5 => (Direction::Outbound, 5_000_000, 506, 5),
        _ => (Direction::Outbound, 5_000_001, 505, 5u8),
    };
    let htlc = SpecHtlc {
        amount_msat,
        payment_hash: PaymentHash(sha256::Hash::hash(&[preimage; 32]).to_byte_array()),
        cltv_expiry,
    };
    ((direction, u64::from(number)), htlc)
}

fn spec(vector: &Value) -> CommitmentSpec {
    let name = vector["Name"].as_str().unwrap();
    let htlcs: &[u8] = match vector["UseTestHtlcs"].as_bool().unwrap() {
        false => &[],
        true if name.contains("same amount and preimage") => &[1, 5, 6],
        true => &[0, 1, 2, 3, 4],
    };
    CommitmentSpec {
        feerate_per_kw: u32::try_from(vector["FeePerKw"].as_u64().unwrap()).unwrap(),
        holder_msat: vector["LocalBalance"].as_u64().unwrap(),
        counterparty_msat: vector["RemoteBalance"].as_u64().unwrap(),
        htlcs: htlcs.iter().map(|number| test_htlc(*number)).collect(),
    }
}

/// The same commitment, seen by the other.
fn turned_round(spec: &CommitmentSpec) -> CommitmentSpec {
    CommitmentSpec {
        feerate_per_kw: spec.feerate_per_kw,
        holder_msat: spec.counterparty_msat,
        counterparty_msat: spec.holder_msat,
        htlcs: spec
            .htlcs
            .iter()
            .map(|((direction, id), htlc)| ((direction.reverse(), *id), htlc.clone()))
            .collect(),
    }
}

fn signature(hex: &Value) -> Signature {
    Signature::from_der(&Vec::<u8>::from_hex(hex.as_str().unwrap()).unwrap()).unwrap()
}

fn without_witness(mut transaction: Transaction) -> Transaction {
    transaction.input[0].witness = Witness::new();
    transaction
}

/// Local's HTLC transactions, signed by both, in the order of the outputs.
fn signed_resolutions(built: &BuiltCommitment, signatures: &[Signature]) -> Vec<Transaction> {
    let keys_id = [0; 32];
    let environment = Environment::new([7; 32], ScriptBuf::new());
    let environment = environment.with_channel_keys(keys_id, local());
    let signer = HolderSigner::new(&environment, keys_id);
    let sign = |(position, (direction, id)): (usize, &(Direction, u64))| {
        let preimage = u8::try_from(*id).unwrap();
        let derivation = ChannelDerivationParameters {
            value_satoshis: built.parameters.channel_value_satoshis,
            keys_id,
            transaction_parameters: built.parameters.clone(),
        };
        let descriptor = descriptor_of(
            built,
            derivation,
            position,
            (*direction == Direction::Inbound).then_some(PaymentPreimage([preimage; 32])),
            &signatures[position],
        );
        feeless_second_stage(&environment.secp, &signer, &descriptor.unwrap()).unwrap()
    };
    built.htlcs.iter().enumerate().map(sign).collect()
}

/// The place of the owner's signature in the witness of an HTLC transaction.
const OWNERS_SIGNATURE: usize = 2;
/// In DER with a sighash byte: one byte more than with a low r (BOLT 3 gives what RFC 6979 gives at first).
const BYTES_WITH_HIGH_R: usize = 72;

/// Whether ours is the vector's to the byte. If the vector's signature has a high r, ours has another, which must
/// be right, and all else must be the same.
fn is_same_resolution(
    built: &BuiltCommitment,
    htlc: &HTLCOutputInCommitment,
    ours: &Transaction,
    vectors: &Transaction,
) -> bool {
    if ours == vectors {
        return true;
    }
    let secp = Secp256k1::new();
    let trusted = built.transaction.trust();
    let script = get_htlc_redeemscript(
        htlc,
        &built.parameters.channel_type_features,
        trusted.keys(),
    );
    let key = trusted.keys().broadcaster_htlc_key.to_public_key();
    let elements = |transaction: &Transaction| transaction.input[0].witness.to_vec();
    for transaction in [ours, vectors] {
        let signature =
            bitcoin::ecdsa::Signature::from_slice(&elements(transaction)[OWNERS_SIGNATURE])
                .unwrap();
        let amount = htlc.to_bitcoin_amount();
        let digest = input_sighash(transaction, &script, amount, signature.sighash_type);
        secp.verify_ecdsa(&digest, &signature.signature, &key)
            .unwrap();
    }
    let (mut witness, wanted) = (elements(ours), elements(vectors));
    assert_eq!(wanted[OWNERS_SIGNATURE].len(), BYTES_WITH_HIGH_R);
    witness[OWNERS_SIGNATURE] = wanted[OWNERS_SIGNATURE].clone();
    let mut ours = ours.clone();
    ours.input[0].witness = Witness::from_slice(&witness);
    assert_eq!(&ours, vectors);
    false
}

#[test]
fn commitments_and_signatures_are_those_of_bolt_3s_vectors() {
    let secp = Secp256k1::new();
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    assert_eq!(vectors.len(), 9);
    let point: PublicKey = POINT.parse().unwrap();
    let mut whole_resolutions = 0;
    for vector in &vectors {
        let name = &vector["Name"];
        let dust_limit_sat = vector["DustLimitSatoshis"].as_u64().unwrap();
        let spec = spec(vector);
        let by_local = BuiltCommitment::new(
            &secp,
            transaction_parameters_of(&secp, &local(), &remote(), true),
            &spec,
            Side::Holder,
            dust_limit_sat,
            (NUMBER, &point),
        );
        let by_remote = BuiltCommitment::new(
            &secp,
            transaction_parameters_of(&secp, &remote(), &local(), false),
            &turned_round(&spec),
            Side::Counterparty,
            dust_limit_sat,
            (NUMBER, &point),
        );
        let (commitment_signature, htlc_signatures) = by_remote.sign(&secp, &remote());
        assert_eq!(
            commitment_signature,
            signature(&vector["RemoteSigHex"]),
            "{name}"
        );
        let wanted: Vec<&Value> = vector["HtlcDescs"].as_array().unwrap().iter().collect();
        let wanted_signatures: Vec<Signature> = wanted
            .iter()
            .map(|htlc| signature(&htlc["RemoteSigHex"]))
            .collect();
        assert_eq!(htlc_signatures, wanted_signatures, "{name}");
        by_local
            .verify(&secp, &commitment_signature, &htlc_signatures)
            .unwrap();

        let signed = by_local.fully_signed(&secp, &local(), &commitment_signature);
        let hex = vector["ExpectedCommitmentTxHex"].as_str().unwrap();
        assert_eq!(
            signed,
            deserialize_hex::<Transaction>(hex).unwrap(),
            "{name}"
        );
        let resolutions = signed_resolutions(&by_local, &htlc_signatures);
        assert_eq!(resolutions.len(), wanted.len(), "{name}");
        let htlcs = by_local.transaction.nondust_htlcs();
        for ((resolution, htlc), wanted) in resolutions.iter().zip(htlcs).zip(&wanted) {
            let hex = wanted["ResolutionTxHex"].as_str().unwrap();
            let wanted: Transaction = deserialize_hex(hex).unwrap();
            let is_whole = is_same_resolution(&by_local, htlc, resolution, &wanted);
            whole_resolutions += usize::from(is_whole);
            let unsigned = by_local.htlc_transaction(htlc);
            assert_eq!(unsigned, without_witness(wanted), "{name}");
        }
    }
    assert!(whole_resolutions > 0, "no vector has a low r");
}

fn built(htlcs: BTreeMap<(Direction, u64), SpecHtlc>) -> BuiltCommitment {
    let secp = Secp256k1::new();
    let spec = CommitmentSpec {
        feerate_per_kw: 253,
        holder_msat: 5_000_000_000,
        counterparty_msat: 4_000_000_000,
        htlcs,
    };
    BuiltCommitment::new(
        &secp,
        transaction_parameters_of(&secp, &local(), &remote(), true),
        &spec,
        Side::Holder,
        546,
        (NUMBER, &POINT.parse().unwrap()),
    )
}

#[test]
fn htlcs_of_equal_hash_and_amount_are_told_apart_by_expiry_and_then_by_id() {
    let twin = |cltv_expiry| SpecHtlc {
        amount_msat: 5_000_000,
        payment_hash: PaymentHash([9; 32]),
        cltv_expiry,
    };
    let built = built(BTreeMap::from([
        ((Direction::Outbound, 0), twin(600)),
        ((Direction::Outbound, 1), twin(500)),
        ((Direction::Outbound, 2), twin(500)),
    ]));
    let outbound = |id| (Direction::Outbound, id);
    assert_eq!(built.htlcs, [outbound(1), outbound(2), outbound(0)]);
    let expiries: Vec<u32> = built
        .transaction
        .nondust_htlcs()
        .iter()
        .map(|htlc| htlc.cltv_expiry)
        .collect();
    assert_eq!(expiries, [500, 500, 600]);
}

#[test]
fn an_htlc_below_the_limit_gets_no_output_and_pays_no_weight() {
    let htlc = |amount_msat| SpecHtlc {
        amount_msat,
        payment_hash: PaymentHash([9; 32]),
        cltv_expiry: 500,
    };
    let built = built(BTreeMap::from([
        ((Direction::Outbound, 0), htlc(545_999)),
        ((Direction::Inbound, 0), htlc(546_000)),
    ]));
    assert_eq!(built.htlcs, [(Direction::Inbound, 0)]);
    let to_local_sat = built.transaction.to_broadcaster_value_sat();
    assert_eq!(to_local_sat, 5_000_000 - 253 * (1124 + 172) / 1000 - 660);
}

#[test]
fn wrong_signatures_are_told_apart() {
    let secp = Secp256k1::new();
    let ((_, _), htlc) = test_htlc(4);
    let built = built(BTreeMap::from([((Direction::Inbound, 0), htlc)]));
    let (right, htlcs) = built.sign(&secp, &remote());
    let (wrong, wrong_htlcs) = built.sign(&secp, &local());
    assert_eq!(
        built.verify(&secp, &wrong, &htlcs),
        Err(SignatureError::Commitment)
    );
    assert_eq!(
        built.verify(&secp, &right, &[]),
        Err(SignatureError::Count { got: 0, wanted: 1 })
    );
    assert_eq!(
        built.verify(&secp, &right, &wrong_htlcs),
        Err(SignatureError::Htlc(0))
    );
}
