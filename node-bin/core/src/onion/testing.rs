//! Nodes, hops and payments for the tests of onions.

use bitcoin::ScriptBuf;
use lightning::sign::{NodeSigner, Recipient};
use lightning::types::payment::{PaymentHash, PaymentSecret};

use crate::keys::Environment;
use crate::payment::PaymentRecord;
use crate::source::PathHop;
use crate::spec::HtlcAdd;

/// A node whose secrets all follow from one byte.
pub(crate) fn environment(byte: u8) -> Environment {
    Environment::new([byte; 32], ScriptBuf::new())
}

/// A hop to this node.
pub(crate) fn hop(
    to: &Environment,
    short_channel_id: u64,
    fee_msat: u64,
    cltv_expiry_delta: u32,
) -> PathHop {
    PathHop {
        node_id: to.node_keys.get_node_id(Recipient::Node).unwrap(),
        short_channel_id,
        fee_msat,
        cltv_expiry_delta,
    }
}

/// A payment of an invoice.
pub(crate) fn payment(amount_msat: u64) -> PaymentRecord {
    PaymentRecord {
        sequence: 1,
        payment_id: [1; 32],
        payment_hash: PaymentHash([2; 32]),
        amount_msat,
        payment_secret: Some(PaymentSecret([3; 32])),
        keysend_preimage: None,
        payment_metadata: None,
        final_cltv_expiry_delta: 18,
        route: None,
        parts: Vec::new(),
        outcome: None,
        told: false,
        ended_at_s: None,
        expires_at_s: None,
    }
}

/// An HTLC for node 2 with an onion that is right but for its payload: a TLV of an unknown even type.
pub(crate) fn unreadable_payload() -> HtlcAdd {
    use fiber_sphinx_secp256k1 as other;
    let node_id = environment(2)
        .node_keys
        .get_node_id(Recipient::Node)
        .unwrap();
    let packet = fiber_sphinx::OnionPacket::create(
        other::SecretKey::from_slice(&[5; 32]).unwrap(),
        vec![other::PublicKey::from_slice(&node_id.serialize()).unwrap()],
        vec![vec![2, 100, 0]],
        Some(vec![2; 32]),
        1_300,
        &other::Secp256k1::new(),
    );
    HtlcAdd {
        htlc_id: 0,
        amount_msat: 1,
        payment_hash: PaymentHash([2; 32]),
        cltv_expiry: 500,
        onion: packet.unwrap().into_bytes(),
    }
}
