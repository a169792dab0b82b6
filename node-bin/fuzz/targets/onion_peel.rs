#![no_main]

//! Onions: as they come, and with any payload inside an onion that is right. With the HMAC in the way
//! the fuzzer would never see a payload being read.

use std::sync::LazyLock;

use fiber_sphinx::OnionPacket;
use fiber_sphinx_secp256k1::{PublicKey, Secp256k1, SecretKey};
use libfuzzer_sys::fuzz_target;
use lightning::sign::{NodeSigner, Recipient};
use lightning::types::payment::PaymentHash;
use node_core::keys::Environment;
use node_core::onion::{Peeled, code, peel, wrap_own_failure};
use node_core::spec::{HtlcAdd, ONION_PACKET_BYTES};

static NODE: LazyLock<Environment> = LazyLock::new(|| node_fuzz::environment(2));

fuzz_target!(|bytes: &[u8]| {
    let Some(((amount_msat, cltv_expiry, is_last), rest)) = terms(bytes) else {
        return;
    };
    for onion in [Some(rest.to_vec()), with_payload(rest, is_last)] {
        let Some(onion) = onion else {
            continue;
        };
        let add = HtlcAdd {
            htlc_id: 0,
            amount_msat,
            payment_hash: PaymentHash([2; 32]),
            cltv_expiry,
            onion,
        };
        match peel(&NODE, &add) {
            Peeled::Forward { onion, .. } => assert_eq!(onion.len(), ONION_PACKET_BYTES),
            Peeled::Receive { .. } => {}
            Peeled::Malformed { failure_code, .. } => assert_ne!(failure_code & code::BADONION, 0),
            Peeled::Refused {
                shared_secret,
                failure,
            } => assert_eq!(wrap_own_failure(&shared_secret, &failure).len(), 292),
        }
    }
});

fn terms(bytes: &[u8]) -> Option<((u64, u32, bool), &[u8])> {
    let (amount_msat, rest) = bytes.split_first_chunk()?;
    let (cltv_expiry, rest) = rest.split_first_chunk()?;
    let (is_last, rest) = rest.split_first()?;
    let terms = (
        u64::from_be_bytes(*amount_msat),
        u32::from_be_bytes(*cltv_expiry),
        is_last & 1 == 0,
    );
    Some((terms, rest))
}

/// An onion for the node with this payload, as its last hop or as its last but one.
fn with_payload(payload: &[u8], is_last: bool) -> Option<Vec<u8>> {
    let node_id = NODE.node_keys.get_node_id(Recipient::Node).ok()?;
    let node_id = PublicKey::from_slice(&node_id.serialize()).ok()?;
    let mut payload_with_length = match payload.len() {
        short @ ..0xfd => vec![short as u8],
        long => [&[0xfd][..], &(long as u16).to_be_bytes()].concat(),
    };
    payload_with_length.extend_from_slice(payload);
    let mut hops = vec![(node_id, payload_with_length)];
    if !is_last {
        hops.push((node_id, vec![0]));
    }
    let (node_ids, payloads) = hops.into_iter().unzip();
    OnionPacket::create(
        SecretKey::from_slice(&[5; 32]).ok()?,
        node_ids,
        payloads,
        Some(vec![2; 32]),
        1_300,
        &Secp256k1::new(),
    )
    .ok()
    .map(OnionPacket::into_bytes)
}
