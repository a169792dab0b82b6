//! Blocks and ticks.
//!
//! The seed's chain events, and `corrections.md`, 14.

use std::collections::BTreeSet;

use lightning::ln::msgs;
use lightning::ln::types::ChannelId;

use crate::channel::{ChannelError, Outbox};
use crate::effect::Effect;
use crate::input::PlacedTransaction;
use crate::message::Message;

use super::onchain::ShownPreimages;
use super::{BestBlock, Node};

/// What the user is told of a channel that was closed by agreement.
pub(super) const COOPERATIVE: &str = "CooperativeClosure: closed by agreement";

/// Blocks within which the closing transaction of a peer that has forgotten the channel has to come.
const BLOCKS_FOR_A_FORGOTTEN_CLOSE: u32 = 6;

impl Node {
    pub(super) fn block_connected(
        &mut self,
        block: BestBlock,
        is_tip: bool,
        transactions: &[PlacedTransaction],
        out: &mut Outbox,
    ) {
        self.best_block = block;
        self.at_tip = is_tip;
        let shown = self.preimages_in(transactions);
        let ids: Vec<_> = self.channels.keys().copied().collect();
        for channel_id in ids {
            let connected =
                self.connect_to_channel(channel_id, block, is_tip, transactions, &shown, out);
            if let Err(error) = connected {
                self.handle_channel_error(channel_id, error, out);
            }
        }
        self.expire_claimables(out);
        if is_tip {
            for (id, command) in std::mem::take(&mut self.waiting) {
                self.command(id, command, out);
            }
        }
    }

    fn connect_to_channel(
        &mut self,
        channel_id: ChannelId,
        block: BestBlock,
        is_tip: bool,
        transactions: &[PlacedTransaction],
        shown: &ShownPreimages,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        let environment = self.environment.clone();
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return Ok(());
        };
        let funding = channel.record.parameters.funding;
        let placed = transactions
            .iter()
            .find(|placed| placed.transaction.compute_txid() == funding.txid);
        match placed {
            Some(placed) => {
                let was_backed = channel.is_backed();
                channel.funding_seen(&environment, block.height, placed, out)?;
                if !was_backed {
                    self.tell_backed_again(channel_id, out);
                }
            }
            // A reorganisation took it out while the node was down.
            None if channel
                .record
                .funding
                .confirmed
                .is_some_and(|(at, _)| at == block.height) =>
            {
                channel.funding_unseen(block.height.saturating_sub(1), out)?;
            }
            None => {}
        }
        self.connect_onchain(channel_id, block, is_tip, transactions, shown, out)?;
        if let Some(channel) = self.channels.get(&channel_id).filter(|_| is_tip) {
            channel.publish_funding(out);
        }
        if let Some(channel) = self.channels.get_mut(&channel_id)
            && let Some(height) = channel.volatile.given_up_at
            && block.height >= height + BLOCKS_FOR_A_FORGOTTEN_CLOSE
        {
            let reason = "the peer failed the channel, and no closing transaction came";
            channel.force_close(&environment, reason, true, out);
        }
        if let Some(channel) = self.channels.get_mut(&channel_id)
            && channel.record.closure.is_none()
            && channel.is_never_funded(block.height)
        {
            let reason = "FundingTimedOut: the funding transaction never came";
            channel.force_close(&environment, reason, false, out);
            let data = reason.to_owned();
            let error = msgs::ErrorMessage { channel_id, data };
            out.send_now(channel.peer(), Message::Error(error));
            return Ok(());
        }
        self.depth_reached(channel_id, out)
    }

    pub(super) fn blocks_disconnected(&mut self, block: BestBlock, out: &mut Outbox) {
        self.best_block = block;
        // The blocks in their place are still to come.
        self.at_tip = false;
        let ids: Vec<_> = self.channels.keys().copied().collect();
        for channel_id in ids {
            let Some(channel) = self.channels.get_mut(&channel_id) else {
                continue;
            };
            let unseen = channel
                .unwatch_blocks(block.height, out)
                .and_then(|()| channel.funding_unseen(block.height, out));
            if let Err(error) = unseen {
                self.handle_channel_error(channel_id, error, out);
            }
        }
    }

    pub(super) fn tick(&mut self, out: &mut Outbox) {
        self.tick_answers(out);
        self.tick_waiting(out);
        self.tick_payments(out);
        self.tick_ended_payments(out);
        self.tick_fees();
        self.tick_claimables(out);
        self.tick_announcing(out);
    }

    /// What everybody should know of this node's announced channels by now.
    fn tick_announcing(&mut self, out: &mut Outbox) {
        let (environment, now_s) = (self.environment.clone(), self.surroundings.now_s);
        for channel in self.channels.values_mut() {
            channel.tick_announcing(&environment, &self.policy, now_s, out);
        }
    }

    /// Hangs up on peers that owe an answer for too long: a new connection may bring it (BOLT 2, message
    /// retransmission).
    fn tick_answers(&mut self, out: &mut Outbox) {
        let mut silent = BTreeSet::new();
        for channel in self.channels.values_mut() {
            if channel.tick_answer() {
                silent.insert(channel.peer());
            }
        }
        for peer in silent {
            let channel_id = ChannelId([0; 32]);
            let data = "an answer is missing for too long".to_owned();
            let warning = msgs::WarningMessage { channel_id, data };
            out.send_now(peer, Message::Warning(warning));
            out.now(Effect::Disconnect { peer });
        }
    }

    /// Channels that this node opened follow its fee rate.
    fn tick_fees(&mut self) {
        let feerate_per_kw = self.policy.feerate_per_kw;
        for channel in self.channels.values_mut() {
            if channel.record.counterparty.spec.feerate_per_kw != feerate_per_kw {
                channel.volatile.fee = Some(feerate_per_kw);
            }
        }
    }
}
