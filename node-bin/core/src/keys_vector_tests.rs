//! BOLT 3's vectors of commitment secrets: how they are made, and how the counterparty's are kept.

use std::io::Cursor;

use bitcoin::hex::FromHex;
use lightning::ln::chan_utils::CounterpartyCommitmentSecrets;
use lightning::util::ser::{Readable, Writeable};
use serde_json::Value;

use super::*;
use crate::record::RevokedSecrets;

const VECTORS: &str = include_str!("../vectors/bolt3_secrets.json");

fn bytes(value: &Value) -> [u8; 32] {
    FromHex::from_hex(value.as_str().unwrap()).unwrap()
}

fn vectors(of: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    vectors[of].as_array().unwrap().clone()
}

/// As a record keeps them between two starts.
fn written_and_read(secrets: &RevokedSecrets) -> RevokedSecrets {
    RevokedSecrets::read(&mut Cursor::new(secrets.encode())).unwrap()
}

#[test]
fn commitment_secrets_are_those_of_bolt_3s_vectors() {
    let vectors = vectors("generate");
    assert_eq!(vectors.len(), 5);
    let any = Environment::new([7; 32], ScriptBuf::new()).channel_keys(&[1; 32]);
    for vector in vectors {
        let keys = ChannelKeys {
            commitment_seed: bytes(&vector["seed"]),
            ..any.clone()
        };
        let number = FIRST_COMMITMENT_INDEX - vector["I"].as_u64().unwrap();
        let secret = keys.commitment_secret(number);
        assert_eq!(secret, bytes(&vector["output"]), "{}", vector["name"]);
    }
}

#[test]
fn a_counterpartys_secrets_are_kept_and_wrong_ones_refused_as_bolt_3s_vectors_say() {
    let vectors = vectors("insert");
    assert_eq!(vectors.len(), 9);
    for vector in vectors {
        let name = &vector["name"];
        let mut secrets = RevokedSecrets(CounterpartyCommitmentSecrets::new());
        let mut known = Vec::new();
        for step in vector["steps"].as_array().unwrap() {
            let (index, secret) = (step["I"].as_u64().unwrap(), bytes(&step["secret"]));
            let is_taken = secrets.0.provide_secret(index, secret).is_ok();
            assert_eq!(is_taken, step["output"] == "OK", "{name}, {index}");
            if is_taken {
                known.push((index, secret));
                secrets = written_and_read(&secrets);
            }
        }
        if known.len() == 8 {
            for (index, secret) in known {
                assert_eq!(secrets.0.get_secret(index), Some(secret), "{name}, {index}");
            }
        }
    }
}
