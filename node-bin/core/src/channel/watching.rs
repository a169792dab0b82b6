//! What blocks say about a channel's end, written down. A block is the truth about its height: whatever the
//! record says of that height and the block does not hold was in a block that a reorganisation took out,
//! perhaps while the node was down and nobody could tell it.
//!
//! BOLT 5; `corrections.md`, 14.

use std::sync::Arc;

use bitcoin::{OutPoint, Transaction, Txid};

use crate::input::PlacedTransaction;
use crate::keys::Environment;
use crate::onchain::identify::{FundingSpend, identify};
use crate::record::{Closure, SeenTransaction};
use crate::update::UpdateStep;

use super::onchain::Position;
use super::reestablishing::STALE;
use super::{Channel, ChannelError, Outbox};

/// Why a channel is closed that a commitment has closed already.
const CONFIRMED: &str = "CommitmentTxConfirmed: a commitment transaction is in a block";

impl Channel {
    /// Where the channel stands on the chain, read anew if its record has changed.
    pub(crate) fn current_position(&mut self, environment: &Environment) -> Option<Arc<Position>> {
        self.record.onchain.funding_spend.as_ref()?;
        let sequence = self.record.sequence;
        match &self.volatile.position {
            Some((of, position)) if *of == sequence => Some(position.clone()),
            _ => {
                let position = Arc::new(self.position(environment)?);
                self.volatile.position = Some((sequence, position.clone()));
                Some(position)
            }
        }
    }

    /// Takes note of whatever a block says about the channel's end.
    pub(crate) fn watch_block(
        &mut self,
        environment: &Environment,
        height: u32,
        is_tip: bool,
        transactions: &[PlacedTransaction],
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        self.correct(height, transactions, out)?;
        if is_tip {
            // A chain that is shorter now, since the node was down.
            self.unwatch_blocks(height, out)?;
        }
        let funding = self.record.parameters.funding.into_bitcoin_outpoint();
        for placed in transactions {
            let spends = |outpoint: &OutPoint| {
                let mut inputs = placed.transaction.input.iter();
                inputs.any(|input| input.previous_output == *outpoint)
            };
            if spends(&funding) {
                self.funding_spent(environment, &placed.transaction, height, out)?;
                continue;
            }
            let Some(position) = self.current_position(environment) else {
                continue;
            };
            let mut outputs = position.outputs.iter();
            if outputs.any(|output| spends(&output.outpoint)) {
                self.outputs_spent(&placed.transaction, height, out)?;
            }
        }
        Ok(())
    }

    /// Forgets what the record says of this height, and later, if the block there says otherwise.
    fn correct(
        &mut self,
        height: u32,
        transactions: &[PlacedTransaction],
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        let is_there = |seen: &SeenTransaction| {
            let txid = seen.transaction.compute_txid();
            let mut placed = transactions.iter();
            placed.any(|placed| placed.transaction.compute_txid() == txid)
        };
        let is_stale = self
            .seen()
            .any(|seen| seen.height == height && !is_there(seen));
        if is_stale {
            let height = height.saturating_sub(1);
            self.commit(vec![UpdateStep::BlocksDisconnected { height }], out)?;
        }
        Ok(())
    }

    /// All that the record says was in blocks.
    fn seen(&self) -> impl Iterator<Item = &SeenTransaction> {
        let onchain = &self.record.onchain;
        onchain.funding_spend.iter().chain(&onchain.spends)
    }

    fn is_known(&self, txid: Txid, height: u32) -> bool {
        let mut seen = self.seen();
        seen.any(|seen| seen.height == height && seen.transaction.compute_txid() == txid)
    }

    /// Forgets what blocks above this height said.
    pub(crate) fn unwatch_blocks(
        &mut self,
        height: u32,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        if self.seen().any(|seen| seen.height > height) {
            self.commit(vec![UpdateStep::BlocksDisconnected { height }], out)?;
        }
        Ok(())
    }

    fn outputs_spent(
        &mut self,
        transaction: &Transaction,
        height: u32,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        if self.is_known(transaction.compute_txid(), height) {
            return Ok(());
        }
        let step = UpdateStep::OutputsSpent {
            transaction: transaction.clone(),
            height,
        };
        self.commit(vec![step], out)
    }

    fn funding_spent(
        &mut self,
        environment: &Environment,
        transaction: &Transaction,
        height: u32,
        out: &mut Outbox,
    ) -> Result<(), ChannelError> {
        if self.is_known(transaction.compute_txid(), height) {
            return Ok(());
        }
        let mut steps = vec![UpdateStep::FundingSpent {
            transaction: transaction.clone(),
            height,
        }];
        let spend = identify(environment, &self.record, transaction).spend;
        match (&self.record.closure, spend) {
            // Both sides signed what this record does not know: it is stale, and what it would publish is
            // revoked. A reorganisation must not make it do so.
            (_, FundingSpend::Unknown { .. }) => steps.push(UpdateStep::ChannelForceClosed {
                reason: STALE.into(),
                broadcast: false,
            }),
            (None, FundingSpend::Cooperative) => steps.push(UpdateStep::CooperativelyClosed {
                transaction: transaction.clone(),
            }),
            (None, _) => steps.push(UpdateStep::ChannelForceClosed {
                reason: CONFIRMED.into(),
                // Should a reorganisation take it out again.
                broadcast: true,
            }),
            (Some(Closure::Cooperative { .. } | Closure::Forced { .. }), _) => {}
        }
        self.commit(steps, out)
    }
}
