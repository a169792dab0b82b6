//! From a signed funding to a usable channel: confirmations and `channel_ready` (BOLT 2).

use bitcoin::constants::COINBASE_MATURITY;
use lightning::ln::msgs;
use lightning::util::scid_utils::scid_from_parts;

use crate::channel::{Channel, ChannelError, Connection, Outbox};
use crate::commitment::funding_script;
use crate::effect::Effect;
use crate::input::PlacedTransaction;
use crate::keys::Environment;
use crate::message::Message;
use crate::record::ChannelRecord;
use crate::update::UpdateStep;

impl ChannelRecord {
    /// BOLT 7's short channel id, once the funding is in a block.
    pub fn short_channel_id(&self) -> Option<u64> {
        let (height, index) = self.funding.confirmed?;
        let output = u64::from(self.parameters.funding.index);
        scid_from_parts(u64::from(height), u64::from(index), output).ok()
    }

    /// Confirmations of the funding at this height of the tip.
    pub fn confirmations(&self, best_height: u32) -> u32 {
        match self.funding.confirmed {
            Some((height, _)) => best_height.saturating_add(1).saturating_sub(height),
            None => 0,
        }
    }
}

/// Blocks after which an acceptor stops to wait for the funding (BOLT 2).
pub(crate) const UNFUNDED_BLOCKS: u32 = 2_016;

impl Channel {
    /// Whether the funding of a channel that the peer opened has not come in time, at this height of the
    /// tip.
    pub(crate) fn is_never_funded(&self, best_height: u32) -> bool {
        let funding = &self.record.funding;
        funding.confirmed.is_none()
            && funding
                .accepted_at
                .is_some_and(|height| best_height >= height.saturating_add(UNFUNDED_BLOCKS))
    }

    /// BOLT 7's short channel id, once the funding is in a block.
    pub fn short_channel_id(&self) -> Option<u64> {
        self.record.short_channel_id()
    }

    /// The funding transaction is in a block. What it pays is checked only now: the acceptor has
    /// never seen it.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Close`] if the transaction does not pay what was agreed on to the channel.
    pub fn funding_seen(
        &mut self,
        environment: &Environment,
        height: u32,
        placed: &PlacedTransaction,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        let transaction_index = placed.index;
        if self.record.funding.confirmed == Some((height, transaction_index)) {
            return Ok(());
        }
        let parameters = &self.record.parameters;
        let holder = environment.channel_points(&parameters.keys_id);
        let script = funding_script(
            &holder.funding_pubkey,
            &parameters.counterparty_keys.funding_pubkey,
        )
        .to_p2wsh();
        let pays = placed
            .transaction
            .output
            .get(usize::from(parameters.funding.index))
            .is_some_and(|output| {
                output.script_pubkey == script && output.value.to_sat() == parameters.capacity_sat
            });
        if !pays {
            let wrong = "the funding transaction does not pay to the channel";
            return Err(ChannelError::Close(wrong.to_owned()));
        }
        let step = UpdateStep::FundingConfirmed {
            height,
            transaction_index,
        };
        self.commit(vec![step], out)
    }

    /// A reorganisation took the funding out again, if it was above `new_tip_height`.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Close`] if the record does not take the step: a flaw of this node's.
    pub fn funding_unseen(
        &mut self,
        new_tip_height: u32,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        match self.record.funding.confirmed {
            Some((height, _)) if height > new_tip_height => {
                self.commit(vec![UpdateStep::FundingUnconfirmed], out)
            }
            _ => Ok(()),
        }
    }

    /// Publishes the funding transaction, if the holder has it and it is in no block: mempools forget, and a
    /// reorganisation may have taken it out. Publishing it again is harmless.
    pub(crate) fn publish_funding(&self, out: &mut Outbox) {
        if let Some(transaction) = self.record.funding.unconfirmed() {
            out.after(
                self.store(),
                Effect::Broadcast {
                    channel_id: self.id(),
                    transactions: vec![transaction.clone()],
                },
            );
        }
    }

    /// Says `channel_ready` once the funding is deep enough; at every other time does nothing.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Close`] if the record does not take the step: a flaw of this node's.
    pub fn depth_reached(
        &mut self,
        environment: &Environment,
        best_height: u32,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        let record = &self.record;
        let minimum_depth = record.parameters.minimum_depth;
        let is_deep = record.funding.confirmed.is_some_and(|(_, index)| {
            let needed = match index {
                // A block's first transaction is its coinbase, whose outputs cannot be spent before (BOLT 2).
                0 => minimum_depth.max(COINBASE_MATURITY),
                _ => minimum_depth,
            };
            record.confirmations(best_height) >= needed
        });
        if record.funding.holder_ready || record.closure.is_some() || !is_deep {
            return Ok(());
        }
        self.commit(vec![UpdateStep::HolderReady], out)?;
        // Without a connection the next reestablish sends it (BOLT 2).
        if self.volatile.connection == Connection::Up {
            self.send_channel_ready(environment, out);
        }
        Ok(())
    }

    /// Sends this node's `channel_ready`, the same each time.
    pub(crate) fn send_channel_ready(&self, environment: &Environment, out: &mut Outbox) {
        let keys = environment.channel_keys(&self.record.parameters.keys_id);
        let message = msgs::ChannelReady {
            channel_id: self.id(),
            next_per_commitment_point: keys.commitment_point(1, &environment.secp),
            short_channel_id_alias: None,
        };
        self.send(Message::ChannelReady(message), out);
    }

    /// The peer's `channel_ready` came, for the first time or again after a reconnection.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Close`] if the record does not take the step: a flaw of this node's.
    pub fn receive_channel_ready(
        &mut self,
        message: &msgs::ChannelReady,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        if self.record.funding.counterparty_ready {
            return Ok(());
        }
        let step = UpdateStep::CounterpartyReady {
            next_point: message.next_per_commitment_point,
        };
        self.commit(vec![step], out)
    }
}
