//! A chain of made-up blocks. Scripts and signatures are not checked; what is spent, when it may be, and what
//! replaces what in the mempool, is. Owns the blocks and the mempool; knows no node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::transaction::Version;
use bitcoin::{BlockHash, OutPoint, Transaction, TxIn, Txid, relative};

use crate::input::PlacedTransaction;
use crate::node::BestBlock;

/// Height of the last block before the simulation's own.
const BASE_HEIGHT: u32 = 500;

/// One block.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its hash.
    pub hash: BlockHash,
    /// What it holds, without a coinbase; places count from 1.
    pub transactions: Vec<PlacedTransaction>,
}

/// A transaction that the chain has taken.
#[derive(Clone, Debug)]
struct Known {
    transaction: Arc<Transaction>,
    /// Of its block; none: it is in the mempool.
    height: Option<u32>,
    fee_sat: u64,
}

/// Why a transaction is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An input that never was, or whose transaction is gone.
    #[error("an input is missing")]
    MissingInput,
    /// A lock time, of the transaction or of an input.
    #[error("it is too early")]
    TooEarly,
    /// An input is spent in a block, or in the mempool by what pays as much.
    #[error("an input is spent")]
    Spent,
    /// More out than in.
    #[error("it makes coins")]
    MakesCoins,
}

/// The chain that all nodes of a world see.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    blocks: Vec<Arc<Block>>,
    mempool: Vec<Txid>,
    known: BTreeMap<Txid, Known>,
    /// Wallets' coins: what transactions may spend that come from nowhere, in satoshis.
    coins: BTreeMap<OutPoint, u64>,
    spent: BTreeMap<OutPoint, Txid>,
}

impl Chain {
    /// The tip.
    pub fn tip(&self) -> BestBlock {
        self.best_at(self.height())
    }

    /// The tip's height.
    pub fn height(&self) -> u32 {
        BASE_HEIGHT + self.blocks.len() as u32
    }

    /// Below this height there is nothing to see.
    pub fn base() -> BestBlock {
        BestBlock {
            height: BASE_HEIGHT,
            hash: hash_at(BASE_HEIGHT),
        }
    }

    /// The block at this height, if it is one of the simulation's own.
    pub fn block(&self, height: u32) -> Option<&Arc<Block>> {
        let index = height.checked_sub(BASE_HEIGHT + 1)?;
        self.blocks.get(index as usize)
    }

    /// How a node that has seen the chain up to this height sees it.
    pub fn best_at(&self, height: u32) -> BestBlock {
        BestBlock {
            height,
            hash: hash_at(height),
        }
    }

    /// A wallet gets a coin.
    pub fn give(&mut self, coin: OutPoint, amount_sat: u64) {
        self.coins.insert(coin, amount_sat);
    }

    /// Takes a transaction into the mempool, as bitcoind would; what it replaces there goes.
    pub fn publish(&mut self, transaction: Transaction) -> Result<(), Refusal> {
        let txid = transaction.compute_txid();
        if self.known.contains_key(&txid) {
            return Ok(());
        }
        let mut in_sat = 0;
        for input in &transaction.input {
            in_sat += self.check_input(&transaction, input)?;
        }
        let is_early = match transaction.lock_time {
            LockTime::Blocks(height) => height.to_consensus_u32() > self.height(),
            // A commitment's number, as a time long ago.
            LockTime::Seconds(_) => false,
        };
        if is_early && transaction.is_lock_time_enabled() {
            return Err(Refusal::TooEarly);
        }
        let out_sat: u64 = transaction.output.iter().map(|o| o.value.to_sat()).sum();
        let fee_sat = in_sat.checked_sub(out_sat).ok_or(Refusal::MakesCoins)?;
        self.replace(&transaction, fee_sat)?;
        for input in &transaction.input {
            self.spent.insert(input.previous_output, txid);
        }
        self.mempool.push(txid);
        self.known.insert(
            txid,
            Known {
                transaction: Arc::new(transaction),
                height: None,
                fee_sat,
            },
        );
        Ok(())
    }

    /// What an input is worth in satoshis, if it can be spent in the next block.
    fn check_input(&self, transaction: &Transaction, input: &TxIn) -> Result<u64, Refusal> {
        let outpoint = &input.previous_output;
        if let Some(amount_sat) = self.coins.get(outpoint) {
            return Ok(*amount_sat);
        }
        let known = self.known.get(&outpoint.txid);
        let known = known.ok_or(Refusal::MissingInput)?;
        let output = known.transaction.output.get(outpoint.vout as usize);
        let output = output.ok_or(Refusal::MissingInput)?;
        let delay = match input.sequence.to_relative_lock_time() {
            Some(relative::LockTime::Blocks(blocks)) if transaction.version >= Version::TWO => {
                u32::from(blocks.value())
            }
            _ => 0,
        };
        let is_ripe = match known.height {
            Some(height) => self.height() + 1 >= height + delay,
            None => delay == 0,
        };
        if is_ripe {
            Ok(output.value.to_sat())
        } else {
            Err(Refusal::TooEarly)
        }
    }

    /// Takes out of the mempool what spends the same, if the new one pays more.
    fn replace(&mut self, transaction: &Transaction, fee_sat: u64) -> Result<(), Refusal> {
        let mut rivals: BTreeSet<Txid> = BTreeSet::new();
        for input in &transaction.input {
            rivals.extend(self.spent.get(&input.previous_output));
        }
        let mut their_fees_sat = 0;
        for rival in &rivals {
            match self.known.get(rival) {
                Some(known) if known.height.is_none() => their_fees_sat += known.fee_sat,
                _ => return Err(Refusal::Spent),
            }
        }
        if !rivals.is_empty() && fee_sat <= their_fees_sat {
            return Err(Refusal::Spent);
        }
        for rival in rivals {
            self.evict(&rival);
        }
        Ok(())
    }

    /// A transaction leaves the mempool with all that spends it.
    fn evict(&mut self, txid: &Txid) {
        let Some(known) = self.known.remove(txid) else {
            return;
        };
        self.mempool.retain(|other| other != txid);
        for input in &known.transaction.input {
            self.spent.remove(&input.previous_output);
        }
        for vout in 0..known.transaction.output.len() as u32 {
            if let Some(child) = self.spent.get(&OutPoint { txid: *txid, vout }).copied() {
                self.evict(&child);
            }
        }
    }

    /// Whether a transaction is in the mempool or in a block.
    pub fn knows(&self, txid: &Txid) -> bool {
        self.known.contains_key(txid)
    }

    /// The transaction that spends this output in a block, and its fee in satoshis.
    pub fn spender(&self, outpoint: &OutPoint) -> Option<(&Transaction, u64)> {
        let known = self.known.get(self.spent.get(outpoint)?)?;
        known.height?;
        Some((&known.transaction, known.fee_sat))
    }

    /// Mines a block of all that is in the mempool.
    pub fn mine(&mut self) {
        let height = self.height() + 1;
        let mut transactions = Vec::new();
        for (txid, index) in std::mem::take(&mut self.mempool).iter().zip(1..) {
            if let Some(known) = self.known.get_mut(txid) {
                known.height = Some(height);
                transactions.push(PlacedTransaction {
                    index,
                    transaction: Transaction::clone(&known.transaction),
                });
            }
        }
        self.blocks.push(Arc::new(Block {
            hash: hash_at(height),
            transactions,
        }));
    }
}

fn hash_at(height: u32) -> BlockHash {
    BlockHash::hash(&height.to_be_bytes())
}

#[cfg(test)]
mod tests {
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
                script_pubkey: ScriptBuf::new(),
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
}
