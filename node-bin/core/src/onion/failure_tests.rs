use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::secp256k1::PublicKey;
use lightning::ln::msgs::OnionPacket;
use lightning::util::ser::Readable;
use std::io::Cursor;

use super::*;
use crate::onion::peeling::peel_by_ldk;
use crate::onion::testing::{environment, unreadable_payload};
use crate::onion::{Peeled, peel};

/// BOLT 4's test vector of a returned error.
const VECTOR: &str = include_str!("../../vectors/bolt4_onion_error.json");

struct Vector {
    session_key: SecretKey,
    path: Vec<PathHop>,
    shared_secrets: Vec<[u8; 32]>,
    failure: OwnFailure,
    onion: Vec<u8>,
}

fn bytes<const LENGTH: usize>(value: &serde_json::Value) -> [u8; LENGTH] {
    <[u8; LENGTH]>::from_hex(value.as_str().unwrap()).unwrap()
}

fn vector() -> Vector {
    let json: serde_json::Value = serde_json::from_str(VECTOR).unwrap();
    let generate = &json["generate"];
    let hops = generate["hops"].as_array().unwrap();
    let path = hops
        .iter()
        .zip(100..)
        .map(|(hop, short_channel_id)| PathHop {
            node_id: PublicKey::from_slice(&bytes::<33>(&hop["pubkey"])).unwrap(),
            short_channel_id,
            fee_msat: 1,
            cltv_expiry_delta: 48,
        });
    let message = bytes::<2>(&generate["failure_message"]);
    Vector {
        session_key: SecretKey::from_slice(&bytes::<32>(&generate["session_key"])).unwrap(),
        path: path.collect(),
        shared_secrets: hops
            .iter()
            .map(|hop| bytes(&hop["hop_shared_secret"]))
            .collect(),
        failure: OwnFailure {
            code: u16::from_be_bytes(message),
            data: Vec::new(),
        },
        onion: Vec::from_hex(json["errorpacket"].as_str().unwrap()).unwrap(),
    }
}

/// A failure of the vector's hop `from`, as it comes to the sender.
fn returned(vector: &Vector, from: usize, failure: &OwnFailure) -> Vec<u8> {
    let (own, relays) = vector.shared_secrets[..=from].split_last().unwrap();
    relays
        .iter()
        .rev()
        .fold(wrap_own_failure(own, failure), |onion, secret| {
            wrap_relayed_failure(secret, onion)
        })
}

fn decode(vector: &Vector, onion: &[u8]) -> DecodedFailure {
    decode_failure(&environment(1), &vector.session_key, &vector.path, onion)
}

fn decode_code(from: usize, code: u16) -> DecodedFailure {
    let vector = vector();
    let failure = OwnFailure {
        code,
        data: vec![0; 12],
    };
    let decoded = decode(&vector, &returned(&vector, from, &failure));
    assert_eq!((decoded.hop, decoded.code), (Some(from), Some(code)));
    decoded
}

#[test]
fn failures_are_made_and_relayed_as_bolt_4s_vector_says() {
    let vector = vector();
    let onion = returned(&vector, 4, &vector.failure);
    assert_eq!(
        onion.to_lower_hex_string(),
        vector.onion.to_lower_hex_string()
    );
}

#[test]
fn bolt_4s_vector_is_decoded() {
    let vector = vector();
    assert_eq!(
        decode(&vector, &vector.onion),
        DecodedFailure {
            hop: Some(4),
            code: Some(code::TEMPORARY_NODE_FAILURE),
            failed_channel: Some(104),
            is_permanent: false,
        }
    );
}

#[test]
fn a_hops_trouble_with_a_channel_is_blamed_on_the_channel_after_it() {
    for code in [
        code::TEMPORARY_CHANNEL_FAILURE,
        code::FEE_INSUFFICIENT,
        code::CHANNEL_DISABLED,
        code::PERMANENT_CHANNEL_FAILURE,
        code::UNKNOWN_NEXT_PEER,
        code::INVALID_ONION_HMAC,
        code::EXPIRY_TOO_FAR,
    ] {
        let decoded = decode_code(1, code);
        assert_eq!(decoded.failed_channel, Some(102), "{code:x}");
        assert!(!decoded.is_permanent);
    }
}

#[test]
fn a_hops_own_trouble_is_blamed_on_the_channel_that_led_to_it() {
    for code in [
        code::TEMPORARY_NODE_FAILURE,
        code::PERMANENT_NODE_FAILURE,
        code::REQUIRED_NODE_FEATURE_MISSING,
        0x0fff,
    ] {
        let decoded = decode_code(1, code);
        assert_eq!(decoded.failed_channel, Some(101), "{code:x}");
        assert!(!decoded.is_permanent);
    }
}

#[test]
fn only_the_payee_can_refuse_for_good() {
    let code = code::INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS;
    let decoded = decode_code(4, code);
    assert_eq!((decoded.failed_channel, decoded.is_permanent), (None, true));
    assert!(!decode_code(3, code).is_permanent);
    let decoded = decode_code(4, code::MPP_TIMEOUT);
    assert_eq!(
        (decoded.failed_channel, decoded.is_permanent),
        (None, false)
    );
    let decoded = decode_code(4, code::FINAL_INCORRECT_HTLC_AMOUNT);
    assert_eq!(
        (decoded.failed_channel, decoded.is_permanent),
        (Some(104), false)
    );
}

#[test]
fn failures_of_all_codes_are_of_one_length_unless_they_are_long() {
    let secret = [1; 32];
    let length = |bytes| {
        let failure = OwnFailure {
            code: 1,
            data: vec![0; bytes],
        };
        wrap_own_failure(&secret, &failure).len()
    };
    assert_eq!((length(0), length(12), length(254)), (292, 292, 292));
    assert_eq!(length(300), 32 + 2 + 302 + 2);
    assert!(length(100_000) < 65_535);
}

#[test]
fn garbage_and_empty_paths_blame_nobody() {
    let vector = vector();
    let nobody = DecodedFailure {
        hop: None,
        code: None,
        failed_channel: None,
        is_permanent: false,
    };
    for garbage in [&[][..], &[7; 31], &[7; 32], &[7; 292]] {
        assert_eq!(decode(&vector, garbage), nobody);
    }
    let none = decode_failure(&environment(1), &vector.session_key, &[], &vector.onion);
    assert_eq!(none, nobody);
}

#[test]
fn a_hop_that_says_nothing_readable_is_known_all_the_same() {
    let vector = vector();
    for payload in [vec![], vec![0], vec![0, 0], vec![0, 1, 7], vec![0xff; 40]] {
        let secret = &vector.shared_secrets[0];
        let onion = OnionErrorPacket::create(secret, payload).into_bytes();
        let decoded = decode(&vector, &onion);
        assert_eq!((decoded.hop, decoded.code), (Some(0), None));
        assert_eq!(decoded.failed_channel, Some(100));
    }
}

/// LDK keeps its failure onions to itself, but for one: what it would have answered to a payload that
/// it cannot read comes with the error.
#[test]
fn a_failure_is_byte_for_byte_what_stock_ldk_sends() {
    let (node, add) = (environment(2), unreadable_payload());
    let Peeled::Refused { shared_secret, .. } = peel(&node, &add) else {
        panic!("not refused");
    };
    let packet = OnionPacket::read(&mut Cursor::new(&add.onion)).unwrap();
    let by_ldk = peel_by_ldk(&node.node_keys, &node.secp, &add, packet)
        .err()
        .unwrap()
        .err_data;
    let failure = OwnFailure {
        code: code::INVALID_ONION_PAYLOAD,
        data: Vec::new(),
    };
    assert_eq!(
        wrap_own_failure(&shared_secret, &failure).to_lower_hex_string(),
        by_ldk.to_lower_hex_string()
    );
}
