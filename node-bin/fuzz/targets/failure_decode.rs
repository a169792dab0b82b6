#![no_main]

//! Failure onions: as they come, and with any payload inside one that some hop made.

use std::sync::LazyLock;

use bitcoin::secp256k1::SecretKey;
use fiber_sphinx::{OnionErrorPacket, OnionSharedSecretIter};
use fiber_sphinx_secp256k1 as other;
use libfuzzer_sys::fuzz_target;
use lightning::sign::{NodeSigner, Recipient};
use node_core::keys::Environment;
use node_core::onion::{decode_failure, wrap_relayed_failure};
use node_core::source::PathHop;

const HOPS: usize = 3;

struct Sender {
    environment: Environment,
    session_key: SecretKey,
    path: Vec<PathHop>,
    shared_secrets: Vec<[u8; 32]>,
}

static SENDER: LazyLock<Option<Sender>> = LazyLock::new(sender);

fuzz_target!(|bytes: &[u8]| {
    let (Some(sender), Some((from, rest))) = (&*SENDER, bytes.split_first()) else {
        return;
    };
    let decode = |reason: &[u8]| {
        decode_failure(
            &sender.environment,
            &sender.session_key,
            &sender.path,
            reason,
        )
    };
    decode(rest);
    let from = usize::from(*from) % HOPS;
    let made = OnionErrorPacket::create(&sender.shared_secrets[from], rest.to_vec()).into_bytes();
    let relays = sender.shared_secrets[..from].iter().rev();
    let reason = relays.fold(made, |reason, secret| wrap_relayed_failure(secret, reason));
    let decoded = decode(&reason);
    assert_eq!(decoded.hop, Some(from));
    assert!(!decoded.is_permanent || from == HOPS - 1);
});

fn sender() -> Option<Sender> {
    let mut path = Vec::new();
    let mut node_ids = Vec::new();
    for byte in 2..2 + HOPS as u8 {
        let node = node_fuzz::environment(byte);
        let node_id = node.node_keys.get_node_id(Recipient::Node).ok()?;
        node_ids.push(other::PublicKey::from_slice(&node_id.serialize()).ok()?);
        path.push(PathHop {
            node_id,
            short_channel_id: byte.into(),
            fee_msat: 1,
            cltv_expiry_delta: 48,
        });
    }
    let session_key = other::SecretKey::from_slice(&[5; 32]).ok()?;
    let secp = other::Secp256k1::new();
    let shared_secrets = OnionSharedSecretIter::new(node_ids.iter(), session_key, &secp);
    Some(Sender {
        environment: node_fuzz::environment(1),
        session_key: SecretKey::from_slice(&[5; 32]).ok()?,
        path,
        shared_secrets: shared_secrets.collect::<Result<_, _>>().ok()?,
    })
}
