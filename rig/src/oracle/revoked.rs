//! No node publishes a commitment that it has revoked, whether a block takes it or not, unless it is meant to cheat.
//! What is in no block shows no script: an HTLC is known by its amount there, where no other has it.

use std::collections::BTreeSet;

use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{OutPoint, Transaction};

use super::chain_view::commitment::{ANCHOR_SAT, is_commitment_spending};
use super::htlcs::Htlc;
use super::outcome::DUST_SAT;
use super::{CaseView, Docket};
use crate::evidence::OpenedChannel;

/// A transaction, by whoever gave it out first: what is known from another may be given out again.
struct Published<'a> {
    node: &'a str,
    seq: u64,
    transaction: Transaction,
}

pub(super) fn judge(case: &CaseView<'_>, docket: &mut Docket) {
    let published = all_published(case);
    for channel in &case.evidence.channels {
        let Ok(funding) = channel.funding.parse::<OutPoint>() else {
            continue;
        };
        let is_commitment =
            |made: &&Published<'_>| is_commitment_spending(&made.transaction, &funding);
        for made in published.iter().filter(is_commitment) {
            if case.cheater_of(&channel.label) != Some(made.node) {
                judge_published(case, channel, made, docket);
            }
        }
    }
}

/// Every transaction once. Whether the network took it does not matter: it was given out.
fn all_published<'a>(case: &CaseView<'a>) -> Vec<Published<'a>> {
    let mut known = BTreeSet::new();
    let published = case.published();
    let new = published.filter(|told| known.insert(&told.what.txid));
    new.filter_map(|told| {
        Some(Published {
            node: told.node,
            seq: told.seq,
            transaction: deserialize_hex(&told.what.raw).ok()?,
        })
    })
    .collect()
}

fn judge_published(
    case: &CaseView<'_>,
    channel: &OpenedChannel,
    made: &Published<'_>,
    docket: &mut Docket,
) {
    let here: Vec<&Htlc> = case
        .htlcs()
        .map(|(htlc, _)| htlc)
        .filter(|htlc| htlc.channel == channel.label && !htlc.replaced)
        .collect();
    let amount_sat = |htlc: &Htlc| htlc.amount_msat / 1000;
    let is_alone = |htlc: &&&Htlc| {
        let alike = here.iter().filter(|o| amount_sat(o) == amount_sat(htlc));
        alike.count() == 1 && amount_sat(htlc) >= DUST_SAT
    };
    // Two outputs may both be balances, one of which grew out of just this HTLC.
    let outputs = made.transaction.output.iter();
    let has_htlcs = outputs.filter(|o| o.value.to_sat() != ANCHOR_SAT).count() > 2;
    for htlc in here.iter().filter(is_alone) {
        let mut outputs = made.transaction.output.iter();
        let is_there = outputs.any(|output| {
            output.script_pubkey.is_p2wsh() && output.value.to_sat() == amount_sat(htlc)
        });
        let what = if is_there && has_htlcs && is_removed(htlc, made) {
            "has"
        } else if !is_there && is_committed(htlc, made) {
            "lacks"
        } else {
            continue;
        };
        docket.find(
            "stale-commitment",
            format!(
                "{} published {}, a commitment of {} that it had revoked: it {what} {}",
                made.node,
                made.transaction.compute_txid(),
                channel.label,
                htlc.name()
            ),
            vec![made.seq],
            vec![format!("payment hash {}", htlc.payment_hash)],
        );
    }
}

/// Whether the publisher had revoked its last commitment with the HTLC.
fn is_removed(htlc: &Htlc, made: &Published<'_>) -> bool {
    let since = match htlc.offerer == made.node {
        true => htlc.removal.with_taker,
        false => htlc.removal.with_both,
    };
    since.is_some_and(|since| since < made.seq)
}

/// Whether the publisher had revoked its last commitment without the HTLC, and could have none yet that lacks it
/// again.
fn is_committed(htlc: &Htlc, made: &Published<'_>) -> bool {
    let (since, until) = match htlc.offerer == made.node {
        true => (htlc.add.with_both, htlc.removal.taken),
        false => (htlc.add.with_taker, htlc.removal_sent),
    };
    since.is_some_and(|since| since < made.seq) && until.is_none_or(|until| until > made.seq)
}
