//! HTLCs of the holder's own commitment on their way to their second stage: which go together, in which order, and at
//! which fee rate.
//!
//! Their transactions pay no fee of their own (BOLT 3, "HTLC-Timeout and HTLC-Success Transactions", with anchors): the
//! wallet's coins do, and it may have but one. The counterparty chose most of the HTLCs, so cheap ones must not cost a
//! dear one its coin, its fee rate or its place in the mempool.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use lightning::ln::types::ChannelId;

use super::Node;
use super::onchain::BUMP_INTERVAL_BLOCKS;
use crate::channel::onchain::{DueSecondStage, Position};
use crate::channel::{LEAST_FEERATE_PER_KW, Outbox};
use crate::effect::Effect;
use crate::onchain::bumping::SecondStage;

/// Of an HTLC's second stage with a coin that pays for it and change, in weight units, roughly.
const SECOND_STAGE_WEIGHT: u64 = 1_200;
/// HTLCs go together if the dearest is worth less than so many times what the cheapest may be.
const SPREAD: u64 = 4;
/// By so many percent a batch pays more than any cheaper one, so that none of those can replace it where they spend the
/// same coin.
const LEAD_PERCENT: u64 = 5;

/// HTLCs to be asked for in one transaction, the dearest first: if there are too few coins for all, the last are left
/// out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Batch {
    feerate_per_kw: u32,
    htlcs: Vec<SecondStage>,
}

/// HTLCs that wait for their second stage.
struct Waiting {
    /// Those that can go now, each with the height since which it has waited.
    due: Vec<(u32, DueSecondStage)>,
    /// What the others hold that may come to be the holder's, in satoshis.
    later_sat: Vec<u64>,
}

/// What the chain and the user say of fees.
struct Fees<F> {
    tip: u32,
    usual_per_kw: u32,
    /// For what has waited since a height.
    since_per_kw: F,
}

impl Node {
    /// Sends HTLCs of the holder's commitment to their second stages.
    pub(super) fn publish_second_stages_of(
        &mut self,
        channel_id: ChannelId,
        position: &Position,
        out: &mut Outbox,
    ) {
        let tip = self.best_block.height;
        let Some(channel) = self.channels.get_mut(&channel_id) else {
            return;
        };
        let mut due = Vec::new();
        for stage in channel.second_stages(position, tip) {
            let key = (stage.stage.direction, stage.stage.htlc_id);
            let first = channel.volatile.claimed_at.entry(key).or_insert(tip);
            let since = stage.urgent_since.min(position.confirmed.max(*first));
            due.push((since, stage));
        }
        let store = channel.store();
        let unspent = position
            .outputs
            .iter()
            .filter(|output| output.spent.is_none());
        let later =
            unspent.filter(|output| output.htlc().is_some_and(|htlc| tip < htlc.cltv_expiry));
        let waiting = Waiting {
            due,
            later_sat: later.map(|output| output.amount_sat).collect(),
        };
        let fees = Fees {
            tip,
            usual_per_kw: self.policy.feerate_per_kw,
            since_per_kw: |since| self.bumped_feerate(Some(since)),
        };
        for batch in batches(waiting, &fees) {
            let effect = Effect::BumpHtlcs {
                channel_id,
                feerate_per_kw: batch.feerate_per_kw,
                htlcs: batch.htlcs,
            };
            out.after(store, effect);
        }
    }
}

/// What to ask for, in order.
///
/// Those together that have waited as long and are worth about as much: all that ever share a transaction share it in
/// each of its versions, so that one that pays more replaces the one before. No batch pays more than the cheapest in it
/// is worth. The dearest go first, and pay more.
///
/// What is not worth the usual fee would wait in the mempool with a coin: it is not asked for as long as a dear one needs
/// a coin or may need one.
fn batches<F: Fn(u32) -> u32>(waiting: Waiting, fees: &Fees<F>) -> Vec<Batch> {
    let is_dear = |amount_sat: u64| worth_per_kw(amount_sat) >= fees.usual_per_kw;
    let mut amounts_sat = waiting.due.iter().map(|(_, due)| due.amount_sat);
    let mut later_sat = waiting.later_sat.iter().copied();
    let any_dear = amounts_sat.any(is_dear) || later_sat.any(is_dear);
    let mut groups: BTreeMap<(Reverse<u32>, u32), Vec<DueSecondStage>> = BTreeMap::new();
    for (since, due) in waiting.due {
        if is_dear(due.amount_sat) || !any_dear {
            let rank = due.amount_sat.checked_ilog(SPREAD).unwrap_or(0);
            groups.entry((Reverse(rank), since)).or_default().push(due);
        }
    }
    let mut least_per_kw = LEAST_FEERATE_PER_KW;
    let mut of_groups = Vec::new();
    for ((_, since), group) in groups.into_iter().rev() {
        let batches = batches_of(group, since, least_per_kw, fees);
        if let Some(together) = batches.first() {
            let more = u64::from(together.feerate_per_kw) * (100 + LEAD_PERCENT) / 100;
            least_per_kw = least_per_kw.max(u32::try_from(more).unwrap_or(u32::MAX));
        }
        of_groups.push(batches);
    }
    of_groups.into_iter().rev().flatten().collect()
}

/// The group together and, if no block has taken it for some time, one by one, too: the counterparty may keep the whole
/// out of the mempool by a large transaction that takes the smallest for a low fee.
fn batches_of<F: Fn(u32) -> u32>(
    mut group: Vec<DueSecondStage>,
    since: u32,
    least_per_kw: u32,
    fees: &Fees<F>,
) -> Vec<Batch> {
    group.sort_by_key(|due| {
        let stage = &due.stage;
        (Reverse(due.amount_sat), stage.direction, stage.htlc_id)
    });
    let wanted_per_kw = (fees.since_per_kw)(since).max(least_per_kw);
    let batch = |htlcs: &[DueSecondStage]| {
        let worths = htlcs.iter().map(|due| worth_per_kw(due.amount_sat));
        Batch {
            feerate_per_kw: worths
                .fold(wanted_per_kw, u32::min)
                .max(LEAST_FEERATE_PER_KW),
            htlcs: htlcs.iter().map(|due| due.stage).collect(),
        }
    };
    let mut batches = vec![batch(&group)];
    if group.len() > 1 && fees.tip >= since + BUMP_INTERVAL_BLOCKS {
        batches.extend(group.chunks(1).map(batch));
    }
    batches
}

/// The fee rate at which an HTLC's fee, if it goes alone, is as much as the HTLC.
fn worth_per_kw(amount_sat: u64) -> u32 {
    let worth = amount_sat.saturating_mul(1_000) / SECOND_STAGE_WEIGHT;
    u32::try_from(worth).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Direction;

    /// When all that waits became due.
    const SINCE: u32 = 600;

    fn due(htlc_id: u64, amount_sat: u64) -> DueSecondStage {
        DueSecondStage {
            stage: SecondStage {
                direction: Direction::Outbound,
                htlc_id,
                preimage: None,
            },
            urgent_since: SINCE,
            amount_sat,
        }
    }

    /// HTLCs of these amounts, numbered, since `SINCE`.
    fn waiting(amounts_sat: &[u64]) -> Waiting {
        let numbered = (0..).zip(amounts_sat);
        Waiting {
            due: numbered
                .map(|(id, amount_sat)| (SINCE, due(id, *amount_sat)))
                .collect(),
            later_sat: Vec::new(),
        }
    }

    /// Each batch at a tip: its fee rate and its HTLCs. The usual fee rate is 5,000.
    fn asked(
        waiting: Waiting,
        tip: u32,
        since_per_kw: impl Fn(u32) -> u32,
    ) -> Vec<(u32, Vec<u64>)> {
        let fees = Fees {
            tip,
            usual_per_kw: 5_000,
            since_per_kw,
        };
        let batches = batches(waiting, &fees);
        let ids = |batch: &Batch| batch.htlcs.iter().map(|stage| stage.htlc_id).collect();
        batches
            .iter()
            .map(|batch| (batch.feerate_per_kw, ids(batch)))
            .collect()
    }

    #[test]
    fn worthless_htlcs_take_no_coin_as_long_as_a_dear_one_needs_one_or_may_need_one() {
        // As a commitment has its outputs: the least first.
        let mut amounts_sat = vec![400; 49];
        let all = asked(waiting(&amounts_sat), SINCE, |_| 6_250);
        assert_eq!(all, [(333, (0..49).collect())]);
        let with_one_to_come = Waiting {
            later_sat: vec![1_000_000],
            ..waiting(&amounts_sat)
        };
        assert_eq!(asked(with_one_to_come, SINCE, |_| 6_250), []);
        amounts_sat.push(1_000_000);
        assert_eq!(
            asked(waiting(&amounts_sat), SINCE, |_| 6_250),
            [(6_250, vec![49])]
        );
        let all = asked(waiting(&amounts_sat), SINCE + 60, |_| 100_000);
        assert_eq!(all, [(100_000, vec![49])]);
    }

    #[test]
    fn htlcs_worth_about_the_same_go_together_the_dearest_first_for_what_the_cheapest_is_worth() {
        let amounts_sat = [20_000, 60_000, 17_000, 60_000];
        let all = |feerate_per_kw| asked(waiting(&amounts_sat), SINCE, |_| feerate_per_kw);
        assert_eq!(all(6_250), [(6_250, vec![1, 3, 0, 2])]);
        // The same ones, so that this replaces what was published before.
        assert_eq!(all(20_000), [(14_166, vec![1, 3, 0, 2])]);
    }

    #[test]
    fn cheaper_htlcs_neither_share_the_transaction_of_a_dear_one_nor_replace_it() {
        let mut amounts_sat = vec![6_100; 20];
        amounts_sat.push(100_000);
        let all = asked(waiting(&amounts_sat), SINCE, |_| 5_000);
        assert_eq!(all, [(5_250, vec![20]), (5_000, (0..20).collect())]);
        // Nor if they have waited longer, and pay more for that.
        let mut waits = waiting(&amounts_sat);
        waits.due[20].0 = SINCE + 30;
        let all = asked(waits, SINCE + 30, |since| {
            if since == SINCE { 20_000 } else { 5_000 }
        });
        assert_eq!(all[0], (5_337, vec![20]));
        assert_eq!(all[1], (5_083, (0..20).collect()));
    }

    #[test]
    fn what_no_block_takes_together_goes_alone_too_for_what_it_is_worth_itself() {
        let amounts_sat = [17_000, 60_000];
        let all = asked(waiting(&amounts_sat), SINCE + BUMP_INTERVAL_BLOCKS, |_| {
            20_000
        });
        let expected = [(14_166, vec![1, 0]), (20_000, vec![1]), (14_166, vec![0])];
        assert_eq!(all, expected);
    }

    #[test]
    fn nothing_is_asked_for_below_what_is_relayed() {
        let all = asked(waiting(&[0, 1]), SINCE, |_| 6_250);
        assert_eq!(all, [(LEAST_FEERATE_PER_KW, vec![1, 0])]);
    }
}
