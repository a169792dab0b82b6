//! Following the chain: blocks from bitcoind, or transactions from electrs. Owns how far every part
//! has come; what a block means is the Lightning part's to say.

use std::sync::{Arc, Mutex, PoisonError};

use bitcoin::block::Header;
use bitcoin::{Block, BlockHash, Txid};
use faults::gate;
use lightning::chain::transaction::TransactionData;
use lightning::chain::{BestBlock, Confirm, Listen};
use lightning_transaction_sync::ElectrumSyncClient;

use super::logger::NodeLogger;
use super::names::Names;
use super::rpc::{Bitcoind, RpcError};

/// How often reading the chain is begun anew because it has changed meanwhile.
const ATTEMPTS: u32 = 10;

/// The chain could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// bitcoind.
    #[error(transparent)]
    Bitcoind(#[from] RpcError),
    /// The chain was another one each time it was read.
    #[error("bitcoind's chain changed {ATTEMPTS} times while it was read; sync again")]
    Unsteady,
    /// electrs.
    #[error("electrs: {0}; see whether it runs and has caught up with bitcoind")]
    Electrs(String),
}

/// The node's view of the chain.
pub struct ChainSync {
    pub(crate) bitcoind: Arc<Bitcoind>,
    pub(crate) electrs: Option<Arc<ElectrumSyncClient<Arc<NodeLogger>>>>,
    pub(crate) base: BestBlock,
    pub(crate) names: Arc<Names>,
    best: Mutex<BestBlock>,
}

/// Something that follows the chain, and how far it has come.
pub struct Follower<'a> {
    /// Its last block.
    pub best: BestBlock,
    /// It.
    pub listener: &'a dyn Listen,
}

impl ChainSync {
    /// Has seen nothing after the base block.
    pub fn new(
        bitcoind: Arc<Bitcoind>,
        electrs: Option<Arc<ElectrumSyncClient<Arc<NodeLogger>>>>,
        base: BestBlock,
        names: Arc<Names>,
    ) -> Self {
        ChainSync {
            bitcoind,
            electrs,
            base,
            names,
            best: Mutex::new(base),
        }
    }

    /// The last block that everything has seen.
    pub fn best(&self) -> BestBlock {
        *self.best.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_best(&self, best: BestBlock) {
        *self.best.lock().unwrap_or_else(PoisonError::into_inner) = best;
    }

    /// The last block of the active chain at or below this one.
    fn fork_point(&self, block: BestBlock) -> Result<BestBlock, SyncError> {
        let mut at = block;
        loop {
            let header = self.bitcoind.header(&at.block_hash)?;
            match header.previous {
                Some(previous) if header.confirmations < 0 => {
                    at = BestBlock::new(previous, header.height - 1);
                }
                _ => return Ok(at),
            }
        }
    }

    /// Whether bitcoind's active chain has this transaction in the block at this height.
    pub(crate) fn has(&self, height: u32, txid: &Txid) -> Result<bool, SyncError> {
        if height > self.bitcoind.height()? {
            return Ok(false);
        }
        let blocks = self.bitcoind.blocks(height, height)?;
        let mut transactions = blocks.iter().flat_map(|(_, block)| &block.txdata);
        Ok(transactions.any(|transaction| transaction.compute_txid() == *txid))
    }

    /// Hash of the block at this height, or of the tip if the chain is not that high.
    pub(crate) fn hash(&self, height: u32) -> Result<BlockHash, SyncError> {
        Ok(self.bitcoind.hash(height.min(self.bitcoind.height()?))?)
    }

    /// The tip of bitcoind's chain now.
    pub fn tip(&self) -> Result<BestBlock, SyncError> {
        let height = self.bitcoind.height()?;
        Ok(BestBlock::new(self.bitcoind.hash(height)?, height))
    }

    /// How points name a height: above the base.
    pub(crate) fn role(&self, height: u32) -> String {
        format!("+{}", i64::from(height) - i64::from(self.base.height))
    }

    /// Brings every follower to bitcoind's tip, each from where it stands, block by block; `after`
    /// runs once per block, inside the block's crash points.
    ///
    /// # Errors
    ///
    /// [`SyncError`]; what was connected up to then stays so.
    pub fn follow(
        &self,
        followers: &mut [Follower<'_>],
        begin: &dyn Fn(String),
        after: &mut dyn FnMut(),
    ) -> Result<BestBlock, SyncError> {
        let mut attempts = 0..ATTEMPTS;
        while !self.follow_once(followers, begin, after)? {
            attempts.next().ok_or(SyncError::Unsteady)?;
        }
        let best = followers
            .iter()
            .map(|follower| follower.best)
            .next()
            .unwrap_or(self.best());
        self.set_best(best);
        Ok(best)
    }

    /// False: bitcoind has changed its chain meanwhile, and not all blocks were seen.
    fn follow_once(
        &self,
        followers: &mut [Follower<'_>],
        begin: &dyn Fn(String),
        after: &mut dyn FnMut(),
    ) -> Result<bool, SyncError> {
        for follower in followers.iter_mut() {
            let fork = self.fork_point(follower.best)?;
            if fork != follower.best {
                begin(format!(
                    "block_disconnected {}",
                    self.role(follower.best.height)
                ));
                let role = self.role(follower.best.height);
                let _ = gate::point("block.disconnected.before", &role);
                follower.listener.blocks_disconnected(fork);
                follower.best = fork;
                after();
                let _ = gate::point("block.disconnected.after", &role);
            }
        }
        let tip = self.bitcoind.height()?;
        let lowest = followers
            .iter()
            .map(|follower| follower.best.height)
            .min()
            .unwrap_or(tip);
        if lowest < tip {
            for (height, block) in self.bitcoind.blocks(lowest + 1, tip)? {
                if !self.connect(followers, &block, height, begin, after) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// False: the block does not follow what a follower has seen.
    fn connect(
        &self,
        followers: &mut [Follower<'_>],
        block: &Block,
        height: u32,
        begin: &dyn Fn(String),
        after: &mut dyn FnMut(),
    ) -> bool {
        let mut waiting = followers.iter().filter(|f| f.best.height + 1 == height);
        if waiting.any(|follower| follower.best.block_hash != block.header.prev_blockhash) {
            return false;
        }
        let role = self.role(height);
        begin(format!("block {role}"));
        for transaction in block.txdata.iter().skip(1) {
            self.names.transaction(transaction);
        }
        let _ = gate::point("block.connected.before", &role);
        for follower in followers
            .iter_mut()
            .filter(|follower| follower.best.height + 1 == height)
        {
            follower.listener.block_connected(block, height);
            follower.best = BestBlock::new(block.block_hash(), height);
        }
        after();
        let _ = gate::point("block.connected.after", &role);
        true
    }

    /// Lets these parts follow electrs; the wallet is fed with bitcoind's blocks besides.
    pub fn follow_electrs(
        &self,
        confirmables: Vec<&(dyn Confirm + Sync + Send)>,
    ) -> Result<(), SyncError> {
        let Some(electrs) = &self.electrs else {
            return Ok(());
        };
        let pointed = PointConfirm {
            chain: self,
            parts: confirmables,
        };
        electrs
            .sync(vec![&pointed])
            .map_err(|error| SyncError::Electrs(error.to_string()))
    }
}

/// All parts that follow electrs, as one, with crash points around each new best block.
struct PointConfirm<'a> {
    chain: &'a ChainSync,
    parts: Vec<&'a (dyn Confirm + Sync + Send)>,
}

impl Confirm for PointConfirm<'_> {
    fn transactions_confirmed(&self, header: &Header, txdata: &TransactionData, height: u32) {
        for (_, transaction) in txdata {
            self.chain.names.transaction(transaction);
        }
        for part in &self.parts {
            part.transactions_confirmed(header, txdata, height);
        }
    }

    fn transaction_unconfirmed(&self, txid: &Txid) {
        for part in &self.parts {
            part.transaction_unconfirmed(txid);
        }
    }

    fn best_block_updated(&self, header: &Header, height: u32) {
        let role = self.chain.role(height);
        let _ = gate::point("block.connected.before", &role);
        for part in &self.parts {
            part.best_block_updated(header, height);
        }
        let _ = gate::point("block.connected.after", &role);
    }

    fn get_relevant_txids(&self) -> Vec<(Txid, u32, Option<BlockHash>)> {
        let mut txids: Vec<_> = self
            .parts
            .iter()
            .flat_map(|part| part.get_relevant_txids())
            .collect();
        txids.sort_unstable();
        txids.dedup();
        txids
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
