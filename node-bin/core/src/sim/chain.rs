//! A chain of made-up blocks. What is spent, when it may be, and what replaces what in the mempool, is checked;
//! scripts and signatures are in tests. Owns the blocks and the mempool; knows no node.

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

/// What becomes of the transactions in blocks that a reorganisation takes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They wait in the mempool again.
    Kept,
    /// They are gone: whoever wants them in a block publishes them again.
    Lost,
    /// What was too late against them is mined in their place.
    Rivals,
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
    /// No miner takes it.
    #[error("it is censored")]
    Censored,
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
    /// What was refused because another was first, or replaced: what another chain could hold.
    rivals: Vec<Arc<Transaction>>,
    /// Outputs whose spends no miner takes.
    censored: BTreeSet<OutPoint>,
    /// Reorganisations so far: blocks of different ones have different hashes.
    forks: u32,
}

/// Rivals that are remembered, the newest.
const RIVALS: usize = 32;

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
            hash: hash_at(BASE_HEIGHT, 0),
        }
    }

    /// The block at this height, if it is one of the simulation's own.
    pub fn block(&self, height: u32) -> Option<&Arc<Block>> {
        let index = height.checked_sub(BASE_HEIGHT + 1)?;
        self.blocks.get(index as usize)
    }

    /// How a node that has seen the chain up to this height sees it.
    pub fn best_at(&self, height: u32) -> BestBlock {
        let block = self.block(height);
        BestBlock {
            height,
            hash: block.map_or_else(|| hash_at(height, 0), |block| block.hash),
        }
    }

    /// A wallet gets a coin.
    pub fn give(&mut self, coin: OutPoint, amount_sat: u64) {
        self.coins.insert(coin, amount_sat);
    }

    /// Takes a transaction into the mempool, as bitcoind would; what it replaces there goes.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: why bitcoind would not take it.
    pub fn publish(&mut self, transaction: Transaction) -> Result<(), Refusal> {
        let txid = transaction.compute_txid();
        if self.known.contains_key(&txid) {
            return Ok(());
        }
        let mut inputs = transaction.input.iter();
        if inputs.any(|input| self.censored.contains(&input.previous_output)) {
            self.remember(Arc::new(transaction));
            return Err(Refusal::Censored);
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
        #[cfg(test)]
        self.check_scripts(&transaction);
        if let Err(refusal) = self.replace(&transaction, fee_sat) {
            self.remember(Arc::new(transaction));
            return Err(refusal);
        }
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

    /// From now on no miner takes what spends this output, or any does again.
    pub fn censor(&mut self, outpoint: OutPoint, is_censored: bool) {
        match is_censored {
            true => self.censored.insert(outpoint),
            false => self.censored.remove(&outpoint),
        };
    }

    /// What was refused because another was first, because of censors, or replaced; the newest last.
    pub fn rivals(&self) -> impl Iterator<Item = &Transaction> {
        self.rivals.iter().map(Arc::as_ref)
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

    fn remember(&mut self, rival: Arc<Transaction>) {
        if !self.rivals.contains(&rival) {
            self.rivals.push(rival);
            let surplus = self.rivals.len().saturating_sub(RIVALS);
            self.rivals.drain(..surplus);
        }
    }

    /// A transaction leaves the mempool with all that spends it.
    fn evict(&mut self, txid: &Txid) {
        let Some(known) = self.known.remove(txid) else {
            return;
        };
        self.remember(known.transaction.clone());
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

    /// Height of the block that a transaction is in.
    pub fn height_of(&self, txid: &Txid) -> Option<u32> {
        self.known.get(txid)?.height
    }

    /// As if every transaction paid that much more.
    #[cfg(test)]
    pub fn add_to_fees(&mut self, amount_sat: u64) {
        let all = self.known.values_mut();
        all.for_each(|known| known.fee_sat += amount_sat);
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
            hash: hash_at(height, self.forks),
            transactions,
        }));
    }

    /// How many of the last blocks are more than empty, and how deep the deepest of these is, at most.
    pub fn busy_depths(&self, most: usize) -> Vec<u32> {
        let blocks = self.blocks.iter().rev().take(most).zip(1..);
        let busy = blocks.filter(|(block, _)| !block.transactions.is_empty());
        busy.map(|(_, depth)| depth).collect()
    }

    /// Whether a block that deep holds a claim or a timeout of which the other was tried, and may win once it is in no
    /// block: who publishes again may pay more.
    pub fn is_contested(&self, depth: u32) -> bool {
        let index = self.blocks.len().checked_sub(depth as usize);
        let Some(block) = index.and_then(|index| self.blocks.get(index)) else {
            return false;
        };
        let is_rival = |mined: &Transaction, rival: &Transaction| {
            let mut inputs = rival.input.iter().map(|input| input.previous_output);
            // A commitment's lock time is no height.
            mined.lock_time.is_block_height()
                && rival.lock_time.is_block_height()
                && mined.lock_time != rival.lock_time
                && inputs.any(|spent| {
                    mined
                        .input
                        .iter()
                        .any(|input| input.previous_output == spent)
                })
        };
        let mut mined = block.transactions.iter().map(|placed| &placed.transaction);
        mined.any(|mined| self.rivals().any(|rival| is_rival(mined, rival)))
    }

    /// Replaces the last blocks by as many and one more, empty ones; of rivals, the last holds what can be
    /// mined. Returns the height of the last block that stays.
    pub fn reorganise(&mut self, depth: u32, fate: Fate) -> u32 {
        let stay = self.blocks.len().saturating_sub(depth as usize);
        let gone = self.blocks.split_off(stay);
        let fork = self.height();
        self.forks += 1;
        let mut unmined: Vec<Arc<Transaction>> = Vec::new();
        let waiting = std::mem::take(&mut self.mempool);
        let mined = gone.iter().flat_map(|block| &block.transactions);
        let txids: Vec<Txid> = mined
            .map(|placed| placed.transaction.compute_txid())
            .collect();
        for txid in txids.iter().chain(&waiting) {
            if let Some(known) = self.known.remove(txid) {
                for input in &known.transaction.input {
                    self.spent.remove(&input.previous_output);
                }
                unmined.push(known.transaction);
            }
        }
        let rivals = std::mem::take(&mut self.rivals);
        let empty = match fate {
            Fate::Rivals => depth,
            Fate::Kept | Fate::Lost => depth + 1,
        };
        (0..empty).for_each(|_| self.mine());
        if fate == Fate::Rivals {
            self.publish_for_others(&rivals, &unmined);
            self.mine();
            self.publish_all(&unmined);
        } else if fate == Fate::Kept {
            self.publish_all(&unmined);
        }
        for rival in rivals.into_iter().chain(unmined) {
            if !self.knows(&rival.compute_txid()) {
                self.remember(rival);
            }
        }
        fork
    }

    /// Of rivals, those win that are not only another version of what was mined: by its lock time, a claim is told
    /// from a timeout, and a commitment from another.
    fn publish_for_others(&mut self, rivals: &[Arc<Transaction>], mined: &[Arc<Transaction>]) {
        let spent_by = |outpoint: &OutPoint| {
            let spends = |input: &TxIn| input.previous_output == *outpoint;
            mined.iter().find(|known| known.input.iter().any(spends))
        };
        let is_version = |rival: &Arc<Transaction>| {
            let mut inputs = rival.input.iter();
            !inputs.any(|input| {
                let known = spent_by(&input.previous_output);
                known.is_some_and(|known| known.lock_time != rival.lock_time)
            })
        };
        let (mut versions, others): (Vec<_>, Vec<_>) = rivals.iter().cloned().partition(is_version);
        self.publish_all(&others);
        let spent = self.spent.clone();
        versions.retain(|version| {
            let mut inputs = version.input.iter();
            !inputs.any(|input| spent.contains_key(&input.previous_output))
        });
        self.publish_all(&versions);
    }

    /// All that was refused or replaced is tried again, the oldest first.
    pub fn publish_rivals(&mut self) {
        let rivals = std::mem::take(&mut self.rivals);
        self.publish_all(&rivals);
    }

    fn publish_all(&mut self, transactions: &[Arc<Transaction>]) {
        for transaction in transactions {
            // What is too early now, or too late, has to be published again by whoever wants it.
            let _ = self.publish(Transaction::clone(transaction));
        }
    }

    /// Every script of a transaction of a channel has to be satisfied. What a wallet signs is made up.
    #[cfg(test)]
    fn check_scripts(&self, transaction: &Transaction) {
        for (index, input) in transaction.input.iter().enumerate() {
            let outpoint = &input.previous_output;
            if let Some(known) = self.known.get(&outpoint.txid) {
                let spent = &known.transaction.output[outpoint.vout as usize];
                check_script(transaction, index, spent);
            }
        }
    }
}

/// Has Bitcoin Core's script interpreter look at how an input spends an output; panics if it may not.
#[cfg(test)]
pub(crate) fn check_script(transaction: &Transaction, index: usize, spent: &bitcoin::TxOut) {
    let checked = bitcoinconsensus::verify_with_flags(
        spent.script_pubkey.as_bytes(),
        spent.value.to_sat(),
        &bitcoin::consensus::serialize(transaction),
        None,
        index,
        bitcoinconsensus::VERIFY_ALL_PRE_TAPROOT,
    );
    assert_eq!(checked, Ok(()), "input {index} of {transaction:?}");
}

fn hash_at(height: u32, forks: u32) -> BlockHash {
    let mut bytes = height.to_be_bytes().to_vec();
    bytes.extend_from_slice(&forks.to_be_bytes());
    BlockHash::hash(&bytes)
}

#[cfg(test)]
mod tests;
