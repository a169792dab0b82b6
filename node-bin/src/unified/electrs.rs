//! Transactions from electrs on their way into the core. Owns what electrs has told: which transactions are in
//! which block. What it tells late of an earlier block (for it was not asked before) is given to the core
//! again from that block on; what the core knows already changes nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, Transaction, Txid};
use faults::gate;
use lightning::chain::transaction::{OutPoint, TransactionData};
use lightning::chain::{BestBlock, Confirm, Filter, WatchedOutput};
use lightning_transaction_sync::ElectrumSyncClient;
use node_core::input::{Input, PlacedTransaction};
use node_core::node::Node as Core;

use super::executor::Executor;
use super::node::Node;
use crate::shared::Logger;
use crate::shared::host::Host;
use crate::shared::sync::{Follower, SyncError};

/// A block as far as electrs was asked about it.
#[derive(Clone, Debug)]
struct KnownBlock {
    hash: BlockHash,
    /// By place in the block.
    transactions: BTreeMap<u32, Transaction>,
}

#[derive(Debug, Default)]
struct Told {
    tip: Option<BestBlock>,
    blocks: BTreeMap<u32, KnownBlock>,
    /// The lowest block of which something new was told.
    news: Option<u32>,
}

/// What electrs has told, and the line to it.
pub struct Electrs {
    client: Arc<ElectrumSyncClient<Logger>>,
    told: RefCell<Told>,
    watched: RefCell<BTreeSet<bitcoin::OutPoint>>,
}

fn failed(error: impl ToString) -> SyncError {
    SyncError::Electrs(error.to_string())
}

impl Electrs {
    /// Connects.
    pub fn new(url: String, logger: Logger) -> Result<Self, SyncError> {
        let client = ElectrumSyncClient::new(url, logger).map_err(failed)?;
        Ok(Electrs {
            client: Arc::new(client),
            told: RefCell::default(),
            watched: RefCell::default(),
        })
    }

    /// Watches for whatever concerns the core's channels. Whether there was anything new to watch for.
    fn watch(&self, core: &Core) -> bool {
        let mut watched = self.watched.borrow_mut();
        let before = watched.len();
        for channel in core.channels.values() {
            let funding = channel.record.parameters.funding.into_bitcoin_outpoint();
            for (outpoint, script_pubkey) in channel.watched_outputs(&core.environment) {
                if !watched.insert(outpoint) {
                    continue;
                }
                if outpoint == funding {
                    self.client.register_tx(&outpoint.txid, &script_pubkey);
                }
                let Ok(index) = u16::try_from(outpoint.vout) else {
                    continue;
                };
                self.client.register_output(WatchedOutput {
                    block_hash: None,
                    outpoint: OutPoint {
                        txid: outpoint.txid,
                        index,
                    },
                    script_pubkey,
                });
            }
        }
        watched.len() > before
    }

    /// Asks electrs. Returns its tip, and the height from which the core has to be told, it having seen
    /// all up to `seen`.
    fn ask(&self, seen: u32) -> Result<(BestBlock, u32), SyncError> {
        self.client.sync(vec![self]).map_err(failed)?;
        let mut told = self.told.borrow_mut();
        let tip = told.tip.ok_or_else(|| failed("it names no tip"))?;
        let from = told.news.take().map_or(seen + 1, |news| news.min(seen + 1));
        Ok((tip, from))
    }

    /// The lowest height at which the core saw something that electrs does not know there, or above the tip.
    fn gone(&self, core: &Core, tip: u32) -> Option<u32> {
        let told = self.told.borrow();
        let is_there = |height: u32, txid: Txid| {
            let block = told.blocks.get(&height).filter(|_| height <= tip);
            block.is_some_and(|block| {
                let mut known = block.transactions.values();
                known.any(|transaction| transaction.compute_txid() == txid)
            })
        };
        lowest_gone(core, is_there)
    }
}

impl Told {
    /// The blocks from this height on that hold something. None of them is the chain's tip yet as far as the core
    /// is told: what spends their outputs was not asked for.
    fn filled(&self, from: u32, tip: BestBlock) -> Vec<(u32, Input)> {
        let range = self.blocks.range(from..=tip.height.max(from));
        let filled = range.filter(|(_, block)| !block.transactions.is_empty());
        filled
            .map(|(height, block)| (*height, connected(*height, block.clone(), false)))
            .collect()
    }

    /// The tip. The core hears that it is the tip only when all that was to be asked was: until then the blocks
    /// there may hold a preimage that decides what at the tip would be given up.
    fn tip_block(&self, tip: BestBlock) -> Input {
        let known = self.blocks.get(&tip.height).cloned();
        let block = known.unwrap_or(KnownBlock {
            hash: tip.block_hash,
            transactions: BTreeMap::new(),
        });
        connected(tip.height, block, true)
    }
}

fn connected(height: u32, block: KnownBlock, is_tip: bool) -> Input {
    let place = |(index, transaction)| PlacedTransaction { index, transaction };
    Input::BlockConnected {
        height,
        hash: block.hash,
        is_tip,
        transactions: block.transactions.into_iter().map(place).collect(),
    }
}

/// The lowest height at which the core's records saw something on chain that is not there.
pub(super) fn lowest_gone(core: &Core, is_there: impl Fn(u32, Txid) -> bool) -> Option<u32> {
    core.channels
        .values()
        .flat_map(|channel| channel.seen_on_chain())
        .filter(|(height, txid)| !is_there(*height, *txid))
        .map(|(height, _)| height)
        .min()
}

impl Confirm for Electrs {
    fn transactions_confirmed(&self, header: &Header, txdata: &TransactionData, height: u32) {
        let mut told = self.told.borrow_mut();
        let block = told.blocks.entry(height).or_insert(KnownBlock {
            hash: header.block_hash(),
            transactions: BTreeMap::new(),
        });
        block.hash = header.block_hash();
        for (place, transaction) in txdata {
            let place = u32::try_from(*place).unwrap_or(u32::MAX);
            block.transactions.insert(place, (*transaction).clone());
        }
        told.news = Some(told.news.map_or(height, |news| news.min(height)));
    }

    fn transaction_unconfirmed(&self, txid: &Txid) {
        for block in self.told.borrow_mut().blocks.values_mut() {
            let transactions = &mut block.transactions;
            transactions.retain(|_, transaction| transaction.compute_txid() != *txid);
        }
    }

    fn best_block_updated(&self, header: &Header, height: u32) {
        self.told.borrow_mut().tip = Some(BestBlock::new(header.block_hash(), height));
    }

    fn get_relevant_txids(&self) -> Vec<(Txid, u32, Option<BlockHash>)> {
        let told = self.told.borrow();
        let mut found = Vec::new();
        for (height, block) in &told.blocks {
            for transaction in block.transactions.values() {
                found.push((transaction.compute_txid(), *height, Some(block.hash)));
            }
        }
        found
    }
}

impl Node {
    /// Brings the core to electrs' tip, and the wallet to bitcoind's, with all that follows.
    pub(super) fn follow_electrs(
        &mut self,
        electrs: &Electrs,
        seen: BestBlock,
    ) -> Result<BestBlock, SyncError> {
        let Node { host, executor, .. } = self;
        let begin = |cause| host.begin(cause);
        let mut wallet = [Follower {
            best: host.wallet.best_block(),
            listener: &*host.wallet,
        }];
        host.chain.follow(&mut wallet, &begin, &mut || ())?;
        let mut height = seen.height;
        electrs.watch(executor.core());
        loop {
            let (tip, mut from) = electrs.ask(height)?;
            if let Some(gone) = electrs.gone(executor.core(), tip.height) {
                let role = host.chain.role(gone);
                host.begin(format!("block_disconnected {role}"));
                let _ = gate::point("block.disconnected.before", &role);
                executor.input(Input::BlocksDisconnected {
                    height: gone.saturating_sub(1),
                    hash: BlockHash::all_zeros(),
                });
                executor.run(host);
                let _ = gate::point("block.disconnected.after", &role);
                from = from.min(gone);
                // The client asks no more for what was spent six blocks ago, and a rival may spend it now.
                electrs.watched.borrow_mut().clear();
            }
            let filled = electrs.told.borrow().filled(from, tip);
            for (height, block) in filled {
                connect(host, executor, height, block);
            }
            height = tip.height;
            // What a channel's end has made may be spent already.
            if electrs.watch(executor.core()) {
                continue;
            }
            let block = electrs.told.borrow().tip_block(tip);
            connect(host, executor, tip.height, block);
            // At the tip the core may have found an end that it was told of before.
            if !electrs.watch(executor.core()) {
                return Ok(tip);
            }
        }
    }
}

fn connect(host: &Host, executor: &mut Executor, height: u32, block: Input) {
    let role = host.chain.role(height);
    host.begin(format!("block {role}"));
    let _ = gate::point("block.connected.before", &role);
    if let Input::BlockConnected { transactions, .. } = &block {
        for placed in transactions {
            host.names.transaction(&placed.transaction);
        }
    }
    executor.input(block);
    executor.run(host);
    let _ = gate::point("block.connected.after", &role);
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;

    use super::*;

    #[test]
    fn only_the_last_block_is_the_tip_and_only_after_all_that_hold_something() {
        let transaction = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: Vec::new(),
            output: Vec::new(),
        };
        let hash = BlockHash::from_byte_array;
        let block = |byte: u8, transactions| KnownBlock {
            hash: hash([byte; 32]),
            transactions,
        };
        let told = Told {
            tip: None,
            blocks: BTreeMap::from([
                (11, block(1, BTreeMap::from([(1, transaction.clone())]))),
                (12, block(2, BTreeMap::new())),
                (13, block(3, BTreeMap::from([(1, transaction)]))),
            ]),
            news: None,
        };
        let tip = BestBlock::new(hash([3; 32]), 13);
        let seen = |input: &Input| match input {
            Input::BlockConnected {
                height,
                is_tip,
                transactions,
                ..
            } => (*height, *is_tip, transactions.len()),
            _ => panic!("{input:?}"),
        };
        let filled = told.filled(10, tip);
        let filled: Vec<_> = filled.iter().map(|(_, input)| seen(input)).collect();
        assert_eq!(filled, [(11, false, 1), (13, false, 1)]);
        assert_eq!(seen(&told.tip_block(tip)), (13, true, 1));
        let later = BestBlock::new(hash([4; 32]), 14);
        assert_eq!(seen(&told.tip_block(later)), (14, true, 0));
    }
}
