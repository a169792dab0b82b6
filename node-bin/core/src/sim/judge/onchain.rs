//! Channels that end on the chain: both sides are done with them, and every satoshi is in a wallet, was paid
//! as a fee, or lies in an anchor.

use std::collections::BTreeSet;

use bitcoin::absolute::LockTime;
use bitcoin::{OutPoint, Transaction, Txid};

use crate::sim::flow::OpenedChannel;
use crate::sim::setup::POLICY;
use crate::sim::world::World;

use super::rest::owned;

/// Satoshis of both anchors.
const ANCHORS_SAT: u64 = 660;

/// More than a commitment of a world pays, in satoshis, with its HTLCs that are dust.
const MOST_COMMITMENT_FEES_SAT: u64 = 2_500;

/// Blocks between two raises of a claim's fee rate, and satoshis per 1000 weight units of each.
const RAISE: (u32, u64) = (3, 250);

/// The most that a claim pays, as a multiple of the policy's fee rate.
const MOST_RAISED: u64 = 20;

/// A reorganisation may bring what a claim spends so many blocks closer to it than they were.
const BLOCKS_OF_A_REORG: u32 = 6;

/// What takes an HTLC may have been urgent so many blocks before its commitment was in a block.
const BLOCKS_OF_AN_URGENT_HTLC: u32 = 36;

/// Where a channel's satoshis are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Whereabouts {
    /// In the wallets of both nodes.
    wallets: [u64; 2],
    /// Paid to miners.
    fees: u64,
    /// Of these, more than the blocks that something waited for justify.
    overpaid: u64,
    /// In outputs that nobody has spent and that are no wallet's.
    left: u64,
}

/// What is wrong with the channels that were to end on the chain, at rest.
pub fn complaints(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let forced = world.flow.opened.iter();
    for opened in forced.filter(|opened| world.flow.forces.contains(&opened.pair)) {
        let title = world.names.channel(&opened.channel_id);
        let at = whereabouts(world, opened);
        let owned_sat = owned(world, opened).map(|msat| msat / 1_000);
        let kept_sat = kept(world, opened).map(|msat| msat / 1_000);
        let capacity_sat: u64 = opened.balances_msat.iter().sum::<u64>() / 1_000;
        let lost_sat = at.fees + at.left;
        let cheater = punished(world, opened);
        // Nobody fetches what belongs to who is gone, or its peer does once it has expired.
        let waits = cheater.is_none() && opened.pair.iter().any(|node| world.nodes[*node].is_gone);
        // A millisatoshi here and there is rounded away.
        let is_right =
            |(got, own): (u64, u64)| (waits || got <= own + 1) && got + lost_sat + 2 >= own;
        let are_right = |owned_sat: [u64; 2]| {
            let sides = at.wallets.into_iter().zip(owned_sat);
            let mut sides = opened.pair.iter().zip(sides);
            sides.all(|(node, side)| world.nodes[*node].is_gone || is_right(side))
        };
        let is_fair = match cheater {
            Some(cheater) => at.wallets[cheater] == 0,
            None => are_right(owned_sat) || are_right(kept_sat),
        };
        for node in opened.pair {
            let node = &world.nodes[node];
            if !node.is_gone && !waits && !node.disk.archived().contains(&opened.channel_id) {
                found.push(format!("{} is not done with {title}", node.name));
            }
        }
        let sum_sat = at.wallets.iter().sum::<u64>() + lost_sat;
        let is_whole =
            sum_sat == capacity_sat && (waits || at.left <= ANCHORS_SAT) && at.overpaid == 0;
        if !is_fair || !is_whole {
            let cheat = cheater.map_or("", |_| ", of a cheat");
            found.push(format!(
                "{title} of {capacity_sat} sat{cheat}: {at:?}, and {owned_sat:?} would be right"
            ));
        }
    }
    found
}

/// What both sides own when what the payee claimed too late was taken back, though its preimage is known. That costs
/// the payee only: where the payment failed, whoever forwarded it must not have paid it.
fn kept(world: &World, opened: &OpenedChannel) -> [u64; 2] {
    let mut kept_msat = owned(world, opened);
    for payment in &world.flow.payments {
        if !world.flow.is_contested(payment) || !payment.was_sent(world) {
            continue;
        }
        for part in &payment.parts {
            for (hop, amount_msat) in part.nodes.windows(2).zip(&part.amounts_msat) {
                if *hop == opened.pair {
                    kept_msat[0] += amount_msat;
                    kept_msat[1] = kept_msat[1].saturating_sub(*amount_msat);
                }
            }
        }
    }
    kept_msat
}

/// Which of both sides ended the channel with a commitment that it had revoked.
fn punished(world: &World, opened: &OpenedChannel) -> Option<usize> {
    let (spender, _) = world.chain.spender(&opened.funding)?;
    let txid = spender.compute_txid();
    let cheats = |node: &usize| world.cheats.contains(&(*node, txid));
    opened.pair.iter().position(cheats)
}

/// Follows the funding output through all blocks.
fn whereabouts(world: &World, opened: &OpenedChannel) -> Whereabouts {
    let mut at = Whereabouts::default();
    let mut seen: BTreeSet<Txid> = BTreeSet::new();
    let capacity_sat = opened.balances_msat.iter().sum::<u64>() / 1_000;
    let mut open: Vec<(OutPoint, u64)> = vec![(opened.funding, capacity_sat)];
    while let Some((outpoint, amount_sat)) = open.pop() {
        let Some((transaction, fee_sat)) = world.chain.spender(&outpoint) else {
            at.left += amount_sat;
            continue;
        };
        let txid = transaction.compute_txid();
        if !seen.insert(txid) {
            continue;
        }
        at.fees += fee_sat;
        let most_sat = match outpoint == opened.funding {
            true => MOST_COMMITMENT_FEES_SAT,
            false => most_claim_fee_sat(world, transaction),
        };
        at.overpaid += fee_sat.saturating_sub(most_sat);
        for (output, vout) in transaction.output.iter().zip(0..) {
            let amount_sat = output.value.to_sat();
            let owner = opened.pair.iter().position(|node| {
                world.nodes[*node].environment.destination_script == output.script_pubkey
            });
            match owner {
                Some(owner) => at.wallets[owner] += amount_sat,
                None => open.push((OutPoint { txid, vout }, amount_sat)),
            }
        }
    }
    at
}

/// The most that a transaction may pay whose fee rate rises while it waits for a block, in satoshis.
fn most_claim_fee_sat(world: &World, transaction: &Transaction) -> u64 {
    let height_of = |txid: &Txid| world.chain.height_of(txid);
    let spent = transaction.input.iter().map(|input| input.previous_output);
    let oldest = spent.filter_map(|spent| height_of(&spent.txid)).min();
    let mined = height_of(&transaction.compute_txid());
    let waited = mined
        .zip(oldest)
        .map_or(0, |(mined, oldest)| mined - oldest);
    let mut inputs = transaction.input.iter();
    let shows_preimage = inputs.any(|input| input.witness.iter().any(|bytes| bytes.len() == 32));
    let earlier = match shows_preimage || transaction.lock_time != LockTime::ZERO {
        true => BLOCKS_OF_AN_URGENT_HTLC,
        false => 0,
    };
    let raises = u64::from((waited + earlier + BLOCKS_OF_A_REORG) / RAISE.0);
    let base = u64::from(POLICY.feerate_per_kw);
    let rate = (base + RAISE.1 * raises).min(base * MOST_RAISED);
    // A signature may be a byte or two shorter than what is paid for.
    let weight = transaction.weight().to_wu() + 4 * transaction.input.len() as u64;
    (rate * weight).div_ceil(1_000)
}
