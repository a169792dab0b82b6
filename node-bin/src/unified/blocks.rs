//! Blocks on their way from the chain into the core.

use std::cell::RefCell;

use bitcoin::Block;
use lightning::chain::transaction::TransactionData;
use lightning::chain::{BestBlock, Listen};
use node_core::input::{Input, PlacedTransaction};

/// Takes blocks from whoever follows the chain and keeps them as inputs.
pub struct BlockFeed {
    tip_height: u32,
    inputs: RefCell<Vec<Input>>,
}

impl BlockFeed {
    /// For blocks up to the tip at this height: with its block the core publishes what is to be
    /// published.
    pub fn up_to(tip_height: u32) -> Self {
        BlockFeed {
            tip_height,
            inputs: RefCell::default(),
        }
    }

    /// What has come since the last call.
    pub fn take(&self) -> Vec<Input> {
        self.inputs.take()
    }
}

fn placed(block: &Block) -> Vec<PlacedTransaction> {
    let place = |(index, transaction): (u32, &bitcoin::Transaction)| PlacedTransaction {
        index,
        transaction: transaction.clone(),
    };
    // The coinbase too: it may pay to a channel.
    (0..).zip(&block.txdata).map(place).collect()
}

impl Listen for BlockFeed {
    fn filtered_block_connected(
        &self,
        _header: &bitcoin::block::Header,
        _txdata: &TransactionData,
        _height: u32,
    ) {
        // Whole blocks come through `block_connected`; nothing in this node filters them.
    }

    fn block_connected(&self, block: &Block, height: u32) {
        self.inputs.borrow_mut().push(Input::BlockConnected {
            height,
            hash: block.block_hash(),
            is_tip: height >= self.tip_height,
            transactions: placed(block),
        });
    }

    fn blocks_disconnected(&self, fork_point_block: BestBlock) {
        self.inputs.borrow_mut().push(Input::BlocksDisconnected {
            height: fork_point_block.height,
            hash: fork_point_block.block_hash,
        });
    }
}
