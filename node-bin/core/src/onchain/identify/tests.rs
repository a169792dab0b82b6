//! Every transaction that can spend the funding output is told for what it is.

use std::collections::BTreeSet;

use bitcoin::absolute::LockTime;
use bitcoin::{Amount, Sequence, TxIn, TxOut};

use super::*;
use crate::commitment::BuiltCommitment;
use crate::onchain::testing::{NUMBER, pair, spec};

fn kinds(identified: &Identified) -> Vec<OutputKind> {
    identified
        .outputs
        .iter()
        .map(|output| output.kind)
        .collect()
}

fn htlc_ids(identified: &Identified) -> BTreeSet<(Direction, u64)> {
    let ids: Vec<_> = kinds(identified)
        .into_iter()
        .filter_map(|kind| match kind {
            OutputKind::Htlc(htlc) | OutputKind::RevokedHtlc(htlc) => {
                Some((htlc.direction, htlc.htlc_id))
            }
            _ => None,
        })
        .collect();
    let set: BTreeSet<_> = ids.iter().copied().collect();
    assert_eq!(ids.len(), set.len(), "an id has two outputs");
    set
}

fn all_untrimmed() -> BTreeSet<(Direction, u64)> {
    let mut ids: BTreeSet<_> = spec().htlcs.into_keys().collect();
    ids.remove(&(Direction::Outbound, 3));
    ids
}

fn assert_once(identified: &Identified, kind: OutputKind) {
    let found = kinds(identified).iter().filter(|of| **of == kind).count();
    assert_eq!(found, 1, "{kind:?} in {identified:?}");
}

#[test]
fn the_holders_commitment_is_known_with_every_output() {
    let pair = pair(&spec());
    let transaction = pair.a.commitment_transaction();
    let identified = identify(&pair.a.environment, &pair.a.record, &transaction);
    assert_eq!(identified.spend, FundingSpend::Holder { number: NUMBER });
    assert_eq!(htlc_ids(&identified), all_untrimmed());
    for kind in [
        OutputKind::HolderDelayed,
        OutputKind::CounterpartyBalance,
        OutputKind::HolderAnchor,
        OutputKind::CounterpartyAnchor,
    ] {
        assert_once(&identified, kind);
    }
    assert_eq!(identified.outputs.len(), all_untrimmed().len() + 4);
}

#[test]
fn the_counterpartys_commitment_is_known_with_every_output() {
    let pair = pair(&spec());
    let transaction = pair.b.commitment_transaction();
    let identified = identify(&pair.a.environment, &pair.a.record, &transaction);
    let point = pair.a.record.counterparty.point;
    assert_eq!(
        identified.spend,
        FundingSpend::Counterparty {
            number: NUMBER,
            point
        }
    );
    assert_eq!(htlc_ids(&identified), all_untrimmed());
    for kind in [
        OutputKind::HolderBalance,
        OutputKind::CounterpartyBalance,
        OutputKind::HolderAnchor,
        OutputKind::CounterpartyAnchor,
    ] {
        assert_once(&identified, kind);
    }
    for output in &identified.outputs {
        if let OutputKind::Htlc(htlc) = output.kind {
            assert_eq!(output.amount_sat, htlc.amount_msat / 1000);
        }
    }
}

#[test]
fn either_commitment_that_the_counterparty_may_publish_is_known() {
    let mut pair = pair(&spec());
    let transaction = pair.b.commitment_transaction();
    pair.a.sign_next();
    let next = pair.a.record.next_counterparty.clone().unwrap().commitment;
    let built =
        BuiltCommitment::of_counterparty(&pair.a.environment, &pair.a.record.parameters, &next);
    let next_transaction = built
        .transaction
        .trust()
        .built_transaction()
        .transaction
        .clone();
    for (transaction, number) in [(transaction, NUMBER), (next_transaction, NUMBER + 1)] {
        let identified = identify(&pair.a.environment, &pair.a.record, &transaction);
        assert!(matches!(
            identified.spend,
            FundingSpend::Counterparty { number: found, .. } if found == number
        ));
    }
}

#[test]
fn a_revoked_commitment_is_known_with_every_output() {
    let mut pair = pair(&spec());
    let transaction = pair.cheat();
    assert_eq!(pair.a.record.revoked_htlcs[&NUMBER].htlcs.len(), 5);
    let identified = identify(&pair.a.environment, &pair.a.record, &transaction);
    let FundingSpend::Revoked { number, secret } = identified.spend else {
        panic!("{identified:?}");
    };
    assert_eq!(number, NUMBER);
    let keys = pair
        .b
        .environment
        .channel_keys(&pair.b.parameters().keys_id);
    assert_eq!(secret.secret_bytes(), keys.commitment_secret(NUMBER));
    assert_eq!(htlc_ids(&identified), all_untrimmed());
    for kind in [OutputKind::RevokedBalance, OutputKind::HolderBalance] {
        assert_once(&identified, kind);
    }
    assert!(!kinds(&identified).contains(&OutputKind::Unknown));
}

#[test]
fn an_own_commitment_that_was_revoked_is_not_taken_for_the_counterpartys() {
    let mut pair = pair(&spec());
    let transaction = pair.a.commitment_transaction();
    pair.cheat();
    pair.a.record.holder.number += 1;
    let identified = identify(&pair.a.environment, &pair.a.record, &transaction);
    assert_eq!(
        identified.spend,
        FundingSpend::HolderRevoked { number: NUMBER }
    );
    assert_once(&identified, OutputKind::HolderDelayed);
}

#[test]
fn a_commitment_from_after_a_loss_of_data_still_shows_the_holders_balance() {
    let mut pair = pair(&spec());
    let old = pair.a.record.clone();
    pair.a.sign_next();
    let next = pair.a.record.next_counterparty.clone().unwrap().commitment;
    let built = BuiltCommitment::of_counterparty(&pair.a.environment, &old.parameters, &next);
    let transaction = &built.transaction.trust().built_transaction().transaction;
    let identified = identify(&pair.a.environment, &old, transaction);
    let number = Some(NUMBER + 1);
    assert_eq!(identified.spend, FundingSpend::Unknown { number });
    assert_once(&identified, OutputKind::HolderBalance);
}

#[test]
fn a_close_by_agreement_is_known_by_its_scripts() {
    let mut pair = pair(&spec());
    let (ours, theirs) = (
        pair.a.environment.destination_script.clone(),
        pair.b.environment.destination_script.clone(),
    );
    let close = Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: pair.a.parameters().funding.into_bitcoin_outpoint(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            ..TxIn::default()
        }],
        output: [&ours, &theirs]
            .map(|script| TxOut {
                value: Amount::from_sat(1000),
                script_pubkey: script.clone(),
            })
            .into(),
    };
    let before = identify(&pair.a.environment, &pair.a.record, &close);
    assert_eq!(before.spend, FundingSpend::Unknown { number: None });
    pair.a.record.shutdown.holder = Some(ours);
    pair.a.record.shutdown.counterparty = Some(theirs);
    let identified = identify(&pair.a.environment, &pair.a.record, &close);
    assert_eq!(identified.spend, FundingSpend::Cooperative);
    assert!(identified.outputs.is_empty());
}

#[test]
fn a_transaction_of_nonsense_is_unknown() {
    let pair = pair(&spec());
    let mut transaction = pair.b.commitment_transaction();
    transaction.input.clear();
    let identified = identify(&pair.a.environment, &pair.a.record, &transaction);
    assert_eq!(identified.spend, FundingSpend::Unknown { number: None });
    let mut transaction = pair.b.commitment_transaction();
    transaction.output.clear();
    transaction.lock_time = LockTime::from_consensus(0x20ff_ffff);
    let identified = identify(&pair.a.environment, &pair.a.record, &transaction);
    assert!(matches!(
        identified.spend,
        FundingSpend::Unknown { number: Some(_) }
    ));
}
