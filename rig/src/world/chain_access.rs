//! The chain as a case sees it: the leased pair, or in tests of the stage alone a counter of
//! blocks. Adds nothing of its own.

use std::ops::RangeInclusive;

use bitcoin::{Amount, Block, BlockHash, ScriptBuf, Transaction, Txid};
use node_bin::api::BitcoindAccess;

use crate::chain::{ChainError, Lease, Tip};
use crate::evidence::TakenOff;

/// What a case does with the chain.
pub(super) enum ChainAccess {
    /// bitcoind and electrs.
    Leased(Box<Lease>),
    /// Blocks that are only counted.
    #[cfg(test)]
    Counted(std::sync::atomic::AtomicU32),
}

#[cfg(test)]
use std::sync::atomic::Ordering::Relaxed;

impl ChainAccess {
    pub(super) async fn tip(&self) -> Result<Tip, ChainError> {
        match self {
            ChainAccess::Leased(pair) => pair.tip().await,
            #[cfg(test)]
            ChainAccess::Counted(height) => Ok(Tip {
                height: height.load(Relaxed),
                hash: nothing(),
            }),
        }
    }

    pub(super) async fn mine(&self, blocks: u32) -> Result<Vec<BlockHash>, ChainError> {
        match self {
            ChainAccess::Leased(pair) => pair.mine(blocks).await,
            #[cfg(test)]
            ChainAccess::Counted(height) => {
                height.fetch_add(blocks, Relaxed);
                Ok(vec![nothing(); blocks as usize])
            }
        }
    }

    pub(super) async fn mine_empty(&self, blocks: u32) -> Result<Vec<BlockHash>, ChainError> {
        match self {
            ChainAccess::Leased(pair) => pair.mine_empty(blocks).await,
            #[cfg(test)]
            ChainAccess::Counted(_) => self.mine(blocks).await,
        }
    }

    /// Takes the last `blocks` off and mines one more, all empty. What was in those.
    pub(super) async fn reorganise(&self, blocks: u32) -> Result<Vec<TakenOff>, ChainError> {
        match self {
            ChainAccess::Leased(pair) => {
                let tip = pair.tip().await?;
                let first = tip.height.saturating_sub(blocks) + 1;
                let old = pair.blocks(first..=tip.height).await?;
                if let Some(block) = old.first() {
                    pair.invalidate(block.block_hash()).await?;
                }
                pair.mine_empty(blocks + 1).await?;
                let taken_off = (first..).zip(&old).map(|(height, block)| TakenOff {
                    height,
                    txids: txids_of(block),
                });
                Ok(taken_off.filter(|block| !block.txids.is_empty()).collect())
            }
            #[cfg(test)]
            ChainAccess::Counted(_) => self.mine(1).await.map(|_| Vec::new()),
        }
    }

    pub(super) async fn mempool(&self) -> Result<Vec<Txid>, ChainError> {
        match self {
            ChainAccess::Leased(pair) => pair.mempool().await,
            #[cfg(test)]
            ChainAccess::Counted(_) => Ok(Vec::new()),
        }
    }

    /// Pays outputs from the rig's coins; `None` where there are no coins.
    pub(super) async fn fund(
        &self,
        outputs: &[(ScriptBuf, Amount)],
    ) -> Result<Option<Transaction>, ChainError> {
        match self {
            ChainAccess::Leased(pair) => pair.fund(outputs).await.map(Some),
            #[cfg(test)]
            ChainAccess::Counted(_) => Ok(None),
        }
    }

    pub(super) async fn blocks(
        &self,
        heights: RangeInclusive<u32>,
    ) -> Result<Vec<Block>, ChainError> {
        match self {
            ChainAccess::Leased(pair) => pair.blocks(heights).await,
            #[cfg(test)]
            ChainAccess::Counted(_) => Ok(Vec::new()),
        }
    }

    pub(super) async fn electrs_synced(&self) -> Result<(), ChainError> {
        match self {
            ChainAccess::Leased(pair) => pair.electrs_synced().await.map(drop),
            #[cfg(test)]
            ChainAccess::Counted(_) => Ok(()),
        }
    }

    pub(super) async fn histories(
        &self,
        scripts: &[ScriptBuf],
    ) -> Result<Vec<Vec<(Txid, i32)>>, ChainError> {
        match self {
            ChainAccess::Leased(pair) => pair.histories(scripts).await,
            #[cfg(test)]
            ChainAccess::Counted(_) => Ok(vec![Vec::new(); scripts.len()]),
        }
    }

    pub(super) fn bitcoind(&self) -> BitcoindAccess {
        match self {
            ChainAccess::Leased(pair) => {
                let (user, password) = pair.cookie();
                BitcoindAccess {
                    url: pair.rpc_url(),
                    user,
                    password,
                }
            }
            #[cfg(test)]
            ChainAccess::Counted(_) => BitcoindAccess {
                url: "http://127.0.0.1:1".to_owned(),
                user: String::new(),
                password: String::new(),
            },
        }
    }

    /// `tcp://host:port`.
    pub(super) fn electrs_url(&self) -> String {
        match self {
            ChainAccess::Leased(pair) => format!("tcp://{}", pair.electrs_url()),
            #[cfg(test)]
            ChainAccess::Counted(_) => "tcp://127.0.0.1:1".to_owned(),
        }
    }

    /// Waits until one of the two processes dies.
    pub(super) async fn died(&self) -> ChainError {
        match self {
            ChainAccess::Leased(pair) => pair.died().await,
            #[cfg(test)]
            ChainAccess::Counted(_) => std::future::pending().await,
        }
    }

    /// Says that nobody should get this pair again.
    pub(super) fn mark_damaged(&self) {
        match self {
            ChainAccess::Leased(pair) => pair.mark_damaged(),
            #[cfg(test)]
            ChainAccess::Counted(_) => {}
        }
    }
}

/// All but the coinbase.
fn txids_of(block: &Block) -> Vec<String> {
    let paid = block.txdata.iter().skip(1);
    paid.map(|transaction| transaction.compute_txid().to_string())
        .collect()
}

#[cfg(test)]
fn nothing() -> BlockHash {
    use bitcoin::hashes::Hash;
    BlockHash::all_zeros()
}
