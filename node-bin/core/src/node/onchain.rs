//! Channels that end on the chain: what blocks decide goes into their monitors, what is the holder's is
//! claimed, again and again until it is in a block, for more as time passes.
//!
//! BOLT 5; `corrections.md`, 14.

use std::collections::BTreeMap;

use lightning::ln::types::ChannelId;
use lightning::types::payment::{PaymentHash, PaymentPreimage};

use crate::channel::LEAST_FEERATE_PER_KW;
use crate::channel::onchain::{Position, urgent_since};
use crate::channel::{Channel, ChannelError, Outbox};
use crate::effect::Effect;
use crate::event::EventId;
use crate::input::PlacedTransaction;
use crate::onchain::claims::{Claim, ClaimError, ClaimPath, claim_transaction};
use crate::onchain::spend::possible_preimages;
use crate::record::Closure;

use super::{BestBlock, Node};

/// Blocks after which an unconfirmed claim pays more.
pub(super) const BUMP_INTERVAL_BLOCKS: u32 = 3;
/// By how much it pays more each time, in percent.
const BUMP_PERCENT: u64 = 25;
/// By how much it pays more each time at the least: the relay's increment, in satoshis per 1000 weight
/// units.
const LEAST_BUMP_PER_KW: u64 = 250;
/// The most that a claim pays, as a multiple of the node's fee rate.
const MAXIMUM_BUMP: u64 = 20;

/// Whether nobody but the holder can ever take this.
fn is_uncontested(claim: &Claim) -> bool {
    matches!(claim.path, ClaimPath::Delayed { .. } | ClaimPath::Balance)
}

/// Preimages that a block shows.
pub(super) type ShownPreimages = BTreeMap<PaymentHash, PaymentPreimage>;

impl Node {
    /// Gives a channel a block: its end, if it ends there, and what that decides.
    pub(super) fn connect_onchain(
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
        let was_open = channel.record.closure.is_none();
        channel.watch_block(&environment, block.height, is_tip, transactions, out)?;
        if was_open && matches!(channel.record.closure, Some(Closure::Cooperative { .. })) {
            self.tell_cooperative(channel_id, out);
        }
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return Ok(());
        };
        if let Some(reason) = channel.deadline(block.height) {
            channel.force_close(&environment, &reason, true, out);
            return Ok(());
        }
        let position = channel.current_position(&environment);
        let Some(channel) = self.channels.get(&channel_id) else {
            return Ok(());
        };
        let known = |hash: &PaymentHash| {
            let here = shown.get(hash).copied();
            here.or_else(|| self.known_preimage(hash))
        };
        let steps = channel.due_steps(position.as_deref(), block.height, is_tip, &known);
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return Ok(());
        };
        if !steps.is_empty() {
            channel.commit(steps, out)?;
        }
        channel.volatile.claims_due |= is_tip;
        Ok(())
    }

    /// A preimage that any HTLC of this hash was claimed with.
    pub(super) fn known_preimage(&self, hash: &PaymentHash) -> Option<PaymentPreimage> {
        let channels = self.channels.values();
        let mut preimages = channels.filter_map(|channel| channel.record.preimage_of(hash));
        preimages.next()
    }

    /// What a block shows, before any channel decides by it: which of them comes first must not matter.
    pub(super) fn preimages_in(&self, transactions: &[PlacedTransaction]) -> ShownPreimages {
        let awaits = |channel: &Channel| {
            channel.record.closure.is_some() && !channel.record.outbound.is_empty()
        };
        if !self.channels.values().any(awaits) {
            return ShownPreimages::new();
        }
        let placed = transactions.iter();
        placed
            .flat_map(|placed| possible_preimages(&placed.transaction))
            .map(|preimage| (preimage.into(), preimage))
            .collect()
    }

    /// A preimage for an HTLC that was given up upstream while its peer could still take it, known by the time that
    /// this is told.
    pub(super) fn late_preimage(&self, id: EventId) -> Option<PaymentPreimage> {
        let channel = self.channels.get(&id.channel_id)?;
        let htlc = channel.record.outbound.get(&id.key.htlc_id)?;
        let hash = htlc.failed_back.then_some(htlc.add.payment_hash)?;
        self.known_preimage(&hash)
    }

    /// Publishes what is the holder's and not in a block, for every channel that something has happened
    /// to: a block, a preimage, a start.
    pub(super) fn publish_claims(&mut self, out: &mut Outbox) {
        let due: Vec<_> = self
            .channels
            .values()
            .filter(|channel| channel.volatile.claims_due && channel.record.closure.is_some())
            .map(Channel::id)
            .collect();
        for channel_id in due {
            if let Some(channel) = self.channels.get_mut(&channel_id) {
                channel.volatile.claims_due = false;
            }
            self.publish_claims_of(channel_id, out);
        }
    }

    fn publish_claims_of(&mut self, channel_id: ChannelId, out: &mut Outbox) {
        let environment = self.environment.clone();
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return;
        };
        let position = channel.current_position(&environment);
        let Some(channel) = self.channels.get(&channel_id) else {
            return;
        };
        if channel.is_to_publish() {
            let tip = self.best_block.height;
            if let Some(channel) = self.channels.get_mut(&channel_id) {
                channel.volatile.published_at.get_or_insert(tip);
            }
            let Some(channel) = self.channels.get(&channel_id) else {
                return;
            };
            let since = channel.volatile.published_at.into_iter();
            let since = since.chain(channel.urgent_since()).min();
            let feerate_per_kw = self.bumped_feerate(since);
            let effect = Effect::BumpCommitment {
                channel_id,
                feerate_per_kw,
            };
            out.after(channel.store(), effect);
            return;
        }
        let Some(position) = position else {
            if let Some(Closure::Cooperative { transaction }) = &channel.record.closure {
                let transactions = vec![transaction.clone()];
                out.after(
                    channel.store(),
                    Effect::Broadcast {
                        channel_id,
                        transactions,
                    },
                );
            }
            return;
        };
        self.publish_second_stages_of(channel_id, &position, out);
        let tip = self.best_block.height;
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return;
        };
        for (claim, confirmed) in channel.claims(&position) {
            let parameters = &channel.record.parameters;
            if let Some(htlc) = claim.contested_htlc()
                && claim.least_tip_height(parameters, confirmed) <= tip
            {
                let key = (htlc.direction, htlc.htlc_id);
                channel.volatile.claimed_at.entry(key).or_insert(tip);
            }
        }
        let Some(channel) = self.channels.get(&channel_id) else {
            return;
        };
        for transaction in self.claim_transactions(channel, &position) {
            out.after(
                channel.store(),
                Effect::Broadcast {
                    channel_id,
                    transactions: vec![transaction],
                },
            );
        }
    }

    /// Transactions that take what is the holder's and ripe. Contested outputs go one by one, so that one
    /// that the counterparty takes first spoils no other; what only waits for a delay goes together.
    fn claim_transactions(
        &self,
        channel: &Channel,
        position: &Position,
    ) -> Vec<bitcoin::Transaction> {
        let parameters = &channel.record.parameters;
        let tip = self.best_block.height;
        let ripe = channel
            .claims(position)
            .into_iter()
            .filter(|(claim, confirmed)| claim.least_tip_height(parameters, *confirmed) <= tip);
        let (calm, contested): (Vec<_>, Vec<_>) =
            ripe.partition(|(claim, _)| is_uncontested(claim));
        let mut groups: Vec<(Vec<Claim>, u32)> = contested
            .into_iter()
            .map(|(claim, confirmed)| {
                let first = claim.contested_htlc().and_then(|htlc| {
                    let key = (htlc.direction, htlc.htlc_id);
                    let first = channel.volatile.claimed_at.get(&key)?;
                    Some(urgent_since(htlc, confirmed).min(confirmed.max(*first)))
                });
                (vec![claim], first.unwrap_or(confirmed))
            })
            .collect();
        if let Some(since) = calm
            .iter()
            .map(|(claim, confirmed)| claim.least_tip_height(parameters, *confirmed))
            .max()
        {
            groups.push((calm.into_iter().map(|(claim, _)| claim).collect(), since));
        }
        groups
            .into_iter()
            .filter_map(|(claims, since)| {
                // What is not worth a high fee may be worth the usual one, or the least that is relayed: late is better
                // than never.
                let rates = [
                    self.bumped_feerate(Some(since)),
                    self.policy.feerate_per_kw,
                    LEAST_FEERATE_PER_KW,
                ];
                rates.into_iter().find_map(|feerate_per_kw| {
                    let built = claim_transaction(
                        &self.environment,
                        parameters,
                        &claims,
                        &self.environment.destination_script,
                        feerate_per_kw,
                    );
                    match built {
                        Ok(built) => Some(built.transaction),
                        Err(ClaimError::Uneconomic { .. } | ClaimError::Impossible) => None,
                    }
                })
            })
            .collect()
    }

    /// The node's fee rate, and more the longer something waits: in steps, so that what was published
    /// is replaced only by something that pays enough more.
    pub(super) fn bumped_feerate(&self, since: Option<u32>) -> u32 {
        let waited = since.map_or(0, |since| self.best_block.height.saturating_sub(since));
        let rounds = u64::from(waited / BUMP_INTERVAL_BLOCKS);
        let base = u64::from(self.policy.feerate_per_kw);
        // What replaces has to pay the relay's least increment more, too.
        let step = (base * BUMP_PERCENT / 100).max(LEAST_BUMP_PER_KW);
        let bumped = (base + step * rounds).min(base * MAXIMUM_BUMP);
        u32::try_from(bumped).unwrap_or(u32::MAX)
    }
}
