//! BOLT 4's vector of an onion, peeled by each of its hops in turn.

use bitcoin::hex::FromHex;
use bitcoin::secp256k1::ecdh::SharedSecret;
use bitcoin::secp256k1::ecdsa::{RecoverableSignature, Signature};
use bitcoin::secp256k1::schnorr;
use bitcoin::secp256k1::{PublicKey, Scalar, SecretKey};
use lightning::ln::inbound_payment::ExpandedKey;
use lightning::ln::msgs::UnsignedGossipMessage;
use lightning::offers::invoice::UnsignedBolt12Invoice;
use lightning::sign::{PeerStorageKey, ReceiveAuthKey};
use lightning::types::payment::{PaymentHash, PaymentSecret};
use lightning_invoice::RawBolt11Invoice;
use serde_json::Value;

use super::*;

const VECTOR: &str = include_str!("../../vectors/bolt4_onion.json");

/// One of the vector's nodes: all that a `KeysManager` says follows from a seed, and the vector has none.
struct VectorNode(SecretKey);

impl NodeSigner for VectorNode {
    fn ecdh(
        &self,
        _recipient: Recipient,
        other_key: &PublicKey,
        tweak: Option<&Scalar>,
    ) -> Result<SharedSecret, ()> {
        assert_eq!(tweak, None);
        Ok(SharedSecret::new(other_key, &self.0))
    }

    fn get_node_id(&self, _recipient: Recipient) -> Result<PublicKey, ()> {
        Ok(self.0.public_key(&Secp256k1::new()))
    }

    fn get_expanded_key(&self) -> ExpandedKey {
        ExpandedKey::new([0; 32])
    }

    fn get_peer_storage_key(&self) -> PeerStorageKey {
        PeerStorageKey { inner: [0; 32] }
    }

    fn get_receive_auth_key(&self) -> ReceiveAuthKey {
        ReceiveAuthKey([0; 32])
    }

    fn sign_invoice(
        &self,
        _invoice: &RawBolt11Invoice,
        _recipient: Recipient,
    ) -> Result<RecoverableSignature, ()> {
        Err(())
    }

    fn sign_bolt12_invoice(&self, _: &UnsignedBolt12Invoice) -> Result<schnorr::Signature, ()> {
        Err(())
    }

    fn sign_gossip_message(&self, _msg: UnsignedGossipMessage) -> Result<Signature, ()> {
        Err(())
    }

    fn sign_message(&self, _msg: &[u8]) -> Result<String, ()> {
        Err(())
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    Vec::from_hex(value.as_str().unwrap()).unwrap()
}

fn nodes(vector: &Value) -> Vec<VectorNode> {
    let secrets = vector["decode"].as_array().unwrap().iter();
    let nodes = secrets.map(|secret| VectorNode(SecretKey::from_slice(&bytes(secret)).unwrap()));
    nodes.collect()
}

#[test]
fn bolt_4s_onion_is_peeled_by_each_hop_to_what_its_payload_says() {
    let vector: Value = serde_json::from_str(VECTOR).unwrap();
    let secp = Secp256k1::new();
    let nodes = nodes(&vector);
    let hash = bytes(&vector["generate"]["associated_data"]);
    let mut add = HtlcAdd {
        htlc_id: 0,
        amount_msat: 16_000,
        payment_hash: PaymentHash(hash.try_into().unwrap()),
        cltv_expiry: 1_600,
        onion: bytes(&vector["onion"]),
    };
    let (payee, forwarders) = nodes.split_last().unwrap();
    let forwards = [
        (1, 15_000, 1_500),
        (2, 14_000, 1_400),
        (3, 12_500, 1_250),
        (4, 10_000, 1_000),
    ];
    assert_eq!(forwarders.len(), forwards.len());
    for (node, wanted) in forwarders.iter().zip(forwards) {
        match peel_with(node, &secp, &add) {
            Peeled::Forward {
                onion,
                short_channel_id,
                amount_msat,
                cltv_expiry,
                ..
            } => {
                assert_eq!((short_channel_id, amount_msat, cltv_expiry), wanted);
                add = HtlcAdd {
                    onion,
                    amount_msat,
                    cltv_expiry,
                    ..add
                };
            }
            other => panic!("{other:?}"),
        }
    }
    let secret = "24a33562c54507a9334e79f0dc4f17d407e6d7c61f0e2f3d0d38599502f61704";
    let secret = PaymentSecret(FromHex::from_hex(secret).unwrap());
    match peel_with(payee, &secp, &add) {
        Peeled::Receive {
            amount_msat: 10_000,
            total_msat: 10_000,
            cltv_expiry: 1_000,
            payment_secret,
            keysend_preimage: None,
            ..
        } => assert_eq!(payment_secret, Some(secret)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn bolt_4s_onion_is_nobody_elses_and_no_other_hashs() {
    let vector: Value = serde_json::from_str(VECTOR).unwrap();
    let secp = Secp256k1::new();
    let nodes = nodes(&vector);
    let hash = bytes(&vector["generate"]["associated_data"]);
    let add = HtlcAdd {
        htlc_id: 0,
        amount_msat: 16_000,
        payment_hash: PaymentHash(hash.try_into().unwrap()),
        cltv_expiry: 1_600,
        onion: bytes(&vector["onion"]),
    };
    let other_hash = HtlcAdd {
        payment_hash: PaymentHash([7; 32]),
        ..add.clone()
    };
    for peeled in [
        peel_with(&nodes[1], &secp, &add),
        peel_with(&nodes[0], &secp, &other_hash),
    ] {
        let is_refused = matches!(
            peeled,
            Peeled::Malformed {
                failure_code: code::INVALID_ONION_HMAC,
                ..
            }
        );
        assert!(is_refused, "{peeled:?}");
    }
}
