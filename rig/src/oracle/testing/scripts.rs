//! Transactions, scripts and histories of the tests' worlds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bitcoin::absolute::LockTime;
use bitcoin::hashes::{Hash, ripemd160, sha256};
use bitcoin::opcodes::all as op;
use bitcoin::script::Builder;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, WPubkeyHash};

use super::EXPIRY;
use super::closing::OnChain;
use crate::evidence::{ChainEvidence, ScriptHistory};

pub fn key(number: u8) -> [u8; 33] {
    let mut key = [number; 33];
    key[0] = 2;
    key
}

pub fn wallet_script(node: &str) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&WPubkeyHash::hash(node.as_bytes()))
}

pub fn transaction(inputs: &[OutPoint], outputs: &[(ScriptBuf, u64)]) -> Transaction {
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: inputs
            .iter()
            .map(|outpoint| TxIn {
                previous_output: *outpoint,
                sequence: Sequence::MAX,
                ..TxIn::default()
            })
            .collect(),
        output: outputs
            .iter()
            .map(|(script, value_sat)| TxOut {
                value: Amount::from_sat(*value_sat),
                script_pubkey: script.clone(),
            })
            .collect(),
    }
}

pub fn delayed_script() -> ScriptBuf {
    Builder::new()
        .push_opcode(op::OP_IF)
        .push_slice(key(3))
        .push_opcode(op::OP_ELSE)
        .push_int(144)
        .push_opcode(op::OP_CSV)
        .push_opcode(op::OP_DROP)
        .push_slice(key(4))
        .push_opcode(op::OP_ENDIF)
        .push_opcode(op::OP_CHECKSIG)
        .into_script()
}

pub fn to_remote_script() -> ScriptBuf {
    Builder::new()
        .push_slice(key(5))
        .push_opcode(op::OP_CHECKSIGVERIFY)
        .push_int(1)
        .push_opcode(op::OP_CSV)
        .into_script()
}

pub fn anchor_script(number: u8) -> ScriptBuf {
    Builder::new()
        .push_slice(key(number))
        .push_opcode(op::OP_CHECKSIG)
        .push_opcode(op::OP_IFDUP)
        .push_opcode(op::OP_NOTIF)
        .push_int(16)
        .push_opcode(op::OP_CSV)
        .push_opcode(op::OP_ENDIF)
        .into_script()
}

pub fn htlc_script(htlc: &OnChain) -> ScriptBuf {
    let hash = sha256::Hash::hash(&[htlc.number; 32]).to_byte_array();
    let hash160 = ripemd160::Hash::hash(&hash).to_byte_array();
    let head = Builder::new()
        .push_opcode(op::OP_DUP)
        .push_opcode(op::OP_HASH160)
        .push_slice([7; 20])
        .push_opcode(op::OP_EQUAL)
        .push_opcode(op::OP_IF)
        .push_opcode(op::OP_CHECKSIG)
        .push_opcode(op::OP_ELSE)
        .push_slice(key(6))
        .push_opcode(op::OP_SWAP)
        .push_opcode(op::OP_SIZE)
        .push_int(32)
        .push_opcode(op::OP_EQUAL);
    let body = if htlc.offered {
        head.push_opcode(op::OP_NOTIF)
            .push_opcode(op::OP_DROP)
            .push_int(2)
            .push_opcode(op::OP_SWAP)
            .push_slice(key(7))
            .push_int(2)
            .push_opcode(op::OP_CHECKMULTISIG)
            .push_opcode(op::OP_ELSE)
            .push_opcode(op::OP_HASH160)
            .push_slice(hash160)
            .push_opcode(op::OP_EQUALVERIFY)
    } else {
        head.push_opcode(op::OP_IF)
            .push_opcode(op::OP_HASH160)
            .push_slice(hash160)
            .push_opcode(op::OP_EQUALVERIFY)
            .push_int(2)
            .push_opcode(op::OP_SWAP)
            .push_slice(key(7))
            .push_int(2)
            .push_opcode(op::OP_CHECKMULTISIG)
            .push_opcode(op::OP_ELSE)
            .push_opcode(op::OP_DROP)
            .push_int(i64::from(EXPIRY))
            .push_opcode(op::OP_CLTV)
            .push_opcode(op::OP_DROP)
    };
    body.push_opcode(op::OP_CHECKSIG)
        .push_opcode(op::OP_ENDIF)
        .push_int(1)
        .push_opcode(op::OP_CSV)
        .push_opcode(op::OP_DROP)
        .push_opcode(op::OP_ENDIF)
        .into_script()
}

/// What an honest electrs says.
pub fn histories(chain: &ChainEvidence) -> Vec<ScriptHistory> {
    let mut scripts: HashMap<OutPoint, ScriptBuf> = HashMap::new();
    let mut found: BTreeMap<String, BTreeSet<(String, i32)>> = BTreeMap::new();
    for block in &chain.blocks {
        for raw in &block.transactions {
            let made: Transaction = bitcoin::consensus::encode::deserialize_hex(raw).unwrap();
            let txid = made.compute_txid();
            let entry = (txid.to_string(), block.height as i32);
            for input in &made.input {
                if let Some(script) = scripts.get(&input.previous_output) {
                    found
                        .entry(script.to_hex_string())
                        .or_default()
                        .insert(entry.clone());
                }
            }
            for (vout, output) in (0..).zip(&made.output) {
                let script = output.script_pubkey.clone();
                found
                    .entry(script.to_hex_string())
                    .or_default()
                    .insert(entry.clone());
                scripts.insert(OutPoint::new(txid, vout), script);
            }
        }
    }
    found
        .into_iter()
        .map(|(script, entries)| ScriptHistory {
            script,
            entries: entries.into_iter().collect(),
        })
        .collect()
}
