use super::*;
use bitcoin::{Amount, ScriptBuf, Sequence, TxOut};

fn coin() -> OutPoint {
    OutPoint::new(Txid::all_zeros(), 7)
}

fn spending(previous_output: OutPoint, value_sat: u64) -> Transaction {
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output,
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            ..TxIn::default()
        }],
        output: vec![TxOut {
            value: Amount::from_sat(value_sat),
            script_pubkey: ScriptBuf::from_bytes(vec![0x51]),
        }],
    }
}

fn first_output(transaction: &Transaction) -> OutPoint {
    OutPoint::new(transaction.compute_txid(), 0)
}

fn chain() -> Chain {
    let mut chain = Chain::default();
    chain.give(coin(), 1_000);
    chain
}

#[test]
fn an_output_is_spent_once_and_a_transaction_is_mined_once() {
    let mut chain = chain();
    let first = spending(coin(), 900);
    assert_eq!(chain.publish(first.clone()), Ok(()));
    assert_eq!(chain.publish(first.clone()), Ok(()));
    assert_eq!(chain.publish(spending(coin(), 950)), Err(Refusal::Spent));
    chain.mine();
    chain.mine();
    let placed = |height| chain.block(height).map(|block| block.transactions.len());
    assert_eq!(placed(BASE_HEIGHT + 1), Some(1));
    assert_eq!(placed(BASE_HEIGHT + 2), Some(0));
    assert_eq!(chain.spender(&coin()), Some((&first, 100)));
    assert_eq!(chain.publish(spending(coin(), 1)), Err(Refusal::Spent));
}

#[test]
fn what_pays_more_replaces_what_waits_and_all_that_spends_it() {
    let mut chain = chain();
    let first = spending(coin(), 900);
    let child = spending(first_output(&first), 800);
    assert_eq!(chain.publish(child.clone()), Err(Refusal::MissingInput));
    assert_eq!(chain.publish(first.clone()), Ok(()));
    assert_eq!(chain.publish(child.clone()), Ok(()));
    assert_eq!(chain.publish(spending(coin(), 800)), Ok(()));
    assert!(!chain.knows(&first.compute_txid()) && !chain.knows(&child.compute_txid()));
    assert_eq!(chain.publish(child), Err(Refusal::MissingInput));
    let richer = spending(first_output(&spending(coin(), 800)), 801);
    assert_eq!(chain.publish(richer), Err(Refusal::MakesCoins));
}

#[test]
fn locks_hold_until_their_height() {
    let mut chain = chain();
    let mut absolute = spending(coin(), 900);
    absolute.lock_time = LockTime::from_consensus(BASE_HEIGHT + 1);
    assert_eq!(chain.publish(absolute.clone()), Err(Refusal::TooEarly));
    chain.mine();
    assert_eq!(chain.publish(absolute.clone()), Ok(()));
    let mut relative = spending(first_output(&absolute), 800);
    relative.input[0].sequence = Sequence::from_height(2);
    assert_eq!(chain.publish(relative.clone()), Err(Refusal::TooEarly));
    chain.mine();
    assert_eq!(chain.publish(relative.clone()), Err(Refusal::TooEarly));
    chain.mine();
    assert_eq!(chain.publish(relative), Ok(()));
}

fn published(fate: Fate) -> (Chain, Transaction, Transaction) {
    let mut chain = chain();
    let first = spending(coin(), 900);
    let rival = spending(coin(), 950);
    assert_eq!(chain.publish(first.clone()), Ok(()));
    assert_eq!(chain.publish(rival.clone()), Err(Refusal::Spent));
    chain.mine();
    chain.mine();
    assert_eq!(chain.busy_depths(6), [2]);
    assert_eq!(chain.reorganise(2, fate), BASE_HEIGHT);
    assert_eq!(chain.height(), BASE_HEIGHT + 3);
    (chain, first, rival)
}

#[test]
fn a_reorganisation_puts_transactions_back_or_loses_them_or_lets_their_rivals_win() {
    let (mut chain, first, _) = published(Fate::Kept);
    assert_eq!(chain.spender(&coin()), None);
    chain.mine();
    assert_eq!(chain.spender(&coin()), Some((&first, 100)));
    let (mut chain, first, _) = published(Fate::Lost);
    assert!(!chain.knows(&first.compute_txid()));
    assert_eq!(chain.publish(first), Ok(()));
    let (chain, _, rival) = published(Fate::Rivals);
    assert_eq!(chain.spender(&coin()), Some((&rival, 50)));
}

#[test]
fn a_mined_timeout_is_contested_while_the_claim_is_remembered() {
    let mut chain = chain();
    let mut timeout = spending(coin(), 900);
    timeout.lock_time = LockTime::from_consensus(BASE_HEIGHT);
    let mut version = spending(coin(), 930);
    version.lock_time = timeout.lock_time;
    assert_eq!(chain.publish(timeout), Ok(()));
    assert_eq!(chain.publish(version), Err(Refusal::Spent));
    chain.mine();
    chain.mine();
    assert!(!chain.is_contested(2), "a version of it is no rival");
    assert_eq!(chain.publish(spending(coin(), 950)), Err(Refusal::Spent));
    assert!(chain.is_contested(2));
    assert!(!chain.is_contested(1), "it is deeper");
    assert!(!chain.is_contested(9), "so many blocks there are not");
}
