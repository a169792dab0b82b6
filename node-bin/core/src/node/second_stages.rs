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
/// In a rank the dearest HTLC is worth less than so many times what the cheapest may be; in the highest rank all are
/// worth any fee rate that is ever asked for, nearly.
const SPREAD: u32 = 4;
/// The highest rank: from 16 times the usual fee rate on.
const HIGHEST_RANK: u32 = 3;
/// By so many percent a rank pays more than any lower one, so that none of those can replace it where they spend the
/// same coin.
const LEAD_PERCENT: u64 = 5;

/// HTLCs to be asked for in one transaction, the dearest first: if there are too few coins for all, the last are left
/// out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Batch {
    feerate_per_kw: u32,
    htlcs: Vec<SecondStage>,
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
        let mut waiting = Vec::new();
        for due in channel.second_stages(position, tip) {
            let key = (due.stage.direction, due.stage.htlc_id);
            let first = channel.volatile.claimed_at.entry(key).or_insert(tip);
            let since = due.urgent_since.min(position.confirmed.max(*first));
            waiting.push((since, due));
        }
        let store = channel.store();
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

/// What to ask for, in order, of HTLCs that have waited since these heights.
///
/// Those together that have waited as long and are worth about as much: all that ever share a transaction share it in
/// each of its versions, so that one that pays more replaces the one before. No batch pays more than the cheapest in it
/// is worth. Higher ranks go first, and pay more.
fn batches<F: Fn(u32) -> u32>(waiting: Vec<(u32, DueSecondStage)>, fees: &Fees<F>) -> Vec<Batch> {
    let mut ranks: BTreeMap<u32, BTreeMap<u32, Vec<DueSecondStage>>> = BTreeMap::new();
    for (since, due) in waiting {
        let rank = rank(due.amount_sat, fees.usual_per_kw);
        let same = ranks.entry(rank).or_default().entry(since).or_default();
        same.push(due);
    }
    let mut least_per_kw = LEAST_FEERATE_PER_KW;
    let mut of_ranks = Vec::new();
    for groups in ranks.into_values() {
        let groups = groups.into_iter();
        let batches: Vec<Batch> = groups
            .flat_map(|(since, group)| batches_of(group, since, least_per_kw, fees))
            .collect();
        let dearest = batches.iter().map(|batch| batch.feerate_per_kw).max();
        let more = u64::from(dearest.unwrap_or(0)) * (100 + LEAD_PERCENT) / 100;
        least_per_kw = least_per_kw.max(u32::try_from(more).unwrap_or(u32::MAX));
        of_ranks.push(batches);
    }
    of_ranks.into_iter().rev().flatten().collect()
}

/// Of what is not worth the usual fee rate 0; else the higher, the more it is worth.
fn rank(amount_sat: u64, usual_per_kw: u32) -> u32 {
    let times = worth_per_kw(amount_sat) / usual_per_kw.max(1);
    let rank = times.checked_ilog(SPREAD).map_or(0, |above| above + 1);
    rank.min(HIGHEST_RANK)
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
    /// What an HTLC has to hold to be worth the usual fee rate is 1.2 times that.
    const USUAL_PER_KW: u32 = 5_000;

    /// HTLCs of these amounts, numbered, since `SINCE`.
    fn waiting(amounts_sat: &[u64]) -> Vec<(u32, DueSecondStage)> {
        let due = |(htlc_id, amount_sat): (u64, &u64)| DueSecondStage {
            stage: SecondStage {
                direction: Direction::Outbound,
                htlc_id,
                preimage: None,
            },
            urgent_since: SINCE,
            amount_sat: *amount_sat,
        };
        let numbered = (0..).zip(amounts_sat);
        numbered.map(|each| (SINCE, due(each))).collect()
    }

    /// Each batch at a tip: its fee rate and its HTLCs.
    fn asked(
        waiting: Vec<(u32, DueSecondStage)>,
        tip: u32,
        since_per_kw: impl Fn(u32) -> u32,
    ) -> Vec<(u32, Vec<u64>)> {
        let fees = Fees {
            tip,
            usual_per_kw: USUAL_PER_KW,
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
    fn worthless_htlcs_cost_a_dear_one_neither_its_coin_nor_its_fee_rate() {
        // As a commitment has its outputs: the least first.
        let mut amounts_sat = vec![400; 49];
        amounts_sat.push(1_000_000);
        let cheap: Vec<u64> = (0..49).collect();
        let all = asked(waiting(&amounts_sat), SINCE, |_| 6_250);
        assert_eq!(all, [(6_250, vec![49]), (333, cheap)]);
        // As long as no block takes it.
        let all = asked(waiting(&amounts_sat), SINCE + 60, |_| 100_000);
        assert_eq!(all[0], (100_000, vec![49]));
    }

    #[test]
    fn htlcs_worth_about_the_same_go_together_the_dearest_first_for_what_the_cheapest_is_worth() {
        let amounts_sat = [25_000, 60_000, 24_000, 60_000];
        let all = |feerate_per_kw| asked(waiting(&amounts_sat), SINCE, |_| feerate_per_kw);
        assert_eq!(all(6_250), [(6_250, vec![1, 3, 0, 2])]);
        // The same ones, so that this replaces what was published before.
        assert_eq!(all(50_000), [(20_000, vec![1, 3, 0, 2])]);
    }

    #[test]
    fn htlcs_that_are_worth_any_fee_go_together() {
        let amounts_sat = [96_000, 10_000_000, 400_000];
        let all = asked(waiting(&amounts_sat), SINCE, |_| 50_000);
        assert_eq!(all, [(50_000, vec![1, 2, 0])]);
    }

    #[test]
    fn cheaper_htlcs_neither_share_the_transaction_of_a_dear_one_nor_replace_it() {
        let mut amounts_sat = vec![6_100; 20];
        amounts_sat.push(100_000);
        let cheap: Vec<u64> = (0..20).collect();
        let all = asked(waiting(&amounts_sat), SINCE, |_| 5_000);
        assert_eq!(all, [(5_250, vec![20]), (5_000, cheap.clone())]);
        // Nor if they have waited longer, and pay more for that.
        let mut waits = waiting(&amounts_sat);
        waits[20].0 = SINCE + 2;
        let since_per_kw = |since| if since == SINCE { 20_000 } else { 5_000 };
        let all = asked(waits, SINCE + 2, since_per_kw);
        assert_eq!(all, [(5_337, vec![20]), (5_083, cheap)]);
    }

    #[test]
    fn one_that_goes_alone_does_not_replace_a_dearer_one_either() {
        // 0 holds the rate of the others down as long as they go together.
        let amounts_sat = [6_000, 16_000, 16_000, 1_000_000];
        let all = asked(waiting(&amounts_sat), SINCE + BUMP_INTERVAL_BLOCKS, |_| {
            6_250
        });
        let expected = [
            (6_562, vec![3]),
            (5_000, vec![1, 2, 0]),
            (6_250, vec![1]),
            (6_250, vec![2]),
            (5_000, vec![0]),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn ranks_pay_little_more_than_each_other_however_many_wait() {
        let mut waits = waiting(&[500, 7_000, 25_000, 1_000_000].repeat(40));
        for (since, due) in &mut waits {
            *since += due.stage.htlc_id as u32 / 4;
        }
        let all = asked(waits, SINCE + 40, |_| 5_000);
        let dearest = all.iter().map(|(feerate_per_kw, _)| *feerate_per_kw).max();
        assert_eq!(dearest, Some(5_512));
    }

    #[test]
    fn nothing_is_asked_for_below_what_is_relayed() {
        let all = asked(waiting(&[0, 1]), SINCE, |_| 6_250);
        assert_eq!(all, [(LEAST_FEERATE_PER_KW, vec![1, 0])]);
    }
}
