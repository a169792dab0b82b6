//! A chain of made-up blocks: transactions are not checked but for double spends. Owns the blocks and the
//! mempool; knows no node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, OutPoint, Transaction, Txid};

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

/// The chain that all nodes of a world see.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    blocks: Vec<Arc<Block>>,
    mempool: Vec<Arc<Transaction>>,
    known: BTreeSet<Txid>,
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

    /// Takes a transaction into the mempool. One that spends what is spent already is refused, as
    /// bitcoind would.
    pub fn publish(&mut self, transaction: Transaction) {
        let txid = transaction.compute_txid();
        let double_spend = transaction
            .input
            .iter()
            .any(|input| self.spent.contains_key(&input.previous_output));
        if double_spend || !self.known.insert(txid) {
            return;
        }
        for input in &transaction.input {
            self.spent.insert(input.previous_output, txid);
        }
        self.mempool.push(Arc::new(transaction));
    }

    /// Whether a transaction is in the mempool or in a block.
    pub fn knows(&self, txid: &Txid) -> bool {
        self.known.contains(txid)
    }

    /// Who spends this output, if anybody.
    pub fn spender(&self, outpoint: &OutPoint) -> Option<Txid> {
        self.spent.get(outpoint).copied()
    }

    /// Mines a block of all that is in the mempool.
    pub fn mine(&mut self) {
        let transactions = std::mem::take(&mut self.mempool)
            .into_iter()
            .zip(1..)
            .map(|(transaction, index)| PlacedTransaction {
                index,
                transaction: Arc::unwrap_or_clone(transaction),
            })
            .collect();
        self.blocks.push(Arc::new(Block {
            hash: hash_at(self.height() + 1),
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
    use bitcoin::{Amount, ScriptBuf, TxIn, TxOut, absolute::LockTime, transaction::Version};

    fn spending(previous_output: OutPoint, value_sat: u64) -> Transaction {
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output,
                ..TxIn::default()
            }],
            output: vec![TxOut {
                value: Amount::from_sat(value_sat),
                script_pubkey: ScriptBuf::new(),
            }],
        }
    }

    #[test]
    fn an_output_is_spent_once_and_a_transaction_is_mined_once() {
        let mut chain = Chain::default();
        let coin = OutPoint::new(Txid::all_zeros(), 7);
        let first = spending(coin, 1);
        chain.publish(first.clone());
        chain.publish(first.clone());
        chain.publish(spending(coin, 2));
        chain.mine();
        chain.mine();
        let placed = |height| chain.block(height).map(|block| block.transactions.len());
        assert_eq!(placed(BASE_HEIGHT + 1), Some(1));
        assert_eq!(placed(BASE_HEIGHT + 2), Some(0));
        assert_eq!(chain.spender(&coin), Some(first.compute_txid()));
        assert_eq!(chain.tip().height, BASE_HEIGHT + 2);
    }
}
