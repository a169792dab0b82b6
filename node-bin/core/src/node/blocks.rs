//! Blocks and ticks.

use crate::channel::Outbox;
use crate::input::PlacedTransaction;
use crate::record::Closure;

use super::{BestBlock, Node};

/// What the user is told of a channel that was closed by agreement.
pub(super) const COOPERATIVE: &str = "CooperativeClosure: closed by agreement";

impl Node {
    pub(super) fn block_connected(
        &mut self,
        block: BestBlock,
        transactions: &[PlacedTransaction],
        out: &mut Outbox,
    ) {
        self.best_block = block;
        let ids: Vec<_> = self.channels.keys().copied().collect();
        for channel_id in ids {
            if let Err(error) = self.connect_to_channel(channel_id, block, transactions, out) {
                self.handle_channel_error(channel_id, error, out);
            }
        }
        self.expire_claimables(out);
    }

    fn connect_to_channel(
        &mut self,
        channel_id: lightning::ln::types::ChannelId,
        block: BestBlock,
        transactions: &[PlacedTransaction],
        out: &mut Outbox,
    ) -> Result<(), crate::channel::ChannelError> {
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return Ok(());
        };
        let funding = channel.record.parameters.funding;
        for placed in transactions {
            if placed.transaction.compute_txid() == funding.txid {
                channel.funding_seen(block.height, placed.index, out)?;
            }
            if let Some(Closure::Cooperative { transaction }) = &channel.record.closure
                && placed.transaction.compute_txid() == transaction.compute_txid()
            {
                channel.volatile.closing_confirmed = true;
            }
        }
        self.depth_reached(channel_id, out)
    }

    pub(super) fn blocks_disconnected(&mut self, block: BestBlock, out: &mut Outbox) {
        self.best_block = block;
        let ids: Vec<_> = self.channels.keys().copied().collect();
        for channel_id in ids {
            let Some(channel) = self.channels.get_mut(&channel_id) else {
                continue;
            };
            let confirmed = channel.record.funding.confirmed;
            if confirmed.is_some_and(|(height, _)| height > block.height) {
                let step = crate::update::UpdateStep::FundingUnconfirmed;
                if let Err(error) = channel.commit(vec![step], out) {
                    self.handle_channel_error(channel_id, error, out);
                }
            }
        }
    }

    pub(super) fn tick(&mut self, out: &mut Outbox) {
        self.tick_waiting(out);
        self.tick_claimables(out);
    }
}
