//! BOLT 3's vectors of keys, through what spends with them.

use bitcoin::hex::FromHex;
use lightning::types::payment::{PaymentHash, PaymentPreimage};
use serde_json::Value;

use super::*;
use crate::keys::ChannelKeys;
use crate::onchain::identify::HtlcOutput;
use crate::record_codec::fixtures;
use crate::spec::Direction;

const VECTORS: &str = include_str!("../../../vectors/bolt3_key_derivation.json");
const KEYS_ID: [u8; 32] = [1; 32];

fn vector(name: &str) -> String {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    vectors[name].as_str().unwrap().to_owned()
}

fn secret(name: &str) -> SecretKey {
    vector(name).parse().unwrap()
}

fn point(name: &str) -> PublicKey {
    vector(name).parse().unwrap()
}

/// Both sides have the vectors' base secret for everything.
fn channel() -> (Environment, ChannelParameters) {
    let base = secret("base_secret");
    let keys = ChannelKeys {
        funding: base,
        revocation_base: base,
        payment: base,
        delayed_payment_base: base,
        htlc_base: base,
        commitment_seed: <[u8; 32]>::from_hex(&vector("per_commitment_secret")).unwrap(),
    };
    let environment = Environment::new([7; 32], ScriptBuf::new());
    let parameters = ChannelParameters {
        keys_id: KEYS_ID,
        counterparty_keys: keys.public(&environment.secp),
        ..fixtures::channel().parameters
    };
    (environment.with_channel_keys(KEYS_ID, keys), parameters)
}

#[test]
fn keys_and_secrets_of_a_commitment_are_those_of_bolt_3s_vectors() {
    let (environment, parameters) = channel();
    let at = point("per_commitment_point");
    let points = environment.channel_points(&KEYS_ID);
    assert_eq!(points.payment_point, point("base_point"));

    let wanted = point("localpubkey");
    for side in [Side::Holder, Side::Counterparty] {
        let keys = CommitmentScripts::new(&environment, &parameters, side, &at).keys;
        assert_eq!(keys.broadcaster_delayed_payment_key.to_public_key(), wanted);
        assert_eq!(keys.broadcaster_htlc_key.to_public_key(), wanted);
        assert_eq!(keys.countersignatory_htlc_key.to_public_key(), wanted);
        let revocation = keys.revocation_key.to_public_key();
        assert_eq!(revocation, point("revocationpubkey"));
    }

    let htlc = HtlcOutput {
        direction: Direction::Inbound,
        htlc_id: 0,
        amount_msat: 1_000_000,
        payment_hash: PaymentHash([7; 32]),
        cltv_expiry: 500,
    };
    let preimage = PaymentPreimage([9; 32]);
    let revoked = secret("per_commitment_secret");
    for (path, wanted) in [
        (
            ClaimPath::Preimage {
                point: at,
                htlc,
                preimage,
            },
            "localprivkey",
        ),
        (ClaimPath::Timeout { point: at, htlc }, "localprivkey"),
        (
            ClaimPath::RevokedBalance { secret: revoked },
            "revocationprivkey",
        ),
        (
            ClaimPath::RevokedHtlc {
                secret: revoked,
                htlc,
            },
            "revocationprivkey",
        ),
    ] {
        let (_, key, _) = unlocking(&environment, &parameters, &path);
        assert_eq!(key, secret(wanted), "{path:?}");
    }
}
