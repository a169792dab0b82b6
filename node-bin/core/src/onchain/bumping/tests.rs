//! LDK's handler, with a wallet of one key, turns each event into transactions that the script
//! interpreter takes.

use std::sync::Mutex;

use bitcoin::secp256k1::{All, Message, Secp256k1, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{CompressedPublicKey, Psbt, ScriptBuf, TxOut, Txid, Witness};
use lightning::chain::chaininterface::BroadcasterInterface;
use lightning::events::bump_transaction::Utxo;
use lightning::events::bump_transaction::sync::{
    BumpTransactionEventHandlerSync, WalletSourceSync, WalletSync,
};
use lightning::util::logger::{Logger, Record};

use super::*;
use crate::onchain::testing::{Chain, End, pair, preimage, spec};

struct Silence;

impl Logger for Silence {
    fn log(&self, _record: Record) {}
}

#[derive(Default)]
struct Broadcasts(Mutex<Vec<Vec<Transaction>>>);

impl BroadcasterInterface for Broadcasts {
    fn broadcast_transactions(&self, transactions: &[&Transaction]) {
        let package = transactions.iter().map(|t| (*t).clone()).collect();
        self.0.lock().unwrap().push(package);
    }
}

struct Coins {
    secp: Secp256k1<All>,
    key: SecretKey,
    utxos: Vec<Utxo>,
}

impl Coins {
    fn new(chain: &mut Chain) -> Coins {
        let secp = Secp256k1::new();
        let key = SecretKey::from_slice(&[77; 32]).unwrap();
        let hash = CompressedPublicKey(key.public_key(&secp)).wpubkey_hash();
        let utxos = (0..4)
            .map(|vout| {
                let txid = Txid::from_byte_array([8; 32]);
                let value = Amount::from_sat(50_000);
                Utxo::new_v0_p2wpkh(OutPoint { txid, vout }, value, &hash)
            })
            .collect::<Vec<_>>();
        for utxo in &utxos {
            chain.add_output(utxo.outpoint, utxo.output.clone());
        }
        Coins { secp, key, utxos }
    }

    fn script(&self) -> ScriptBuf {
        self.utxos[0].output.script_pubkey.clone()
    }
}

impl WalletSourceSync for Coins {
    fn list_confirmed_utxos(&self) -> Result<Vec<Utxo>, ()> {
        Ok(self.utxos.clone())
    }

    fn get_change_script(&self) -> Result<ScriptBuf, ()> {
        Ok(self.script())
    }

    fn sign_psbt(&self, psbt: Psbt) -> Result<Transaction, ()> {
        let spent: Vec<TxOut> = psbt
            .inputs
            .iter()
            .map(|input| input.witness_utxo.clone().unwrap())
            .collect();
        let mut transaction = psbt.unsigned_tx;
        for (index, output) in spent.iter().enumerate() {
            if output.script_pubkey != self.script() {
                continue;
            }
            let digest = SighashCache::new(&transaction)
                .p2wpkh_signature_hash(
                    index,
                    &output.script_pubkey,
                    output.value,
                    EcdsaSighashType::All,
                )
                .unwrap();
            let message = Message::from_digest(digest.to_byte_array());
            let signature = self.secp.sign_ecdsa_low_r(&message, &self.key);
            transaction.input[index].witness = Witness::p2wpkh(
                &bitcoin::ecdsa::Signature::sighash_all(signature),
                &self.key.public_key(&self.secp),
            );
        }
        Ok(transaction)
    }
}

/// What the handler publishes for these events.
fn handled(end: &End, coins: &Coins, events: &[BumpTransactionEvent]) -> Vec<Vec<Transaction>> {
    let broadcasts = Broadcasts::default();
    let wallet = WalletSync::new(coins, &Silence);
    let handler =
        BumpTransactionEventHandlerSync::new(&broadcasts, &wallet, &end.environment, &Silence);
    for event in events {
        handler.handle_event(event);
    }
    broadcasts.0.into_inner().unwrap()
}

#[test]
fn the_holders_commitment_gets_a_child_that_pays() {
    let pair = pair(&spec());
    let mut chain = Chain::funded(&pair);
    let coins = Coins::new(&mut chain);
    let commitment = pair.a.commitment_transaction();
    let event = channel_close(
        &pair.a.environment,
        pair.a.parameters(),
        commitment.clone(),
        5000,
    )
    .unwrap();
    let published = handled(&pair.a, &coins, &[event]);
    let [package] = &published[..] else {
        panic!("{published:?}");
    };
    assert_eq!(package[0], commitment);
    assert_eq!(package.len(), 2);
    for transaction in package {
        chain.accept(transaction);
    }
}

#[test]
fn a_commitment_of_the_counterparty_can_be_helped_too() {
    let pair = pair(&spec());
    let mut chain = Chain::funded(&pair);
    let coins = Coins::new(&mut chain);
    let commitment = pair.b.commitment_transaction();
    let event = channel_close(&pair.a.environment, pair.a.parameters(), commitment, 5000).unwrap();
    for transaction in handled(&pair.a, &coins, &[event]).concat() {
        chain.accept(&transaction);
    }
}

#[test]
fn a_commitment_that_pays_enough_goes_alone() {
    let pair = pair(&spec());
    let mut chain = Chain::funded(&pair);
    let coins = Coins::new(&mut chain);
    let commitment = pair.a.commitment_transaction();
    let event = channel_close(
        &pair.a.environment,
        pair.a.parameters(),
        commitment.clone(),
        253,
    )
    .unwrap();
    assert_eq!(handled(&pair.a, &coins, &[event]), [[commitment]]);
}

/// How many HTLCs each asks for.
fn sizes(events: &[BumpTransactionEvent]) -> Vec<usize> {
    let sizes = events.iter().map(|event| match event {
        BumpTransactionEvent::HTLCResolution {
            htlc_descriptors, ..
        } => htlc_descriptors.len(),
        other => panic!("{other:?}"),
    });
    sizes.collect()
}

#[test]
fn every_htlc_of_the_holders_commitment_reaches_its_second_stage() {
    let pair = pair(&spec());
    let mut chain = Chain::funded(&pair);
    let coins = Coins::new(&mut chain);
    chain.accept(&pair.a.commitment_transaction());
    let wanted: Vec<SecondStage> = spec()
        .htlcs
        .keys()
        .map(|(direction, htlc_id)| SecondStage {
            direction: *direction,
            htlc_id: *htlc_id,
            preimage: match (direction, htlc_id) {
                (Direction::Inbound, 0) => Some(preimage(4)),
                (Direction::Inbound, _) => Some(preimage(5)),
                _ => None,
            },
        })
        .collect();
    let asked = |wanted: &[SecondStage]| {
        htlc_resolutions(&pair.a.environment, &pair.a.record, wanted, 2000)
    };
    let events = asked(&wanted);
    // Both preimages; both that expire at 500; the one that expires at 510. Dust has no output.
    assert_eq!(sizes(&events), [2, 2, 1]);
    // What is wanted first comes first, for the coin that it takes.
    let turned: Vec<SecondStage> = wanted.into_iter().rev().collect();
    assert_eq!(sizes(&asked(&turned)), [1, 2, 2]);
    let published = handled(&pair.a, &coins, &events).concat();
    assert_eq!(published.len(), 3);
    for transaction in &published {
        chain.accept(transaction);
    }
}

#[test]
fn an_inbound_htlc_without_its_preimage_has_no_second_stage() {
    let pair = pair(&spec());
    let wanted = SecondStage {
        direction: Direction::Inbound,
        htlc_id: 0,
        preimage: None,
    };
    let descriptors = htlc_descriptors(&pair.a.environment, &pair.a.record, &[wanted]);
    assert!(descriptors.is_empty());
}
